//! Lists, tuples, dicts, sets and byte strings.

use picklet_codec::policy::Grows;
use pyo3::ffi;

use super::{Decoder, build};
use crate::object::{self, Obj, Owned, Raised};

impl Decoder<'_, '_> {
    #[inline(always)]
    pub(super) fn build_tuple(&mut self, items: usize) -> Result<(), Raised> {
        if self.stack.len() < self.fence + items {
            return self.underflow();
        }
        let from = self.stack.len() - items;
        let tuple = build::tuple(self.stack.drain(from..))?;
        self.push(tuple);
        Ok(())
    }

    /// Appends what lies above `from` to what lies right below it.
    #[inline]
    pub(super) fn append(&mut self, from: usize) -> Result<(), Raised> {
        let target = self.below(from)?;
        if self.stack.len() == from {
            return Ok(());
        }
        if target.ty() == object::list_type() {
            return object::extend_list(target, &mut self.stack, from);
        }
        self.strengthen();
        if self.options.guard.is_some() && self.guarded_growth(target, from, Grows::Items)? {
            return Ok(());
        }
        self.append_to_object(target, from)
    }

    /// Sets the pairs above `from` in what lies right below it.
    #[inline]
    pub(super) fn set_items(&mut self, from: usize) -> Result<(), Raised> {
        let target = self.below(from)?;
        let pairs = self.stack.get(from..).unwrap_or_default();
        if !pairs.len().is_multiple_of(2) {
            return self.fail("odd number of items for SETITEMS");
        }
        if target.ty() == object::dict_type() && self.state.fresh.is_new_dict(target) {
            // The template's keys were looked at when they were first set.
            if let Some(template) = self.templates.find(pairs)
                && template.fill(target, &mut self.stack, from)?
            {
                return Ok(());
            }
            let pairs = self.stack.get(from..).unwrap_or_default();
            let shape = self.templates.note(pairs);
            self.set_pairs(target, from)?;
            return match shape {
                Some(shape) => self.templates.learn(shape, target),
                None => Ok(()),
            };
        }
        self.set_pairs(target, from)
    }

    fn set_pairs(&mut self, target: Obj, from: usize) -> Result<(), Raised> {
        if self.options.guard.is_some() {
            for key in self.stack.iter().skip(from).step_by(2) {
                self.check_key(key.obj())?;
            }
        }
        if target.ty() != object::dict_type() {
            self.strengthen();
            if self.options.guard.is_some() && self.guarded_growth(target, from, Grows::Pairs)? {
                return Ok(());
            }
            return self.set_items_of_object(target, from);
        }
        if !self.memo.is_strong() {
            return self.set_plain_pairs(target, from);
        }
        // Keys may run Python code (`__hash__`, `__eq__`): the dict is held by the stack, and
        // the pairs stay on it until all are set.
        let mut at = from;
        while let (Some(key), Some(value)) = (self.stack.get(at), self.stack.get(at + 1)) {
            build::set_item(target, key.obj(), value.obj())?;
            at += 2;
        }
        self.stack.truncate(from);
        Ok(())
    }

    /// While the memo is borrowed no Python code runs, and what a dict throws away is kept: the
    /// value that another takes the place of, and the key that is there already.
    fn set_plain_pairs(&mut self, target: Obj, from: usize) -> Result<(), Raised> {
        let mut at = from;
        let mut len = object::dict_len(target);
        while let (Some(key), Some(value)) = (self.stack.get(at), self.stack.get(at + 1)) {
            let there = build::set_default(target, key.obj(), value.obj())?;
            let now = object::dict_len(target);
            if now == len {
                self.buried.extend([key.obj().to_owned(), there.to_owned()]);
                build::set_item(target, key.obj(), value.obj())?;
            }
            len = now;
            at += 2;
        }
        self.stack.truncate(from);
        Ok(())
    }

    pub(super) fn build_dict(&mut self) -> Result<(), Raised> {
        let mark = self.pop_mark()?;
        if !(self.stack.len() - mark).is_multiple_of(2) {
            return self.fail("odd number of items for DICT");
        }
        let dict = build::empty_dict()?;
        self.stack.insert(mark, dict);
        self.set_items_at(mark)
    }

