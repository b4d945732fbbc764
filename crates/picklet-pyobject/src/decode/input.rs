//! Where pickle bytes come from: one block in memory, or a file object read no further than the
//! pickle goes.
//!
//! Either way the decoder sees a window of bytes. Over a file the window is refilled as C's
//! unpickler does it: with `peek` where the file has it (nothing is consumed until it is used),
//! otherwise by reading exactly what the opcode needs. Unlike C, short reads are continued, and
//! a declared length is never allocated before its bytes arrive.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::object::{self, Obj, Raised};
use crate::state::unpickling_error;

/// Bytes asked for with `peek`.
const PREFETCH: usize = 128 * 1024;
/// The most that one `read` asks for; longer values arrive in several.
const READ_STEP: usize = 16 * 1024 * 1024;

/// The methods of a file that a load uses.
pub(super) struct File<'py> {
    pub(super) read: Bound<'py, PyAny>,
    pub(super) readline: Bound<'py, PyAny>,
    pub(super) readinto: Option<Bound<'py, PyAny>>,
    pub(super) peek: Option<Bound<'py, PyAny>>,
}

impl<'py> File<'py> {
    /// Looks the methods up.
    pub(super) fn new(file: &Bound<'py, PyAny>) -> PyResult<File<'py>> {
        let missing = || {
            pyo3::exceptions::PyTypeError::new_err(
                "file must have 'read' and 'readline' attributes",
            )
        };
        let py = file.py();
        let method = |name: &Bound<'py, PyString>| -> PyResult<Option<Bound<'py, PyAny>>> {
            let found = object::attribute(Obj::of(file), name).map_err(Raised::take)?;
            Ok(found.map(|method| method.into_bound(py)))
        };
        let peek = method(pyo3::intern!(py, "peek"))?;
        let readinto = method(pyo3::intern!(py, "readinto"))?;
        // Both are looked at before either is missed: what a look-up raises comes first.
        let read = method(pyo3::intern!(py, "read"))?;
        let readline = method(pyo3::intern!(py, "readline"))?;
        Ok(File {
            peek,
            readinto,
            read: read.ok_or_else(missing)?,
            readline: readline.ok_or_else(missing)?,
        })
    }
}

/// A place in the window of an [`Input`], for a loop to hold in registers.
#[derive(Clone, Copy)]
pub(super) struct Cursor {
    at: *const u8,
    end: *const u8,
}

impl Cursor {
    #[inline(always)]
    pub(super) fn left(self) -> usize {
        (self.end as usize) - (self.at as usize)
    }

    /// Steps over `n` bytes, no more than are left; gives where they begin.
    #[inline(always)]
    pub(super) fn advance(&mut self, n: usize) -> *const u8 {
        debug_assert!(n <= self.left());
        let at = self.at;
        self.at = at.wrapping_add(n);
        at
    }
}

/// The bytes of one load.
pub(super) struct Input<'py> {
    py: Python<'py>,
    /// The window: `len` bytes from `data`, of which `at` are used up.
    data: *const u8,
    at: usize,
    len: usize,
    /// How many bytes of the pickle came before the window.
    before: u64,
    file: Option<File<'py>>,
    /// The window's storage when it came from a file.
    buffer: Vec<u8>,
    /// Bytes of the window that the file still holds, counted from here on: it was peeked.
    peeked_from: Option<usize>,
}

impl<'py> Input<'py> {
    /// All of the pickle at once.
    ///
    /// # Safety
    /// `bytes` stay valid for as long as the input is used.
    pub(super) unsafe fn from_slice(py: Python<'py>, bytes: &[u8]) -> Input<'py> {
        Input {
            py,
            data: bytes.as_ptr(),
            at: 0,
            len: bytes.len(),
            before: 0,
            file: None,
            buffer: Vec::new(),
            peeked_from: None,
        }
    }

    pub(super) fn from_file(py: Python<'py>, file: File<'py>) -> Input<'py> {
        Input {
            py,
            data: std::ptr::NonNull::dangling().as_ptr(),
            at: 0,
            len: 0,
            before: 0,
            file: Some(file),
            buffer: Vec::new(),
            peeked_from: None,
        }
    }

    /// Where the window's unused part begins and ends.
    #[inline(always)]
    pub(super) fn cursor(&self) -> Cursor {
        // SAFETY: `at` and `len` lie within the window, or are zero.
        unsafe { Cursor { at: self.data.add(self.at), end: self.data.add(self.len) } }
    }

