//! Dates, times and Decimals, written without calling their `__reduce_ex__`.
//!
//! What that call makes, a tuple of the class and of its arguments, is known: so a pure run stays
//! one. The bytes are those of the long way.

use super::instances::class_of;
use super::{Done, Encoder};
use crate::object::Obj;
use crate::object::standard::{self, Moment, Standard};

impl Encoder<'_, '_> {
    /// Writes an object of one of these types in a pure run; false, and nothing written, for those
    /// that are not known.
    pub(super) fn save_standard(
        &mut self,
        obj: Obj,
        standard: Standard,
        unshared: bool,
    ) -> Done<bool> {
        match standard {
            Standard::TimeZone(utc) if obj.ptr() != utc => return Ok(false),
            _ => {}
        }
        self.save(class_of(obj.ty()), false)?;
        self.out.opcode_boundary()?;
        let arguments = match standard {
            Standard::Date => self.moment(&Moment::of_date(obj))?,
            Standard::Time => self.moment(&Moment::of_time(obj))?,
            Standard::DateTime => self.moment(&Moment::of_datetime(obj))?,
            Standard::TimeDelta => {
                for number in standard::time_delta(obj) {
                    self.out.begin_value()?;
                    self.small_int(number);
                }
                3
            }
            Standard::TimeZone(_) => {
                let offset = standard::utc_offset(self.py, obj)?;
                self.save(offset.obj(), false)?;
                1
            }
            Standard::Decimal => {
                let text = standard::decimal_text(obj)?;
                self.save(text.obj(), true)?;
                1
            }
        };
        self.out.byte(0x84 + arguments)?;
        self.memoize_passing()?;
        self.out.byte(b'R')?;
        self.memoize(obj, unshared)?;
        Ok(true)
    }

    /// The bytes, and the time zone if there is one. How many arguments these are.
    fn moment(&mut self, moment: &Moment) -> Done<u8> {
        let bytes = moment.bytes();
        self.out.begin_value()?;
        self.out.word(u64::from(b'C') | (bytes.len() as u64) << 8, 2);
        self.out.short(bytes);
        self.memoize_passing()?;
        let Some(tzinfo) = moment.tzinfo else { return Ok(1) };
        self.save(tzinfo, false)?;
        Ok(2)
    }

    /// Memoises what was just written and is no object: nothing can refer to it.
    fn memoize_passing(&mut self) -> Done {
        if self.put_unshared { self.emit_put() } else { Ok(()) }
    }
}
