//! What a `numpy.ndarray` holds, read without running Python code.
//!
//! The structure is numpy's public one (`PyArrayObject_fields` in `numpy/ndarraytypes.h`), which is
//! the same in numpy 1 and 2; dtypes, whose structure is not, are asked for their attributes.

use std::ffi::{CStr, c_char, c_int};

use pyo3::ffi;
use pyo3::prelude::*;

use super::Obj;

/// The first fields of every array.
#[repr(C)]
struct Fields {
    ob_base: ffi::PyObject,
    data: *mut c_char,
    nd: c_int,
    dimensions: *mut ffi::Py_ssize_t,
    strides: *mut ffi::Py_ssize_t,
    base: *mut ffi::PyObject,
    descr: *mut ffi::PyObject,
    flags: c_int,
}

/// `NPY_ARRAY_C_CONTIGUOUS`.
const C_CONTIGUOUS: c_int = 1;
/// `NPY_ARRAY_F_CONTIGUOUS`.
const F_CONTIGUOUS: c_int = 2;
/// `NPY_MAXDIMS` of numpy 2; numpy 1 has 32.
const MAX_DIMENSIONS: usize = 64;

/// Whether a type that `numpy` holds as `ndarray` is numpy's own.
pub(super) fn is_ndarray(ty: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: a live, ready type, whose name is a C string.
    unsafe {
        CStr::from_ptr((*ty).tp_name) == c"numpy.ndarray"
            && (*ty).tp_basicsize >= size_of::<Fields>() as ffi::Py_ssize_t
    }
}

/// An array whose items lie one after another.
pub(crate) struct Array {
    fields: *const Fields,
}

impl Array {
    /// Looks at an exact `numpy.ndarray`: none if its items do not lie one after another, or not in
    /// numbers that 31 bits hold.
    pub(crate) fn of(obj: Obj) -> Option<Array> {
        let array = Array { fields: obj.ptr().cast() };
        // SAFETY: the caller's promise is that it is one.
        let contiguous = unsafe { (*array.fields).flags } & (C_CONTIGUOUS | F_CONTIGUOUS) != 0;
        let plain = contiguous
            && array.shape().len() <= MAX_DIMENSIONS
            && array.shape().iter().all(|side| i32::try_from(*side).is_ok());
        plain.then_some(array)
    }

    /// Items along each dimension.
    pub(crate) fn shape(&self) -> &[ffi::Py_ssize_t] {
        // SAFETY: a live array has so many dimensions, and may have none and no place for them.
        unsafe {
            match usize::try_from((*self.fields).nd) {
                Ok(count) if count > 0 => {
                    std::slice::from_raw_parts((*self.fields).dimensions, count)
                }
                _ => &[],
            }
        }
    }

    /// Whether the first index, not the last, counts from item to item.
    pub(crate) fn is_fortran(&self) -> bool {
        // SAFETY: a live array.
        unsafe { (*self.fields).flags & (C_CONTIGUOUS | F_CONTIGUOUS) == F_CONTIGUOUS }
    }

    pub(crate) fn dtype(&self) -> Obj {
        // SAFETY: every array has one.
        unsafe { Obj::new((*self.fields).descr) }
    }

    /// The bytes of its items, of `item` bytes each: none if that were more than memory holds.
    ///
    /// # Safety
    /// The items of the dtype have this size, and nothing changes the array while the bytes are
    /// looked at.
    pub(crate) unsafe fn bytes(&self, item: usize) -> Option<&[u8]> {
        let mut size = item;
        for side in self.shape() {
            size = size.checked_mul(usize::try_from(*side).ok()?)?;
        }
        if size == 0 {
            return Some(&[]);
        }
        // SAFETY: the items lie one after another, `size` bytes in all.
        Some(unsafe { std::slice::from_raw_parts((*self.fields).data.cast(), size) })
    }
}

/// A dtype of numbers as this machine has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// `b`, `i`, `u`, `f` or `c`.
    pub(crate) kind: char,
    /// Bytes of a number.
    pub(crate) size: usize,
}

impl Numbers {
    /// What the attributes of a dtype say, all of them C's.
    pub(crate) fn of(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Numbers>> {
        let py = dtype.py();
        let kind = dtype.getattr(pyo3::intern!(py, "kind"))?.extract::<char>()?;
        let order = dtype.getattr(pyo3::intern!(py, "byteorder"))?.extract::<char>()?;
        // numpy's own: other packages' types, of whatever kind, have other numbers.
        let number = dtype.getattr(pyo3::intern!(py, "num"))?.extract::<i64>()?;
        let plain = matches!(number, 0..=16 | 23)
            && matches!(kind, 'b' | 'i' | 'u' | 'f' | 'c')
            && matches!(order, '=' | '|')
            && dtype.getattr(pyo3::intern!(py, "metadata"))?.is_none();
        if !plain {
            return Ok(None);
        }
        let size = dtype.getattr(pyo3::intern!(py, "itemsize"))?.extract()?;
        Ok(Some(Numbers { kind, size }))
    }
}
