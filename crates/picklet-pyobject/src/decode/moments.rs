//! Dates, times and timedeltas, made without calling their classes.
//!
//! Only once the load has called the class in the usual way, so that a safe load has judged it, and
//! only of states in range: whatever else a pickle holds goes the usual way, errors included.

use super::Decoder;
use crate::object::standard::{Maker, Standard, standard};
use crate::object::{self, Obj, Owned, Raised};

/// The classes that were called, and what makes their objects.
#[derive(Default)]
pub(super) struct Moments {
    /// By address, whether they are of this kind or not: types are large, so that their addresses
    /// differ above the lowest bits.
    asked: [(usize, Option<Standard>); 8],
    maker: Option<Maker>,
}

impl Moments {
    fn slot(&mut self, callable: Obj) -> Option<&mut (usize, Option<Standard>)> {
        let count = self.asked.len();
        self.asked.get_mut((callable.ptr() as usize >> 6) % count)
    }
}

impl Decoder<'_, '_> {
    /// What a call would make, if its class was called before and its arguments are plain.
    #[inline]
    pub(super) fn known_moment(
        &mut self,
        callable: Obj,
        args: Obj,
    ) -> Result<Option<Owned>, Raised> {
        let Some(&mut (asked, Some(class))) = self.moments.slot(callable) else { return Ok(None) };
        if asked != callable.ptr() as usize || args.ty() != object::tuple_type() {
            return Ok(None);
        }
        let Some(maker) = &self.moments.maker else { return Ok(None) };
        let item = |at| object::tuple_item(args, at);
        match (class, object::tuple_len(args)) {
            (Standard::TimeDelta, 3) => {
                let mut numbers = [0; 3];
                for (at, number) in numbers.iter_mut().enumerate() {
                    let Some(value) = small_int(item(at)) else { return Ok(None) };
                    *number = value;
                }
                maker.time_delta(numbers)
            }
            (Standard::Date | Standard::DateTime | Standard::Time, len @ 1..=2)
                if item(0).ty() == object::bytes_type() =>
            {
                let bytes = object::bytes_of(item(0));
                let zone = if len == 1 { None } else { Some(item(1)) };
                maker.moment(class, bytes, zone)
            }
            _ => Ok(None),
        }
    }

    /// Remembers the class that was called, if it is one of these.
    #[inline]
    pub(super) fn remember_moment(&mut self, callable: Obj) {
        let address = callable.ptr() as usize;
        if self.moments.slot(callable).is_some_and(|slot| slot.0 != address) {
            self.ask_for_moment(callable);
        }
    }

    #[cold]
    fn ask_for_moment(&mut self, callable: Obj) {
        let modules = self.state.modules.bind(self.py);
        let class = if callable.ty() == object::type_type() {
            standard(modules, callable.ptr().cast()).filter(|class| {
                matches!(
                    class,
                    Standard::Date | Standard::DateTime | Standard::Time | Standard::TimeDelta
                )
            })
        } else {
            None
        };
        if class.is_some() && self.moments.maker.is_none() {
            self.moments.maker = Maker::of(modules);
        }
        // A class of a slot is of the built-in ones, which stay where they are; others are only
        // known not to be.
        if let Some(slot) = self.moments.slot(callable) {
            *slot = (callable.ptr() as usize, class);
        }
    }
}

fn small_int(obj: Obj) -> Option<i32> {
    if obj.ty() != object::int_type() {
        return None;
    }
    object::int_value(obj).and_then(|value| i32::try_from(value).ok())
}
