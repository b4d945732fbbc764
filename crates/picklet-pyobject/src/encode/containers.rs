//! Lists, tuples, dicts, sets: batches of 1,000 and the treatment of recursion follow C's pickler.

use super::arrays::LastDtype;
use super::instances::Ways;
use super::output::Keeping;
use super::{Done, Encoder, Stop};
use crate::object::{self, Obj};

/// Items between a MARK and the opcode that takes them.
const BATCH: usize = 1000;
/// Nesting from which `Pickler.fast` looks out for cycles.
const FAST_NESTING_LIMIT: u32 = 50;

impl Encoder<'_, '_> {
    /// What a pure run does with what it has buffered, between the items of a container: one that
    /// streams may send it, and whatever runs then may change the container.
    #[inline(always)]
    pub(super) fn between_items(&mut self) -> Done {
        if self.streams && self.unheld == 0 && self.out.is_worth_sending() {
            return self.send();
        }
        if self.out.written() > self.pure_cap {
            self.out.keep(Keeping::Nothing);
        }
        Ok(())
    }

    #[cold]
    fn send(&mut self) -> Done {
        self.ways = Ways::default();
        self.last_dtype = LastDtype::default();
        self.depth.settle();
        Ok(self.out.send_closed()?)
    }

    /// Writes a key while nothing may leave: nobody holds the value of its pair.
    pub(super) fn as_key(&mut self, write: impl FnOnce(&mut Self) -> Done) -> Done {
        self.unheld += 1;
        let done = write(self);
        self.unheld -= 1;
        done
    }

    pub(super) fn save_list(&mut self, obj: Obj, unshared: bool) -> Done {
        if self.hot {
            self.out.begin_value()?;
            return self.pure_list(obj, unshared);
        }
        self.enter_fast(obj)?;
        if self.binary {
            self.out.byte(b']')?;
        } else {
            self.out.write(b"(l")?;
        }
        self.memoize(obj, unshared)?;
        let len = object::list_len(obj);
        let done = match len {
            0 => Ok(()),
            _ if !self.binary => self.append_one_by_one(obj),
            1 => self.append_only(obj),
            _ => self.append_batches(obj),
        };
        self.leave_fast(obj);
        done
    }

    #[inline(always)]
    fn save_item(&mut self, item: Obj) -> Done {
        if self.pure {
            let unshared = item.is_unshared();
            return self.save(item, unshared);
        }
        // Hooks may drop the container's reference.
        let held = item.to_owned();
        self.save(held.obj(), false)
    }

    fn append_only(&mut self, obj: Obj) -> Done {
        if let Some(item) = object::list_item(obj, 0) {
            self.save_item(item)?;
            self.out.byte(b'a')?;
        }
        Ok(())
    }

    fn append_one_by_one(&mut self, obj: Obj) -> Done {
        let mut index = 0;
        while let Some(item) = object::list_item(obj, index) {
            self.save_item(item)?;
            self.out.byte(b'a')?;
            index += 1;
        }
        Ok(())
    }

    fn append_batches(&mut self, obj: Obj) -> Done {
        let mut index = 0;
        loop {
            self.out.byte(b'(')?;
            let end = index + BATCH;
            while index < end
                && let Some(item) = object::list_item(obj, index)
            {
                self.save_item(item)?;
                index += 1;
            }
            self.out.byte(b'e')?;
            if index >= object::list_len(obj) {
                return Ok(());
            }
            self.between_items()?;
        }
    }

    pub(super) fn save_dict(&mut self, obj: Obj, unshared: bool) -> Done {
        if self.hot {
            self.out.begin_value()?;
            return self.pure_dict(obj, unshared);
        }
        self.enter_fast(obj)?;
        if self.binary {
            self.out.byte(b'}')?;
        } else {
            self.out.write(b"(d")?;
        }
        self.memoize(obj, unshared)?;
        let done = match object::dict_len(obj) {
            0 => Ok(()),
            _ if !self.binary => self.set_one_by_one(obj),
            1 => self.set_only(obj),
            _ => self.set_batches(obj),
        };
        self.leave_fast(obj);
        done
    }

    #[inline(always)]
    fn save_pair(&mut self, key: Obj, value: Obj, owns_keys: bool) -> Done {
        if self.pure {
            self.as_key(|this| this.save(key, owns_keys && key.is_unshared()))?;
            return self.save(value, value.is_unshared());
        }
        let (key, value) = (key.to_owned(), value.to_owned());
        self.save(key.obj(), false)?;
        self.save(value.obj(), false)
    }

    pub(super) fn set_only(&mut self, obj: Obj) -> Done {
        let mut position = 0;
        if let Some((key, value)) = object::dict_next(obj, &mut position) {
            self.save_pair(key, value, object::dict_owns_keys(obj))?;
            self.out.byte(b's')?;
        }
        Ok(())
    }

    fn set_one_by_one(&mut self, obj: Obj) -> Done {
        let (mut position, len) = (0, object::dict_len(obj));
        let owns_keys = object::dict_owns_keys(obj);
        while let Some((key, value)) = object::dict_next(obj, &mut position) {
            self.save_pair(key, value, owns_keys)?;
            self.out.byte(b's')?;
            check_size(len, object::dict_len(obj), "dictionary")?;
        }
        Ok(())
    }

