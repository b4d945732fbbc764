//! Dates, times and Decimals, written without calling their `__reduce_ex__`.
//!
//! What that call makes, a tuple of the class and of its arguments, is known: so a pure run stays
//! one. The bytes are those of the long way.

use super::instances::class_of;
use super::{Done, Encoder};
use crate::object::Obj;
use crate::object::standard::{self, Moment, Standard};

impl Encoder<'_, '_> {
    /// Writes an object of one of these types in a hot pure run; false, and nothing written, for
    /// those that are not known.
    pub(super) fn save_standard(
        &mut self,
        obj: Obj,
        standard: Standard,
        unshared: bool,
    ) -> Done<bool> {
        match standard {
            Standard::TimeZone(utc) if obj.ptr() != utc => return Ok(false),
            // From protocol 5 on it is a call of another function, with a buffer.
            Standard::Array if self.protocol > 4 => return Ok(false),
            Standard::Array => return self.save_array(obj, unshared),
            _ => {}
        }
        self.save(class_of(obj.ty()), false)?;
        match standard {
            Standard::Date => self.save_moment(&Moment::of_date(obj))?,
            Standard::Time => self.save_moment(&Moment::of_time(obj))?,
            Standard::DateTime => self.save_moment(&Moment::of_datetime(obj))?,
            Standard::TimeDelta => {
                self.begin_passing_tuple(3)?;
                for number in standard::time_delta(obj) {
                    self.passing_int(number)?;
                }
                self.end_passing_tuple(3)?;
            }
            Standard::TimeZone(_) => {
                let offset = standard::utc_offset(self.py, obj)?;
                self.begin_passing_tuple(1)?;
                self.save(offset.obj(), false)?;
                self.end_passing_tuple(1)?;
            }
            Standard::Decimal => {
                let text = standard::decimal_text(obj)?;
                self.begin_passing_tuple(1)?;
                self.save(text.obj(), true)?;
                self.end_passing_tuple(1)?;
            }
            Standard::Array => {}
        }
        self.out.byte(b'R')?;
        self.memoize(obj, unshared)?;
        Ok(true)
    }

    /// The bytes, and the time zone if there is one.
    fn save_moment(&mut self, moment: &Moment) -> Done {
        let len = 1 + usize::from(moment.tzinfo.is_some());
        self.begin_passing_tuple(len)?;
        self.passing_bytes(moment.bytes())?;
        if let Some(tzinfo) = moment.tzinfo {
            self.save(tzinfo, false)?;
        }
        self.end_passing_tuple(len)
    }
}
