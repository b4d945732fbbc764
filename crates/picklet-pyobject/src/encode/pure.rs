//! The hot loops: lists, dicts and tuples of built-in values while no Python code runs.
//!
//! Protocol 4 and 5 only, and only in a pure run (see the module above). The bytes are those of
//! the general path in `containers.rs`; what is left out is what cannot happen here: hooks, text
//! opcodes, containers that change under way. Two things make it fast. One comparison in
//! [`Output::begin_value`](super::output::Output::begin_value) stands for the frame's end and for
//! the buffer's, and the keys of the record before are remembered by position, so that the same
//! key of the next one needs no look-up.

use pyo3::ffi;

use super::containers::check_size;
use super::{Done, Encoder};
use crate::object::{self, Obj, Pairs, Text};

/// Items between a MARK and the opcode that takes them.
const BATCH: usize = 1000;
/// Positions of keys that are remembered.
const KEYS: usize = 32;
/// Items that may be numbers one after another: for fewer, a loop of their own costs more than it
/// saves.
const MANY: usize = 8;

/// The keys of the last dict that were met in the memo, by position, and the strs of the last tuple.
/// Most dumps are small and meet none, so that its places are made late.
#[derive(Default)]
pub(super) struct KeyCache {
    slots: [Vec<(usize, u32)>; 2],
}

/// Which of them.
#[derive(Clone, Copy)]
enum Holder {
    Dict,
    Tuple,
}

impl Encoder<'_, '_> {
    /// A value of which its container owns a reference.
    #[inline(always)]
    fn pure_value(&mut self, obj: Obj, may_skip: bool) -> Done {
        let ty = obj.ty();
        if ty == object::str_type() {
            return self.pure_str(obj, may_skip && obj.is_unshared());
        }
        if ty == object::int_type() {
            return self.pure_int(obj);
        }
        if ty == object::float_type() {
            self.out.begin_value()?;
            let bits = object::float_value(obj).to_bits();
            self.out.word(u64::from(b'G'), 1);
            self.out.word(bits.swap_bytes(), 8);
            return Ok(());
        }
        if obj == object::none() {
            self.out.begin_value()?;
            self.out.word(u64::from(b'N'), 1);
            return Ok(());
        }
        if ty == object::bool_type() {
            self.out.begin_value()?;
            self.out.word(if obj == object::boolean(true) { 0x88 } else { 0x89 }, 1);
            return Ok(());
        }
        self.pure_other(obj, ty, may_skip)
    }

    #[inline(never)]
    fn pure_other(&mut self, obj: Obj, ty: *mut ffi::PyTypeObject, may_skip: bool) -> Done {
        let holds =
            ty == object::list_type() || ty == object::dict_type() || ty == object::tuple_type();
        if holds {
            self.out.begin_value()?;
            let unshared = may_skip && obj.is_unshared();
            if !unshared && let Some(index) = self.memo.get(obj) {
                self.pure_get(index);
                return Ok(());
            }
            if !self.depth.has_room() || self.streams {
                return self.save_nested(obj, ty, unshared);
            }
            self.depth.enter_counted();
            let done = if ty == object::tuple_type() {
                self.pure_tuple(obj, unshared)
            } else if ty == object::dict_type() {
                self.pure_dict(obj, unshared)
            } else {
                self.pure_list(obj, unshared)
            };
            self.depth.leave();
            return done;
        }
        self.save(obj, may_skip && obj.is_unshared())
    }

    #[inline(always)]
    fn pure_int(&mut self, obj: Obj) -> Done {
        self.out.begin_value()?;
        let Some(small) = object::small_int(obj) else { return self.save_int(obj) };
        self.small_int(small);
        Ok(())
    }

    /// An int, after [`Output::begin_value`](super::output::Output::begin_value).
    #[inline(always)]
    pub(super) fn small_int(&mut self, value: i32) {
        let bits = u64::from(value as u32);
        if bits < 0x100 {
            self.out.word(u64::from(b'K') | bits << 8, 2);
        } else if bits < 0x1_0000 {
            self.out.word(u64::from(b'M') | bits << 8, 3);
        } else {
            self.out.word(u64::from(b'J') | bits << 8, 5);
        }
    }

    #[inline(always)]
    fn pure_str(&mut self, obj: Obj, unshared: bool) -> Done {
        self.out.begin_value()?;
        if !unshared && let Some(index) = self.memo.get(obj) {
            self.pure_get(index);
            return Ok(());
        }
        match object::text(obj) {
            Text::Ascii(bytes) if bytes.len() < 256 => {
                self.out.word(0x8c | (bytes.len() as u64) << 8, 2);
                self.out.short(bytes);
            }
            text => self.save_other_text(obj, text)?,
        }
        self.memoize(obj, unshared)
    }

