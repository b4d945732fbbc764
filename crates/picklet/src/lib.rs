//! Python pickles in Rust, without Python and without losing anything.
//!
//! picklet has three interfaces.
//!
//! **serde**: [`from_slice`], [`from_reader`], [`to_vec`], [`to_vec_at`] and [`to_writer`] turn
//! pickles into your types and back, straight from and to opcodes. Strings and bytes can be
//! borrowed, dataclasses and namedtuples become structs, errors tell the path, the opcode and
//! the byte. See [`de`] and [`ser`] for what becomes what.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct User<'a> {
//!     name: &'a str,
//!     age: u8,
//! }
//!
//! // What Python writes for {'name': 'John', 'age': 30}.
//! let pickle = b"\x80\x04\x95\x1b\0\0\0\0\0\0\0}\x94(\x8c\x04name\x94\x8c\x04John\x94\x8c\x03age\x94K\x1eu.";
//! let user: User<'_> = picklet::from_slice(pickle)?;
//! assert_eq!(user, User { name: "John", age: 30 });
//! assert_eq!(picklet::from_slice::<User<'_>>(&picklet::to_vec(&user)?)?, user);
//!
//! let error = picklet::from_slice::<Vec<User<'_>>>(b"](}\x8c\x03ageNse.").unwrap_err();
//! assert_eq!(error.path().as_deref(), Some("$[0].age"));
//! # Ok::<(), picklet::SerdeError>(())
//! ```
//!
//! **[`Value`]**, for pickles whose shape is not known, or of which nothing may be lost:
//! [`Value::from_slice`] reads any pickle, unknown classes, sharing and cycles included, and
//! [`Value::to_vec`] writes it; what CPython's C pickler wrote comes out as the same bytes.
//! [`repr`](mod@repr) and [`json`] print it.
//!
//! ```
//! use picklet::{Kind, Value};
//!
//! let pickle = Value::dict([("name".into(), "John".into()), ("age".into(), 30_i64.into())])?.to_vec()?;
//! let value = Value::from_slice(&pickle)?;
//! assert_eq!(value.get("age").and_then(|age| age.as_i64()), Some(30));
//! assert!(matches!(value.kind(), Kind::Dict(pairs) if pairs.len() == 2));
//! assert_eq!(value.to_string(), "{'name': 'John', 'age': 30}");
//! # Ok::<(), picklet::Error>(())
//! ```
//!
//! **[`segments`]**, for pickles too large to load: split into plain pickles, mapped over in
//! parallel, merged, read item by item.
//!
//! ```
//! use picklet::segments::{Input, Location, SplitOptions, Target, split};
//!
//! let directory = std::env::temp_dir().join(format!("picklet-example-{}", std::process::id()));
//! std::fs::create_dir_all(&directory)?;
//! let file = directory.join("data.pickle");
//! std::fs::write(&file, picklet::to_vec(&(0..1000).collect::<Vec<u32>>())?)?;
//!
//! let options = SplitOptions { target: Target::Items(300), ..SplitOptions::default() };
//! let report = split(&Input::file(&file)?, &Location::local(directory.join("out")), &options)?;
//! assert_eq!(report.segments.len(), 4);
//! let last: Vec<u32> = picklet::from_slice(&report.segments.read(3)?)?;
//! assert_eq!(last.len(), 100);
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Underneath is [`codec`], the format itself: opcodes, reader, writer, machine, disassembler.
//! Nothing here ever imports or calls what a pickle names.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod de;
pub mod explain;
mod graph;
pub mod json;
mod keys;
pub mod map;
pub mod policy;
mod read;
pub mod repr;
#[cfg(feature = "scan")]
pub mod scan;
pub mod ser;
mod serde_error;
pub mod text;
mod value;
mod write;

pub use de::{from_reader, from_slice};
pub use map::MapSegments;
pub use picklet_codec as codec;
pub use picklet_codec::{Error, ErrorKind, Limits, PickleStr, PickleString, Result};
pub use picklet_segments as segments;
pub use ser::{to_vec, to_vec_at, to_writer};
pub use serde_error::{SerdeError, SerdeErrorKind};
pub use value::{Instance, Items, Kind, Pairs, Value, ValueRef};

/// The blocks of the site's page run as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/reference/rust.md")]
struct ReferencePage;
