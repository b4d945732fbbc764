//! serde's calls turned into opcodes.

use std::io;

use picklet_codec::emit::{Emitter, Header};
use picklet_codec::sink::Sink;
use picklet_codec::writer::{FRAME_SIZE_MIN, FRAME_SIZE_TARGET};
use picklet_codec::{ErrorKind, Opcode};
use serde::ser::{self, Serialize};

use super::compound::{Batched, Fields, Tuple};
use super::names::{Names, Place};
use crate::serde_error::{SerdeError, SerdeErrorKind};

pub(super) type Result<T> = std::result::Result<T, SerdeError>;

/// FRAME and its eight bytes of length.
const FRAME_HEADER_SIZE: usize = 9;

/// No frame is open.
const NO_FRAME: usize = usize::MAX;

/// Writes what it is given to the end of a buffer, in frames from protocol 4 on.
///
/// A value costs no more than its opcode. Frames are looked at where a batch, a container or a
/// long string ends, and not before each object as C does: so a frame holds about 64 KiB, and at
/// most a batch of short strings more. Nothing is memoised but the names of fields and variants:
/// what serde sees is a tree.
pub(super) struct Serializer<S> {
    pub(super) emit: Emitter,
    sink: S,
    /// Where in the buffer the open frame's header stands, or [`NO_FRAME`].
    frame: usize,
    names: Names,
    memo_len: u64,
    /// The memo index of `_codecs.encode`, which makes bytes below protocol 3.
    encode: Option<u64>,
    max_depth: u32,
    /// Levels that may still be entered.
    depth: u32,
}

impl<S: Sink> Serializer<S> {
    /// A serializer of one pickle, at `protocol` and up to `max_depth` levels deep. Inlined, as a
    /// small pickle is written faster than a serializer is moved.
    #[inline(always)]
    pub(super) fn new(sink: S, protocol: u8, max_depth: u32) -> Result<Self> {
        let mut emit = Emitter::new(protocol)?;
        if protocol >= 2 {
            emit.buffer.extend_from_slice(&[Opcode::Proto.byte(), protocol]);
        }
        let mut serializer = Self {
            emit,
            sink,
            frame: NO_FRAME,
            names: Names::default(),
            memo_len: 0,
            encode: None,
            max_depth,
            depth: max_depth,
        };
        serializer.open_frame();
        Ok(serializer)
    }

