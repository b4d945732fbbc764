//! The text opcodes of protocol 0, and Python 2's strings.

use picklet_codec::text;
use pyo3::ffi;
use pyo3::prelude::*;

use super::{Decoder, build};
use crate::object::{self, Owned, Raised};

impl<'py> Decoder<'_, 'py> {
    /// A line without its newline; an empty one is an error, as in C.
    pub(super) fn text_line<'a>(&mut self) -> Result<&'a [u8], Raised> {
        let line = self.input.line()?;
        match line.split_last() {
            Some((_, rest)) if !rest.is_empty() => Ok(rest),
            _ => Err(self.input.truncated()),
        }
    }

    /// INT: C's `strtol` with base 0, or Python's `int(text, 0)`; `00` and `01` are bools.
    pub(super) fn text_int(&mut self) -> Result<(), Raised> {
        let line = self.text_line()?;
        let value = match text::c_long(line) {
            Some(value @ (0 | 1)) if line.len() == 2 => object::boolean(value == 1).to_owned(),
            Some(value) => build::int(value)?,
            None => python_int(line, 0).map_err(not_an_int)?,
        };
        self.push(value);
        Ok(())
    }

    pub(super) fn text_long(&mut self) -> Result<(), Raised> {
        let line = self.text_line()?;
        let digits = line.strip_suffix(b"L").unwrap_or(line);
        let value = python_int(digits, 0)?;
        self.push(value);
        Ok(())
    }

    pub(super) fn text_float(&mut self) -> Result<(), Raised> {
        let line = self.text_line()?;
        let terminated = nul_terminated(line);
        let mut end = std::ptr::null_mut();
        // SAFETY: the text ends with NUL; `end` is set to a place inside it.
        let value = unsafe {
            ffi::PyOS_string_to_double(
                terminated.as_ptr().cast(),
                &mut end,
                ffi::PyExc_OverflowError,
            )
        };
        // SAFETY: the GIL is held.
        if value == -1.0 && !unsafe { ffi::PyErr_Occurred() }.is_null() {
            return Err(Raised);
        }
        let parsed = (end as usize).wrapping_sub(terminated.as_ptr() as usize);
        // As in C a NUL ends the text.
        if line.get(parsed).is_some_and(|byte| *byte != 0) {
            let line = String::from_utf8_lossy(line);
            let message = format!("could not convert string to float: '{line}'");
            return Err(pyo3::exceptions::PyValueError::new_err(message).into());
        }
        self.push(build::float(value)?);
        Ok(())
    }

    /// The decimal index of GET and PUT.
    pub(super) fn text_index(&mut self) -> Result<i64, Raised> {
        let line = self.text_line()?;
        let value = python_int(line, 10)?;
        // SAFETY: an int; the answer -1 with an exception set means that it does not fit.
        let index = unsafe { ffi::PyLong_AsSsize_t(value.ptr()) };
        // SAFETY: the GIL is held.
        if index == -1 && !unsafe { ffi::PyErr_Occurred() }.is_null() {
            return Err(Raised);
        }
        Ok(index as i64)
    }

    /// STRING: a quoted Python 2 literal.
    pub(super) fn text_string(&mut self) -> Result<(), Raised> {
        let line = self.text_line()?;
        let inner = match line {
            [first @ (b'\'' | b'"'), inner @ .., last] if first == last => inner,
            _ => return self.fail("the STRING opcode argument must be quoted"),
        };
        // SAFETY: the pointer and length are those of a slice; null means an exception.
        let bytes = unsafe {
            Owned::from_new(PyBytes_DecodeEscape(
                inner.as_ptr().cast(),
                inner.len() as ffi::Py_ssize_t,
                std::ptr::null(),
                0,
                std::ptr::null(),
            ))?
        };
        let value = self.decode_python2(bytes)?;
        self.push(value);
        Ok(())
    }

    /// BINSTRING and SHORT_BINSTRING.
    pub(super) fn py2_string(&mut self, len: usize) -> Result<(), Raised> {
        let bytes = build::bytes(self.input.take(len)?)?;
        let value = self.decode_python2(bytes)?;
        self.push(value);
        Ok(())
    }

    /// A Python 2 str, by the load's `encoding` and `errors`.
    fn decode_python2(&self, bytes: Owned) -> Result<Owned, Raised> {
        let encoding = self.options.encoding.as_deref().unwrap_or("ASCII");
        if encoding == "bytes" {
            return Ok(bytes);
        }
        let errors = self.options.errors.as_deref().unwrap_or("strict");
        let data = object::bytes_of(bytes.obj());
        if data.is_ascii() && matches!(encoding, "ASCII" | "ascii" | "latin1" | "utf-8") {
            return build::text(data);
        }
        let py = self.py;
        let bytes = bytes.into_bound(py);
        let text = self.hook(|| bytes.call_method1("decode", (encoding, errors)))?;
        Ok(Owned::from_bound(text))
    }

    pub(super) fn text_unicode(&mut self) -> Result<(), Raised> {
        let line = self.input.line()?;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        // SAFETY: the pointer and length are those of a slice; null means an exception.
        let text = unsafe {
            Owned::from_new(PyUnicode_DecodeRawUnicodeEscape(
                line.as_ptr().cast(),
                line.len() as ffi::Py_ssize_t,
                std::ptr::null(),
            ))?
        };
        self.push(text);
        Ok(())
    }

    /// PERSID: the id is a line of ASCII.
    pub(super) fn persistent_text(&mut self) -> Result<(), Raised> {
        if self.options.persistent_load.is_none() {
            return self.no_persistent_load();
        }
        let line = self.input.line()?;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if !line.is_ascii() {
            return self.fail("persistent IDs in protocol 0 must be ASCII strings");
        }
        let id = build::text(line)?;
        self.persistent(id)
    }

    pub(super) fn no_persistent_load<T>(&self) -> Result<T, Raised> {
        #[cfg(not(Py_3_12))]
        const SPACE: &str = "\n";
        #[cfg(Py_3_12)]
        const SPACE: &str = " ";
        self.fail(format!(
            "A load persistent id instruction was encountered,{SPACE}but no persistent_load \
             function was specified."
        ))
    }

    pub(super) fn persistent(&mut self, id: Owned) -> Result<(), Raised> {
        let Some(load) = &self.options.persistent_load else { return self.no_persistent_load() };
        if self.known.is_collecting() {
            self.push(id);
            return Ok(());
        }
        let id = id.into_bound(self.py);
        let value = self.hook(|| load.call1((id,)))?;
        self.push(Owned::from_bound(value));
        Ok(())
    }

    pub(super) fn next_buffer(&mut self) -> Result<(), Raised> {
        let Some(buffers) = &mut self.buffers else {
            return self.fail(
                "pickle stream refers to out-of-band data but no *buffers* argument was given",
            );
        };
        match buffers.next() {
            Some(buffer) => {
                let buffer = Owned::from_bound(buffer?);
                self.push(buffer);
                Ok(())
            }
            None => self.fail("not enough out-of-band buffers"),
        }
    }

    pub(super) fn readonly_buffer(&mut self) -> Result<(), Raised> {
        let top = self.top()?;
        // SAFETY: a live object; null means that an exception is set.
        let view = unsafe { Owned::from_new(ffi::PyMemoryView_FromObject(top.ptr()))? };
        let view = view.into_bound(self.py);
        if view.getattr("readonly")?.is_truthy()? {
            return Ok(());
        }
        let view = Owned::from_bound(view.call_method0("toreadonly")?);
        drop(self.stack.pop());
        self.push(view);
        Ok(())
    }
}

