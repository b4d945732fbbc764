//! Checked newtypes over raw object pointers: the only place that spells out CPython's layouts.
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

/// `int`'s layout: `ob_size` carries the sign up to 3.11, `lv_tag` from 3.12.
#[repr(C)]
struct IntLayout {
    ob_base: ffi::PyObject,
    tag: isize,
    digits: [u32; 1],
}

/// An exact `int` as sign and 30-bit digits, least significant first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IntDigits<'a> {
    pub(crate) negative: bool,
    pub(crate) digits: &'a [u32],
}

/// Bits in a digit of CPython's `int` on every 64-bit build.
pub(crate) const INT_DIGIT_BITS: usize = 30;

#[inline(always)]
pub(crate) fn int_digits<'a>(obj: Obj) -> IntDigits<'a> {
    let int = obj.ptr().cast::<IntLayout>();
    // SAFETY: callers pass an exact `int`; its digits follow the tag, as many as the tag says,
    // and an int never changes.
    unsafe {
        let tag = (*int).tag;
        #[cfg(not(Py_3_12))]
        let (negative, count) = (tag < 0, tag.unsigned_abs());
        #[cfg(Py_3_12)]
        let (negative, count) = (tag & 3 == 2, (tag as usize) >> 3);
        let digits = std::slice::from_raw_parts((&raw const (*int).digits).cast::<u32>(), count);
        // Zero has one digit of storage from 3.12 on but no significant one.
        #[cfg(Py_3_12)]
        let digits = if tag & 3 == 1 { &digits[..0] } else { digits };
        IntDigits { negative, digits }
    }
}

/// The characters of an exact `str`.
pub(crate) enum Text<'a> {
    Ascii(&'a [u8]),
    Latin1(&'a [u8]),
    Ucs2(&'a [u16]),
    Ucs4(&'a [u32]),
    /// Not in compact form (possible up to 3.11): ask the interpreter to encode it.
    Other,
}

#[inline(always)]
pub(crate) fn text<'a>(obj: Obj) -> Text<'a> {
    let ptr = obj.ptr();
    // SAFETY: callers pass an exact `str`. A compact one holds its characters right behind its
    // header, `length` of them, in the width its kind says, and never changes them.
    unsafe {
        if ffi::PyUnicode_IS_COMPACT(ptr) == 0 {
            return Text::Other;
        }
        let length = (*ptr.cast::<ffi::PyASCIIObject>()).length as usize;
        if ffi::PyUnicode_IS_COMPACT_ASCII(ptr) != 0 {
            let data = ptr.cast::<ffi::PyASCIIObject>().add(1).cast::<u8>();
            return Text::Ascii(std::slice::from_raw_parts(data, length));
        }
        let data = ptr.cast::<ffi::PyCompactUnicodeObject>().add(1);
        match ffi::PyUnicode_KIND(ptr) {
            1 => Text::Latin1(std::slice::from_raw_parts(data.cast(), length)),
            2 => Text::Ucs2(std::slice::from_raw_parts(data.cast(), length)),
            _ => Text::Ucs4(std::slice::from_raw_parts(data.cast(), length)),
        }
    }
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
    unsafe { (*obj.ptr().cast::<ffi::PyDictObject>()).ma_used as usize }
}

/// Whether the dict's keys belong to it alone. A split table shares its keys with every other
/// instance of the class, so that a key of reference count 1 may be met again.
#[inline(always)]
pub(crate) fn dict_owns_keys(obj: Obj) -> bool {
    // SAFETY: callers pass an exact dict, whose layout begins as ffi says.
    unsafe { (*obj.ptr().cast::<ffi::PyDictObject>()).ma_values.is_null() }
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

/// The head of a dict's key table, as it is from 3.11 to 3.13 with the GIL
/// (`Include/internal/pycore_dict.h`).
#[cfg(not(Py_3_14))]
#[repr(C)]
struct DictKeys {
    refcnt: isize,
    log2_size: u8,
    log2_index_bytes: u8,
    kind: u8,
    version: u32,
    usable: isize,
    entries: isize,
}

/// The pairs of an exact dict, in order. The dict must not change while they are walked.
pub(crate) enum Pairs {
    /// Straight from a table of pairs of pointers: all keys are str.
    #[cfg(not(Py_3_14))]
    Table { at: *const [*mut ffi::PyObject; 2], end: *const [*mut ffi::PyObject; 2] },
    /// Through the interpreter.
    Asked { dict: Obj, position: ffi::Py_ssize_t },
}

/// The pairs of an exact dict that nothing changes meanwhile.
#[inline(always)]
pub(crate) fn pairs(dict: Obj) -> Pairs {
    #[cfg(not(Py_3_14))]
    {
        /// `DICT_KEYS_UNICODE`: a combined table whose entries are key and value only.
        const UNICODE: u8 = 1;
        let raw = dict.ptr().cast::<ffi::PyDictObject>();
        // SAFETY: an exact dict. Its key table begins as `DictKeys`; behind it come the indexes,
        // 2^log2_index_bytes bytes of them, then `entries` entries.
        unsafe {
            let keys = (*raw).ma_keys.cast::<DictKeys>();
            if (*raw).ma_values.is_null() && (*keys).kind == UNICODE {
                let indexes = keys.add(1).cast::<u8>();
                let at = indexes.add(1 << (*keys).log2_index_bytes).cast::<[_; 2]>();
                return Pairs::Table { at, end: at.add((*keys).entries as usize) };
            }
        }
    }
    Pairs::Asked { dict, position: 0 }
}

impl Pairs {
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<(Obj, Obj)> {
        match self {
            #[cfg(not(Py_3_14))]
            Pairs::Table { at, end } => {
                while *at < *end {
                    // SAFETY: an entry of the table; a deleted one has no value. What is there
                    // the dict holds.
                    unsafe {
                        let [key, value] = **at;
                        *at = (*at).add(1);
                        if !value.is_null() {
                            return Some((Obj::new(key), Obj::new(value)));
                        }
                    }
                }
                None
            }
            Pairs::Asked { dict, position } => dict_next(*dict, position),
        }
    }
}

#[inline(always)]
pub(crate) fn set_len(obj: Obj) -> usize {
    // SAFETY: callers pass a set or a frozenset.
    unsafe { ffi::PySet_GET_SIZE(obj.ptr()) as usize }
}

/// The next member of a set at `position`, in the order of its table.
#[inline(always)]
pub(crate) fn set_next(obj: Obj, position: &mut usize) -> Option<Obj> {
    let set = obj.ptr().cast::<ffi::PySetObject>();
    // SAFETY: callers pass a set; its table has mask + 1 entries. A deleted entry holds a dummy
    // key and the hash -1, which no object has.
    unsafe {
        while *position <= (*set).mask as usize {
            let entry = (*set).table.add(*position);
            *position += 1;
            if !(*entry).key.is_null() && (*entry).hash != -1 {
                return Some(Obj::new((*entry).key));
            }
        }
    }
    None
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
