//! The target `serde`: pickles into types and back.

use std::collections::BTreeMap;
use std::fmt;

use picklet::SerdeError;
use picklet::de::Options;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeTuple, Serializer};

/// Whatever serde can be given. What it does not tell apart (a list from a tuple) is one.
#[derive(Clone, Debug)]
enum Any {
    Unit,
    Bool(bool),
    Int(i128),
    Large(u128),
    Float(f64),
    Str(String),
    Bytes(Vec<u8>),
    Seq(Vec<Any>),
    Map(Vec<(Any, Any)>),
}

/// A NaN equals itself here.
impl PartialEq for Any {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Any::Unit, Any::Unit) => true,
            (Any::Bool(one), Any::Bool(other)) => one == other,
            (Any::Int(one), Any::Int(other)) => one == other,
            (Any::Large(one), Any::Large(other)) => one == other,
            (Any::Float(one), Any::Float(other)) => {
                one.to_bits() == other.to_bits() || one.is_nan() && other.is_nan()
            }
            (Any::Str(one), Any::Str(other)) => one == other,
            (Any::Bytes(one), Any::Bytes(other)) => one == other,
            (Any::Seq(one), Any::Seq(other)) => one == other,
            (Any::Map(one), Any::Map(other)) => one == other,
            _ => false,
        }
    }
}

impl Any {
    /// Whether a dict has a key that was an object, or held one, and is written as a dict, which has no
    /// hash.
    fn has_map_for_key(&self) -> bool {
        match self {
            Any::Seq(items) => items.iter().any(Any::has_map_for_key),
            Any::Map(pairs) => {
                pairs.iter().any(|(key, value)| key.has_map() || value.has_map_for_key())
            }
            _ => false,
        }
    }

    fn has_map(&self) -> bool {
        match self {
            Any::Map(_) => true,
            Any::Seq(items) => items.iter().any(Any::has_map),
            _ => false,
        }
    }
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Any::Unit => serializer.serialize_unit(),
            Any::Bool(value) => serializer.serialize_bool(*value),
            Any::Int(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_i128(*value),
            },
            Any::Large(value) => serializer.serialize_u128(*value),
            Any::Float(value) => serializer.serialize_f64(*value),
            Any::Str(text) => serializer.serialize_str(text),
            Any::Bytes(bytes) => serializer.serialize_bytes(bytes),
            // A tuple may be a key, a list may not.
            Any::Seq(items) => {
                let mut tuple = serializer.serialize_tuple(items.len())?;
                items.iter().try_for_each(|item| tuple.serialize_element(item))?;
                tuple.end()
            }
            Any::Map(pairs) => {
                // Sometimes the number of pairs is known, sometimes not.
                let length = (pairs.len() % 2 == 0).then_some(pairs.len());
                let mut map = serializer.serialize_map(length)?;
                pairs.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Any;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_unit<E>(self) -> Result<Any, E> {
        Ok(Any::Unit)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Any, E> {
        Ok(Any::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Any, E> {
        Ok(Any::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Any, E> {
        Ok(Any::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Any, E> {
        Ok(Any::Int(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Any, E> {
        Ok(Any::Large(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Any, E> {
        Ok(Any::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Any, E> {
        Ok(Any::Str(text.to_owned()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Any, E> {
        Ok(Any::Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Any, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Any::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Any, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(Any::Map(pairs))
    }
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Shape {
    Dot,
    Circle(i32),
    Line(i8, u64),
    Box { width: u16, name: String },
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
enum Loose {
    Number(i64),
    Text(String),
    Many(Vec<Loose>),
    Table(BTreeMap<String, Loose>),
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    One { id: u8 },
    Two { id: Option<i128> },
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Row<'a> {
    #[serde(borrow, default)]
    name: Option<&'a str>,
    #[serde(default)]
    id: Option<u8>,
    #[serde(default)]
    shape: Option<Shape>,
    #[serde(default)]
    rest: Vec<Loose>,
}

/// Small sharing is delivered as trees, large sharing is refused early.
fn options() -> Options {
    Options { max_expansion: 1 << 16, ..Options::default() }
}

/// Makes a `T` of `data`; what comes out at any protocol must give the same `T`, from a writer as
/// from a vector. An error must have a text, and a place within `data`.
fn typed<T>(data: &[u8])
where
    T: Serialize + for<'de> Deserialize<'de> + PartialEq + fmt::Debug,
{
    match options().from_slice::<T>(data) {
        Ok(value) => {
            for protocol in 0..=5 {
                let pickle = written(&value, protocol);
                let again = options().from_slice::<T>(&pickle);
                let again = again.unwrap_or_else(|error| panic!("{error}: {pickle:?}"));
                assert_eq!(value, again);
            }
        }
        Err(error) => check(&error, data),
    }
}

fn check(error: &SerdeError, data: &[u8]) {
    assert!(!error.to_string().is_empty());
    assert!(error.offset().is_none_or(|offset| offset <= data.len() as u64), "{error}");
}

fn written<T: Serialize>(value: &T, protocol: u8) -> Vec<u8> {
    let pickle = picklet::to_vec_at(value, protocol).expect("what was read can be written");
    let mut streamed = Vec::new();
    let options = picklet::ser::Options { protocol, ..Default::default() };
    options.to_writer(&mut streamed, value).expect("a vector takes everything");
    assert_eq!(pickle, streamed);
    pickle
}

/// Deserialises `data` into types of every shape, and serialises what came out.
pub fn serde(data: &[u8]) {
    match options().from_slice::<Any>(data) {
        Ok(value) => {
            for protocol in 0..=5 {
                let pickle = written(&value, protocol);
                match options().from_slice::<Any>(&pickle) {
                    Ok(again) => assert_eq!(value, again, "{protocol}"),
                    Err(error) => assert!(value.has_map_for_key(), "{error}: {value:?}"),
                }
                assert!(value.has_map_for_key() || picklet::Value::from_slice(&pickle).is_ok());
            }
        }
        Err(error) => check(&error, data),
    }
    match options().from_slice::<Row<'_>>(data) {
        Ok(row) => {
            let pickle = written(&row, 4);
            assert_eq!(row, options().from_slice(&pickle).expect("it was written so"));
        }
        Err(error) => check(&error, data),
    }
    typed::<Vec<Shape>>(data);
    typed::<Loose>(data);
    typed::<Tagged>(data);
    typed::<(i8, String, Option<char>)>(data);
    typed::<BTreeMap<i32, Vec<bool>>>(data);
    if let Err(error) = options().from_slice::<de::IgnoredAny>(data) {
        check(&error, data);
    }
}
