//! Pickled n-d arrays as bytes: where one array's payload lies in its pickle, and how to put a
//! pickle around a payload.
//!
//! * [`recognise`] reads a pickle's opcodes around the payload, never the payload, and tells
//!   dtype, shape, memory order and the payload's byte range.
//! * [`Envelope`] is the other way: the bytes before and after a payload that make it a pickle
//!   which stock `pickle.load` with numpy (1 or 2) opens.
//! * [`Dtype`] is what numpy calls by that name, without objects.
//!
//! Nothing here imports, calls or builds what a pickle names, and no array is ever held.

mod dtype;
mod envelope;
mod recognise;
mod rows;
mod symbols;

pub use dtype::{ByteOrder, Dtype, Field, Plain, Struct, Unit};
pub use envelope::Envelope;
pub use recognise::{Encoding, Found, PickledArray, recognise};
pub(crate) use rows::{Opened, Rows};
