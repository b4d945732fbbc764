//! Pickle bytes to Python objects.
//!
//! [`loads`] and [`load`] are the entry points. The loop over opcodes is the decoder's own, not
//! the codec's machine, because it works on the interpreter's objects without an event between;
//! the two are held to each other by tests. What it does with each opcode follows C's unpickler.
//!
//! The cyclic collector pauses while plain data is built, and runs again whenever Python code
//! does and on every way out.

mod build;
mod calls;
mod guard;
mod input;
mod live;
mod memo;
mod numpy;
mod text;
mod unpickler;

use picklet_codec::policy::Grows;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyIterator};

pub use self::calls::find_class;
use self::guard::{ByAddress, Known};
pub use self::guard::{Guard, Unknown, find_listed};
use self::input::{File, Input};
use self::memo::Memo;
pub use self::unpickler::{SeenProtocol, UnpicklerMemo, check_file, load_with};
use crate::object::{self, Obj, Owned, Raised};
use crate::state::{State, unpickling_error};

/// What a load does.
#[derive(Default)]
pub struct DecodeOptions<'py> {
    /// Below protocol 3, map Python 2's names.
    pub fix_imports: bool,
    /// Of Python 2's `str`; `"bytes"` leaves them bytes.
    pub encoding: Option<String>,
    /// What to do with Python 2's `str` that does not decode.
    pub errors: Option<String>,
    /// Out-of-band buffers, in order.
    pub buffers: Option<Bound<'py, PyAny>>,
    /// `find_class(module, name)`, in place of the import.
    pub find_class: Option<Bound<'py, PyAny>>,
    /// `persistent_load(id)`.
    pub persistent_load: Option<Bound<'py, PyAny>>,
    /// Tells the protocol to a `find_class` that is called back.
    pub seen_protocol: Option<SeenProtocol>,
    /// The rules of a safe load. Without, the pickle is trusted: whatever it says is imported
    /// and called.
    pub guard: Option<Guard>,
}

/// Builds the object that the pickle in `bytes` holds; bytes behind its end are ignored.
///
/// # Errors
/// What C's unpickler raises: `pickle.UnpicklingError`, `EOFError`, and whatever the calls in the
/// pickle raise; with a guard, `picklet.UntrustedGlobalError` for what it does not allow.
pub fn loads<'py>(
    py: Python<'py>,
    bytes: &[u8],
    options: &DecodeOptions<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `bytes` outlives the call.
    let input = unsafe { Input::from_slice(py, bytes) };
    run(py, input, options)
}

/// As [`loads`], from a file object. No byte behind the pickle is consumed.
///
/// # Errors
/// As [`loads`], and whatever the file's methods raise.
pub fn load<'py>(
    file: &Bound<'py, PyAny>,
    options: &DecodeOptions<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = file.py();
    run(py, Input::from_file(py, File::new(file)?), options)
}

fn run<'py>(
    py: Python<'py>,
    input: Input<'py>,
    options: &DecodeOptions<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    run_with(py, input, options, &mut UnpicklerMemo::default())
}

fn run_with<'py>(
    py: Python<'py>,
    input: Input<'py>,
    options: &DecodeOptions<'py>,
    kept: &mut UnpicklerMemo,
) -> PyResult<Bound<'py, PyAny>> {
    let mut decoder = Decoder::new(py, input, options)?;
    decoder.memo = std::mem::take(&mut kept.memo);
    decoder.known = std::mem::take(&mut kept.known);
    let pause = CollectorPause::begin();
    let value = decoder.run();
    let value = match value {
        _ if decoder.known.is_collecting() => {
            // Whatever came after the first blocked global does not matter.
            if let Err(raised) = value {
                drop(raised.take());
            }
            Err(decoder.untrusted())
        }
        value => value,
    };
    let value = match value {
        Ok(value) => Ok(value.into_bound(py)),
        Err(raised) => Err(raised.take()),
    };
    // A refused pickle leaves nothing behind.
    if !decoder.known.is_collecting() {
        kept.memo = std::mem::take(&mut decoder.memo);
        kept.known = std::mem::take(&mut decoder.known);
    }
    // What is left on the stack goes while the collector is still paused.
    drop(decoder);
    drop(pause);
    value
}