    /// Ends the pickle, and gives what the sink has not taken.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>> {
        self.emit.buffer.push(Opcode::Stop.byte());
        self.close_frame();
        self.flush()?;
        Ok(std::mem::take(&mut self.emit.buffer))
    }

    fn open_frame(&mut self) {
        if self.emit.protocol() >= 4 {
            self.frame = self.emit.buffer.len();
            self.emit.buffer.extend_from_slice(&[0; FRAME_HEADER_SIZE]);
        }
    }

    /// Closes the open frame; a tiny one loses its header, as in C.
    fn close_frame(&mut self) {
        let start = std::mem::replace(&mut self.frame, NO_FRAME);
        let body = start.saturating_add(FRAME_HEADER_SIZE);
        let buffer = &mut self.emit.buffer;
        let Some(length) = buffer.len().checked_sub(body) else { return };
        if length < FRAME_SIZE_MIN {
            buffer.drain(start..body);
            return;
        }
        if let Some((opcode, size)) = buffer.get_mut(start..body).and_then(<[u8]>::split_first_mut)
        {
            *opcode = Opcode::Frame.byte();
            size.copy_from_slice(&(length as u64).to_le_bytes());
        }
    }

    fn flush(&mut self) -> Result<()> {
        if S::TAKES {
            self.sink.take(&self.emit.buffer).map_err(io_error)?;
            self.emit.buffer.clear();
        }
        Ok(())
    }

    /// Begins another frame where this one is full. To be called between opcodes, once in so
    /// many of them.
    #[inline(always)]
    pub(super) fn cut(&mut self) -> Result<()> {
        let start = if self.frame == NO_FRAME { 0 } else { self.frame };
        if (S::TAKES || self.frame != NO_FRAME)
            && self.emit.buffer.len() - start >= FRAME_SIZE_TARGET + FRAME_HEADER_SIZE
        {
            return self.next_frame();
        }
        Ok(())
    }

    #[cold]
    #[inline(never)]
    fn next_frame(&mut self) -> Result<()> {
        self.close_frame();
        self.flush()?;
        self.open_frame();
        Ok(())
    }

    /// A text or bytes that a frame should not hold: it stands between two of them, and goes to
    /// a sink without a copy.
    #[cold]
    #[inline(never)]
    fn between_frames(&mut self, (header, length): Header, bytes: &[u8]) -> Result<()> {
        self.close_frame();
        self.emit.buffer.extend_from_slice(header.get(..length).unwrap_or_default());
        if S::TAKES {
            self.flush()?;
            self.sink.take(bytes).map_err(io_error)?;
        } else {
            self.emit.buffer.extend_from_slice(bytes);
        }
        self.open_frame();
        Ok(())
    }

    /// The top of the stack to the memo, and its index there.
    fn memoize(&mut self) -> Result<u64> {
        let index = self.memo_len;
        self.emit.memoize(index)?;
        self.memo_len += 1;
        Ok(index)
    }

    /// The name of a field or a variant: written once, then referred to.
    #[inline(always)]
    pub(super) fn name(&mut self, name: &'static str) -> Result<()> {
        let place = (name.as_ptr() as usize, name.len());
        match self.names.expected(place) {
            Some(index) => Ok(self.emit.get(index)?),
            None => self.other_name(name, place),
        }
    }

    #[inline(never)]
    fn other_name(&mut self, name: &'static str, place: Place) -> Result<()> {
        if let Some(index) = self.names.find(place) {
            return Ok(self.emit.get(index)?);
        }
        self.emit.str(name.into())?;
        let index = self.memoize()?;
        self.names.add(place, index);
        Ok(())
    }

    #[inline(always)]
    fn enter(&mut self) -> Result<()> {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                self.depth = depth;
                Ok(())
            }
            None => Err(SerdeError::new(SerdeErrorKind::Depth { cap: self.max_depth })),
        }
    }

    #[inline(always)]
    pub(super) fn leave(&mut self) -> Result<()> {
        self.depth += 1;
        self.cut()
    }

    /// A list, whose items follow.
    #[inline(always)]
    fn list(&mut self, len: Option<usize>) -> Result<Batched<'_, S>> {
        self.enter()?;
        self.emit.empty_list();
        Ok(Batched::new(self, len, Opcode::Append, Opcode::Appends))
    }

    /// A dict, whose pairs follow.
    #[inline(always)]
    fn dict(&mut self, len: Option<usize>) -> Result<Batched<'_, S>> {
        self.enter()?;
        self.emit.empty_dict();
        Ok(Batched::new(self, len, Opcode::SetItem, Opcode::SetItems))
    }

    /// A struct's dict, whose fields follow.
    #[inline(always)]
    fn fields(&mut self, len: usize, variant: bool) -> Result<Fields<'_, S>> {
        self.enter()?;
        self.emit.empty_dict();
        Ok(Fields::new(self, len, variant))
    }

    #[inline(always)]
    fn tuple(&mut self, len: usize) -> Result<Tuple<'_, S>> {
        self.enter()?;
        Ok(Tuple::new(self, len, false))
    }

    /// A dict of the variant's name and what is written next; [`end_variant`](Self::end_variant)
    /// follows it.
    fn start_variant(&mut self, variant: &'static str) -> Result<()> {
        self.enter()?;
        self.emit.empty_dict();
        self.name(variant)
    }

    pub(super) fn end_variant(&mut self) -> Result<()> {
        self.emit.op(Opcode::SetItem)?;
        self.leave()
    }

    /// Bytes below protocol 3: what Python writes, a call of `_codecs.encode`, or of `bytes`.
    fn encoded_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            self.emit.global("__builtin__", "bytes")?;
            self.emit.empty_tuple();
            return Ok(self.emit.op(Opcode::Reduce)?);
        }
        match self.encode {
            Some(index) => self.emit.get(index)?,
            None => {
                self.emit.global("_codecs", "encode")?;
                self.encode = Some(self.memoize()?);
            }
        }
        if self.emit.tuple_needs_mark(2) {
            self.emit.mark();
        }
        let text: String = bytes.iter().copied().map(char::from).collect();
        self.emit.str(text.as_str().into())?;
        self.name("latin1")?;
        self.emit.end_tuple(2);
        self.emit.op(Opcode::Reduce)?;
        self.cut()
    }

    /// A str of more than 255 bytes.
    #[inline(never)]
    fn long_str(&mut self, text: &str) -> Result<()> {
        if text.len() >= FRAME_SIZE_TARGET && self.emit.protocol() > 0 {
            return self.between_frames(self.emit.str_header(text.len())?, text.as_bytes());
        }
        self.emit.str(text.into())?;
        self.cut()
    }

    /// Bytes, more than 255 of them or below protocol 3.
    #[inline(never)]
    fn long_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if self.emit.protocol() < 3 {
            return self.encoded_bytes(bytes);
        }
        if bytes.len() >= FRAME_SIZE_TARGET {
            return self.between_frames(self.emit.bytes_header(bytes.len())?, bytes);
        }
        self.emit.bytes(bytes)?;
        self.cut()
    }
}

