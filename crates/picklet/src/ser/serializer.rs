//! serde's calls turned into opcodes.

use std::io;

use picklet_codec::writer::BATCH_SIZE;
use picklet_codec::{Opcode, Writer};
use rustc_hash::FxHashMap;
use serde::ser::{self, Error as _, Serialize};

use crate::serde_error::{SerdeError, SerdeErrorKind};

type Result<T> = std::result::Result<T, SerdeError>;

/// Names found without hashing: a struct's fields come round in the same order.
const RECENT: usize = 32;

/// Where a name lies in memory, and its length. A name is `'static`: the same place holds the
/// same text for ever.
type NamePlace = (usize, usize);

/// Writes what it is given to a [`Writer`].
#[derive(Debug)]
pub struct Serializer<W> {
    writer: Writer<W>,
    /// Memo indexes of names written before.
    names: FxHashMap<NamePlace, u64>,
    recent: [Option<(NamePlace, u64)>; RECENT],
    /// The memo index of `_codecs.encode`, which makes bytes below protocol 3.
    encode: Option<u64>,
    max_depth: u32,
    /// Levels that may still be entered.
    depth: u32,
}

impl<W: io::Write> Serializer<W> {
    /// A serializer of one pickle, at the protocol of `writer` and up to `max_depth` levels deep.
    pub fn new(writer: Writer<W>, max_depth: u32) -> Self {
        Self {
            writer,
            names: FxHashMap::default(),
            recent: [None; RECENT],
            encode: None,
            max_depth,
            depth: max_depth,
        }
    }

    /// Begins the pickle. Then serialise one value, and [`stop`](Self::stop).
    ///
    /// # Errors
    /// Failures to write.
    pub fn start(&mut self) -> Result<()> {
        Ok(self.writer.start()?)
    }

    /// Ends the pickle, and hands all of it to the writer.
    ///
    /// # Errors
    /// Failures to write.
    pub fn stop(&mut self) -> Result<()> {
        Ok(self.writer.stop()?)
    }

    fn name(&mut self, name: &'static str) -> Result<()> {
        self.writer.boundary()?;
        let place = (name.as_ptr() as usize, name.len());
        // Names lie one behind the other in memory; low bits and length tell most apart.
        let slot = (place.0 ^ place.0 >> 6 ^ place.1) % RECENT;
        if let Some(Some((known, index))) = self.recent.get(slot)
            && *known == place
        {
            return Ok(self.writer.get(*index)?);
        }
        let index = match self.names.get(&place) {
            Some(index) => {
                self.writer.get(*index)?;
                *index
            }
            None => {
                self.writer.str(name.into())?;
                let index = self.writer.memoize()?;
                self.names.insert(place, index);
                index
            }
        };
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = Some((place, index));
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                self.depth = depth;
                Ok(self.writer.boundary()?)
            }
            None => Err(SerdeError::new(SerdeErrorKind::Depth { cap: self.max_depth })),
        }
    }

    fn leave(&mut self) {
        self.depth += 1;
    }

    /// A list, whose items follow.
    fn list(&mut self, len: Option<usize>) -> Result<Batched<'_, W>> {
        self.enter()?;
        self.writer.empty_list()?;
        Ok(Batched::new(self, len, Opcode::Append, Opcode::Appends))
    }

    /// A dict, whose pairs follow.
    fn dict(&mut self, len: Option<usize>) -> Result<Batched<'_, W>> {
        self.enter()?;
        self.writer.empty_dict()?;
        Ok(Batched::new(self, len, Opcode::SetItem, Opcode::SetItems))
    }

    fn tuple(&mut self, len: usize) -> Result<Tuple<'_, W>> {
        self.enter()?;
        if len > 0 && self.writer.tuple_needs_mark(len) {
            self.writer.op(Opcode::Mark)?;
        }
        Ok(Tuple { serializer: self, len, given: 0, variant: None })
    }

    /// A dict of the variant's name and what is written next; [`end_variant`](Self::end_variant)
    /// follows it.
    fn start_variant(&mut self, variant: &'static str) -> Result<()> {
        self.enter()?;
        self.writer.empty_dict()?;
        self.name(variant)
    }

    fn end_variant(&mut self) -> Result<()> {
        self.writer.op(Opcode::SetItem)?;
        self.leave();
        Ok(())
    }

    /// Bytes below protocol 3: what Python writes, a call of `_codecs.encode`, or of `bytes`.
    fn encoded_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            self.writer.global("__builtin__", "bytes")?;
            self.writer.empty_tuple()?;
            return Ok(self.writer.op(Opcode::Reduce)?);
        }
        match self.encode {
            Some(index) => self.writer.get(index)?,
            None => {
                self.writer.global("_codecs", "encode")?;
                self.encode = Some(self.writer.memoize()?);
            }
        }
        if self.writer.tuple_needs_mark(2) {
            self.writer.op(Opcode::Mark)?;
        }
        let text: String = bytes.iter().copied().map(char::from).collect();
        self.writer.str(text.as_str().into())?;
        self.name("latin1")?;
        self.writer.end_tuple(2)?;
        Ok(self.writer.op(Opcode::Reduce)?)
    }

    #[inline(always)]
    fn int(&mut self, value: i64) -> Result<()> {
        self.writer.boundary()?;
        Ok(self.writer.int(value)?)
    }

    fn big_int(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.boundary()?;
        Ok(self.writer.big_int(bytes)?)
    }
}

