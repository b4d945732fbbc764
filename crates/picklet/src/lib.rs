//! Python pickles in Rust: read, look, write, without Python and without losing anything.
//!
//! * [`Value::from_slice`] and [`Value::from_reader`] read any pickle into a [`Value`].
//! * [`Value::to_vec`] and [`Value::to_writer`] write it; what CPython's C pickler wrote comes
//!   out as the same bytes.
//! * [`repr`](mod@repr) and [`json`] print it.
//! * [`codec`] is the format underneath: opcodes, reader, machine, disassembler.
//! * [`segments`] splits, maps and merges pickles too large to load.
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
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod compat;
pub mod de;
mod graph;
pub mod json;
mod keys;
mod read;
pub mod repr;
pub mod ser;
mod serde_error;
mod value;
mod write;

pub use de::{from_reader, from_slice};
pub use picklet_codec as codec;
pub use picklet_codec::{Error, ErrorKind, Limits, PickleStr, PickleString, Result};
pub use picklet_segments as segments;
pub use ser::{to_vec, to_vec_at, to_writer};
pub use serde_error::{SerdeError, SerdeErrorKind};
pub use value::{Instance, Items, Kind, Pairs, Value, ValueRef};
