//! Arrays and images in tiles: cut into blocks of which each is a plain pickle of an
//! `numpy.ndarray`, and stitched back, in memory that does not grow with them.
//!
//! * [`cut`] makes a segments directory of tiles of an [`Array`] in a file.
//! * [`stitch`] joins tiles, or what a map made of them, into one array.
//! * [`preview`] draws a directory of tiles, with what is missing.
//! * [`Grid`] says which tiles there are: each has a **core**, the cores are the whole array once,
//!   and a **window**, its core with a halo.
//!
//! ```
//! use picklet_tiles::{Edge, Grid};
//!
//! let grid = Grid::new(&[1000, 1300, 3], &[Some(512), Some(512)], &[32], Edge::Shrink)?;
//! assert_eq!(grid.len(), 6);
//! let tile = grid.tile(4).expect("there are six");
//! assert_eq!(tile.core.to_string(), "512:1000, 512:1024, 0:3");
//! assert_eq!(tile.window.to_string(), "480:1000, 480:1056, 0:3");
//! # Ok::<(), picklet_segments::Error>(())
//! ```
//!
//! Nothing here resizes, makes pyramids, knows maps of the earth or slides of microscopes: their
//! own libraries read a window of theirs, and the window stands in the manifest. Decoders of
//! images are here and in no other crate.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod block;
mod cut;
mod grid;
mod layout;
mod npy;
mod output;
mod preview;
mod raw;
mod source;
mod stitch;
mod text;

pub use cut::{CutOptions, CutReport, cut};
pub use grid::{Edge, Grid, TILES_LIMIT, Tile, Window, parse_sides};
pub use layout::Layout;
pub use preview::{PREVIEW_PIXELS, PreviewReport, preview};
pub use source::{Array, ArrayOptions, IMAGE_LIMIT};
pub use stitch::{Mode, StitchOptions, StitchReport, stitch};
