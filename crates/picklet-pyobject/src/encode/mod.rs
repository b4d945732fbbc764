//! Python objects to pickle bytes.
//!
//! [`dumps`] and [`dump`] are the entry points. Two styles: [`Style::Compat`] gives C pickle's
//! bytes exactly, [`Style::Native`] leaves out memo opcodes that nothing can refer to.
//!
//! An encoder starts out *pure*: no Python code runs, so an object whose only reference is its
//! container's cannot be met again and needs no memo entry. At the first thing that would run
//! Python code (`__reduce__`, a hook, a subclass) it starts over in *full-memo* mode, where every
//! object is memoised and held by a strong reference, as in C's pickler.
//!
//! A dump to a file must not hold all of a large pickle. Once it holds [`PURE_DUMP_CAP`] bytes it
//! throws away what it has and goes on to the end, to see whether any Python code would run. If
//! none, it begins anew and sends frames as it goes, only between the items of lists, dicts and
//! tuples, all of which it holds then: `file.write` may run anything. So the object is walked
//! twice, and still several times faster than with every object memoised.

mod arrays;
mod containers;
mod depth;
mod deterministic;
mod global;
mod instances;
mod memo;
mod output;
mod passing;
mod pickler;
mod pure;
mod reduce;
mod scalars;
mod segment;
mod standard;
mod stubs;

use pyo3::ffi;
use pyo3::prelude::*;

use self::depth::with_room;
pub use self::deterministic::dumps_deterministic;
use self::memo::Hold;
pub use self::memo::Memo;

pub(crate) use self::output::new_bytes;
use self::output::{Keeping, Output};
pub use self::pickler::{PicklerMemo, dump_with};
use self::segment::Parts;
pub use self::segment::{Container, SegmentEncoder};
use crate::object::{self, Obj, Owned, Raised};
use crate::state::State;

/// The highest protocol there is.
pub const HIGHEST_PROTOCOL: u8 = 5;
/// What `dumps` uses when no protocol is given, as CPython 3.8 to 3.13.
pub const DEFAULT_PROTOCOL: u8 = 4;

/// Which bytes are written for the same value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// C pickle's bytes, for every object and protocol.
    Compat,
    /// Smaller and faster to load: no memo opcode for objects that cannot be met again. Stock
    /// pickle loads it to the same value with the same sharing.
    Native,
}

/// What a dump does.
#[derive(Debug, Clone, Copy)]
pub struct EncodeOptions {
    /// 0 to 5.
    pub protocol: u8,
    /// Which bytes are written.
    pub style: Style,
    /// Below protocol 3, write Python 2's module names.
    pub fix_imports: bool,
    /// `Pickler.fast`: no memo at all; cycles are errors.
    pub fast: bool,
    /// `Pickler.bin`, if it was changed: binary opcodes, which protocol 1 and up mean.
    pub binary: Option<bool>,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        EncodeOptions {
            protocol: DEFAULT_PROTOCOL,
            style: Style::Compat,
            fix_imports: true,
            fast: false,
            binary: None,
        }
    }
}

impl EncodeOptions {
    /// Reads `protocol` as pickle does: `None` is the default, negative the highest.
    ///
    /// # Errors
    /// `ValueError` above the highest protocol.
    pub fn with_protocol(mut self, protocol: Option<i64>) -> PyResult<Self> {
        self.protocol = match protocol {
            None => DEFAULT_PROTOCOL,
            Some(number) if number < 0 => HIGHEST_PROTOCOL,
            Some(number) => u8::try_from(number)
                .ok()
                .filter(|number| *number <= HIGHEST_PROTOCOL)
                .ok_or_else(|| {
                    pyo3::exceptions::PyValueError::new_err(format!(
                        "pickle protocol must be <= {HIGHEST_PROTOCOL}"
                    ))
                })?,
        };
        Ok(self)
    }
}

/// The callables of a pickler; each is called as C's pickler calls it.
#[derive(Default)]
pub struct Hooks<'py> {
    /// `persistent_id(obj)`.
    pub persistent_id: Option<Bound<'py, PyAny>>,
    /// `reducer_override(obj)`.
    pub reducer_override: Option<Bound<'py, PyAny>>,
    /// A mapping used instead of `copyreg.dispatch_table`.
    pub dispatch_table: Option<Bound<'py, PyAny>>,
    /// `buffer_callback(buffer)`: a false answer takes the buffer out of band.
    pub buffer_callback: Option<Bound<'py, PyAny>>,
}

