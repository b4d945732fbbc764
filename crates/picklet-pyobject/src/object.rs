//! Checked newtypes over raw object pointers, and what of CPython's layouts there is to know.
//!
//! Private layouts stand in `object/layout.rs`, for the interpreter versions that the build script
//! knows (`cfg(layouts)`). Any other gets `object/portable.rs`: the same functions by way of the
//! public C API, slower.
//!
//! [`Obj`] is a borrowed reference, [`Owned`] a strong one. Both exist only inside one call that
//! holds the GIL, are never sent to another thread and never stored between calls. Everything
//! above this file works with these two types and with [`Raised`], the zero-sized error that
//! says "a Python exception is set".

use std::ptr::NonNull;

use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

pub(crate) mod array;
pub(crate) mod standard;

#[cfg(layouts)]
#[path = "object/layout.rs"]
mod imp;
#[cfg(not(layouts))]
#[path = "object/portable.rs"]
mod imp;

pub(crate) use self::imp::{
    Fresh, Members, Pairs, Template, attributes, dict_owns_keys, extend_list, int_bits, int_bytes,
    int_value, is_class_named_as_type, reduces_as_object, small_int, text,
};

/// A Python exception is set in the interpreter; the caller returns up to the boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raised;

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        // SAFETY: every function of this crate runs with the GIL held (see the module docs).
        let py = unsafe { Python::assume_attached() };
        error.restore(py);
        Raised
    }
}

impl Raised {
    /// Takes the exception out of the interpreter.
    pub(crate) fn take(self) -> PyErr {
        // SAFETY: as above, the GIL is held.
        let py = unsafe { Python::assume_attached() };
        PyErr::take(py).unwrap_or_else(|| {
            pyo3::exceptions::PySystemError::new_err("an error was reported but no exception set")
        })
    }
}

/// A borrowed reference. Invariant: the object lives as long as this value is used, because its
/// container, the memo or an [`Owned`] holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Obj(NonNull<ffi::PyObject>);

impl Obj {
    /// # Safety
    /// `ptr` is a live object that stays alive while the result is used.
    #[inline(always)]
    pub(crate) unsafe fn new(ptr: *mut ffi::PyObject) -> Obj {
        debug_assert!(!ptr.is_null());
        // SAFETY: the caller promises a live, hence non-null, object.
        Obj(unsafe { NonNull::new_unchecked(ptr) })
    }

    /// The object behind a pyo3 reference.
    #[inline(always)]
    pub(crate) fn of<T>(bound: &Bound<'_, T>) -> Obj {
        // SAFETY: a Bound is never null, and the caller keeps it alive while it uses the result.
        unsafe { Obj::new(bound.as_ptr()) }
    }

    #[inline(always)]
    pub(crate) fn ptr(self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// The exact type, as a pointer to compare.
    #[inline(always)]
    pub(crate) fn ty(self) -> *mut ffi::PyTypeObject {
        // SAFETY: a live object has a type.
        unsafe { ffi::Py_TYPE(self.ptr()) }
    }

    /// A strong reference to the type.
    pub(crate) fn class(self) -> Owned {
        // SAFETY: a live object's type is an object, alive as long as the object.
        unsafe { Obj::new(self.ty().cast()) }.to_owned()
    }

    /// Whether no more than one reference to the object exists. Immortal objects never answer yes.
    #[inline(always)]
    pub(crate) fn is_unshared(self) -> bool {
        // SAFETY: a live object has a reference count, and the GIL is held.
        unsafe { ffi::Py_REFCNT(self.ptr()) == 1 }
    }

    /// A strong reference.
    #[inline(always)]
    pub(crate) fn to_owned(self) -> Owned {
        // SAFETY: the object is alive and the GIL is held.
        unsafe { ffi::Py_INCREF(self.ptr()) };
        Owned(self.0)
    }

    /// Tells the cyclic collector of the object. Counts no reference: the collector must not see
    /// counts change under its eyes.
    pub(crate) fn visit(self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let ptr = self.ptr();
        // SAFETY: `Py` is a transparent pointer to an object; the copy is forgotten at once, so
        // that its reference is never given back.
        let copy = std::mem::ManuallyDrop::new(unsafe {
            std::mem::transmute::<*mut ffi::PyObject, Py<PyAny>>(ptr)
        });
        visit.call(&*copy)
    }

    /// pyo3's view of the object, for code that is not hot.
    #[inline]
    pub(crate) fn bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        // SAFETY: the object is alive; this takes a reference of its own.
        unsafe { Bound::from_borrowed_ptr(py, self.ptr()) }
    }
}

