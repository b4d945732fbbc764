//! serde's questions answered from the tape.

use std::cell::Cell;

use num_bigint::BigInt;
use picklet_codec::pyrepr;
use serde::de::value::SeqDeserializer;
use serde::de::{
    self, DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use crate::serde_error::{SerdeError, SerdeErrorKind};

use super::Options;
use super::object::{Hint, Shape, no_form};
use super::tape::{SLOT_COST, Slot, Slots, Tag, Tape};

type Result<T> = std::result::Result<T, SerdeError>;

/// Strings up to this many bytes cost no more of the expansion budget than the slot that names
/// them: most are dict keys, which records share, and which are not copied.
const FREE_STRING: usize = 64;

/// One delivery of a tape.
pub(super) struct Walk<'t, 'de> {
    tape: &'t Tape<'de>,
    /// Bytes that may still be delivered.
    budget: Cell<u64>,
    options: &'t Options,
}

impl<'t, 'de> Walk<'t, 'de> {
    pub(super) fn new(tape: &'t Tape<'de>, options: &'t Options) -> Self {
        let budget = Cell::new(tape.weight().saturating_add(options.max_expansion));
        Self { tape, budget, options }
    }

    pub(super) fn root(&self) -> Deserializer<'_, 'de> {
        Deserializer { walk: self, slot: self.tape.root, depth: self.options.max_depth }
    }

    #[inline]
    fn charge(&self, cost: u64) -> Result<()> {
        match self.budget.get().checked_sub(cost) {
            Some(left) => {
                self.budget.set(left);
                Ok(())
            }
            None => {
                let cap = self.options.max_expansion;
                Err(SerdeError::new(SerdeErrorKind::Expansion { cap }))
            }
        }
    }

    #[inline]
    fn charge_string(&self, length: usize) -> Result<()> {
        if length <= FREE_STRING { Ok(()) } else { self.charge(length as u64) }
    }

    #[inline]
    fn charge_items(&self, items: u32) -> Result<()> {
        self.charge((u64::from(items) + 1) * SLOT_COST)
    }
}

/// One object of a pickle, to be made a type.
#[derive(Clone, Copy)]
pub struct Deserializer<'w, 'de> {
    walk: &'w Walk<'w, 'de>,
    slot: Slot,
    /// Levels that may still be entered.
    depth: u32,
}

impl std::fmt::Debug for Deserializer<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deserializer").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl<'w, 'de> Deserializer<'w, 'de> {
    fn tape(self) -> &'w Tape<'de> {
        self.walk.tape
    }

    #[inline]
    fn at(self, slot: Slot) -> Self {
        Self { slot, ..self }
    }

    /// The result, with this object's place in its error.
    #[inline]
    fn placed<T>(self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.place(error)),
        }
    }

    #[cold]
    fn place(self, error: SerdeError) -> SerdeError {
        error.or_at(self.slot.offset(), self.tape().opcode(self.slot))
    }

    /// One level further in.
    #[inline]
    fn deeper(mut self) -> Result<Self> {
        match self.depth.checked_sub(1) {
            Some(depth) => {
                self.depth = depth;
                Ok(self)
            }
            None => Err(self.too_deep()),
        }
    }

    #[cold]
    fn too_deep(self) -> SerdeError {
        let kind = if super::object::is_in_cycle(self.tape(), self.slot) {
            SerdeErrorKind::Cycle
        } else {
            SerdeErrorKind::Depth { cap: self.walk.options.max_depth }
        };
        SerdeError::new(kind)
    }

    /// Whatever it is, in the form that `hint` asks for where there is a choice.
    fn visit<V: Visitor<'de>>(self, visitor: V, hint: Hint) -> Result<V::Value> {
        let tape = self.tape();
        let slot = self.slot;
        match slot.tag() {
            Tag::None | Tag::Absent => visitor.visit_unit(),
            Tag::Bool => visitor.visit_bool(slot.payload != 0),
            Tag::Int => visitor.visit_i64(slot.payload.cast_signed()),
            Tag::BigInt => visit_big_int(tape.borrowed(slot), visitor),
            Tag::OwnedBigInt => visit_big_int(tape.owned(slot), visitor),
            Tag::Float => visitor.visit_f64(f64::from_bits(slot.payload)),
            Tag::Str | Tag::OwnedStr => self.visit_str(visitor),
            Tag::Bytes | Tag::ByteArray if hint == Hint::Seq => {
                let bytes = tape.borrowed(slot);
                self.walk.charge(bytes.len() as u64)?;
                visit_byte_seq(bytes, visitor)
            }
            Tag::Bytes | Tag::ByteArray => self.visit_bytes(visitor),
            Tag::Py2Str => match std::str::from_utf8(tape.borrowed(slot)) {
                Ok(_) => self.visit_str(visitor),
                Err(_) => self.visit_bytes(visitor),
            },
            Tag::OwnedPy2Str => match std::str::from_utf8(tape.owned(slot)) {
                Ok(_) => self.visit_str(visitor),
                Err(_) => self.visit_bytes(visitor),
            },
            Tag::Tuple | Tag::FrozenSet | Tag::List | Tag::Set => {
                self.visit_seq(tape.items(slot), visitor)
            }
            Tag::Dict => self.visit_map(tape.items(slot), visitor),
            Tag::Instance => self.visit_instance(visitor, hint),
            Tag::Global | Tag::StackGlobal | Tag::Extension | Tag::PersistentId => {
                Err(no_form(tape, slot))
            }
        }
    }

    fn visit_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let tape = self.tape();
        if matches!(self.slot.tag(), Tag::OwnedStr | Tag::OwnedPy2Str) {
            let bytes = tape.owned(self.slot);
            self.walk.charge_string(bytes.len())?;
            return visitor.visit_str(text_of(bytes)?);
        }
        let bytes = tape.borrowed(self.slot);
        self.walk.charge_string(bytes.len())?;
        visitor.visit_borrowed_str(text_of(bytes)?)
    }

    fn visit_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let tape = self.tape();
        if matches!(self.slot.tag(), Tag::OwnedStr | Tag::OwnedPy2Str) {
            let bytes = tape.owned(self.slot);
            self.walk.charge_string(bytes.len())?;
            return visitor.visit_bytes(bytes);
        }
        let bytes = tape.borrowed(self.slot);
        self.walk.charge_string(bytes.len())?;
        visitor.visit_borrowed_bytes(bytes)
    }

    #[inline]
    fn visit_seq<V: Visitor<'de>>(self, items: Slots<'_, 'de>, visitor: V) -> Result<V::Value> {
        self.walk.charge_items(items.total)?;
        let total = items.total as usize;
        let mut access = Items { inside: self.deeper()?, items, index: 0 };
        let value = visitor.visit_seq(&mut access)?;
        if access.items.next().is_some() {
            let text = format!("{} items", access.index);
            return Err(SerdeError::invalid_length(total, &text.as_str()));
        }
        Ok(value)
    }

    #[inline]
    fn visit_map<V: Visitor<'de>>(self, items: Slots<'_, 'de>, visitor: V) -> Result<V::Value> {
        self.walk.charge_items(items.total)?;
        let total = items.total as usize / 2;
        let mut access = Pairs { inside: self.deeper()?, items, key: Slot::ABSENT, value: None };
        let value = visitor.visit_map(&mut access)?;
        if access.items.next().is_some() {
            return Err(SerdeError::invalid_length(total, &"fewer pairs"));
        }
        Ok(value)
    }

    fn visit_instance<V: Visitor<'de>>(self, visitor: V, hint: Hint) -> Result<V::Value> {
        self.walk.charge(SLOT_COST)?;
        let tape = self.tape();
        match Shape::of(tape, self.slot, hint)? {
            Shape::Map(items) => self.visit_map(items, visitor),
            Shape::GatheredMap(slots) => self.visit_map(Slots::from_slice(tape, &slots), visitor),
            Shape::Seq(items) => self.visit_seq(items, visitor),
            Shape::GatheredSeq(slots) => self.visit_seq(Slots::from_slice(tape, &slots), visitor),
            Shape::Bytes(bytes) => {
                self.walk.charge(bytes.len() as u64)?;
                match hint {
                    Hint::Seq => visit_byte_seq(&bytes, visitor),
                    _ => visitor.visit_bytes(&bytes),
                }
            }
            Shape::Same(slot) => {
                let same = self.deeper()?.at(slot);
                same.placed(same.visit(visitor, hint))
            }
        }
    }

    /// What serde calls it in its messages.
    fn unexpected(self) -> Unexpected<'w> {
        let tape = self.tape();
        let slot = self.slot;
        match slot.tag() {
            Tag::None | Tag::Absent => Unexpected::Unit,
            Tag::Bool => Unexpected::Bool(slot.payload != 0),
            Tag::Int => Unexpected::Signed(slot.payload.cast_signed()),
            Tag::BigInt | Tag::OwnedBigInt => Unexpected::Other("a large int"),
            Tag::Float => Unexpected::Float(f64::from_bits(slot.payload)),
            Tag::Str | Tag::OwnedStr => match tape.text(slot).map(std::str::from_utf8) {
                Some(Ok(text)) => Unexpected::Str(text),
                _ => Unexpected::Other("a str"),
            },
            Tag::Bytes | Tag::ByteArray | Tag::Py2Str | Tag::OwnedPy2Str => {
                Unexpected::Other("bytes")
            }
            Tag::Tuple | Tag::FrozenSet | Tag::List | Tag::Set => Unexpected::Seq,
            Tag::Dict => Unexpected::Map,
            _ => Unexpected::Other("an instance"),
        }
    }

    /// Adds the step that this key is to an error's path.
    #[cold]
    fn step(self, error: SerdeError) -> SerdeError {
        let tape = self.tape();
        let slot = self.slot;
        let bytes = match slot.tag() {
            Tag::Str => tape.borrowed(slot),
            Tag::OwnedStr => tape.owned(slot),
            Tag::Py2Str => tape.borrowed(slot),
            Tag::OwnedPy2Str => tape.owned(slot),
            Tag::Int => return error.in_other_key(slot.payload.cast_signed().to_string()),
            Tag::Bool if slot.payload != 0 => return error.in_other_key("True".to_owned()),
            Tag::Bool => return error.in_other_key("False".to_owned()),
            Tag::None => return error.in_other_key("None".to_owned()),
            Tag::Float => {
                let text = picklet_codec::text::float_repr(f64::from_bits(slot.payload));
                return error.in_other_key(text);
            }
            Tag::Bytes => {
                let mut text = String::new();
                pyrepr::push_bytes(&mut text, short(tape.borrowed(slot)));
                return error.in_other_key(text);
            }
            _ => return error.in_other_key("…".to_owned()),
        };
        error.in_key(&String::from_utf8_lossy(short(bytes)))
    }
}