/// Pickles one object.
///
/// # Errors
/// What C's pickler raises: `pickle.PicklingError`, `RecursionError`, and whatever a hook raises.
pub fn dumps<'py>(
    obj: &Bound<'py, PyAny>,
    options: EncodeOptions,
    hooks: &Hooks<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = obj.py();
    let bytes = match start(obj, options, hooks, Mode::Pure, None) {
        Err(Stop::Restart) => start(obj, options, hooks, Mode::Full, None),
        other => other,
    };
    match bytes {
        Ok(Some(bytes)) => Ok(bytes.into_bound(py)),
        Ok(None) | Err(Stop::Restart) => Err(internal_error()),
        Err(Stop::Raised) => Err(Raised.take()),
    }
}

/// Pickles one object into `write`, called with bytes-like objects of about a frame each.
///
/// # Errors
/// As [`dumps`], and whatever `write` raises; bytes may have been written by then.
pub fn dump<'py>(
    obj: &Bound<'py, PyAny>,
    write: &Bound<'py, PyAny>,
    options: EncodeOptions,
    hooks: &Hooks<'py>,
) -> PyResult<()> {
    let bytes = match start(obj, options, hooks, Mode::PureUpTo(PURE_DUMP_CAP), None) {
        Err(Stop::Restart) => {
            let write = Owned::from_bound(write.clone());
            start(obj, options, hooks, Mode::Full, Some(write))
        }
        // More than the cap, and nothing in it that runs Python code.
        Ok(None) => {
            let write = Owned::from_bound(write.clone());
            match start(obj, options, hooks, Mode::PureStream, Some(write)) {
                Err(Stop::Restart) => {
                    let message = "the object changed while it was pickled";
                    return Err(pyo3::exceptions::PyRuntimeError::new_err(message));
                }
                streamed => streamed,
            }
        }
        other => other,
    };
    match bytes {
        Ok(Some(bytes)) => write.call1((bytes.into_bound(obj.py()),)).map(drop),
        Ok(None) => Ok(()),
        Err(Stop::Restart) => Err(internal_error()),
        Err(Stop::Raised) => Err(Raised.take()),
    }
}

/// Bytes that a dump to a file keeps in memory before it streams.
pub const PURE_DUMP_CAP: u64 = 8 * 1024 * 1024;

fn internal_error() -> PyErr {
    pyo3::exceptions::PySystemError::new_err("the encoder asked to start over twice")
}

/// Why encoding stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A Python exception is set.
    Raised,
    /// Python code would have to run: start over in full-memo mode.
    Restart,
}

impl From<Raised> for Stop {
    fn from(_: Raised) -> Self {
        Stop::Raised
    }
}

impl From<PyErr> for Stop {
    fn from(error: PyErr) -> Self {
        Raised::from(error).into()
    }
}

pub(crate) type Done<T = ()> = Result<T, Stop>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pure,
    /// Pure; from that many bytes on they are only counted.
    PureUpTo(u64),
    /// Pure, and known to be so to the end: frames leave for the file.
    PureStream,
    Full,
}

fn start<'py>(
    obj: &Bound<'py, PyAny>,
    options: EncodeOptions,
    hooks: &Hooks<'py>,
    mode: Mode,
    write: Option<Owned>,
) -> Done<Option<Owned>> {
    let hooked = hooks.persistent_id.is_some() || hooks.reducer_override.is_some();
    let mode = if hooked || options.fast { Mode::Full } else { mode };
    let mode = match mode {
        // Without frames C's pickler keeps everything, too.
        Mode::PureUpTo(_) if options.protocol < 4 => Mode::Pure,
        mode => mode,
    };
    let mut encoder = Encoder::new(obj.py(), options, hooks, mode, write)?;
    encoder.header()?;
    encoder.save(Obj::of(obj), false)?;
    encoder.finish()
}

