//! From Rust types to pickles, by serde: straight to opcodes, at any protocol.
//!
//! [`to_vec`], [`to_vec_at`] and [`to_writer`] for most uses; [`Options`] to set protocol and
//! caps. Stock `pickle.loads` reads what they write, and needs no class of ours for it.
//!
//! | serde | Python |
//! |---|---|
//! | unit, a unit struct, `None` | None |
//! | bool, integers up to `i128` and `u128`, floats | bool, int, float |
//! | a char, a str | str |
//! | bytes (`serde_bytes`) | bytes, at every protocol |
//! | a sequence | list |
//! | a tuple, a tuple struct | tuple |
//! | a map, a struct | dict; a struct's keys in the order of its fields |
//! | a newtype struct | what it holds |
//! | an enum | `"Variant"`, or `{"Variant": what it holds}` |
//!
//! The names of fields and variants are written once and then referred to, as Python does with
//! its attribute names. A map's keys must be what Python can hash; that is the caller's part.

mod compound;
mod names;
mod serializer;

use std::io;

use picklet_codec::sink::InMemory;
use serde::Serialize;

use crate::serde_error::SerdeError;
use serializer::Serializer;

/// The protocol that is written by default: Python's own from 3.8 to 3.13.
pub const DEFAULT_PROTOCOL: u8 = 4;

/// What to write, and how deep.
///
/// ```
/// let options = picklet::ser::Options { protocol: 2, ..Default::default() };
/// assert_eq!(options.to_vec(&(1, 2.5))?, b"\x80\x02K\x01G@\x04\0\0\0\0\0\0\x86.");
/// # Ok::<(), picklet::SerdeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// 0 to 5: [`DEFAULT_PROTOCOL`].
    pub protocol: u8,
    /// Levels of nesting: [`DEFAULT_MAX_DEPTH`](crate::de::DEFAULT_MAX_DEPTH), so that what is
    /// written can be read.
    pub max_depth: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { protocol: DEFAULT_PROTOCOL, max_depth: crate::de::DEFAULT_MAX_DEPTH }
    }
}

impl Options {
    /// As [`to_vec`], with these options.
    ///
    /// # Errors
    /// As [`to_vec_at`].
    pub fn to_vec<T: Serialize + ?Sized>(&self, value: &T) -> Result<Vec<u8>, SerdeError> {
        let mut serializer = Serializer::new(InMemory, self.protocol, self.max_depth)?;
        value.serialize(&mut serializer)?;
        serializer.finish()
    }

    /// As [`to_writer`], with these options.
    ///
    /// # Errors
    /// As [`to_vec_at`], and failures to write.
    pub fn to_writer<T: Serialize + ?Sized>(
        &self,
        mut writer: impl io::Write,
        value: &T,
    ) -> Result<(), SerdeError> {
        let mut serializer = Serializer::new(&mut writer, self.protocol, self.max_depth)?;
        value.serialize(&mut serializer)?;
        serializer.finish().map(drop)
    }
}

/// The pickle of `value`, at protocol 4.
///
/// # Errors
/// What `value` itself reports, and nesting deeper than
/// [`de::DEFAULT_MAX_DEPTH`](crate::de::DEFAULT_MAX_DEPTH).
///
/// ```
/// #[derive(serde::Serialize)]
/// struct User<'a> { name: &'a str, age: u8 }
///
/// let pickle = picklet::to_vec(&User { name: "John", age: 30 })?;
/// assert_eq!(picklet::Value::from_slice(&pickle)?.to_string(), "{'name': 'John', 'age': 30}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, SerdeError> {
    Options::default().to_vec(value)
}

/// The pickle of `value` at `protocol`, 0 to 5.
///
/// # Errors
/// As [`to_vec`]; a protocol above 5, and an int of more than 4300 digits or text of more than
/// 4 GiB where the protocol cannot write it.
pub fn to_vec_at<T: Serialize + ?Sized>(value: &T, protocol: u8) -> Result<Vec<u8>, SerdeError> {
    Options { protocol, ..Options::default() }.to_vec(value)
}

/// Writes the pickle of `value` to `writer`, at protocol 4, in blocks of 64 KiB.
///
/// # Errors
/// As [`to_vec`], and failures to write.
pub fn to_writer<T: Serialize + ?Sized>(
    writer: impl io::Write,
    value: &T,
) -> Result<(), SerdeError> {
    Options::default().to_writer(writer, value)
}
