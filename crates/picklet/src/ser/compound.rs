//! Containers under construction, as serde hands them over item by item.

use picklet_codec::Opcode;
use picklet_codec::sink::Sink;
use picklet_codec::writer::{BATCH_SIZE, FRAME_SIZE_TARGET};
use serde::ser::{self, Error as _, Serialize};

use super::serializer::{Result, Serializer};
use crate::serde_error::SerdeError;

/// Items from which on the first one tells how much room the others need: more than a map has,
/// as a rule, because it takes a call.
const MANY: usize = 8;

/// A list or dict under construction: items in batches of 1000, as Python writes them.
pub(super) struct Batched<'s, S> {
    serializer: &'s mut Serializer<S>,
    one: Opcode,
    many: Opcode,
    /// A batch is under way.
    open: bool,
    /// Items (or pairs) that the batch still takes before [`next_batch`](Self::next_batch).
    left: usize,
    /// Where the first item begins, until it has shown how much room the others need.
    first: Option<usize>,
    /// Items that are expected.
    len: usize,
    /// Items that a batch takes: 1, without a MARK, at protocol 0 and where there is only one.
    size: usize,
    /// Items in the batches before.
    before: usize,
}

impl<'s, S: Sink> Batched<'s, S> {
    #[inline(always)]
    pub(super) fn new(
        serializer: &'s mut Serializer<S>,
        len: Option<usize>,
        one: Opcode,
        many: Opcode,
    ) -> Self {
        let single = serializer.emit.protocol() == 0 || len == Some(1);
        let size = if single { 1 } else { BATCH_SIZE };
        let len = len.unwrap_or(0);
        Self { serializer, one, many, open: false, left: 0, first: None, len, size, before: 0 }
    }

    /// To be called before an item.
    #[inline(always)]
    fn next(&mut self) -> Result<()> {
        if self.left == 0 {
            self.next_batch()?;
        }
        self.left -= 1;
        Ok(())
    }

    #[inline(never)]
    fn next_batch(&mut self) -> Result<()> {
        let buffer = &mut self.serializer.emit.buffer;
        if let Some(start) = self.first.take() {
            // The others as long as the first, as a rule: told early, the buffer grows less often.
            let item = buffer.len().saturating_sub(start);
            buffer.reserve(item.saturating_mul(self.len - 1).min(FRAME_SIZE_TARGET));
            self.left = self.size - 1;
            return Ok(());
        }
        if self.open {
            self.before += self.size;
            self.end_batch()?;
            self.serializer.cut()?;
        } else if self.len >= MANY && self.size > 1 {
            self.first = Some(buffer.len());
        }
        self.open = true;
        self.left = if self.first.is_some() { 1 } else { self.size };
        if self.size > 1 {
            self.serializer.emit.mark();
        }
        Ok(())
    }

    #[inline(always)]
    fn end_batch(&mut self) -> Result<()> {
        Ok(self.serializer.emit.op(if self.size == 1 { self.one } else { self.many })?)
    }

    /// The place of the item that was begun last.
    #[cold]
    fn index(&self) -> usize {
        if self.first.is_some() { 0 } else { self.before + (self.size - self.left) - 1 }
    }

    #[inline(always)]
    fn finish(mut self) -> Result<()> {
        if self.open {
            self.end_batch()?;
        }
        self.serializer.leave()
    }
}

/// A struct's dict under construction: its fields in one batch, so that none of them has to be
/// counted.
pub(super) struct Fields<'s, S> {
    serializer: &'s mut Serializer<S>,
    /// Each field has its own SETITEM: at protocol 0, and where there is only one.
    single: bool,
    /// The dict is a variant's.
    variant: bool,
}

impl<'s, S: Sink> Fields<'s, S> {
    #[inline(always)]
    pub(super) fn new(serializer: &'s mut Serializer<S>, len: usize, variant: bool) -> Self {
        let single = serializer.emit.protocol() == 0 || len <= 1;
        if !single {
            serializer.emit.mark();
        }
        Self { serializer, single, variant }
    }

    #[inline(always)]
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        self.serializer.name(key)?;
        if let Err(error) = value.serialize(&mut *self.serializer) {
            return Err(error.in_key(key));
        }
        if self.single {
            self.serializer.emit.op(Opcode::SetItem)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn finish(self) -> Result<()> {
        if !self.single {
            self.serializer.emit.op(Opcode::SetItems)?;
        }
        self.serializer.leave()?;
        if self.variant {
            self.serializer.end_variant()?;
        }
        Ok(())
    }
}

/// A tuple under construction.
pub(super) struct Tuple<'s, S> {
    serializer: &'s mut Serializer<S>,
    len: usize,
    given: usize,
    variant: bool,
}

impl<'s, S: Sink> Tuple<'s, S> {
    #[inline(always)]
    pub(super) fn new(serializer: &'s mut Serializer<S>, len: usize, variant: bool) -> Self {
        if len > 0 && serializer.emit.tuple_needs_mark(len) {
            serializer.emit.mark();
        }
        Self { serializer, len, given: 0, variant }
    }

    #[inline(always)]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let index = self.given;
        self.given += 1;
        value.serialize(&mut *self.serializer).map_err(|error| error.in_item(index))
    }

    #[inline(always)]
    fn finish(self) -> Result<()> {
        let (len, given) = (self.len, self.given);
        if len != given {
            let text = format!("a tuple of {len} items was given {given}");
            return Err(SerdeError::custom(text));
        }
        match len {
            0 => self.serializer.emit.empty_tuple(),
            _ => self.serializer.emit.end_tuple(len),
        }
        self.serializer.leave()?;
        if self.variant {
            return self.serializer.end_variant();
        }
        Ok(())
    }
}

impl<S: Sink> ser::SerializeSeq for Batched<'_, S> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.next()?;
        match value.serialize(&mut *self.serializer) {
            Ok(()) => Ok(()),
            Err(error) => Err(error.in_item(self.index())),
        }
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.finish()
    }
}

impl<S: Sink> ser::SerializeMap for Batched<'_, S> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.next()?;
        key.serialize(&mut *self.serializer)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.serializer)
    }

    #[inline]
    fn end(self) -> Result<()> {
        self.finish()
    }
}

macro_rules! fields {
    ($($trait:ident,)*) => {$(
        impl<S: Sink> ser::$trait for Fields<'_, S> {
            type Ok = ();
            type Error = SerdeError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<()> {
                self.field(key, value)
            }

            #[inline]
            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

fields! { SerializeStruct, SerializeStructVariant, }

macro_rules! tuples {
    ($($trait:ident $method:ident,)*) => {$(
        impl<S: Sink> ser::$trait for Tuple<'_, S> {
            type Ok = ();
            type Error = SerdeError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
                self.item(value)
            }

            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )*};
}

tuples! {
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}