/// As much of a key as an error's path shows.
fn short(bytes: &[u8]) -> &[u8] {
    bytes.get(..80).unwrap_or(bytes)
}

#[inline]
fn text_of(bytes: &[u8]) -> Result<&str> {
    // The reader let through UTF-8 and surrogates only.
    std::str::from_utf8(bytes).map_err(|_| SerdeError::new(SerdeErrorKind::Surrogate))
}

fn visit_byte_seq<'de, V: Visitor<'de>>(bytes: &[u8], visitor: V) -> Result<V::Value> {
    let mut items = SeqDeserializer::<_, SerdeError>::new(bytes.iter().copied());
    let value = visitor.visit_seq(&mut items)?;
    items.end()?;
    Ok(value)
}

/// An int outside `i64`, as the narrowest that holds it.
fn visit_big_int<'de, V: Visitor<'de>>(bytes: &[u8], visitor: V) -> Result<V::Value> {
    let bytes = picklet_codec::text::trim_le_bytes(bytes);
    if bytes.len() > 17 {
        return Err(SerdeError::new(SerdeErrorKind::IntTooLarge));
    }
    let value = BigInt::from_signed_bytes_le(bytes);
    if let Ok(value) = u64::try_from(&value) {
        return visitor.visit_u64(value);
    }
    if let Ok(value) = i128::try_from(&value) {
        return visitor.visit_i128(value);
    }
    match u128::try_from(&value) {
        Ok(value) => visitor.visit_u128(value),
        Err(_) => Err(SerdeError::new(SerdeErrorKind::IntTooLarge)),
    }
}