/// One dump in progress.
pub(crate) struct Encoder<'a, 'py> {
    py: Python<'py>,
    /// First, so that the levels are given back before anything below lets go of an object.
    depth: depth::Depth,
    out: Output,
    memo: Memo,
    /// The index of the next memoised object; counts those that needed no table entry.
    next_index: u32,
    protocol: u8,
    /// Protocol 1 and up.
    binary: bool,
    /// No Python code has run or will: objects of reference count 1 need no memo.
    pure: bool,
    /// Pure, and protocol 4 or 5: the hot loops apply.
    hot: bool,
    /// Keys met in the record before.
    keys: pure::KeyCache,
    ways: instances::Ways,
    last_dtype: arrays::LastDtype,
    /// Bytes from which a pure run only counts.
    pure_cap: u64,
    /// Frames leave for the file between items: what is open is held.
    streams: bool,
    /// Open values during which nothing may leave, since what they look at is not held.
    unheld: u32,
    /// Emit memo opcodes for objects that cannot be met again.
    put_unshared: bool,
    fast: bool,
    fast_depth: u32,
    fast_open: std::collections::BTreeSet<usize>,
    fix_imports: bool,
    hooks: &'a Hooks<'py>,
    state: &'static State,
    pickle_buffer_type: *mut ffi::PyTypeObject,
    /// Keeps temporaries alive whose addresses are in a borrowed memo.
    keep: Vec<Owned>,
}

impl<'a, 'py> Encoder<'a, 'py> {
    #[inline(always)]
    fn new(
        py: Python<'py>,
        options: EncodeOptions,
        hooks: &'a Hooks<'py>,
        mode: Mode,
        write: Option<Owned>,
    ) -> Done<Self> {
        let hold = match mode {
            Mode::Pure | Mode::PureUpTo(_) => Hold::Borrowed,
            Mode::PureStream | Mode::Full => Hold::Strong,
        };
        let mut out = Output::new(write)?;
        if mode == Mode::PureStream {
            out.keep(Keeping::UntilSent);
        }
        if mode != Mode::Full {
            // The dict of an instance is made when it is asked for: an allocation that the
            // collector counts, and its finalisers would be Python code in a pure run.
            out.pause_collector(py);
        }
        let parts = Parts { out, memo: Memo::new(hold), next_index: 0 };
        Self::resume(py, options, hooks, mode, parts)
    }

    /// Goes on where another encoder stopped.
    #[inline(always)]
    fn resume(
        py: Python<'py>,
        options: EncodeOptions,
        hooks: &'a Hooks<'py>,
        mode: Mode,
        parts: Parts,
    ) -> Done<Self> {
        let state = State::get(py)?;
        let pure = mode != Mode::Full;
        let hot = pure && options.protocol >= 4;
        Ok(Encoder {
            py,
            out: parts.out,
            memo: parts.memo,
            next_index: parts.next_index,
            protocol: options.protocol,
            binary: options.binary.unwrap_or(options.protocol >= 1),
            pure,
            hot,
            keys: pure::KeyCache::default(),
            ways: instances::Ways::default(),
            last_dtype: arrays::LastDtype::default(),
            pure_cap: if let Mode::PureUpTo(cap) = mode { cap } else { u64::MAX },
            streams: mode == Mode::PureStream,
            unheld: 0,
            put_unshared: options.style == Style::Compat,
            fast: options.fast,
            fast_depth: 0,
            depth: depth::Depth::new(hot && cfg!(layouts)),
            fast_open: std::collections::BTreeSet::new(),
            fix_imports: options.fix_imports && options.protocol < 3,
            hooks,
            state,
            pickle_buffer_type: state.pickle_buffer_type.as_ptr().cast(),
            keep: Vec::new(),
        })
    }

    fn into_parts(self) -> Parts {
        Parts { out: self.out, memo: self.memo, next_index: self.next_index }
    }