/// A strong reference, dropped with the GIL held.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Owned(NonNull<ffi::PyObject>);

impl Owned {
    /// Takes over a new reference; null means that an exception is set.
    ///
    /// # Safety
    /// `ptr` is null with an exception set, or a reference that the caller owns.
    #[inline(always)]
    pub(crate) unsafe fn from_new(ptr: *mut ffi::PyObject) -> Result<Owned, Raised> {
        NonNull::new(ptr).map(Owned).ok_or(Raised)
    }

    #[inline(always)]
    pub(crate) fn obj(&self) -> Obj {
        Obj(self.0)
    }

    #[inline(always)]
    pub(crate) fn ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Gives the reference away.
    #[inline(always)]
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        let ptr = self.0.as_ptr();
        std::mem::forget(self);
        ptr
    }

    pub(crate) fn from_bound<T>(bound: Bound<'_, T>) -> Owned {
        // SAFETY: into_ptr gives the reference that the Bound held, never null.
        Owned(unsafe { NonNull::new_unchecked(bound.into_ptr()) })
    }

    pub(crate) fn into_bound(self, py: Python<'_>) -> Bound<'_, PyAny> {
        // SAFETY: into_ptr gives our own reference away, never null.
        unsafe { Bound::from_owned_ptr(py, self.into_ptr()) }
    }
}

impl Drop for Owned {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: this value owns one reference, and the GIL is held.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) }
    }
}

unsafe extern "C" {
    /// An attribute or nothing, without an exception made for nothing: 1, 0, or -1 for an error
    /// (`Include/cpython/object.h`; public under another name from 3.13 on).
    #[cfg_attr(Py_3_13, link_name = "PyObject_GetOptionalAttr")]
    #[cfg_attr(not(Py_3_13), link_name = "_PyObject_LookupAttr")]
    fn lookup_attribute(
        obj: *mut ffi::PyObject,
        name: *mut ffi::PyObject,
        value: *mut *mut ffi::PyObject,
    ) -> std::ffi::c_int;
}

/// `getattr(obj, name)`, or None where there is no such attribute. Up to 3.12 pyo3's own look-up
/// raises and drops an `AttributeError` for each that is missing, which costs more than a BUILD.
pub(crate) fn attribute(obj: Obj, name: &Bound<'_, PyString>) -> Result<Option<Owned>, Raised> {
    let mut value = std::ptr::null_mut();
    // SAFETY: live objects; `value` becomes a new reference, or null.
    unsafe {
        match lookup_attribute(obj.ptr(), name.as_ptr(), &mut value) {
            -1 => Err(Raised),
            _ => Ok(NonNull::new(value).map(Owned)),
        }
    }
}

/// `isinstance(obj, ty)` by the types alone.
#[inline]
pub(crate) fn is_of_type(obj: Obj, ty: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: two live types.
    obj.ty() == ty || unsafe { ffi::PyType_IsSubtype(obj.ty(), ty) } != 0
}