    /// Takes over where a cursor of this window stands.
    #[inline(always)]
    pub(super) fn seek(&mut self, cursor: Cursor) {
        self.at = (cursor.at as usize).wrapping_sub(self.data as usize);
        debug_assert!(self.at <= self.len);
    }

    /// How many bytes of the pickle are used up.
    pub(super) fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    /// Makes `n` bytes available; truncated input is an error.
    pub(super) fn require(&mut self, n: usize) -> Result<(), Raised> {
        if n > self.len - self.at && !self.refill(n)? { Err(self.truncated()) } else { Ok(()) }
    }

    /// Makes an opcode's byte available; the end of the input is `EOFError`.
    pub(super) fn require_opcode(&mut self) -> Result<(), Raised> {
        if self.at >= self.len && !self.refill(1)? {
            return Err(pyo3::exceptions::PyEOFError::new_err("Ran out of input").into());
        }
        Ok(())
    }

    /// The next `n` bytes, valid until the next call.
    #[inline(always)]
    pub(super) fn take<'a>(&mut self, n: usize) -> Result<&'a [u8], Raised> {
        if n > self.len - self.at && !self.refill(n)? {
            return Err(self.truncated());
        }
        // SAFETY: `n` bytes lie in the window behind `at`. The lifetime is the caller's promise
        // to use them before it asks for more.
        let bytes = unsafe { std::slice::from_raw_parts(self.data.add(self.at), n) };
        self.at += n;
        Ok(bytes)
    }

    /// As [`Input::take`], for a size that is known.
    #[inline(always)]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Raised> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next line with its newline.
    pub(super) fn line<'a>(&mut self) -> Result<&'a [u8], Raised> {
        // SAFETY: the rest of the window.
        let rest =
            unsafe { std::slice::from_raw_parts(self.data.add(self.at), self.len - self.at) };
        if let Some(end) = memchr::memchr(b'\n', rest) {
            return self.take(end + 1);
        }
        if self.file.is_none() {
            return Err(self.truncated());
        }
        self.read_line()
    }

    #[cold]
    pub(super) fn truncated(&self) -> Raised {
        unpickling_error(self.py, "pickle data was truncated".to_owned()).into()
    }