/// A list or dict under construction: items in batches of 1000, as Python writes them.
#[derive(Debug)]
pub struct Batched<'s, W> {
    serializer: &'s mut Serializer<W>,
    one: Opcode,
    many: Opcode,
    /// Each item stands alone: at protocol 0, and where there is only one.
    single: bool,
    /// Items (or pairs) since the batch began.
    batch: usize,
    /// Items so far.
    index: usize,
    /// The dict is a variant's.
    variant: bool,
}

impl<'s, W: io::Write> Batched<'s, W> {
    fn new(
        serializer: &'s mut Serializer<W>,
        len: Option<usize>,
        one: Opcode,
        many: Opcode,
    ) -> Self {
        let single = serializer.writer.protocol() == 0 || len == Some(1);
        Self { serializer, one, many, single, batch: 0, index: 0, variant: false }
    }

    #[inline(always)]
    fn before(&mut self) -> Result<()> {
        if self.batch == 0 && !self.single {
            return self.begin_batch();
        }
        Ok(())
    }

    #[inline(never)]
    fn begin_batch(&mut self) -> Result<()> {
        Ok(self.serializer.writer.op(Opcode::Mark)?)
    }

    #[inline(always)]
    fn after(&mut self) -> Result<()> {
        self.index += 1;
        self.batch += 1;
        if self.single || self.batch == BATCH_SIZE {
            return self.end_batch();
        }
        Ok(())
    }

    #[inline(never)]
    fn end_batch(&mut self) -> Result<()> {
        self.batch = 0;
        Ok(self.serializer.writer.op(if self.single { self.one } else { self.many })?)
    }

    fn finish(mut self) -> Result<()> {
        if self.batch > 0 {
            self.end_batch()?;
        }
        self.serializer.leave();
        if self.variant {
            self.serializer.end_variant()?;
        }
        Ok(())
    }

    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        self.before()?;
        self.serializer.name(key)?;
        match value.serialize(&mut *self.serializer) {
            Ok(()) => self.after(),
            Err(error) => Err(error.in_key(key)),
        }
    }
}

/// A tuple under construction.
#[derive(Debug)]
pub struct Tuple<'s, W> {
    serializer: &'s mut Serializer<W>,
    len: usize,
    given: usize,
    variant: Option<&'static str>,
}

