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
    let table = Maker::of(modules)?;
    let table = table.table();
    let utc = table.TimeZone_UTC;
    let types = [
        (table.DateTimeType, Standard::DateTime),
        (table.DateType, Standard::Date),
        (table.TimeType, Standard::Time),
        (table.DeltaType, Standard::TimeDelta),
        // SAFETY: a live object.
        (unsafe { ffi::Py_TYPE(utc) }, Standard::TimeZone(utc)),
    ];
    types.into_iter().find(|(known, _)| *known == ty).map(|(_, standard)| standard)
}

/// Makes objects of `datetime`, by the table in its capsule.
pub(crate) struct Maker {
    /// Of that name: valid.
    capsule: Owned,
}

impl Maker {
    /// If `datetime` is imported, and is C's.
    pub(crate) fn of(modules: &Bound<'_, PyDict>) -> Option<Maker> {
        let capsule = member(modules, "datetime", "datetime_CAPI")?;
        // SAFETY: any object may be asked.
        let valid = unsafe {
            ffi::PyCapsule_IsValid(capsule.as_ptr(), ffi::PyDateTime_CAPSULE_NAME.as_ptr()) != 0
        };
        valid.then(|| Maker { capsule: Owned::from_bound(capsule) })
    }

    fn table(&self) -> &ffi::PyDateTime_CAPI {
        // SAFETY: a valid capsule of this name holds the table, which lives as long as it does.
        unsafe {
            let name = ffi::PyDateTime_CAPSULE_NAME.as_ptr();
            &*ffi::PyCapsule_GetPointer(self.capsule.ptr(), name).cast::<ffi::PyDateTime_CAPI>()
        }
    }

    /// An object of one of the three classes, of the state that [`Moment`] describes: none where
    /// the class is to be asked, because the state is out of range or the zone is no
    /// plain `datetime.timezone`.
    pub(crate) fn moment(
        &self,
        class: Standard,
        state: &[u8],
        zone: Option<Obj>,
    ) -> Result<Option<Owned>, Raised> {
        let table = self.table();
        // SAFETY: a live object.
        let plain_zone = unsafe { ffi::Py_TYPE(table.TimeZone_UTC) };
        if zone.is_some_and(|zone| zone.ty() != plain_zone) {
            return Ok(None);
        }
        let zone = zone.map_or(super::none().ptr(), Obj::ptr);
        let int = |byte: u8| std::ffi::c_int::from(byte);
        // SAFETY: C's functions check what they are given; null means that an exception is set.
        let made = unsafe {
            match (class, state) {
                (Standard::Date, &[high, low, month, day])
                    if zone == super::none().ptr() && is_date(high, low, month, day) =>
                {
                    let year = int(high) << 8 | int(low);
                    (table.Date_FromDate)(year, int(month), int(day), table.DateType)
                }
                (Standard::Time, &[folded, minute, second, a, b, c])
                    if is_time(folded & 0x7f, minute, second, [a, b, c]) =>
                {
                    (table.Time_FromTimeAndFold)(
                        int(folded & 0x7f),
                        int(minute),
                        int(second),
                        microseconds([a, b, c]),
                        zone,
                        int(folded >> 7),
                        table.TimeType,
                    )
                }
                (Standard::DateTime, &[high, low, folded, day, hour, minute, second, a, b, c])
                    if is_date(high, low, folded & 0x7f, day)
                        && is_time(hour, minute, second, [a, b, c]) =>
                {
                    (table.DateTime_FromDateAndTimeAndFold)(
                        int(high) << 8 | int(low),
                        int(folded & 0x7f),
                        int(day),
                        int(hour),
                        int(minute),
                        int(second),
                        microseconds([a, b, c]),
                        zone,
                        int(folded >> 7),
                        table.DateTimeType,
                    )
                }
                _ => return Ok(None),
            }
        };
        // SAFETY: a new reference, or null with an exception set.
        unsafe { Owned::from_new(made) }.map(Some)
    }

    /// Of days, seconds and microseconds: none where they are out of range.
    pub(crate) fn time_delta(&self, numbers: [i32; 3]) -> Result<Option<Owned>, Raised> {
        let [days, seconds, microseconds] = numbers;
        let in_range = (-999_999_999..=999_999_999).contains(&days)
            && (0..86_400).contains(&seconds)
            && (0..1_000_000).contains(&microseconds);
        if !in_range {
            return Ok(None);
        }
        let table = self.table();
        // SAFETY: as in `moment`.
        unsafe {
            let make = table.Delta_FromDelta;
            Owned::from_new(make(days, seconds, microseconds, 1, table.DeltaType)).map(Some)
        }
    }
}

/// Whether these are a year, a month and a day that all months have: others are rare, and asked
/// of C.
fn is_date(high: u8, low: u8, month: u8, day: u8) -> bool {
    let year = u32::from(high) << 8 | u32::from(low);
    (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=28).contains(&day)
}

fn is_time(hour: u8, minute: u8, second: u8, micro: [u8; 3]) -> bool {
    hour < 24 && minute < 60 && second < 60 && microseconds(micro) < 1_000_000
}

fn microseconds([a, b, c]: [u8; 3]) -> std::ffi::c_int {
    i32::from(a) << 16 | i32::from(b) << 8 | i32::from(c)
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