fn io_error(error: io::Error) -> SerdeError {
    SerdeError::new(SerdeErrorKind::Pickle(ErrorKind::Io(error)))
}

macro_rules! ints {
    ($($method:ident $int:ty,)*) => {$(
        #[inline]
        fn $method(self, value: $int) -> Result<()> {
            self.emit.int(value.into());
            Ok(())
        }
    )*};
}

impl<'s, S: Sink> ser::Serializer for &'s mut Serializer<S> {
    type Ok = ();
    type Error = SerdeError;
    type SerializeSeq = Batched<'s, S>;
    type SerializeTuple = Tuple<'s, S>;
    type SerializeTupleStruct = Tuple<'s, S>;
    type SerializeTupleVariant = Tuple<'s, S>;
    type SerializeMap = Batched<'s, S>;
    type SerializeStruct = Fields<'s, S>;
    type SerializeStructVariant = Fields<'s, S>;

    ints! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32,
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<()> {
        match i64::try_from(value) {
            Ok(value) => {
                self.emit.int(value);
                Ok(())
            }
            Err(_) => self.serialize_u128(value.into()),
        }
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        Ok(self.emit.big_int(&value.to_le_bytes())?)
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        // One more byte, for the sign.
        let mut bytes = [0; 17];
        for (to, from) in bytes.iter_mut().zip(value.to_le_bytes()) {
            *to = from;
        }
        Ok(self.emit.big_int(&bytes)?)
    }

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<()> {
        self.emit.bool(value);
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, value: f32) -> Result<()> {
        self.serialize_f64(value.into())
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<()> {
        self.emit.float(value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<()> {
        if value.len() > 0xff {
            return self.long_str(value);
        }
        Ok(self.emit.str(value.into())?)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        if value.len() > 0xff || self.emit.protocol() < 3 {
            return self.long_bytes(value);
        }
        Ok(self.emit.bytes(value)?)
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
        self.emit.none();
        Ok(())
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

    #[inline]
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

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Batched<'s, S>> {
        self.list(len)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Tuple<'s, S>> {
        self.tuple(len)
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Tuple<'s, S>> {
        self.tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Tuple<'s, S>> {
        self.start_variant(variant)?;
        self.enter()?;
        Ok(Tuple::new(self, len, true))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Batched<'s, S>> {
        self.dict(len)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Fields<'s, S>> {
        self.fields(len, false)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'s, S>> {
        self.start_variant(variant)?;
        self.fields(len, true)
    }
}
