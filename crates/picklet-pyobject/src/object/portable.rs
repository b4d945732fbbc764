//! The functions of `layout.rs` by way of the public C API, for interpreters whose layouts are
//! not known.

use pyo3::ffi;
use pyo3::prelude::*;

use super::{Obj, Owned, Raised, Text, dict_next, int_i64, list_item};

/// The value of an exact `int` that fits.
#[inline]
pub(crate) fn int_value(obj: Obj) -> Option<i64> {
    int_i64(obj)
}

/// The bits that an exact `int` is stored in: its size, roughly.
pub(crate) fn int_bits(obj: Obj) -> u64 {
    int_bytes(obj).map_or(u64::MAX, |bytes| bytes.len() as u64 * 8)
}

/// Little-endian two's complement of an exact `int`; may end in repeated sign.
pub(crate) fn int_bytes(obj: Obj) -> Result<Vec<u8>, Raised> {
    // SAFETY: every function of this crate runs with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let int = obj.bound(py);
    let bits: usize = int.call_method0("bit_length")?.extract()?;
    let keywords = pyo3::types::PyDict::new(py);
    keywords.set_item("signed", true)?;
    Ok(int.call_method("to_bytes", (bits / 8 + 1, "little"), Some(&keywords))?.extract()?)
}

/// The value of an exact `int`, if 32 bits hold it.
#[inline]
pub(crate) fn small_int(obj: Obj) -> Option<i32> {
    int_value(obj).and_then(|value| i32::try_from(value).ok())
}

/// The characters of an exact `str`.
#[inline]
pub(crate) fn text<'a>(_obj: Obj) -> Text<'a> {
    Text::Other
}

/// Whether the dict's keys belong to it alone, as far as that is known.
#[inline]
pub(crate) fn dict_owns_keys(_obj: Obj) -> bool {
    false
}

/// The pairs of an exact dict, in order. The dict must not change while they are walked.
pub(crate) struct Pairs {
    dict: Obj,
    position: ffi::Py_ssize_t,
}

impl Pairs {
    pub(crate) fn of(dict: Obj) -> Pairs {
        Pairs { dict, position: 0 }
    }

    /// The same: the dict may change while they are walked, if it is held.
    pub(crate) fn asked(dict: Obj) -> Pairs {
        Pairs::of(dict)
    }

    pub(crate) fn next(&mut self) -> Option<(Obj, Obj)> {
        dict_next(self.dict, &mut self.position)
    }
}

/// The members that a set has now, in the order in which it gives them.
pub(crate) struct Members {
    list: Owned,
    position: usize,
}

impl Members {
    pub(crate) fn of(set: Obj) -> Result<Members, Raised> {
        // SAFETY: a live set; null means that an exception is set.
        let list = unsafe { Owned::from_new(ffi::PySequence_List(set.ptr()))? };
        Ok(Members { list, position: 0 })
    }

    pub(crate) fn next(&mut self) -> Option<Obj> {
        self.position += 1;
        list_item(self.list.obj(), self.position - 1)
    }
}

/// Moves all of `stack` above `from` to the end of an exact list.
pub(crate) fn extend_list(list: Obj, stack: &mut Vec<Owned>, from: usize) -> Result<(), Raised> {
    for item in stack.drain(from..) {
        // SAFETY: live objects; the list takes a reference of its own.
        if unsafe { ffi::PyList_Append(list.ptr(), item.ptr()) } != 0 {
            return Err(Raised);
        }
    }
    Ok(())
}

/// Makes objects through the interpreter.
pub(crate) struct Fresh;

impl Fresh {
    pub(crate) fn new(_py: Python<'_>) -> Result<Fresh, Raised> {
        Ok(Fresh)
    }

    /// Whether a template may fill the dict: never.
    pub(crate) fn is_new_dict(&self, _dict: Obj) -> bool {
        false
    }

    /// A new int.
    pub(crate) fn int(&self, value: i32) -> Result<Owned, Raised> {
        // SAFETY: the GIL is held; null means that an exception is set.
        unsafe { Owned::from_new(ffi::PyLong_FromLongLong(value.into())) }
    }

    /// A new float.
    pub(crate) fn float(&self, value: f64) -> Result<Owned, Raised> {
        // SAFETY: the GIL is held; null means that an exception is set.
        unsafe { Owned::from_new(ffi::PyFloat_FromDouble(value)) }
    }

    /// A new str of ASCII.
    pub(crate) fn ascii(&self, bytes: &[u8]) -> Result<Owned, Raised> {
        // SAFETY: the pointer and length are those of a slice; null means an exception.
        unsafe {
            Owned::from_new(ffi::PyUnicode_FromStringAndSize(
                bytes.as_ptr().cast(),
                bytes.len() as ffi::Py_ssize_t,
            ))
        }
    }
}

/// Nothing: keys cannot be copied together.
pub(crate) enum Template {}

impl Template {
    pub(crate) fn of(_dict: Obj) -> Result<Option<Template>, Raised> {
        Ok(None)
    }

    pub(crate) fn fits(&self, _pairs: &[Owned]) -> bool {
        match *self {}
    }

    pub(crate) fn fill(&self, _: Obj, _: &mut Vec<Owned>, _: usize) -> Result<bool, Raised> {
        match *self {}
    }
}

/// Whether instances are reduced by `object`'s own methods: never known.
pub(crate) fn reduces_as_object(_py: Python<'_>, _ty: *mut ffi::PyTypeObject) -> bool {
    false
}

/// The `__dict__` of such an instance.
pub(crate) fn attributes(_obj: Obj) -> Result<Option<Owned>, Raised> {
    Ok(None)
}

/// Whether `obj` is a class that gives its names as `type` does.
pub(crate) fn is_class_named_as_type(_py: Python<'_>, obj: Obj) -> bool {
    obj.ty() == super::type_type()
}