    fn set_batches(&mut self, obj: Obj) -> Done {
        let (mut position, len) = (0, object::dict_len(obj));
        let owns_keys = object::dict_owns_keys(obj);
        loop {
            let mut count = 0;
            self.out.byte(b'(')?;
            while count < BATCH
                && let Some((key, value)) = object::dict_next(obj, &mut position)
            {
                self.save_pair(key, value, owns_keys)?;
                count += 1;
            }
            self.out.byte(b'u')?;
            check_size(len, object::dict_len(obj), "dictionary")?;
            // A full batch is always followed by another, even if empty: so does C.
            if count < BATCH {
                return Ok(());
            }
            self.between_items()?;
        }
    }

    pub(super) fn save_set(&mut self, obj: Obj, unshared: bool) -> Done {
        if self.protocol < 4 {
            return self.save_set_as_call(obj);
        }
        self.out.byte(0x8f)?;
        self.memoize(obj, unshared)?;
        let len = object::set_len(obj);
        if len == 0 {
            return Ok(());
        }
        let mut members = object::Members::of(obj)?;
        loop {
            let mut count = 0;
            self.out.byte(b'(')?;
            while count < BATCH
                && let Some(item) = members.next()
            {
                self.save_item(item)?;
                check_size(len, object::set_len(obj), "set")?;
                count += 1;
            }
            self.out.byte(0x90)?;
            if count < BATCH {
                return Ok(());
            }
            self.between_items()?;
        }
    }

    pub(super) fn save_frozenset(&mut self, obj: Obj, unshared: bool) -> Done {
        if self.protocol < 4 {
            return self.save_set_as_call(obj);
        }
        self.enter_fast(obj)?;
        self.out.byte(b'(')?;
        let len = object::set_len(obj);
        let mut members = object::Members::of(obj)?;
        while let Some(item) = members.next() {
            // As for tuples: only what cannot be met again has items that cannot.
            let unshared = unshared && item.is_unshared();
            let held = item.to_owned();
            self.save(held.obj(), unshared)?;
            check_size(len, object::set_len(obj), "set")?;
        }
        self.leave_fast(obj);
        if let Some(index) = self.memo.get(obj) {
            self.out.byte(b'1')?;
            return self.emit_get(index);
        }
        self.out.byte(0x91)?;
        self.memoize(obj, unshared)
    }

    /// Below protocol 4 a set is a call: `set([…])`.
    fn save_set_as_call(&mut self, obj: Obj) -> Done {
        use pyo3::prelude::*;
        self.leave_pure()?;
        let py = self.py;
        let set = obj.bound(py);
        let items = pyo3::types::PyList::empty(py);
        for item in set.try_iter()? {
            items.append(item?)?;
        }
        let call = (set.get_type(), (items,)).into_pyobject(py)?;
        self.save_reduce(Obj::of(&call), Some(obj))
    }

    pub(super) fn save_tuple(&mut self, obj: Obj, unshared: bool) -> Done {
        if self.hot {
            self.out.begin_value()?;
            return self.pure_tuple(obj, unshared);
        }
        let len = object::tuple_len(obj);
        if len == 0 {
            if self.binary {
                self.out.byte(b')')?;
            } else {
                self.out.write(b"(t")?;
            }
            return Ok(());
        }
        let counted = len <= 3 && self.protocol >= 2;
        if !counted {
            self.out.byte(b'(')?;
        }
        for index in 0..len {
            let item = object::tuple_item(obj, index);
            // A tuple never changes, so that its items need no holding. It is memoised after its
            // items: one that can be met again inside itself brings all of them twice.
            let unshared = unshared && item.is_unshared();
            self.save(item, unshared)?;
        }
        // Met again inside itself: throw the items away and take the memoised one.
        if !unshared && let Some(index) = self.memo.get(obj) {
            self.drop_items(len, counted)?;
            return self.emit_get(index);
        }
        self.out.byte(if counted { 0x84 + len as u8 } else { b't' })?;
        self.memoize(obj, unshared)
    }

    pub(super) fn drop_items(&mut self, len: usize, counted: bool) -> Done {
        if !counted && self.binary {
            return Ok(self.out.byte(b'1')?);
        }
        // At protocol 0 the mark goes by one POP more.
        for _ in 0..if counted { len } else { len + 1 } {
            self.out.byte(b'0')?;
        }
        Ok(())
    }

    /// `Pickler.fast` has no memo: from a certain depth on, cycles are looked for.
    #[inline(always)]
    fn enter_fast(&mut self, obj: Obj) -> Done {
        if self.fast { self.enter_fast_slowly(obj) } else { Ok(()) }
    }

    #[cold]
    fn enter_fast_slowly(&mut self, obj: Obj) -> Done {
        self.fast_depth += 1;
        if self.fast_depth >= FAST_NESTING_LIMIT && !self.fast_open.insert(obj.ptr() as usize) {
            use pyo3::prelude::*;
            let name = obj.bound(self.py).get_type().name()?.to_string();
            return Err(pyo3::exceptions::PyValueError::new_err(format!(
                "fast mode: can't pickle cyclic objects including object type {name} at {:p}",
                obj.ptr()
            ))
            .into());
        }
        Ok(())
    }

    #[inline(always)]
    fn leave_fast(&mut self, obj: Obj) {
        if self.fast {
            if self.fast_depth >= FAST_NESTING_LIMIT {
                self.fast_open.remove(&(obj.ptr() as usize));
            }
            self.fast_depth = self.fast_depth.saturating_sub(1);
        }
    }
}

#[inline(always)]
pub(super) fn check_size(before: usize, after: usize, what: &str) -> Done {
    if before == after { Ok(()) } else { Err(changed(what)) }
}

#[cold]
fn changed(what: &str) -> Stop {
    let message = format!("{what} changed size during iteration");
    pyo3::exceptions::PyRuntimeError::new_err(message).into()
}