    #[inline(always)]
    fn pure_get(&mut self, index: u32) {
        let word = u64::from(index) << 8;
        if index < 0x100 {
            self.out.word(u64::from(b'h') | word, 2);
        } else {
            self.out.word(u64::from(b'j') | word, 5);
        }
    }

    /// A key at `position` of its dict.
    #[inline(always)]
    fn pure_key(&mut self, key: Obj, position: usize, owns_keys: bool) -> Done {
        if key.ty() != object::str_type() {
            return self.pure_value(key, owns_keys);
        }
        if owns_keys && key.is_unshared() {
            return self.pure_str(key, true);
        }
        self.pure_shared_str(key, position, Holder::Dict)
    }

    /// A str that may be met again, and perhaps was at this position of the last such holder.
    #[inline(always)]
    fn pure_shared_str(&mut self, text: Obj, position: usize, holder: Holder) -> Done {
        let slots = &self.keys.slots[holder as usize];
        if let Some((last, index)) = slots.get(position)
            && *last == text.ptr() as usize
        {
            let index = *index;
            self.out.begin_value()?;
            self.pure_get(index);
            return Ok(());
        }
        self.pure_str(text, false)?;
        if position < KEYS
            && let Some(index) = self.memo.get(text)
        {
            let slots = &mut self.keys.slots[holder as usize];
            if slots.len() <= position {
                slots.resize(position + 1, (0, 0));
            }
            if let Some(slot) = slots.get_mut(position) {
                *slot = (text.ptr() as usize, index);
            }
        }
        Ok(())
    }

    /// The numbers among the items from `index` to `end`, up to the first item that is none or that
    /// five bytes do not hold: where the next one stands.
    #[inline(always)]
    fn pure_numbers(
        &mut self,
        mut index: usize,
        end: usize,
        item: impl Fn(usize) -> Option<Obj>,
    ) -> Done<usize> {
        self.out.run(|| {
            let item = if index < end { item(index)? } else { return None };
            let ty = item.ty();
            let word = if ty == object::int_type() {
                let small = object::small_int(item)?;
                let bits = u64::from(small as u32);
                let (opcode, len) = match bits {
                    0..=0xff => (b'K', 2),
                    0x100..=0xffff => (b'M', 3),
                    _ => (b'J', 5),
                };
                (opcode, bits, len)
            } else if ty == object::float_type() {
                (b'G', object::float_value(item).to_bits().swap_bytes(), 9)
            } else {
                return None;
            };
            index += 1;
            Some(word)
        })?;
        Ok(index)
    }

    /// A list, after [`Output::begin_value`](super::output::Output::begin_value).
    #[inline(always)]
    pub(super) fn pure_list(&mut self, obj: Obj, unshared: bool) -> Done {
        self.out.word(u64::from(b']'), 1);
        self.memoize(obj, unshared)?;
        match object::list_len(obj) {
            0 => Ok(()),
            1 => self.pure_append_only(obj),
            _ => self.pure_append_batches(obj),
        }
    }

    /// A dict, after [`Output::begin_value`](super::output::Output::begin_value).
    #[inline(always)]
    pub(super) fn pure_dict(&mut self, obj: Obj, unshared: bool) -> Done {
        self.out.word(u64::from(b'}'), 1);
        self.memoize(obj, unshared)?;
        match object::dict_len(obj) {
            0 => Ok(()),
            1 if self.streams => self.set_only(obj),
            _ if self.streams => self.stream_set_batches(obj),
            1 => self.pure_set_only(obj),
            _ => self.pure_set_batches(obj),
        }
    }

    /// A tuple, after [`Output::begin_value`](super::output::Output::begin_value); see `save_tuple`.
    #[inline(always)]
    pub(super) fn pure_tuple(&mut self, obj: Obj, unshared: bool) -> Done {
        let len = object::tuple_len(obj);
        if len == 0 {
            self.out.word(u64::from(b')'), 1);
            return Ok(());
        }
        let counted = len <= 3;
        if counted {
            for index in 0..len {
                self.pure_tuple_item(obj, index, unshared)?;
            }
        } else {
            self.out.word(u64::from(b'('), 1);
            self.pure_tuple_items(obj, unshared)?;
        }
        // Met again inside itself: throw the items away and take the memoised one.
        if !unshared && let Some(index) = self.memo.get(obj) {
            self.drop_items(len, counted)?;
            return self.emit_get(index);
        }
        self.out.byte(if counted { 0x84 + len as u8 } else { b't' })?;
        self.memoize(obj, unshared)
    }

