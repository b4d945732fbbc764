//! Which types the encoder knows besides the built-in ones, and what objects of `datetime` and
//! `decimal` hold, read without running Python code.
//!
//! The structures of `datetime` are public (`Include/datetime.h`), and its capsule says which types
//! have them. Only exact types are known here, and only C's: those of Python's own `_pydatetime`
//! and `_pydecimal`, or of a library that stands in for them, are not.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};

use super::{Obj, Owned, Raised};

/// A type whose objects are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standard {
    Date,
    DateTime,
    Time,
    TimeDelta,
    /// `datetime.timezone`, of which only this object is known: `timezone.utc`.
    TimeZone(*mut ffi::PyObject),
    Decimal,
    /// An exact `numpy.ndarray`.
    Array,
}

/// Which of them a type is, as its module says, if it is imported.
pub(crate) fn standard(
    modules: &Bound<'_, PyDict>,
    ty: *mut ffi::PyTypeObject,
) -> Option<Standard> {
    // SAFETY: a live, ready type, whose name is a C string.
    let (flags, name) = unsafe { ((*ty).tp_flags, CStr::from_ptr((*ty).tp_name)) };
    let name = name.to_bytes();
    // A class that Python code made has no module in this name, and may be changed.
    if flags & ffi::Py_TPFLAGS_IMMUTABLETYPE == 0 {
        None
    } else if name == b"decimal.Decimal" {
        let found = member(modules, "_decimal", "Decimal")?;
        (found.as_ptr() == ty.cast()).then_some(Standard::Decimal)
    } else if name == b"numpy.ndarray" {
        let found = member(modules, "numpy", "ndarray")?;
        let known = found.as_ptr() == ty.cast() && super::array::is_ndarray(ty);
        known.then_some(Standard::Array)
    } else if name.starts_with(b"datetime.") {
        datetime_type(modules, ty)
    } else {
        None
    }
}

/// What a module of exact type `module` holds under a name, by plain dictionary look-ups.
fn member<'py>(
    modules: &Bound<'py, PyDict>,
    module: &str,
    name: &str,
) -> Option<Bound<'py, PyAny>> {
    let module = modules.get_item(module).ok()??;
    module.cast_exact::<PyModule>().ok()?.dict().get_item(name).ok()?
}

fn datetime_type(modules: &Bound<'_, PyDict>, ty: *mut ffi::PyTypeObject) -> Option<Standard> {
    const NAME: &CStr = c"datetime.datetime_CAPI";
    let capsule = member(modules, "datetime", "datetime_CAPI")?;
    // SAFETY: any object may be asked whether it is a valid capsule; the name says that this one
    // holds the table, which lives as long as it does.
    let (types, utc) = unsafe {
        if ffi::PyCapsule_IsValid(capsule.as_ptr(), NAME.as_ptr()) == 0 {
            return None;
        }
        let table = ffi::PyCapsule_GetPointer(capsule.as_ptr(), NAME.as_ptr());
        let table = &*table.cast::<ffi::PyDateTime_CAPI>();
        let utc = table.TimeZone_UTC;
        let types = [
            (table.DateTimeType, Standard::DateTime),
            (table.DateType, Standard::Date),
            (table.TimeType, Standard::Time),
            (table.DeltaType, Standard::TimeDelta),
            (ffi::Py_TYPE(utc), Standard::TimeZone(utc)),
        ];
        (types, utc)
    };
    debug_assert!(!utc.is_null());
    types.into_iter().find(|(known, _)| *known == ty).map(|(_, standard)| standard)
}

/// The state of a date, a time or a datetime as its `__reduce_ex__` gives it from protocol 4 on.
pub(crate) struct Moment {
    bytes: [u8; 10],
    len: usize,
    pub(crate) tzinfo: Option<Obj>,
}

impl Moment {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Of an object of [`Standard::Date`].
    pub(crate) fn of_date(obj: Obj) -> Moment {
        let date = obj.ptr().cast::<ffi::PyDateTime_Date>();
        // SAFETY: the caller's promise is that it is one.
        Moment::new(&unsafe { (*date).data }, None)
    }

    /// Of an object of [`Standard::Time`].
    pub(crate) fn of_time(obj: Obj) -> Moment {
        let time = obj.ptr().cast::<ffi::PyDateTime_Time>();
        // SAFETY: the caller's promise is that it is one. Its last field is there if it says so;
        // the fold is there always, in what would be padding.
        unsafe {
            let mut data = (*time).data;
            data[0] |= u8::from((*time).fold != 0) << 7;
            Moment::new(&data, ((*time).hastzinfo != 0).then(|| Obj::new((*time).tzinfo)))
        }
    }

    /// Of an object of [`Standard::DateTime`].
    pub(crate) fn of_datetime(obj: Obj) -> Moment {
        let datetime = obj.ptr().cast::<ffi::PyDateTime_DateTime>();
        // SAFETY: as in `of_time`.
        unsafe {
            let mut data = (*datetime).data;
            data[2] |= u8::from((*datetime).fold != 0) << 7;
            let tzinfo = ((*datetime).hastzinfo != 0).then(|| Obj::new((*datetime).tzinfo));
            Moment::new(&data, tzinfo)
        }
    }

    fn new(data: &[u8], tzinfo: Option<Obj>) -> Moment {
        let mut bytes = [0; 10];
        for (to, from) in bytes.iter_mut().zip(data) {
            *to = *from;
        }
        Moment { bytes, len: data.len(), tzinfo }
    }
}

/// Days, seconds and microseconds of an object of [`Standard::TimeDelta`].
pub(crate) fn time_delta(obj: Obj) -> [i32; 3] {
    let delta = obj.ptr().cast::<ffi::PyDateTime_Delta>();
    // SAFETY: the caller's promise is that it is one.
    unsafe { [(*delta).days, (*delta).seconds, (*delta).microseconds] }
}

/// What `timezone.utc` is ahead of itself: a timedelta that lives as long as it does.
pub(crate) fn utc_offset(py: Python<'_>, utc: Obj) -> Result<Owned, Raised> {
    // A method of C's, which gives what the object holds.
    let offset = utc.bound(py).call_method1(pyo3::intern!(py, "utcoffset"), (py.None(),))?;
    Ok(Owned::from_bound(offset))
}

/// The digits of an object of [`Standard::Decimal`]: a str that nobody else has.
pub(crate) fn decimal_text(decimal: Obj) -> Result<Owned, Raised> {
    // SAFETY: a live object; its type's `str` is a function of C's. Null means that an exception
    // is set.
    unsafe { Owned::from_new(ffi::PyObject_Str(decimal.ptr())) }
}
