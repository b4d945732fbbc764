//! What the manifest of a directory of tiles says: the grid, and each tile's place in it.
//!
//! The grid stands in the manifest under `tiles`, each tile's core and halo in its entry under
//! `window`, which a map hands to its function. What a map made of tiles has both from them, so
//! that it can be stitched, or mapped again, without its inputs.

use std::collections::HashMap;
use std::path::Path;

use picklet_segments::array::Dtype;
use picklet_segments::{Entry, Error, GRID_FIELD, Result, Segments, WINDOW_FIELD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::grid::{Grid, Tile};

/// The grid of a directory of tiles, and the type of the array that was cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// The grid: shape, tile, overlap, edge.
    #[serde(flatten)]
    pub grid: Grid,
    /// The type of the elements of the array that was cut, as `.npy` headers say it; null for
    /// structured types that those headers cannot say.
    pub dtype: Value,
    /// What the tiles' names begin with.
    pub name: String,
}

impl Layout {
    pub(crate) fn new(grid: Grid, dtype: &Dtype, name: &str) -> Layout {
        Layout { grid, dtype: dtype.descr().unwrap_or(Value::Null), name: name.to_owned() }
    }

    /// The layout that a directory's manifest tells of.
    ///
    /// # Errors
    /// [`Error::Input`] when it holds no tiles, or its numbers don't fit.
    pub fn of(segments: &Segments) -> Result<Layout> {
        let wrong = |why: String| Error::input(segments.location().path(), None, why);
        let Some(value) = segments.manifest().header.extra.get(GRID_FIELD) else {
            return Err(wrong(
                "holds no tiles: its manifest has no grid; `picklet split --tile` makes some"
                    .into(),
            ));
        };
        let damaged =
            |e: &dyn std::fmt::Display| wrong(format!("its grid of tiles is damaged ({e})"));
        let layout: Layout = serde_json::from_value(value.clone()).map_err(|e| damaged(&e))?;
        layout.grid.check().map_err(|e| damaged(&e))?;
        Ok(layout)
    }

    /// The field for the manifest.
    pub(crate) fn fields(&self) -> Result<Map<String, Value>> {
        let grid = serde_json::to_value(self);
        let grid = grid.map_err(|e| Error::usage(format!("a grid of tiles: {e}")))?;
        Ok(Map::from_iter([(GRID_FIELD.to_owned(), grid)]))
    }

    /// The field for a tile's entry: all that a function has to know of its tile.
    pub(crate) fn window_fields(&self, tile: &Tile) -> Map<String, Value> {
        let window = json!({
            "at": tile.at,
            "core": tile.core,
            "halo": tile.window,
            "shape": self.grid.shape,
            "dtype": self.dtype,
        });
        Map::from_iter([(WINDOW_FIELD.to_owned(), window)])
    }

    /// The position among the segments of each tile that has an entry, by its number.
    pub(crate) fn positions(&self, segments: &Segments) -> Result<HashMap<u64, usize>> {
        let dir = segments.location().path();
        let entries = segments.entries().iter().enumerate();
        entries.map(|(position, entry)| Ok((self.number(entry, dir)?, position))).collect()
    }

    /// The number of an entry's tile in the grid, after a look whether the entry says the same.
    fn number(&self, entry: &Entry, dir: &Path) -> Result<u64> {
        let wrong = |why: String| Err(Error::input(dir.join(&entry.file), None, why));
        let Some(tile) = self.grid.tile(entry.index) else {
            let (index, tiles) = (entry.index, self.grid.len());
            return wrong(format!("is tile {index}, and the grid has {tiles}"));
        };
        match entry.extra.get(WINDOW_FIELD) {
            Some(said) if self.window_fields(&tile).get(WINDOW_FIELD) != Some(said) => {
                wrong("is at another place in the manifest than its grid says".into())
            }
            _ => Ok(entry.index),
        }
    }
}