    /// The item of a list that has one.
    fn pure_append_only(&mut self, obj: Obj) -> Done {
        let Some(item) = object::list_item(obj, 0) else { return Ok(()) };
        self.pure_value(item, true)?;
        Ok(self.out.byte(b'a')?)
    }

    /// The pair of a dict that has one.
    fn pure_set_only(&mut self, obj: Obj) -> Done {
        let owns_keys = object::dict_owns_keys(obj);
        let Some((key, value)) = Pairs::of(obj).next() else { return Ok(()) };
        self.pure_key(key, 0, owns_keys)?;
        self.pure_value(value, true)?;
        Ok(self.out.byte(b's')?)
    }

    /// The items of a list with more than one.
    fn pure_append_batches(&mut self, obj: Obj) -> Done {
        let mut len = object::list_len(obj);
        let mut index = 0;
        while index < len {
            // Not an opcode boundary: C looks for the frame's end before values only.
            self.out.byte(b'(')?;
            let end = len.min(index + BATCH);
            while index < end
                && let Some(item) = object::list_item(obj, index)
            {
                let mut next = index;
                if end - index >= MANY {
                    next = self.pure_numbers(index, end, |at| object::list_item(obj, at))?;
                }
                if next == index {
                    self.pure_value(item, true)?;
                    index += 1;
                } else {
                    index = next;
                }
            }
            self.out.byte(b'e')?;
            self.between_items()?;
            // Whatever ran when something was sent, by an item perhaps.
            if self.streams {
                len = object::list_len(obj);
            }
        }
        Ok(())
    }

    /// The pairs of a dict with more than one.
    fn pure_set_batches(&mut self, obj: Obj) -> Done {
        let owns_keys = object::dict_owns_keys(obj);
        let mut pairs = Pairs::of(obj);
        loop {
            let mut count = 0;
            self.out.byte(b'(')?;
            while count < BATCH
                && let Some((key, value)) = pairs.next()
            {
                self.pure_key(key, count, owns_keys)?;
                self.pure_value(value, true)?;
                count += 1;
            }
            self.out.byte(b'u')?;
            self.between_items()?;
            // A full batch is always followed by another, even if empty: so does C.
            if count < BATCH {
                return Ok(());
            }
        }
    }

    /// The same where what is finished may be sent between any two items, and the dict change.
    fn stream_set_batches(&mut self, obj: Obj) -> Done {
        let len = object::dict_len(obj);
        let mut pairs = Pairs::asked(obj);
        loop {
            let mut count = 0;
            self.out.byte(b'(')?;
            while count < BATCH
                && let Some((key, value)) = pairs.next()
            {
                let owns_keys = object::dict_owns_keys(obj);
                self.as_key(|this| this.pure_key(key, count, owns_keys))?;
                self.pure_value(value, true)?;
                check_size(len, object::dict_len(obj), "dictionary")?;
                count += 1;
            }
            self.out.byte(b'u')?;
            self.between_items()?;
            check_size(len, object::dict_len(obj), "dictionary")?;
            if count < BATCH {
                return Ok(());
            }
        }
    }

    /// An item of a tuple that is met for the first time.
    #[inline(always)]
    fn pure_tuple_item(&mut self, obj: Obj, index: usize, unshared: bool) -> Done {
        let item = object::tuple_item(obj, index);
        if item.ty() == object::str_type() && !(unshared && item.is_unshared()) {
            return self.pure_shared_str(item, index, Holder::Tuple);
        }
        self.pure_value(item, unshared)
    }

    /// The items of one with many.
    fn pure_tuple_items(&mut self, obj: Obj, unshared: bool) -> Done {
        let len = object::tuple_len(obj);
        let mut index = 0;
        while index < len {
            // A tuple has no batches, and none of its items goes while it is held.
            let end = len.min(index - index % BATCH + BATCH);
            while index < end {
                if end - index >= MANY {
                    let item = |at| Some(object::tuple_item(obj, at));
                    let next = self.pure_numbers(index, end, item)?;
                    if next > index {
                        index = next;
                        continue;
                    }
                }
                self.pure_tuple_item(obj, index, unshared)?;
                index += 1;
            }
            if index % BATCH == 0 {
                self.between_items()?;
            }
        }
        Ok(())
    }
}
