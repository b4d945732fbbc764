//! Loads from a file that is mapped into memory: arrays view the map instead of a copy.
//!
//! The map is private (copy on write): what is written to an array stays in this process. Who
//! asks for a map promises that nobody shortens the file meanwhile: reading behind a file's end
//! ends the process.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView, PySlice};

use super::input::Input;
use super::{DecodeOptions, Decoder};
use crate::collector::CollectorPause;
use crate::object::{Owned, Raised};

/// Arrays of fewer bytes are copied: a page is the least that a map can share.
const LEAST_MAPPED: usize = 4096;

/// As [`super::load`], from an open file on disk, mapped from where it stands. Afterwards it
/// stands behind the pickle.
///
/// # Errors
/// As [`super::load`]; `TypeError` for what is no file on disk.
pub fn load_mapped<'py>(
    file: &Bound<'py, PyAny>,
    options: &DecodeOptions<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = file.py();
    let number = file.call_method0("fileno").map_err(|error| {
        let refusal = pyo3::exceptions::PyTypeError::new_err("mmap=True needs a file on disk");
        refusal.set_cause(py, Some(error));
        refusal
    })?;
    let start: u64 = file.call_method0("tell")?.extract()?;
    let mmap = py.import("mmap")?;
    let size = py.import("os")?.call_method1("fstat", (&number,))?.getattr("st_size")?;
    if size.extract::<u64>()? <= start {
        return Err(pyo3::exceptions::PyEOFError::new_err("Ran out of input"));
    }
    let keywords = PyDict::new(py);
    keywords.set_item("access", mmap.getattr("ACCESS_COPY")?)?;
    let map = mmap.getattr("mmap")?.call((number, 0), Some(&keywords))?;
    let view = py.get_type::<PyMemoryView>().call1((map,))?;
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let view = view.get_item(PySlice::new(py, isize::try_from(start)?, isize::MAX, 1))?;
    let buffer = pyo3::buffer::PyBuffer::<u8>::get(&view)?;
    // SAFETY: the buffer keeps the map exported, so that it is neither closed nor resized. Its
    // bytes may be changed through the arrays that view it, by Python code that the pickle calls:
    // each byte is read by pointer when its turn comes, never through a slice that outlives a
    // step.
    let bytes =
        unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes()) };
    let pause = CollectorPause::begin(py);
    // SAFETY: as above, for as long as `buffer` lives.
    let input = unsafe { Input::from_slice(py, bytes) };
    let mut decoder = Decoder::new(py, input, options, &pause)?;
    decoder.map = Some(view);
    let value = decoder.answer();
    let end = decoder.input.position();
    drop(decoder);
    if value.is_ok() {
        file.call_method1("seek", (start as u64 + end,))?;
    }
    value
}

impl Decoder<'_, '_> {
    /// The next `len` bytes as a view of the map, where they are what numpy makes an array of.
    pub(super) fn mapped(&mut self, len: usize) -> Result<Option<Owned>, Raised> {
        let Some(map) = &self.map else { return Ok(None) };
        // `_frombuffer(buffer, dtype, shape, order)`: the first argument, right behind the mark.
        let (Some(mark), Some(at)) = (self.marks.last(), self.stack.len().checked_sub(1)) else {
            return Ok(None);
        };
        if len < LEAST_MAPPED || *mark != at + 1 {
            return Ok(None);
        }
        let py = self.py;
        let Some(callable) = self.stack.get(at) else { return Ok(None) };
        let name = callable.obj().bound(py).getattr_opt(pyo3::intern!(py, "__name__"))?;
        if !name.is_some_and(|name| name.eq("_frombuffer").unwrap_or(false)) {
            return Ok(None);
        }
        let from = self.input.position();
        self.input.take(len)?;
        let (from, to) = (from as isize, (from + len as u64) as isize);
        let view = map.get_item(PySlice::new(py, from, to, 1))?;
        Ok(Some(Owned::from_bound(view)))
    }
}