/// Keeps the cyclic collector from running; dropping it restores what was.
struct CollectorPause {
    was_enabled: bool,
}

impl CollectorPause {
    fn begin() -> CollectorPause {
        // SAFETY: the GIL is held.
        CollectorPause { was_enabled: unsafe { ffi::PyGC_Disable() } != 0 }
    }
}

impl Drop for CollectorPause {
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: the GIL is held.
            unsafe { ffi::PyGC_Enable() };
        }
    }
}

/// One load in progress.
pub(super) struct Decoder<'a, 'py> {
    py: Python<'py>,
    input: Input<'py>,
    stack: Vec<Owned>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    /// The height below which nothing may be popped: the last mark, or 0.
    fence: usize,
    memo: Memo,
    protocol: u8,
    options: &'a DecodeOptions<'py>,
    buffers: Option<Bound<'py, PyIterator>>,
    state: &'static State,
    /// Whether the collector was on when the load began.
    collector: bool,
    /// What the guard has seen.
    known: Known,
    /// numpy dtypes that wait for their state, by address, with the indexes they are memoised at.
    pending_dtypes: ByAddress<(Owned, Vec<u64>)>,
    /// The numpy array that was made last, until it is filled. Held, so that its address stays
    /// its own.
    fresh_array: Option<Owned>,
}

impl<'a, 'py> Decoder<'a, 'py> {
    fn new(
        py: Python<'py>,
        input: Input<'py>,
        options: &'a DecodeOptions<'py>,
    ) -> PyResult<Decoder<'a, 'py>> {
        let buffers = match &options.buffers {
            Some(buffers) if !buffers.is_none() => Some(buffers.try_iter()?),
            _ => None,
        };
        Ok(Decoder {
            py,
            input,
            stack: Vec::with_capacity(FIRST_STACK),
            marks: Vec::new(),
            fence: 0,
            memo: Memo::default(),
            protocol: 0,
            options,
            buffers,
            state: State::get(py)?,
            // SAFETY: the GIL is held.
            collector: unsafe { ffi::PyGC_IsEnabled() } != 0,
            known: Known::default(),
            pending_dtypes: ByAddress::default(),
            fresh_array: None,
        })
    }

    /// Runs Python code: with the collector as it was before the load.
    fn hook<T>(&self, run: impl FnOnce() -> PyResult<T>) -> Result<T, Raised> {
        if !self.collector {
            return Ok(run()?);
        }
        // SAFETY: the GIL is held.
        unsafe { ffi::PyGC_Enable() };
        let answer = run();
        // A hook that turned the collector off meant it; there is no telling for how long, so
        // it stays off until the load ends, which turns it on again as it was.
        // SAFETY: as above.
        unsafe { ffi::PyGC_Disable() };
        Ok(answer?)
    }

    #[cold]
    #[inline(never)]
    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Raised> {
        Err(unpickling_error(self.py, message.into()).into())
    }

    #[cold]
    fn too_large<T>(&self, opcode: &str) -> Result<T, Raised> {
        let message = format!("{opcode} exceeds system's maximum size of {} bytes", isize::MAX);
        Err(pyo3::exceptions::PyOverflowError::new_err(message).into())
    }

    #[cold]
    #[inline(never)]
    fn underflow<T>(&self) -> Result<T, Raised> {
        self.fail(if self.marks.is_empty() {
            "unpickling stack underflow"
        } else {
            "unexpected MARK found"
        })
    }

    #[inline(always)]
    fn push(&mut self, value: Owned) {
        self.stack.push(value);
    }

    #[inline(always)]
    fn pop(&mut self) -> Result<Owned, Raised> {
        if self.stack.len() > self.fence
            && let Some(value) = self.stack.pop()
        {
            return Ok(value);
        }
        self.underflow()
    }

