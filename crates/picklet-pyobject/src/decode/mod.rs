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
mod containers;
mod guard;
mod input;
mod live;
mod mapped;
mod memo;
mod moments;
mod numpy;
mod run;
mod templates;
mod text;
mod unpickler;

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyIterator};

pub use self::calls::find_class;
use self::guard::{ByAddress, Known};
pub use self::guard::{Guard, Unknown, find_listed};
use self::input::{File, Input};
pub use self::mapped::load_mapped;
use self::memo::Memo;
use self::moments::Moments;
use self::templates::Templates;
pub use self::unpickler::{SeenProtocol, UnpicklerMemo, check_file, load_with};
use crate::collector::CollectorPause;
use crate::object::{Obj, Owned, Raised};
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
    let pause = CollectorPause::begin(py);
    Decoder::new(py, input, options, &pause)?.answer()
}

/// As [`run`], going on with what an earlier load knew.
fn run_with<'py>(
    py: Python<'py>,
    input: Input<'py>,
    options: &DecodeOptions<'py>,
    kept: &mut UnpicklerMemo,
) -> PyResult<Bound<'py, PyAny>> {
    let pause = CollectorPause::begin(py);
    let mut decoder = Decoder::new(py, input, options, &pause)?;
    decoder.memo = std::mem::take(&mut kept.memo);
    decoder.known = std::mem::take(&mut kept.known);
    let value = decoder.answer();
    // A refused pickle leaves nothing behind.
    if decoder.known.is_collecting() {
        kept.memo = Memo::strong();
    } else {
        kept.memo = std::mem::take(&mut decoder.memo);
        kept.known = std::mem::take(&mut decoder.known);
    }
    value
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
    /// What was thrown away while the memo was borrowed, and may be met again through it.
    buried: Vec<Owned>,
    templates: Templates,
    protocol: u8,
    options: &'a DecodeOptions<'py>,
    buffers: Option<Bound<'py, PyIterator>>,
    /// A view of the whole input, if it is a map.
    map: Option<Bound<'py, PyAny>>,
    state: &'static State,
    pause: &'a CollectorPause,
    moments: Moments,
    /// What the guard has seen.
    known: Known,
    /// numpy dtypes that wait for their state, by address, with the indexes they are memoised at.
    pending_dtypes: ByAddress<(Owned, Vec<u64>)>,
    /// The numpy array that was made last, until it is filled. Held, so that its address stays
    /// its own.
    fresh_array: Option<Owned>,
    reconstructed: Option<numpy::Reconstructed>,
}

impl<'a, 'py> Decoder<'a, 'py> {
    #[inline(always)]
    fn new(
        py: Python<'py>,
        input: Input<'py>,
        options: &'a DecodeOptions<'py>,
        pause: &'a CollectorPause,
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
            buried: Vec::new(),
            templates: Templates::default(),
            protocol: 0,
            options,
            buffers,
            map: None,
            state: State::get(py)?,
            pause,
            moments: Moments::default(),
            known: Known::default(),
            pending_dtypes: ByAddress::default(),
            fresh_array: None,
            reconstructed: None,
        })
    }

    /// Runs the pickle to its end.
    fn answer(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let value = self.run();
        if self.known.is_collecting() {
            // Whatever came after the first blocked global does not matter.
            if let Err(raised) = value {
                drop(raised.take());
            }
            return Err(self.untrusted().take());
        }
        match value {
            Ok(value) => Ok(value.into_bound(self.py)),
            Err(raised) => Err(raised.take()),
        }
    }

    /// Runs Python code: with the collector as it was before the load.
    fn hook<T>(&self, run: impl FnOnce() -> PyResult<T>) -> Result<T, Raised> {
        Ok(self.pause.lifted(run)?)
    }

    /// Called before anything that may run Python code: the memo holds its objects from here on.
    #[inline(always)]
    fn strengthen(&mut self) {
        if !self.memo.is_strong() {
            self.memo.strengthen();
            self.buried.clear();
        }
    }

    /// Throws away what lies above `from`, but for what the memo only borrows.
    fn bury(&mut self, from: usize) {
        if self.memo.is_strong() || self.memo.is_empty() {
            self.stack.truncate(from);
        } else {
            self.buried.extend(self.stack.drain(from..));
        }
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
}

/// Objects that the stack has room for at first.
const FIRST_STACK: usize = 32;