impl<W: io::Write> Tuple<'_, W> {
    #[inline]
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let index = self.given;
        self.given += 1;
        value.serialize(&mut *self.serializer).map_err(|error| error.in_item(index))
    }

    fn finish(self) -> Result<()> {
        let (len, given) = (self.len, self.given);
        if len != given {
            let text = format!("a tuple of {len} items was given {given}");
            return Err(SerdeError::custom(text));
        }
        match len {
            0 => self.serializer.writer.empty_tuple()?,
            _ => self.serializer.writer.end_tuple(len)?,
        }
        self.serializer.leave();
        match self.variant {
            Some(_) => self.serializer.end_variant(),
            None => Ok(()),
        }
    }
}

macro_rules! ints {
    ($($method:ident $int:ty,)*) => {$(
        #[inline]
        fn $method(self, value: $int) -> Result<()> {
            self.int(value.into())
        }
    )*};
}

impl<'s, W: io::Write> ser::Serializer for &'s mut Serializer<W> {
    type Ok = ();
    type Error = SerdeError;
    type SerializeSeq = Batched<'s, W>;
    type SerializeTuple = Tuple<'s, W>;
    type SerializeTupleStruct = Tuple<'s, W>;
    type SerializeTupleVariant = Tuple<'s, W>;
    type SerializeMap = Batched<'s, W>;
    type SerializeStruct = Batched<'s, W>;
    type SerializeStructVariant = Batched<'s, W>;

    ints! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32,
    }

    fn serialize_u64(self, value: u64) -> Result<()> {
        match i64::try_from(value) {
            Ok(value) => self.int(value),
            Err(_) => self.serialize_u128(value.into()),
        }
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        self.big_int(&value.to_le_bytes())
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        // One more byte, for the sign.
        let mut bytes = [0; 17];
        for (to, from) in bytes.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
        self.big_int(&bytes)
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<()> {
        self.writer.boundary()?;
        Ok(self.writer.bool(value)?)
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.serialize_f64(value.into())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<()> {
        self.writer.boundary()?;
        Ok(self.writer.float(value)?)
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<()> {
        self.writer.boundary()?;
        Ok(self.writer.str(value.into())?)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        self.writer.boundary()?;
        if self.writer.protocol() < 3 {
            return self.encoded_bytes(value);
        }
        Ok(self.writer.bytes(value)?)
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<()> {
        self.writer.boundary()?;
        Ok(self.writer.none()?)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<()> {
        self.name(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        self.start_variant(variant)?;
        value.serialize(&mut *self).map_err(|error| error.in_key(variant))?;
        self.end_variant()
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Batched<'s, W>> {
        self.list(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Tuple<'s, W>> {
        self.tuple(len)
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Tuple<'s, W>> {
        self.tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Tuple<'s, W>> {
        self.start_variant(variant)?;
        Ok(Tuple { variant: Some(variant), ..self.tuple(len)? })
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Batched<'s, W>> {
        self.dict(len)
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Batched<'s, W>> {
        self.dict(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Batched<'s, W>> {
        self.start_variant(variant)?;
        Ok(Batched { variant: true, ..self.dict(Some(len))? })
    }
}

impl<W: io::Write> ser::SerializeSeq for Batched<'_, W> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.before()?;
        match value.serialize(&mut *self.serializer) {
            Ok(()) => self.after(),
            Err(error) => Err(error.in_item(self.index)),
        }
    }

    fn end(self) -> Result<()> {
        self.finish()
    }
}

impl<W: io::Write> ser::SerializeMap for Batched<'_, W> {
    type Ok = ();
    type Error = SerdeError;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.before()?;
        key.serialize(&mut *self.serializer)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut *self.serializer)?;
        self.after()
    }

    fn end(self) -> Result<()> {
        self.finish()
    }
}

impl<W: io::Write> ser::SerializeStruct for Batched<'_, W> {
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

    fn end(self) -> Result<()> {
        self.finish()
    }
}

impl<W: io::Write> ser::SerializeStructVariant for Batched<'_, W> {
    type Ok = ();
    type Error = SerdeError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<()> {
        self.field(key, value)
    }

    fn end(self) -> Result<()> {
        self.finish()
    }
}

macro_rules! tuples {
    ($($trait:ident $method:ident,)*) => {$(
        impl<W: io::Write> ser::$trait for Tuple<'_, W> {
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