    #[inline(always)]
    fn top(&self) -> Result<Obj, Raised> {
        match self.stack.last() {
            Some(value) if self.stack.len() > self.fence => Ok(value.obj()),
            _ => self.underflow(),
        }
    }

    /// Takes the last mark: the height of the stack when it was set.
    #[inline(always)]
    fn pop_mark(&mut self) -> Result<usize, Raised> {
        let Some(mark) = self.marks.pop() else { return self.fail("could not find MARK") };
        self.fence = self.marks.last().copied().unwrap_or(0);
        Ok(mark)
    }

    /// The object just below `height`, the target of APPENDS and the like.
    #[inline(always)]
    fn below(&self, height: usize) -> Result<Obj, Raised> {
        if height <= self.fence {
            return self.underflow();
        }
        match self.stack.get(height - 1) {
            Some(value) => Ok(value.obj()),
            None => self.underflow(),
        }
    }

    fn run(&mut self) -> Result<Owned, Raised> {
        loop {
            let opcode = self.input.opcode()?;
            match opcode {
                0x94 => {
                    let top = self.top()?;
                    let index = self.memo.push(top);
                    if !self.pending_dtypes.is_empty() {
                        self.note_dtype(top, index);
                    }
                }
                0x8c => {
                    let [len] = self.input.array()?;
                    let text = build::text(self.input.take(usize::from(len))?)?;
                    self.push(text);
                }
                b'K' => {
                    let [value] = self.input.array()?;
                    self.push(build::int(i64::from(value))?);
                }
                b'h' => {
                    let [index] = self.input.array()?;
                    self.get(u64::from(index))?;
                }
                b'q' => {
                    let [index] = self.input.array()?;
                    self.put(u64::from(index))?;
                }
                b'(' => {
                    self.marks.push(self.stack.len());
                    self.fence = self.stack.len();
                }
                b'u' => {
                    let mark = self.pop_mark()?;
                    self.set_items(mark)?;
                }
                b'e' => {
                    let mark = self.pop_mark()?;
                    self.append(mark)?;
                }
                b'G' => {
                    let value = f64::from_be_bytes(self.input.array()?);
                    self.push(build::float(value)?);
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.input.array()?);
                    self.push(build::int(i64::from(value))?);
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.input.array()?);
                    self.push(build::int(i64::from(value))?);
                }
                b']' => self.push(build::empty_list()?),
                b'}' => self.push(build::empty_dict()?),
                b'N' => self.push(object::none().to_owned()),
                0x88 => self.push(object::boolean(true).to_owned()),
                0x89 => self.push(object::boolean(false).to_owned()),
                b'j' => {
                    let index = u32::from_le_bytes(self.input.array()?);
                    self.get(u64::from(index))?;
                }
                b'r' => {
                    let index = u32::from_le_bytes(self.input.array()?);
                    self.put(u64::from(index))?;
                }
                b'X' => {
                    let len = u32::from_le_bytes(self.input.array()?);
                    let text = build::text(self.input.take(len as usize)?)?;
                    self.push(text);
                }
                0x85..=0x87 => self.build_tuple(usize::from(opcode - 0x84))?,
                b')' => self.build_tuple(0)?,
                b'a' => {
                    let item = self.stack.len().wrapping_sub(1);
                    if self.stack.len() <= self.fence {
                        return self.underflow();
                    }
                    self.append(item)?;
                }
                b's' => {
                    if self.stack.len() < self.fence + 2 {
                        return self.underflow();
                    }
                    self.set_items(self.stack.len() - 2)?;
                }
                b't' => {
                    let mark = self.pop_mark()?;
                    let items = self.stack.len() - mark;
                    self.build_tuple(items)?;
                }
                0x8a => {
                    let [len] = self.input.array()?;
                    let long = build::long(self.input.take(usize::from(len))?)?;
                    self.push(long);
                }
                0x95 => {
                    let len = u64::from_le_bytes(self.input.array()?);
                    self.input.frame(len)?;
                }
                b'.' => return self.stop(),
                _ => self.rare(opcode)?,
            }
        }
    }

    fn stop(&mut self) -> Result<Owned, Raised> {
        let value = self.pop()?;
        self.input.finish()?;
        if self.options.guard.is_some() && !self.known.is_collecting() {
            self.refuse_unfinished()?;
        }
        Ok(value)
    }

    #[inline(never)]
    fn rare(&mut self, opcode: u8) -> Result<(), Raised> {
        match opcode {
            b'0' => return self.pop_one(),
            b'1' => {
                let mark = self.pop_mark()?;
                self.stack.truncate(mark);
            }
            b'2' => {
                let top = self.top()?.to_owned();
                self.push(top);
            }
            b'l' => {
                let mark = self.pop_mark()?;
                let list = build::list(self.stack.drain(mark..))?;
                self.push(list);
            }
            b'd' => return self.build_dict(),
            0x8f => self.push(build::empty_set()?),
            0x90 => return self.add_items(),
            0x91 => return self.build_frozenset(),
            b'C' => {
                let [len] = self.input.array()?;
                let bytes = build::bytes(self.input.take(usize::from(len))?)?;
                self.push(bytes);
            }
            b'B' => {
                let len = u32::from_le_bytes(self.input.array()?);
                return self.large_bytes(u64::from(len), false);
            }
            0x8e => {
                let len = u64::from_le_bytes(self.input.array()?);
                return self.large_bytes(len, false);
            }
            0x96 => {
                let len = u64::from_le_bytes(self.input.array()?);
                return self.large_bytes(len, true);
            }
            0x8d => {
                let len = u64::from_le_bytes(self.input.array()?);
                let Ok(len) = isize::try_from(len) else {
                    return self.too_large("BINUNICODE");
                };
                let text = build::text(self.input.take(len.unsigned_abs())?)?;
                self.push(text);
            }
            0x8b => {
                let len = i32::from_le_bytes(self.input.array()?);
                let Ok(len) = usize::try_from(len) else {
                    return self.fail("LONG pickle has negative byte count");
                };
                let long = build::long(self.input.take(len)?)?;
                self.push(long);
            }
            0x80 => {
                let [protocol] = self.input.array()?;
                if protocol > crate::encode::HIGHEST_PROTOCOL {
                    return Err(pyo3::exceptions::PyValueError::new_err(format!(
                        "unsupported pickle protocol: {protocol}"
                    ))
                    .into());
                }
                self.protocol = protocol;
                if let Some(seen) = &self.options.seen_protocol {
                    seen.set(protocol);
                }
            }
            _ => return self.rarer(opcode),
        }
        Ok(())
    }

    fn rarer(&mut self, opcode: u8) -> Result<(), Raised> {
        match opcode {
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            0x81 => self.newobj(),
            0x92 => self.newobj_ex(),
            b'o' => self.obj(),
            b'i' => self.inst(),
            0x82 => {
                let [code] = self.input.array()?;
                self.extension(i64::from(code))
            }
            0x83 => {
                let code = u16::from_le_bytes(self.input.array()?);
                self.extension(i64::from(code))
            }
            0x84 => {
                let code = i32::from_le_bytes(self.input.array()?);
                self.extension(i64::from(code))
            }
            b'P' => self.persistent_text(),
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)
            }
            0x97 => self.next_buffer(),
            0x98 => self.readonly_buffer(),
            b'I' => self.text_int(),
            b'L' => self.text_long(),
            b'F' => self.text_float(),
            b'S' => self.text_string(),
            b'T' => {
                let len = u32::from_le_bytes(self.input.array()?);
                self.py2_string(len as usize)
            }
            b'U' => {
                let [len] = self.input.array()?;
                self.py2_string(usize::from(len))
            }
            b'V' => self.text_unicode(),
            b'g' => {
                let index = self.text_index()?;
                self.get_signed(index)
            }
            b'p' => {
                let index = self.text_index()?;
                let Ok(index) = u64::try_from(index) else {
                    return Err(
                        pyo3::exceptions::PyValueError::new_err("negative PUT argument").into()
                    );
                };
                self.put(index)
            }
            _ => self.unknown(opcode),
        }
    }

    #[cold]
    fn unknown(&self, opcode: u8) -> Result<(), Raised> {
        if (0x20..=0x7e).contains(&opcode) && opcode != b'\'' && opcode != b'\\' {
            return self.fail(format!("invalid load key, '{}'.", char::from(opcode)));
        }
        self.fail(format!("invalid load key, '\\x{opcode:02x}'."))
    }

    #[inline(always)]
    fn get(&mut self, index: u64) -> Result<(), Raised> {
        match self.memo.get(index) {
            Some(value) => {
                let value = value.to_owned();
                self.push(value);
                Ok(())
            }
            None => self.fail(format!("Memo value not found at index {index}")),
        }
    }

    fn get_signed(&mut self, index: i64) -> Result<(), Raised> {
        match u64::try_from(index) {
            Ok(index) => self.get(index),
            Err(_) => self.fail(format!("Memo value not found at index {index}")),
        }
    }

    #[inline(always)]
    fn put(&mut self, index: u64) -> Result<(), Raised> {
        let top = self.top()?;
        self.memo.put(index, top);
        if !self.pending_dtypes.is_empty() {
            self.note_dtype(top, index);
        }
        Ok(())
    }

    #[cold]
    fn note_dtype(&mut self, top: Obj, index: u64) {
        if let Some((_, indexes)) = self.pending_dtypes.get_mut(&(top.ptr() as usize)) {
            indexes.push(index);
        }
    }

    /// POP: the topmost object, or a mark with nothing behind it.
    fn pop_one(&mut self) -> Result<(), Raised> {
        if self.marks.last() == Some(&self.stack.len()) {
            return self.pop_mark().map(drop);
        }
        self.pop().map(drop)
    }

    #[inline(always)]
    fn build_tuple(&mut self, items: usize) -> Result<(), Raised> {
        if self.stack.len() < self.fence + items {
            return self.underflow();
        }
        let from = self.stack.len() - items;
        let tuple = build::tuple(self.stack.drain(from..))?;
        self.push(tuple);
        Ok(())
    }

    /// Appends what lies above `from` to what lies right below it.
    #[inline]
    fn append(&mut self, from: usize) -> Result<(), Raised> {
        let target = self.below(from)?;
        if self.stack.len() == from {
            return Ok(());
        }
        if target.ty() == object::list_type() {
            return build::extend_list(target, self.stack.drain(from..));
        }
        if self.options.guard.is_some() && self.guarded_growth(target, from, Grows::Items)? {
            return Ok(());
        }
        self.append_to_object(target, from)
    }

    /// Sets the pairs above `from` in what lies right below it.
    #[inline]
    fn set_items(&mut self, from: usize) -> Result<(), Raised> {
        let target = self.below(from)?;
        if !(self.stack.len() - from).is_multiple_of(2) {
            return self.fail("odd number of items for SETITEMS");
        }
        if self.options.guard.is_some() {
            for key in self.stack.iter().skip(from).step_by(2) {
                self.check_key(key.obj())?;
            }
        }
        if target.ty() != object::dict_type() {
            if self.options.guard.is_some() && self.guarded_growth(target, from, Grows::Pairs)? {
                return Ok(());
            }
            return self.set_items_of_object(target, from);
        }
        // Keys may run Python code (`__hash__`, `__eq__`): the dict is held by the stack, and
        // the pairs stay on it until all are set.
        let mut at = from;
        while let (Some(key), Some(value)) = (self.stack.get(at), self.stack.get(at + 1)) {
            build::set_item(target, key.obj(), value.obj())?;
            at += 2;
        }
        self.stack.truncate(from);
        Ok(())
    }

    fn build_dict(&mut self) -> Result<(), Raised> {
        let mark = self.pop_mark()?;
        if !(self.stack.len() - mark).is_multiple_of(2) {
            return self.fail("odd number of items for DICT");
        }
        let dict = build::empty_dict()?;
        self.stack.insert(mark, dict);
        self.set_items_at(mark)
    }

    /// DICT below a fence: the dict was just put at `mark`, its pairs lie above.
    fn set_items_at(&mut self, mark: usize) -> Result<(), Raised> {
        let fence = std::mem::replace(&mut self.fence, 0);
        let done = self.set_items(mark + 1);
        self.fence = fence;
        done
    }

    fn add_items(&mut self) -> Result<(), Raised> {
        let mark = self.pop_mark()?;
        let target = self.below(mark)?;
        if self.stack.len() == mark {
            return Ok(());
        }
        if self.options.guard.is_some() {
            for member in self.stack.iter().skip(mark) {
                self.check_key(member.obj())?;
            }
            if target.ty() != object::set_type()
                && self.guarded_growth(target, mark, Grows::Items)?
            {
                return Ok(());
            }
        }
        // SAFETY: a live object.
        if unsafe { ffi::PySet_Check(target.ptr()) } == 0 {
            return self.add_items_to_object(target, mark);
        }
        let mut at = mark;
        while let Some(item) = self.stack.get(at) {
            // SAFETY: live objects; the set takes a reference of its own.
            if unsafe { ffi::PySet_Add(target.ptr(), item.ptr()) } != 0 {
                return Err(Raised);
            }
            at += 1;
        }
        self.stack.truncate(mark);
        Ok(())
    }

    fn build_frozenset(&mut self) -> Result<(), Raised> {
        let mark = self.pop_mark()?;
        if self.options.guard.is_some() {
            for member in self.stack.iter().skip(mark) {
                self.check_key(member.obj())?;
            }
        }
        let items = build::tuple(self.stack.drain(mark..))?;
        // SAFETY: a live tuple; null means that an exception is set.
        let set = unsafe { Owned::from_new(ffi::PyFrozenSet_New(items.ptr()))? };
        self.push(set);
        Ok(())
    }

    /// `bytes` or `bytearray` of a declared length, read in place.
    fn large_bytes(&mut self, len: u64, mutable: bool) -> Result<(), Raised> {
        let Ok(size) = isize::try_from(len) else {
            return self.too_large(if mutable { "BYTEARRAY8" } else { "BINBYTES" });
        };
        let len = size.unsigned_abs();
        self.input.check_available(len)?;
        if self.input.is_file() && len > UNCHECKED_LEN {
            // A file may declare what it does not hold: let the bytes arrive first.
            let arrived = self.input.take(len)?;
            let value = if mutable { new_bytearray(arrived)? } else { build::bytes(arrived)? };
            self.push(value);
            return Ok(());
        }
        // SAFETY: a new object of `size` bytes that nobody else has seen; all of them are
        // written by `read_into`, or the object is dropped.
        let value = unsafe {
            let (value, data) = if mutable {
                let value =
                    Owned::from_new(ffi::PyByteArray_FromStringAndSize(std::ptr::null(), size))?;
                let data = ffi::PyByteArray_AsString(value.ptr());
                (value, data)
            } else {
                let value =
                    Owned::from_new(ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?;
                let data = ffi::PyBytes_AsString(value.ptr());
                (value, data)
            };
            if len > 0 {
                std::ptr::write_bytes(data, 0, 1);
                self.input.read_into(std::slice::from_raw_parts_mut(data.cast::<u8>(), len))?;
            }
            value
        };
        self.push(value);
        Ok(())
    }
}

/// Objects that the stack has room for at first.
const FIRST_STACK: usize = 32;

/// Over a file, longer values are not allocated before their bytes have arrived.
const UNCHECKED_LEN: usize = 64 * 1024 * 1024;

fn new_bytearray(data: &[u8]) -> Result<Owned, Raised> {
    // SAFETY: the pointer and length are those of a slice; null means that an exception is set.
    unsafe {
        Owned::from_new(ffi::PyByteArray_FromStringAndSize(
            data.as_ptr().cast(),
            data.len() as ffi::Py_ssize_t,
        ))
    }
}
