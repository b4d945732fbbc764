//! Numbers, text and byte strings.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::output::{FRAME_TARGET, Keeping};
use super::{Done, Encoder};
use crate::object::{self, Obj, Owned, Text};

impl Encoder<'_, '_> {
    #[inline(always)]
    pub(super) fn save_bool(&mut self, value: bool) -> Done {
        if self.protocol >= 2 {
            self.out.byte(if value { 0x88 } else { 0x89 })?;
        } else {
            self.out.write(if value { b"I01\n" } else { b"I00\n" })?;
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn save_int(&mut self, obj: Obj) -> Done {
        let Some(value) = object::int_value(obj) else { return self.save_big_int(obj) };
        if !self.binary {
            return self.save_text_int(obj, value);
        }
        if let Ok(small) = i32::try_from(value) {
            let [a, b, c, d] = small.to_le_bytes();
            if d != 0 || c != 0 {
                self.out.write(&[b'J', a, b, c, d])?;
            } else if b != 0 {
                self.out.write(&[b'M', a, b])?;
            } else {
                self.out.write(&[b'K', a])?;
            }
            return Ok(());
        }
        if self.protocol < 2 {
            return self.save_text_int(obj, value);
        }
        let bytes = value.to_le_bytes();
        let len = significant_len(&bytes);
        self.out.write_two(&[0x8a, len as u8], &bytes[..len])?;
        Ok(())
    }

    #[inline(never)]
    fn save_text_int(&mut self, obj: Obj, value: i64) -> Done {
        if i32::try_from(value).is_ok() {
            self.out.write(format!("I{value}\n").as_bytes())?;
            return Ok(());
        }
        self.save_long_text(obj)
    }

    /// `L…L\n`: the digits CPython's `repr` gives, with its limit on their number.
    fn save_long_text(&mut self, obj: Obj) -> Done {
        let repr = obj.bound(self.py).repr()?;
        self.out.byte(b'L')?;
        self.out.write(repr.to_str()?.as_bytes())?;
        self.out.write(b"L\n")?;
        Ok(())
    }

    #[inline(never)]
    fn save_big_int(&mut self, obj: Obj) -> Done {
        if self.protocol < 2 {
            return self.save_long_text(obj);
        }
        let mut bytes = object::int_bytes(obj)?;
        bytes.truncate(significant_len(&bytes));
        match (u8::try_from(bytes.len()), i32::try_from(bytes.len())) {
            (Ok(len), _) => self.out.write_two(&[0x8a, len], &bytes)?,
            (_, Ok(len)) => {
                let [a, b, c, d] = len.to_le_bytes();
                self.out.write_two(&[0x8b, a, b, c, d], &bytes)?;
            }
            _ => {
                let error = "int too large to pickle";
                return Err(pyo3::exceptions::PyOverflowError::new_err(error).into());
            }
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn save_float(&mut self, obj: Obj) -> Done {
        if self.binary {
            let [a, b, c, d, e, f, g, h] = object::float_value(obj).to_be_bytes();
            self.out.write(&[b'G', a, b, c, d, e, f, g, h])?;
            return Ok(());
        }
        let repr = obj.bound(self.py).repr()?;
        self.out.byte(b'F')?;
        self.out.write(repr.to_str()?.as_bytes())?;
        self.out.byte(b'\n')?;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn save_str(&mut self, obj: Obj, unshared: bool) -> Done {
        if !unshared && let Some(index) = self.memo.get(obj) {
            return self.emit_get(index);
        }
        match object::text(obj) {
            Text::Ascii(bytes) if bytes.len() < 256 && self.protocol >= 4 => {
                self.out.write_two(&[0x8c, bytes.len() as u8], bytes)?;
            }
            text => self.save_other_text(obj, text)?,
        }
        self.memoize(obj, unshared)
    }

    #[inline(never)]
    pub(super) fn save_other_text(&mut self, obj: Obj, text: Text<'_>) -> Done {
        if !self.binary {
            return self.save_escaped_text(obj);
        }
        match text {
            Text::Ascii(bytes) => self.save_utf8(obj, bytes),
            Text::Latin1(units) => {
                let code_points = units.iter().map(|unit| u32::from(*unit));
                self.save_encoded(obj, units.len() * 2, code_points)
            }
            Text::Ucs2(units) => {
                let code_points = units.iter().map(|unit| u32::from(*unit));
                self.save_encoded(obj, units.len() * 3, code_points)
            }
            Text::Ucs4(units) => self.save_encoded(obj, units.len() * 4, units.iter().copied()),
            Text::Other => {
                let bytes =
                    obj.bound(self.py).call_method1("encode", ("utf-8", "surrogatepass"))?;
                let bytes = Owned::from_bound(bytes);
                self.save_utf8(obj, object::bytes_of(bytes.obj()))
            }
        }
    }

    /// Encodes code points as UTF-8, surrogates passed through; `most` bounds the bytes.
    fn save_encoded(&mut self, obj: Obj, most: usize, units: impl Iterator<Item = u32>) -> Done {
        let mut bytes = Vec::with_capacity(most);
        for unit in units {
            push_utf8(&mut bytes, unit);
        }
        self.save_utf8(obj, &bytes)
    }

    fn save_utf8(&mut self, obj: Obj, bytes: &[u8]) -> Done {
        let len = bytes.len();
        if len <= 0xff && self.protocol >= 4 {
            self.write_sized(&[0x8c, len as u8], bytes, obj, false)
        } else if let Ok(len) = u32::try_from(len) {
            let [a, b, c, d] = len.to_le_bytes();
            self.write_sized(&[b'X', a, b, c, d], bytes, obj, false)
        } else if self.protocol >= 4 {
            self.write_sized(&header8(0x8d, len), bytes, obj, false)
        } else {
            Err(pyo3::exceptions::PyOverflowError::new_err(
                "serializing a string larger than 4 GiB requires pickle protocol 4 or higher",
            )
            .into())
        }
    }

    /// Writes what `holder` has: `data`, which is all of it where `whole` says so.
    fn write_sized(&mut self, header: &[u8], data: &[u8], holder: Obj, whole: bool) -> Done {
        if data.len() < FRAME_TARGET {
            return Ok(self.out.write_two(header, data)?);
        }
        if self.out.written() + data.len() as u64 > self.pure_cap {
            self.out.keep(Keeping::Nothing);
        }
        let may_send = !self.pure || (self.streams && self.unheld == 0);
        self.depth.settle();
        if self.streams {
            // Memoised only after it was sent. As large as it is, it is kept to the end, when its
            // container, too, has let go of it only if that was changed.
            self.keep.push(holder.to_owned());
        }
        Ok(self.out.write_large(header, data, whole.then_some(holder), may_send)?)
    }

    /// Protocol 0: raw-unicode-escape, with the characters escaped that would end the line.
    fn save_escaped_text(&mut self, obj: Obj) -> Done {
        let mut line = vec![b'V'];
        let mut push = |unit: u32| match unit {
            0 | 0x0a | 0x0d | 0x1a | 0x5c | 0x100..=0xffff => {
                line.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
            0x1_0000.. => line.extend_from_slice(format!("\\U{unit:08x}").as_bytes()),
            latin1 => line.push(latin1 as u8),
        };
        match object::text(obj) {
            Text::Ascii(units) | Text::Latin1(units) => {
                units.iter().for_each(|unit| push(u32::from(*unit)));
            }
            Text::Ucs2(units) => units.iter().for_each(|unit| push(u32::from(*unit))),
            Text::Ucs4(units) => units.iter().for_each(|unit| push(*unit)),
            Text::Other => {
                let bytes =
                    obj.bound(self.py).call_method1("encode", ("utf-32-le", "surrogatepass"))?;
                let bytes = Owned::from_bound(bytes);
                for unit in object::bytes_of(bytes.obj()).chunks_exact(4) {
                    if let [a, b, c, d] = unit {
                        push(u32::from_le_bytes([*a, *b, *c, *d]));
                    }
                }
            }
        }
        line.push(b'\n');
        self.out.write(&line)?;
        Ok(())
    }

    pub(super) fn save_bytes(&mut self, obj: Obj, unshared: bool) -> Done {
        if self.protocol < 3 {
            return self.save_bytes_as_call(obj);
        }
        self.save_bytes_data(obj, object::bytes_of(obj), unshared)
    }

    fn save_bytes_data(&mut self, obj: Obj, data: &[u8], unshared: bool) -> Done {
        let len = data.len();
        if let Ok(len) = u8::try_from(len) {
            self.write_sized(&[b'C', len], data, obj, true)?;
        } else if let Ok(len) = u32::try_from(len) {
            let [a, b, c, d] = len.to_le_bytes();
            self.write_sized(&[b'B', a, b, c, d], data, obj, true)?;
        } else if self.protocol >= 4 {
            self.write_sized(&header8(0x8e, len), data, obj, true)?;
        } else {
            return Err(pyo3::exceptions::PyOverflowError::new_err(
                "serializing a bytes object larger than 4 GiB requires pickle protocol 4 or higher",
            )
            .into());
        }
        self.memoize(obj, unshared)
    }

    /// Below protocol 3 bytes are a call: `_codecs.encode(text, 'latin1')`, or `bytes()`.
    fn save_bytes_as_call(&mut self, obj: Obj) -> Done {
        self.leave_pure()?;
        let py = self.py;
        let data = object::bytes_of(obj);
        let call = if data.is_empty() {
            (obj.bound(py).get_type(), PyTuple::empty(py)).into_pyobject(py)?
        } else {
            let text: String = data.iter().map(|byte| char::from(*byte)).collect();
            let args = (text, pyo3::intern!(py, "latin1")).into_pyobject(py)?;
            (self.state.codecs_encode.bind(py), args).into_pyobject(py)?
        };
        self.save_reduce(Obj::of(&call), Some(obj))
    }

    pub(super) fn save_bytearray(&mut self, obj: Obj, unshared: bool) -> Done {
        // SAFETY: an exact bytearray; its buffer is not resized while no Python code runs, and
        // `write_sized` copies it before `file.write` can.
        let data = unsafe {
            std::slice::from_raw_parts(
                ffi::PyByteArray_AsString(obj.ptr()).cast::<u8>(),
                ffi::PyByteArray_Size(obj.ptr()) as usize,
            )
        };
        if self.protocol >= 5 {
            return self.save_bytearray_data(obj, data, unshared);
        }
        self.leave_pure()?;
        let py = self.py;
        let ty = obj.bound(py).get_type();
        let call = if data.is_empty() {
            (ty, PyTuple::empty(py)).into_pyobject(py)?
        } else {
            // SAFETY: a live bytearray. As in C this never gives one of the interpreter's shared
            // one-byte objects, whose identity would show in the memo.
            let copy = unsafe { Owned::from_new(ffi::PyBytes_FromObject(obj.ptr()))? };
            (ty, (copy.into_bound(py),)).into_pyobject(py)?
        };
        self.save_reduce(Obj::of(&call), Some(obj))
    }

    fn save_bytearray_data(&mut self, obj: Obj, data: &[u8], unshared: bool) -> Done {
        self.write_sized(&header8(0x96, data.len()), data, obj, true)?;
        self.memoize(obj, unshared)
    }

    pub(super) fn save_picklebuffer(&mut self, obj: Obj) -> Done {
        let py = self.py;
        if self.protocol < 5 {
            let message = "PickleBuffer can only be pickled with protocol >= 5".to_owned();
            return Err(crate::state::pickling_error(py, message).into());
        }
        // SAFETY: an exact PickleBuffer; null means that an exception is set (it was released).
        let view = unsafe {
            let view = PyPickleBuffer_GetBuffer(obj.ptr());
            if view.is_null() {
                return Err(super::Stop::Raised);
            }
            &*view
        };
        // SAFETY: a filled-in buffer description.
        let contiguous = view.suboffsets.is_null()
            && unsafe { ffi::PyBuffer_IsContiguous(view, b'A' as std::ffi::c_char) } != 0;
        if !contiguous {
            let message =
                "PickleBuffer can not be pickled when pointing to a non-contiguous buffer";
            return Err(crate::state::pickling_error(py, message.to_owned()).into());
        }
        let readonly = view.readonly != 0;
        let in_band = match &self.hooks.buffer_callback {
            None => true,
            Some(callback) => {
                self.leave_pure()?;
                callback.call1((obj.bound(py),))?.is_truthy()?
            }
        };
        if !in_band {
            self.out.byte(0x97)?;
            if readonly {
                self.out.byte(0x98)?;
            }
            return Ok(());
        }
        let data: &[u8] = if view.len == 0 {
            &[]
        } else {
            // SAFETY: a contiguous buffer of `len` bytes that the PickleBuffer keeps exported.
            unsafe { std::slice::from_raw_parts(view.buf.cast::<u8>(), view.len as usize) }
        };
        if readonly {
            self.save_bytes_data(obj, data, false)
        } else {
            self.save_bytearray_data(obj, data, false)
        }
    }
}

unsafe extern "C" {
    /// `pickle.PickleBuffer`'s view (`Include/cpython/picklebufobject.h`).
    fn PyPickleBuffer_GetBuffer(obj: *mut ffi::PyObject) -> *const ffi::Py_buffer;
}

pub(super) fn header8(opcode: u8, len: usize) -> [u8; 9] {
    let [a, b, c, d, e, f, g, h] = (len as u64).to_le_bytes();
    [opcode, a, b, c, d, e, f, g, h]
}

/// Bytes of a little-endian two's complement number that are not repeated sign.
pub(super) fn significant_len(bytes: &[u8]) -> usize {
    let mut len = bytes.len();
    while len > 1 {
        match (bytes[len - 1], bytes[len - 2] & 0x80) {
            (0x00, 0x00) | (0xff, 0x80) => len -= 1,
            _ => break,
        }
    }
    len
}

#[inline(always)]
pub(super) fn push_utf8(bytes: &mut Vec<u8>, unit: u32) {
    let tail = |shift: u32| 0x80 | (unit >> shift & 0x3f) as u8;
    match unit {
        0..=0x7f => bytes.push(unit as u8),
        0x80..=0x7ff => bytes.extend_from_slice(&[0xc0 | (unit >> 6) as u8, tail(0)]),
        0x800..=0xffff => {
            bytes.extend_from_slice(&[0xe0 | (unit >> 12) as u8, tail(6), tail(0)]);
        }
        _ => bytes.extend_from_slice(&[0xf0 | (unit >> 18) as u8, tail(12), tail(6), tail(0)]),
    }
}