    /// DICT below a fence: the dict was just put at `mark`, its pairs lie above.
    fn set_items_at(&mut self, mark: usize) -> Result<(), Raised> {
        let fence = std::mem::replace(&mut self.fence, 0);
        let done = self.set_items(mark + 1);
        self.fence = fence;
        done
    }

    pub(super) fn add_items(&mut self) -> Result<(), Raised> {
        let mark = self.pop_mark()?;
        let target = self.below(mark)?;
        if self.stack.len() == mark {
            return Ok(());
        }
        if self.options.guard.is_some() {
            for member in self.stack.iter().skip(mark) {
                self.check_key(member.obj())?;
            }
            if target.ty() != object::set_type() {
                self.strengthen();
            }
            if target.ty() != object::set_type()
                && self.guarded_growth(target, mark, Grows::Items)?
            {
                return Ok(());
            }
        }
        // SAFETY: a live object.
        if unsafe { ffi::PySet_Check(target.ptr()) } == 0 {
            self.strengthen();
            return self.add_items_to_object(target, mark);
        }
        let mut at = mark;
        while let Some(item) = self.stack.get(at) {
            // SAFETY: live objects; the set takes a reference of its own.
            if unsafe { ffi::PySet_Add(target.ptr(), item.ptr()) } != 0 {
                return Err(Raised);
            }
            at += 1;
        }
        // A member that was there already is thrown away.
        self.bury(mark);
        Ok(())
    }

    pub(super) fn build_frozenset(&mut self) -> Result<(), Raised> {
        let mark = self.pop_mark()?;
        if self.options.guard.is_some() {
            for member in self.stack.iter().skip(mark) {
                self.check_key(member.obj())?;
            }
        }
        let items = build::tuple(self.stack.drain(mark..))?;
        // SAFETY: a live tuple; null means that an exception is set.
        let set = unsafe { Owned::from_new(ffi::PyFrozenSet_New(items.ptr()))? };
        if !self.memo.is_strong() {
            self.buried.push(items);
        }
        self.push(set);
        Ok(())
    }

    /// `bytes` or `bytearray` of a declared length, read in place.
    pub(super) fn large_bytes(&mut self, len: u64, mutable: bool) -> Result<(), Raised> {
        let Ok(size) = isize::try_from(len) else {
            return self.too_large(if mutable { "BYTEARRAY8" } else { "BINBYTES" });
        };
        let len = size.unsigned_abs();
        self.input.check_available(len)?;
        if mutable && let Some(view) = self.mapped(len)? {
            self.push(view);
            return Ok(());
        }
        if self.input.is_file() && len > UNCHECKED_LEN {
            // A file may declare what it does not hold: let the bytes arrive first.
            let arrived = self.input.take(len)?;
            let value = if mutable { new_bytearray(arrived)? } else { build::bytes(arrived)? };
            self.push(value);
            return Ok(());
        }
        // SAFETY: a new object of `size` bytes that nobody else has seen; all of them are
        // written by `read_into`, or the object is dropped.
        let value = unsafe {
            let (value, data) = if mutable {
                let value =
                    Owned::from_new(ffi::PyByteArray_FromStringAndSize(std::ptr::null(), size))?;
                let data = ffi::PyByteArray_AsString(value.ptr());
                (value, data)
            } else {
                let value =
                    Owned::from_new(ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?;
                let data = ffi::PyBytes_AsString(value.ptr());
                (value, data)
            };
            if len > 0 {
                std::ptr::write_bytes(data, 0, 1);
                self.input.read_into(std::slice::from_raw_parts_mut(data.cast::<u8>(), len))?;
            }
            value
        };
        self.push(value);
        Ok(())
    }
}

/// Over a file, longer values are not allocated before their bytes have arrived.
const UNCHECKED_LEN: usize = 64 * 1024 * 1024;

fn new_bytearray(data: &[u8]) -> Result<Owned, Raised> {
    // SAFETY: the pointer and length are those of a slice; null means that an exception is set.
    unsafe {
        Owned::from_new(ffi::PyByteArray_FromStringAndSize(
            data.as_ptr().cast(),
            data.len() as ffi::Py_ssize_t,
        ))
    }
}