/// The characters of an exact `str`.
#[cfg_attr(not(layouts), expect(dead_code, reason = "the public API only encodes"))]
pub(crate) enum Text<'a> {
    Ascii(&'a [u8]),
    Latin1(&'a [u8]),
    Ucs2(&'a [u16]),
    Ucs4(&'a [u32]),
    /// Not in compact form, or not ours to look into: ask the interpreter to encode it.
    Other,
}

/// An exact `int` that fits.
pub(crate) fn int_i64(obj: Obj) -> Option<i64> {
    let mut overflow = 0;
    // SAFETY: callers pass an int, of which this makes no exception.
    let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(obj.ptr(), &mut overflow) };
    (overflow == 0).then_some(value)
}

/// The bytes of an exact `bytes`.
#[inline(always)]
pub(crate) fn bytes_of<'a>(obj: Obj) -> &'a [u8] {
    // SAFETY: callers pass a `bytes`, which never changes and outlives the slice's use.
    unsafe {
        let data = ffi::PyBytes_AS_STRING(obj.ptr()).cast::<u8>();
        std::slice::from_raw_parts(data, ffi::Py_SIZE(obj.ptr()) as usize)
    }
}

#[inline(always)]
pub(crate) fn tuple_len(obj: Obj) -> usize {
    // SAFETY: callers pass a tuple.
    unsafe { ffi::PyTuple_GET_SIZE(obj.ptr()) as usize }
}

/// Item `index` of a tuple; `index` is below [`tuple_len`].
#[inline(always)]
pub(crate) fn tuple_item(obj: Obj, index: usize) -> Obj {
    debug_assert!(index < tuple_len(obj));
    // SAFETY: callers pass a tuple and an index below its length; its items are never null once
    // it is visible to others.
    unsafe { Obj::new(ffi::PyTuple_GET_ITEM(obj.ptr(), index as isize)) }
}

#[inline(always)]
pub(crate) fn list_len(obj: Obj) -> usize {
    // SAFETY: callers pass a list.
    unsafe { ffi::PyList_GET_SIZE(obj.ptr()) as usize }
}

/// Item `index` of a list, if it still has that many.
#[inline(always)]
pub(crate) fn list_item(obj: Obj, index: usize) -> Option<Obj> {
    if index >= list_len(obj) {
        return None;
    }
    // SAFETY: callers pass a list; the index was just checked.
    Some(unsafe { Obj::new(ffi::PyList_GET_ITEM(obj.ptr(), index as isize)) })
}

#[inline(always)]
pub(crate) fn dict_len(obj: Obj) -> usize {
    // SAFETY: callers pass an exact dict, whose layout begins as ffi says.
    #[cfg(layouts)]
    let len = unsafe { (*obj.ptr().cast::<ffi::PyDictObject>()).ma_used };
    // SAFETY: callers pass a dict.
    #[cfg(not(layouts))]
    let len = unsafe { ffi::PyDict_Size(obj.ptr()) };
    len as usize
}

/// The next pair of a dict at `position`.
#[inline(always)]
pub(crate) fn dict_next(obj: Obj, position: &mut ffi::Py_ssize_t) -> Option<(Obj, Obj)> {
    let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: callers pass a dict; PyDict_Next gives borrowed references to live objects.
    unsafe {
        if ffi::PyDict_Next(obj.ptr(), position, &mut key, &mut value) == 0 {
            return None;
        }
        Some((Obj::new(key), Obj::new(value)))
    }
}

/// The references to an object, as the interpreter counts them.
#[inline(always)]
pub(crate) fn reference_count(obj: Obj) -> isize {
    // SAFETY: a live object, and the GIL is held.
    unsafe { ffi::Py_REFCNT(obj.ptr()) }
}

#[inline(always)]
pub(crate) fn set_len(obj: Obj) -> usize {
    // SAFETY: callers pass a set or a frozenset.
    unsafe { ffi::PySet_GET_SIZE(obj.ptr()) as usize }
}

/// The value of an exact `float` or a subclass.
#[inline(always)]
pub(crate) fn float_value(obj: Obj) -> f64 {
    // SAFETY: callers pass a float.
    unsafe { ffi::PyFloat_AS_DOUBLE(obj.ptr()) }
}

macro_rules! type_pointers {
    ($($(#[$doc:meta])* $name:ident => $static:ident;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name() -> *mut ffi::PyTypeObject {
            &raw mut ffi::$static
        }
    )*};
}

type_pointers! {
    bool_type => PyBool_Type;
    int_type => PyLong_Type;
    float_type => PyFloat_Type;
    str_type => PyUnicode_Type;
    bytes_type => PyBytes_Type;
    bytearray_type => PyByteArray_Type;
    list_type => PyList_Type;
    tuple_type => PyTuple_Type;
    dict_type => PyDict_Type;
    set_type => PySet_Type;
    frozenset_type => PyFrozenSet_Type;
    type_type => PyType_Type;
    function_type => PyFunction_Type;
}

/// `None`.
#[inline(always)]
pub(crate) fn none() -> Obj {
    // SAFETY: None lives as long as the interpreter.
    unsafe { Obj::new(ffi::Py_None()) }
}

/// `True` or `False`.
#[inline(always)]
pub(crate) fn boolean(value: bool) -> Obj {
    // SAFETY: both live as long as the interpreter.
    unsafe { Obj::new(if value { ffi::Py_True() } else { ffi::Py_False() }) }
}