    /// Makes `n` bytes available at `at`; false at the end of the input.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, n: usize) -> Result<bool, Raised> {
        let Some(file) = &self.file else { return Ok(false) };
        let peek = file.peek.clone();
        self.settle()?;
        if n < PREFETCH
            && let Some(peek) = peek
        {
            match peek.call1((PREFETCH,)) {
                Ok(ahead) => {
                    let ahead = bytes_like(&ahead)?;
                    if ahead.as_bytes().len() >= n {
                        self.buffer.clear();
                        self.buffer.extend_from_slice(ahead.as_bytes());
                        self.window();
                        self.peeked_from = Some(0);
                        return Ok(true);
                    }
                }
                Err(error)
                    if error.is_instance_of::<pyo3::exceptions::PyNotImplementedError>(self.py) =>
                {
                    if let Some(file) = &mut self.file {
                        file.peek = None;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.read_exactly(n)
    }

    /// Tells the file how much of what was peeked is used up, and keeps what was read and is not.
    fn settle(&mut self) -> Result<(), Raised> {
        let rest = match self.peeked_from.take() {
            Some(from) => {
                let used = self.at - from;
                if used > 0
                    && let Some(file) = &self.file
                {
                    file.read.call1((used,))?;
                }
                Vec::new()
            }
            // SAFETY: the rest of the window, which `buffer` holds.
            None => unsafe {
                std::slice::from_raw_parts(self.data.add(self.at), self.len - self.at).to_vec()
            },
        };
        self.before += self.at as u64;
        self.buffer = rest;
        self.window();
        Ok(())
    }

    /// The buffer becomes the window.
    fn window(&mut self) {
        self.data = self.buffer.as_ptr();
        self.len = self.buffer.len();
        self.at = 0;
    }

    fn read_exactly(&mut self, n: usize) -> Result<bool, Raised> {
        while self.buffer.len() < n {
            let Some(file) = &self.file else { return Ok(false) };
            let wanted = (n - self.buffer.len()).min(READ_STEP);
            let read = file.read.call1((wanted,))?;
            let read = bytes_like(&read)?;
            if read.as_bytes().is_empty() {
                self.window();
                return Ok(false);
            }
            self.buffer.extend_from_slice(read.as_bytes());
            self.window();
        }
        self.window();
        Ok(true)
    }

    fn read_line<'a>(&mut self) -> Result<&'a [u8], Raised> {
        self.settle()?;
        let Some(file) = &self.file else { return Err(self.truncated()) };
        let line = file.readline.call0()?;
        self.buffer.extend_from_slice(bytes_like(&line)?.as_bytes());
        self.window();
        if self.buffer.last() != Some(&b'\n') {
            return Err(self.truncated());
        }
        let all = self.len;
        self.take(all)
    }

    /// Fills `target` from the window and then straight from the file.
    pub(super) fn read_into(&mut self, target: &mut [u8]) -> Result<(), Raised> {
        let here = target.len().min(self.len - self.at);
        let in_window = self.take(here)?;
        let (first, mut rest) = target.split_at_mut(here);
        first.copy_from_slice(in_window);
        if rest.is_empty() {
            return Ok(());
        }
        self.settle()?;
        while !rest.is_empty() {
            let filled = self.read_some(rest)?;
            self.before += filled as u64;
            match rest.get_mut(filled..) {
                Some(more) if filled > 0 => rest = more,
                _ => return Err(self.truncated()),
            }
        }
        Ok(())
    }

    /// One read from the file to the beginning of `target`; gives the bytes filled.
    fn read_some(&self, target: &mut [u8]) -> Result<usize, Raised> {
        let Some(file) = &self.file else { return Ok(0) };
        if let Some(readinto) = &file.readinto {
            // SAFETY: the view covers `target`, which outlives it: it is released below, and a
            // file that still holds on to it makes that an error.
            let view = unsafe {
                let view = ffi::PyMemoryView_FromMemory(
                    target.as_mut_ptr().cast(),
                    target.len() as ffi::Py_ssize_t,
                    ffi::PyBUF_WRITE,
                );
                Bound::from_owned_ptr_or_err(self.py, view)?
            };
            let filled = readinto.call1((&view,));
            view.call_method0("release")?;
            let filled = filled?;
            if filled.is_none() {
                return Err(no_data_yet().into());
            }
            return Ok(filled.extract::<usize>()?.min(target.len()));
        }
        let read = file.read.call1((target.len().min(READ_STEP),))?;
        let read = bytes_like(&read)?;
        let read = read.as_bytes();
        match target.get_mut(..read.len()) {
            Some(place) => place.copy_from_slice(read),
            None => return Err(self.truncated()),
        }
        Ok(read.len())
    }

    /// Whether all input is in memory, so that a length can be checked before allocating.
    pub(super) fn check_available(&self, n: usize) -> Result<(), Raised> {
        if self.file.is_none() && n > self.len - self.at { Err(self.truncated()) } else { Ok(()) }
    }

    /// Whether the input is a file.
    pub(super) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// A FRAME's bytes are fetched in one go; `n` is its declared length.
    pub(super) fn frame(&mut self, n: u64) -> Result<(), Raised> {
        let n = usize::try_from(n).ok().filter(|n| *n <= isize::MAX as usize);
        let Some(n) = n else {
            return Err(pyo3::exceptions::PyOverflowError::new_err(format!(
                "FRAME length exceeds system's maximum of {} bytes",
                isize::MAX
            ))
            .into());
        };
        self.take(n)?;
        self.at -= n;
        Ok(())
    }

    /// The end of the pickle: the file is left right behind it.
    pub(super) fn finish(&mut self) -> Result<(), Raised> {
        if self.file.is_some() {
            self.settle()?;
        }
        Ok(())
    }
}

fn bytes_like<'py>(answer: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = answer.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    if answer.is_none() {
        return Err(no_data_yet());
    }
    // SAFETY: a live object; the result is a new bytes object or null with an exception set.
    unsafe {
        let bytes = ffi::PyBytes_FromObject(answer.as_ptr());
        Ok(Bound::from_owned_ptr_or_err(answer.py(), bytes)?.cast_into()?)
    }
}

fn no_data_yet() -> PyErr {
    pyo3::exceptions::PyBlockingIOError::new_err(
        "the file has no data yet: load needs a blocking file",
    )
}
