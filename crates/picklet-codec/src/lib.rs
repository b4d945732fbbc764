//! The Python pickle format, protocols 0 to 5, exactly as CPython's C `_pickle` reads and
//! writes it. No unsafe code, no Python, nothing imported, nothing run.
//!
//! * [`Reader`] gives the opcodes of a pickle in a slice, borrowed, one at a time.
//! * [`StreamReader`] does the same from `io::Read`, for one pickle or many in a row.
//! * [`run`] drives a [`Machine`] of your own through them: stack, marks and memo are kept for you.
//! * [`dis`] and [`optimize`] answer as Python's `pickletools` does.
//! * [`Writer`] writes opcodes at any protocol, choosing and framing them as C does.
//! * [`emit`] is what it writes them with, for callers who frame and memoise by rules of their own.
//! * [`OPCODES`] is the table that everything here is made from.
//!
//! ```
//! use picklet_codec::{Arg, Opcode, Reader};
//!
//! let mut reader = Reader::new(b"\x80\x04\x8c\x02hi\x94.");
//! while let Some(op) = reader.next_op()? {
//!     if let Arg::Str(text) = op.arg {
//!         assert_eq!((op.opcode, text.to_str()), (Opcode::ShortBinUnicode, Some("hi")));
//!     }
//! }
//! # Ok::<(), picklet_codec::Error>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod arg;
pub mod compat;
mod dis;
pub mod emit;
mod error;
mod genops;
pub mod limits;
pub mod machine;
mod memo;
mod opcode;
mod optimize;
pub mod policy;
mod printable;
pub mod pyrepr;
mod reader;
pub mod scan;
pub mod sink;
mod str;
mod stream;
pub mod text;
pub mod writer;

pub use arg::{Arg, ArgExtent, ArgKind, GlobalName};
pub use dis::{
    ANNOTATE_COLUMN, DEFAULT_MAX_OPEN_MARKS, DisError, DisMemo, DisOptions, dis, dis_with_memo,
};
pub use error::{Error, ErrorKind, Result};
pub use limits::Limits;
pub use machine::{Driver, Items, Machine, run};
pub use memo::Memo;
pub use opcode::{Effect, HIGHEST_PROTOCOL, OPCODE_COUNT, OPCODES, Opcode, OpcodeInfo, StackKind};
pub use optimize::optimize;
pub use reader::{Op, Reader};
pub use str::{CodePoints, PickleStr, PickleString};
pub use stream::StreamReader;
pub use writer::Writer;