unsafe extern "C" {
    /// Python 2's string escapes (`Include/bytesobject.h`).
    fn PyBytes_DecodeEscape(
        data: *const std::ffi::c_char,
        len: ffi::Py_ssize_t,
        errors: *const std::ffi::c_char,
        unicode: ffi::Py_ssize_t,
        encoding: *const std::ffi::c_char,
    ) -> *mut ffi::PyObject;
    /// raw-unicode-escape (`Include/unicodeobject.h`).
    fn PyUnicode_DecodeRawUnicodeEscape(
        data: *const std::ffi::c_char,
        len: ffi::Py_ssize_t,
        errors: *const std::ffi::c_char,
    ) -> *mut ffi::PyObject;
}

fn nul_terminated(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(line.len() + 1);
    text.extend_from_slice(line);
    text.push(0);
    text
}

/// INT's error, as C words it.
fn not_an_int(raised: Raised) -> Raised {
    drop(raised.take());
    pyo3::exceptions::PyValueError::new_err("could not convert string to int").into()
}

/// `int(line, base)`; as in C a NUL ends the text.
fn python_int(line: &[u8], base: std::ffi::c_int) -> Result<Owned, Raised> {
    let text = nul_terminated(line);
    // SAFETY: the text ends with NUL; null means that an exception is set.
    unsafe {
        Owned::from_new(ffi::PyLong_FromString(text.as_ptr().cast(), std::ptr::null_mut(), base))
    }
}
