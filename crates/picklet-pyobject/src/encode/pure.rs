//! The hot loops: lists, dicts and tuples of built-in values while no Python code runs.
//!
//! Protocol 4 and 5 only, and only in a pure run (see the module above). The bytes are those of
//! the general path in `containers.rs`; what is left out is what cannot happen here: hooks, text
//! opcodes, containers that change under way. Two things make it fast. One comparison in
//! [`Output::begin_value`](super::output::Output::begin_value) stands for the frame's end and for
//! the buffer's, and the keys of the record before are remembered by position, so that the same
//! key of the next one needs no look-up.

use super::containers::check_size;
use super::{Done, Encoder};
use crate::object::{self, Obj, Pairs, Text};

/// Items between a MARK and the opcode that takes them.
const BATCH: usize = 1000;
/// Positions of keys that are remembered.
const KEYS: usize = 32;

/// The keys of the last dict that were met in the memo, by position. Most dumps are small and
/// meet none, so that its places are made late.
#[derive(Default)]
pub(super) struct KeyCache {
    slots: Vec<(usize, u32)>,
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
        self.pure_other(obj, may_skip)
    }

    #[inline(never)]
    fn pure_other(&mut self, obj: Obj, may_skip: bool) -> Done {
        let truth = obj == object::boolean(true);
        if truth || obj == object::boolean(false) {
            self.out.begin_value()?;
            self.out.word(if truth { 0x88 } else { 0x89 }, 1);
            return Ok(());
        }
        self.save(obj, may_skip && obj.is_unshared())
    }

    #[inline(always)]
    fn pure_int(&mut self, obj: Obj) -> Done {
        self.out.begin_value()?;
        let small = object::int_value(obj).and_then(|value| i32::try_from(value).ok());
        let Some(small) = small else { return self.save_int(obj) };
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
        if let Some((last, index)) = self.keys.slots.get(position)
            && *last == key.ptr() as usize
        {
            let index = *index;
            self.out.begin_value()?;
            self.pure_get(index);
            return Ok(());
        }
        self.pure_str(key, false)?;
        if position < KEYS
            && let Some(index) = self.memo.get(key)
        {
            if self.keys.slots.len() <= position {
                self.keys.slots.resize(position + 1, (0, 0));
            }
            if let Some(slot) = self.keys.slots.get_mut(position) {
                *slot = (key.ptr() as usize, index);
            }
        }
        Ok(())
    }

    /// The items of a list with more than one.
    pub(super) fn pure_append_batches(&mut self, obj: Obj) -> Done {
        let mut len = object::list_len(obj);
        let mut index = 0;
        while index < len {
            // Not an opcode boundary: C looks for the frame's end before values only.
            self.out.byte(b'(')?;
            let end = len.min(index + BATCH);
            while index < end
                && let Some(item) = object::list_item(obj, index)
            {
                self.pure_value(item, true)?;
                index += 1;
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
    pub(super) fn pure_set_batches(&mut self, obj: Obj) -> Done {
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
    pub(super) fn stream_set_batches(&mut self, obj: Obj) -> Done {
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

    /// The items of a tuple that is met for the first time; see `save_tuple` for `unshared`.
    #[inline(always)]
    pub(super) fn pure_tuple_items(&mut self, obj: Obj, unshared: bool) -> Done {
        for index in 0..object::tuple_len(obj) {
            self.pure_value(object::tuple_item(obj, index), unshared)?;
            // A tuple has no batches, and none of its items goes while it is held.
            if index % BATCH == BATCH - 1 {
                self.between_items()?;
            }
        }
        Ok(())
    }
}
