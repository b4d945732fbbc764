//! Python objects made straight from pickle bytes: numbers, text, lists at their final size.

use pyo3::ffi;

use crate::object::{Obj, Owned, Raised};

/// A new int.
#[inline(always)]
pub(super) fn int(value: i64) -> Result<Owned, Raised> {
    // SAFETY: the GIL is held; null means that an exception is set.
    unsafe { Owned::from_new(ffi::PyLong_FromLongLong(value)) }
}

/// A new float.
#[inline(always)]
pub(super) fn float(value: f64) -> Result<Owned, Raised> {
    // SAFETY: the GIL is held; null means that an exception is set.
    unsafe { Owned::from_new(ffi::PyFloat_FromDouble(value)) }
}

unsafe extern "C" {
    /// An int from bytes (`Include/cpython/longobject.h`; the same from 3.11 to 3.13).
    fn _PyLong_FromByteArray(
        bytes: *const u8,
        n: usize,
        little_endian: std::ffi::c_int,
        is_signed: std::ffi::c_int,
    ) -> *mut ffi::PyObject;
}

/// An int from little-endian two's complement.
pub(super) fn long(bytes: &[u8]) -> Result<Owned, Raised> {
    if bytes.len() <= 8 {
        let sign = bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut all = [if sign { 0xff } else { 0 }; 8];
        for (to, from) in all.iter_mut().zip(bytes) {
            *to = *from;
        }
        return int(i64::from_le_bytes(all));
    }
    // SAFETY: the pointer and length are those of a slice.
    unsafe { Owned::from_new(_PyLong_FromByteArray(bytes.as_ptr(), bytes.len(), 1, 1)) }
}

/// A str from UTF-8 in which surrogates may stand.
#[inline(always)]
pub(super) fn text(bytes: &[u8]) -> Result<Owned, Raised> {
    // Empty and one-character strings are singletons that only the interpreter can give.
    if bytes.len() < 2 || !bytes.is_ascii() {
        return text_slowly(bytes);
    }
    // SAFETY: a new ASCII str of that many characters has room for as many bytes behind its
    // header, and nobody else has seen it yet.
    unsafe {
        let text = Owned::from_new(ffi::PyUnicode_New(bytes.len() as ffi::Py_ssize_t, 127))?;
        let data = text.ptr().cast::<ffi::PyASCIIObject>().add(1).cast::<u8>();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        Ok(text)
    }
}

#[inline(never)]
pub(super) fn text_slowly(bytes: &[u8]) -> Result<Owned, Raised> {
    // SAFETY: the pointer and length are those of a slice; the error handler is a C string.
    unsafe {
        Owned::from_new(ffi::PyUnicode_DecodeUTF8(
            bytes.as_ptr().cast(),
            bytes.len() as ffi::Py_ssize_t,
            c"surrogatepass".as_ptr(),
        ))
    }
}

/// A bytes object.
#[inline(always)]
pub(super) fn bytes(data: &[u8]) -> Result<Owned, Raised> {
    crate::encode::new_bytes(data)
}

/// An empty list, dict, set.
#[inline(always)]
pub(super) fn empty_list() -> Result<Owned, Raised> {
    // SAFETY: the GIL is held; null means that an exception is set.
    unsafe { Owned::from_new(ffi::PyList_New(0)) }
}

#[inline(always)]
pub(super) fn empty_dict() -> Result<Owned, Raised> {
    // SAFETY: as above.
    unsafe { Owned::from_new(ffi::PyDict_New()) }
}

pub(super) fn empty_set() -> Result<Owned, Raised> {
    // SAFETY: as above.
    unsafe { Owned::from_new(ffi::PySet_New(std::ptr::null_mut())) }
}

/// A tuple of the given objects.
#[inline(always)]
pub(super) fn tuple(items: impl ExactSizeIterator<Item = Owned>) -> Result<Owned, Raised> {
    // SAFETY: a new tuple; each of its slots is filled once with a reference that it takes over.
    unsafe {
        let tuple = Owned::from_new(ffi::PyTuple_New(items.len() as ffi::Py_ssize_t))?;
        for (index, item) in items.enumerate() {
            ffi::PyTuple_SET_ITEM(tuple.ptr(), index as ffi::Py_ssize_t, item.into_ptr());
        }
        Ok(tuple)
    }
}

/// A list of the given objects.
pub(super) fn list(items: impl ExactSizeIterator<Item = Owned>) -> Result<Owned, Raised> {
    // SAFETY: as for `tuple`.
    unsafe {
        let list = Owned::from_new(ffi::PyList_New(items.len() as ffi::Py_ssize_t))?;
        for (index, item) in items.enumerate() {
            ffi::PyList_SET_ITEM(list.ptr(), index as ffi::Py_ssize_t, item.into_ptr());
        }
        Ok(list)
    }
}

/// `dict[key] = value` for an exact dict.
#[inline(always)]
pub(super) fn set_item(dict: Obj, key: Obj, value: Obj) -> Result<(), Raised> {
    // SAFETY: live objects; the dict takes references of its own.
    match unsafe { ffi::PyDict_SetItem(dict.ptr(), key.ptr(), value.ptr()) } {
        0 => Ok(()),
        _ => Err(Raised),
    }
}

/// As [`set_item`] for a key that is not there; gives the value that is there now, borrowed.
#[inline(always)]
pub(super) fn set_default(dict: Obj, key: Obj, value: Obj) -> Result<Obj, Raised> {
    // SAFETY: live objects; the dict takes references of its own. What it gives it holds.
    unsafe {
        let there = ffi::PyDict_SetDefault(dict.ptr(), key.ptr(), value.ptr());
        if there.is_null() { Err(Raised) } else { Ok(Obj::new(there)) }
    }
}

/// A str from UTF-8 without surrogates, as names are.
pub(super) fn strict_text(bytes: &[u8]) -> Result<Owned, Raised> {
    // SAFETY: the pointer and length are those of a slice.
    unsafe {
        Owned::from_new(ffi::PyUnicode_DecodeUTF8(
            bytes.as_ptr().cast(),
            bytes.len() as ffi::Py_ssize_t,
            std::ptr::null(),
        ))
    }
}