macro_rules! forward {
    ($hint:ident: $($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.placed(self.visit(visitor, Hint::$hint))
        }
    )*};
}

macro_rules! ints {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let result = match self.slot.tag() {
                Tag::Int => visitor.visit_i64(self.slot.payload.cast_signed()),
                _ => self.visit(visitor, Hint::Scalar),
            };
            self.placed(result)
        }
    )*};
}

macro_rules! texts {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let result = match self.slot.tag() {
                Tag::Str => self.visit_str(visitor),
                _ => self.visit(visitor, Hint::Scalar),
            };
            self.placed(result)
        }
    )*};
}

macro_rules! byte_strings {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            let result = match self.slot.tag() {
                Tag::Str | Tag::OwnedStr | Tag::Py2Str | Tag::OwnedPy2Str => {
                    self.visit_bytes(visitor)
                }
                _ => self.visit(visitor, Hint::Scalar),
            };
            self.placed(result)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Deserializer<'_, 'de> {
    type Error = SerdeError;

    forward!(Any: deserialize_any);
    forward!(Scalar: deserialize_bool deserialize_unit);
    ints!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128);
    ints!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    texts!(deserialize_char deserialize_str deserialize_string deserialize_identifier);
    byte_strings!(deserialize_bytes deserialize_byte_buf);
    forward!(Seq: deserialize_seq);

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let result = match self.slot.tag() {
            Tag::Float => visitor.visit_f64(f64::from_bits(self.slot.payload)),
            _ => self.visit(visitor, Hint::Scalar),
        };
        self.placed(result)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.slot.tag() {
            Tag::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    /// A level, so that a type which holds only itself ends too.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        let inside = self.placed(self.deeper())?;
        self.placed(visitor.visit_newtype_struct(inside))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let result = match self.slot.tag() {
            Tag::Dict => self.visit_map(self.tape().items(self.slot), visitor),
            _ => self.visit(visitor, Hint::Map),
        };
        self.placed(result)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let result = match self.slot.tag() {
            Tag::Str | Tag::OwnedStr | Tag::Py2Str | Tag::OwnedPy2Str => {
                visitor.visit_enum(Variant { name: self, value: None })
            }
            Tag::Dict => {
                let mut items = self.tape().items(self.slot);
                match (items.next(), items.next(), items.next()) {
                    (Some(key), Some(value), None) => self.deeper().and_then(|inside| {
                        let value = Some(inside.at(value));
                        visitor.visit_enum(Variant { name: inside.at(key), value })
                    }),
                    _ => Err(SerdeError::invalid_value(
                        Unexpected::Map,
                        &"a dict with one key, the variant's name",
                    )),
                }
            }
            Tag::Instance | Tag::Global | Tag::StackGlobal | Tag::Extension | Tag::PersistentId => {
                Err(no_form(self.tape(), self.slot))
            }
            _ => {
                let expected = format!("a str or a dict with one key for the enum {name}");
                Err(SerdeError::invalid_type(self.unexpected(), &expected.as_str()))
            }
        };
        self.placed(result)
    }

    /// Nothing below is looked at, whatever it is.
    #[inline]
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }
}