    fn header(&mut self) -> Done {
        if self.protocol >= 2 {
            self.out.write(&[0x80, self.protocol])?;
        }
        if self.protocol >= 4 {
            self.out.start_framing()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Done<Option<Owned>> {
        self.out.byte(b'.')?;
        Ok(self.out.finish()?)
    }

    /// Called before anything that may run Python code.
    #[inline(always)]
    fn leave_pure(&self) -> Done {
        if self.pure { Err(Stop::Restart) } else { Ok(()) }
    }

    /// Writes one value. `unshared`: it cannot be met again, see the module docs.
    #[inline]
    pub(crate) fn save(&mut self, obj: Obj, unshared: bool) -> Done {
        self.out.opcode_boundary()?;
        if let Some(hook) = &self.hooks.persistent_id {
            let hook = Obj::of(hook);
            if self.save_persistent(hook, obj)? {
                return Ok(());
            }
        }
        self.save_value(obj, unshared)
    }

    #[inline(always)]
    fn save_value(&mut self, obj: Obj, unshared: bool) -> Done {
        let ty = obj.ty();
        if ty == object::str_type() {
            return self.save_str(obj, unshared);
        }
        if ty == object::int_type() {
            return self.save_int(obj);
        }
        if obj == object::none() {
            return Ok(self.out.byte(b'N')?);
        }
        if ty == object::float_type() {
            return self.save_float(obj);
        }
        if obj == object::boolean(true) || obj == object::boolean(false) {
            return self.save_bool(obj == object::boolean(true));
        }
        if !unshared && let Some(index) = self.memo.get(obj) {
            return self.emit_get(index);
        }
        if ty == object::bytes_type() {
            return self.save_bytes(obj, unshared);
        }
        self.save_nested(obj, ty, unshared)
    }

    /// Values that may hold others: these count towards the recursion limit.
    #[inline(never)]
    fn save_nested(&mut self, obj: Obj, ty: *mut ffi::PyTypeObject, unshared: bool) -> Done {
        let look = self.depth.enter()?;
        let done = with_room(look, || {
            let held = self.streams.then(|| obj.to_owned());
            let done = if ty == object::dict_type() {
                self.save_dict(obj, unshared)
            } else if ty == object::list_type() {
                self.save_list(obj, unshared)
            } else if ty == object::tuple_type() {
                self.save_tuple(obj, unshared)
            } else {
                self.depth.settle();
                self.unheld += 1;
                let done = self.save_rare(obj, ty, unshared);
                self.unheld -= 1;
                done
            };
            drop(held);
            done
        });
        self.depth.leave();
        done
    }

    #[inline(never)]
    fn save_rare(&mut self, obj: Obj, ty: *mut ffi::PyTypeObject, unshared: bool) -> Done {
        if ty == object::set_type() {
            self.save_set(obj, unshared)
        } else if ty == object::frozenset_type() {
            self.save_frozenset(obj, unshared)
        } else if ty == object::bytearray_type() {
            self.save_bytearray(obj, unshared)
        } else if ty == self.pickle_buffer_type {
            self.save_picklebuffer(obj)
        } else {
            self.save_object(obj, ty, unshared)
        }
    }

    /// Memoises `obj`, which was just written, and emits the opcode that says so.
    #[inline(always)]
    fn memoize(&mut self, obj: Obj, unshared: bool) -> Done {
        if unshared {
            if !self.put_unshared {
                return Ok(());
            }
        } else {
            if self.fast {
                return Ok(());
            }
            self.memo.put(obj, self.next_index);
        }
        self.emit_put()
    }

    #[inline(always)]
    fn emit_put(&mut self) -> Done {
        let index = self.next_index;
        if self.protocol >= 4 {
            self.out.byte(0x94)?;
        } else {
            self.emit_numbered_put(index)?;
        }
        self.next_index = index.checked_add(1).ok_or_else(|| self.too_many())?;
        Ok(())
    }

    #[cold]
    fn too_many(&self) -> Stop {
        crate::state::pickling_error(self.py, "memo id too large for LONG_BINPUT".to_owned()).into()
    }

    #[inline(never)]
    fn emit_numbered_put(&mut self, index: u32) -> Done {
        if !self.binary {
            self.out.write(format!("p{index}\n").as_bytes())?;
        } else if let Ok(small) = u8::try_from(index) {
            self.out.write(&[b'q', small])?;
        } else {
            let [a, b, c, d] = index.to_le_bytes();
            self.out.write(&[b'r', a, b, c, d])?;
        }
        Ok(())
    }

    #[inline(always)]
    fn emit_get(&mut self, index: u32) -> Done {
        if !self.binary {
            self.out.write(format!("g{index}\n").as_bytes())?;
        } else if let Ok(small) = u8::try_from(index) {
            self.out.write(&[b'h', small])?;
        } else {
            let [a, b, c, d] = index.to_le_bytes();
            self.out.write(&[b'j', a, b, c, d])?;
        }
        Ok(())
    }
}
