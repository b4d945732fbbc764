//! Segments of huge pickles: cut, stored, verified, mapped and joined without
//! building their objects.
//!
//! * [`Segments`] reads a segments directory.
//! * [`SegmentsWriter`] makes or continues one; what it reported done is
//!   there, whole, after any crash.
//! * [`Location`] says where.
//! * [`engine`] runs a function or a program over every segment.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

pub mod array;
pub mod compress;
pub mod directory;
pub mod draft;
pub mod engine;
pub mod error;
pub mod index;
pub mod input;
mod journal;
mod jsonl;
pub mod manifest;
pub mod merge;
pub mod name;
pub mod progress;
pub mod repair;
mod size;
pub mod split;
pub mod store;
pub mod verify;
pub mod writer;

pub use compress::Compression;
pub use directory::{Check, Origin, Segments};
pub use draft::{Draft, Publisher, Receipt};
pub use error::{Category, Error, Result};
pub use input::{Format, Input};
pub use manifest::{
    Entry, GRID_FIELD, Header, Kind, Manifest, SharedCounts, Source, WINDOW_FIELD, Xxh3,
};
pub use merge::{MergeOptions, MergeReport, merge};
pub use name::{segment_file, validate_names};
pub use progress::{NoProgress, Progress, Totals};
pub use repair::{RepairReport, repair};
pub use size::parse_size;
pub use split::{
    Contents, Extracted, ItemReader, Names, Shared, SplitOptions, SplitReport, Target, count_items,
    count_rows, extract, extract_rows, resplit, split,
};
pub use store::{Location, ReadAt};
pub use verify::{Inspect, Inspected, VerifyOptions, VerifyReport, verify};
pub use writer::{EntryMeta, Existing, SegmentsWriter};