impl<'de> IntoDeserializer<'de, SerdeError> for Deserializer<'_, 'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

struct Items<'w, 's, 'de> {
    inside: Deserializer<'w, 'de>,
    items: Slots<'s, 'de>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, '_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(slot) = self.items.next() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        match seed.deserialize(self.inside.at(slot)) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(error.in_item(index)),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.total as usize - self.index)
    }
}

struct Pairs<'w, 's, 'de> {
    inside: Deserializer<'w, 'de>,
    items: Slots<'s, 'de>,
    /// The key that was given last, and the value that belongs to it.
    key: Slot,
    value: Option<Slot>,
}

impl<'de> MapAccess<'de> for Pairs<'_, '_, 'de> {
    type Error = SerdeError;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some(key) = self.items.next() else {
            return Ok(None);
        };
        self.key = key;
        self.value = self.items.next();
        let key = self.inside.at(key);
        match seed.deserialize(key) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(key.place(key.step(error))),
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let Some(value) = self.value.take() else {
            return Err(SerdeError::custom("a value was asked for before its key"));
        };
        match seed.deserialize(self.inside.at(value)) {
            Ok(value) => Ok(value),
            Err(error) => Err(self.inside.at(self.key).step(error)),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        self.items.size_hint().1.map(|items| items / 2)
    }
}

/// An enum's variant: its name, and what it holds.
struct Variant<'w, 'de> {
    name: Deserializer<'w, 'de>,
    value: Option<Deserializer<'w, 'de>>,
}

impl<'w, 'de> EnumAccess<'de> for Variant<'w, 'de> {
    type Error = SerdeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let name = self.name;
        Ok((name.placed(seed.deserialize(name))?, self))
    }
}

impl<'w, 'de> Variant<'w, 'de> {
    /// The value, for a variant that has one.
    fn value(&self, expected: &'static str) -> Result<Deserializer<'w, 'de>> {
        self.value.ok_or_else(|| {
            self.name.place(SerdeError::invalid_type(Unexpected::UnitVariant, &expected))
        })
    }

    fn inside<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| self.name.step(error))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = SerdeError;

    fn unit_variant(self) -> Result<()> {
        match self.value {
            Some(value) => self.inside(de::Deserialize::deserialize(value)),
            None => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        let value = self.value("a newtype variant")?;
        self.inside(seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value> {
        let value = self.value("a tuple variant")?;
        self.inside(de::Deserializer::deserialize_tuple(value, len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let value = self.value("a struct variant")?;
        self.inside(de::Deserializer::deserialize_struct(value, "", fields, visitor))
    }
}
