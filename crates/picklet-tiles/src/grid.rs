//! The planner: which tiles an array of a shape is cut into. Pure arithmetic, no bytes.
//!
//! Along each axis the **cores** lie side by side and are the whole axis exactly once. Around its
//! core each tile has a halo of `overlap` elements on both sides; core and halo together are its
//! **window**, and the window is what the tile's array holds.
//!
//! ```text
//! axis      0         512        1024    1300
//! cores     |----0-----|----1-----|--2----|
//! window 1         [---|----------|---]
//! ```
//!
//! What happens where a window reaches out of the array is the [`Edge`] rule.

use std::fmt;
use std::str::FromStr;

use picklet_segments::{Error, Result};
use serde::{Deserialize, Serialize};

/// Tiles of one array at most: the manifest names each, and is read whole.
pub const TILES_LIMIT: u64 = 10_000_000;

/// Longest side of an array or tile: windows are signed.
const SIDE_LIMIT: u64 = 1 << 62;

/// What a tile's window is at the array's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    /// It ends where the array ends: tiles at the ends are smaller.
    #[default]
    Shrink,
    /// It is moved inwards: all tiles have one shape, unless the array is smaller than that.
    Shift,
    /// It reaches out, and what lies outside mirrors what lies inside without repeating the
    /// outermost element, as `numpy.pad(mode="reflect")`: all tiles have one shape.
    Reflect,
    /// It reaches out, and what lies outside is zero bytes: all tiles have one shape.
    Constant,
}

impl Edge {
    /// The word used in manifests and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Edge::Shrink => "shrink",
            Edge::Shift => "shift",
            Edge::Reflect => "reflect",
            Edge::Constant => "constant",
        }
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Edge {
    type Err = Error;

    fn from_str(text: &str) -> Result<Edge> {
        let known = [Edge::Shrink, Edge::Shift, Edge::Reflect, Edge::Constant];
        let found = known.into_iter().find(|edge| edge.as_str() == text);
        found.ok_or_else(|| {
            Error::usage(format!("edge is shrink, shift, reflect or constant, not {text:?}"))
        })
    }
}

/// A block of an array: along each axis from the first element to before the second. Where a
/// window reaches out of its array, it begins below 0 or ends above the array's side.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window(pub Vec<(i64, i64)>);

impl Window {
    /// The sides of the block.
    pub fn shape(&self) -> Vec<u64> {
        self.0.iter().map(|(start, stop)| u64::try_from(stop - start).unwrap_or(0)).collect()
    }
}

impl fmt::Display for Window {
    /// `0:512, 512:1024`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (axis, (start, stop)) in self.0.iter().enumerate() {
            let comma = if axis > 0 { ", " } else { "" };
            write!(f, "{comma}{start}:{stop}")?;
        }
        Ok(())
    }
}

/// One tile of a [`Grid`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tile {
    /// Its place in the grid along each axis.
    pub at: Vec<u64>,
    /// The part of the array that is this tile's alone.
    pub core: Window,
    /// The part of the array that it holds.
    pub window: Window,
}

/// How an array is cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grid {
    /// The array's shape.
    pub shape: Vec<u64>,
    /// The sides of a core; `None` where an axis is not cut.
    pub tile: Vec<Option<u64>>,
    /// The halo on each side of a core, in elements.
    pub overlap: Vec<u64>,
    /// What windows are at the array's ends.
    pub edge: Edge,
}

impl Grid {
    /// Plans the tiles of an array of this shape.
    ///
    /// `tile` has the sides of a core from the first axis on; axes that it does not reach, and
    /// those with `None`, are not cut. `overlap` is one number for all axes that are cut, or one
    /// for each axis that `tile` names.
    ///
    /// # Errors
    /// [`Error::Usage`] for an array without elements or axes, sides of 0, more numbers than
    /// axes, a halo on an axis that is not cut, more than [`TILES_LIMIT`] tiles.
    pub fn new(shape: &[u64], tile: &[Option<u64>], overlap: &[u64], edge: Edge) -> Result<Grid> {
        let usage = |text: String| Err(Error::usage(text));
        if shape.is_empty() || shape.contains(&0) {
            return usage(format!("an array of shape {} has no tiles", shown(shape)));
        }
        if tile.len() > shape.len() {
            return usage(format!(
                "a tile of {} axes for an array of {}, of shape {}",
                tile.len(),
                shape.len(),
                shown(shape)
            ));
        }
        if tile.contains(&Some(0)) {
            return usage("a tile's side is at least 1".into());
        }
        if tile.iter().all(Option::is_none) {
            return usage("a tile needs a side along one axis at least".into());
        }
        let overlap: Vec<u64> = match overlap {
            [] => vec![0; tile.len()],
            [all] => tile.iter().map(|side| side.map_or(0, |_| *all)).collect(),
            each if each.len() == tile.len() => each.to_vec(),
            each => {
                return usage(format!(
                    "{} numbers for the overlap and {} for the tile; give one, or one for each",
                    each.len(),
                    tile.len()
                ));
            }
        };
        if tile.iter().zip(&overlap).any(|(side, overlap)| side.is_none() && *overlap > 0) {
            return usage("an overlap along an axis that is not cut".into());
        }
        let grid = Grid {
            tile: (0..shape.len()).map(|axis| tile.get(axis).copied().flatten()).collect(),
            overlap: (0..shape.len()).map(|axis| overlap.get(axis).copied().unwrap_or(0)).collect(),
            shape: shape.to_vec(),
            edge,
        };
        grid.check()?;
        Ok(grid)
    }

    /// Whether the numbers fit together, wherever they came from.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check(&self) -> Result<()> {
        let axes = self.shape.len();
        if axes == 0 || self.tile.len() != axes || self.overlap.len() != axes {
            return Err(Error::usage("a grid whose shape, tile and overlap differ in their axes"));
        }
        let sides = self.shape.iter().chain(self.tile.iter().flatten());
        if sides.chain(&[1]).any(|side| *side == 0 || *side > SIDE_LIMIT)
            || self.overlap.iter().any(|overlap| *overlap > SIDE_LIMIT / 4)
        {
            return Err(Error::usage("a grid with a side of 0 elements, or of too many to count"));
        }
        let tiles = self.counts().iter().try_fold(1u64, |all, count| all.checked_mul(*count));
        if tiles.is_none_or(|tiles| tiles > TILES_LIMIT) {
            return Err(Error::usage(format!(
                "these are more than {TILES_LIMIT} tiles; choose larger ones"
            )));
        }
        Ok(())
    }

    /// How many tiles there are along each axis.
    pub fn counts(&self) -> Vec<u64> {
        let count = |(side, tile): (&u64, &Option<u64>)| tile.map_or(1, |tile| side.div_ceil(tile));
        self.shape.iter().zip(&self.tile).map(count).collect()
    }

    /// How many tiles there are.
    pub fn len(&self) -> u64 {
        self.counts().iter().fold(1, |all, count| all.saturating_mul(*count))
    }

    /// Never: an array without elements has no grid.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tile of this number; numbers count along the last axis first.
    pub fn tile(&self, index: u64) -> Option<Tile> {
        let mut rest = index;
        let mut at = vec![0; self.shape.len()];
        for (place, count) in at.iter_mut().zip(self.counts()).rev() {
            *place = rest % count;
            rest /= count;
        }
        if rest > 0 {
            return None;
        }
        let mut core = Vec::with_capacity(at.len());
        let mut window = Vec::with_capacity(at.len());
        for (axis, place) in at.iter().enumerate() {
            core.push(self.core(axis, *place)?);
            window.push(self.window(axis, *place)?);
        }
        Some(Tile { at, core: Window(core), window: Window(window) })
    }

    /// The core of the tiles at `place` along an axis.
    pub fn core(&self, axis: usize, place: u64) -> Option<(i64, i64)> {
        let side = *self.shape.get(axis)?;
        let tile = self.tile.get(axis)?.unwrap_or(side);
        let start = place.checked_mul(tile).filter(|start| *start < side)?;
        Some((signed(start), signed(start.saturating_add(tile).min(side))))
    }

    /// The window of the tiles at `place` along an axis.
    pub fn window(&self, axis: usize, place: u64) -> Option<(i64, i64)> {
        let (start, stop) = self.core(axis, place)?;
        let side = signed(*self.shape.get(axis)?);
        let Some(tile) = *self.tile.get(axis)? else { return Some((start, stop)) };
        let (tile, overlap) = (signed(tile), signed(*self.overlap.get(axis)?));
        let full = tile.saturating_add(overlap).saturating_add(overlap);
        Some(match self.edge {
            Edge::Shrink => ((start - overlap).max(0), (stop + overlap).min(side)),
            Edge::Shift if full >= side => (0, side),
            Edge::Shift => {
                let start = (start - overlap).clamp(0, side - full);
                (start, start + full)
            }
            Edge::Reflect | Edge::Constant => (start - overlap, start - overlap + full),
        })
    }

    /// Which element of the array a window's `place` along an axis shows; `None` where it shows
    /// none.
    pub fn shows(&self, axis: usize, place: i64) -> Option<i64> {
        let side = signed(*self.shape.get(axis)?);
        if (0..side).contains(&place) {
            return Some(place);
        }
        match self.edge {
            Edge::Reflect => Some(mirrored(place, side)),
            _ => None,
        }
    }

    /// The elements along an axis that a window from `start` to `stop` shows: from the first to
    /// before the last.
    pub fn hull(&self, axis: usize, (start, stop): (i64, i64)) -> (i64, i64) {
        let side = self.shape.get(axis).map_or(0, |side| signed(*side));
        let (mut low, mut high) = (start.clamp(0, side), stop.clamp(0, side));
        if self.edge == Edge::Reflect {
            // Outside, mirrored places run over the side from its end: where enough of them are
            // shown, over all of it.
            let before = start.min(0).unsigned_abs();
            let after = (stop - side).max(0);
            if before > 0 {
                low = 0;
                high = high.max(signed(before).saturating_add(1).min(side));
            }
            if after > 0 {
                high = side;
                low = low.min((side - 1 - after).max(0));
            }
        }
        (low, high)
    }
}

/// The place in `0..side` that a place outside of it mirrors.
fn mirrored(place: i64, side: i64) -> i64 {
    if side <= 1 {
        return 0;
    }
    let period = 2 * (side - 1);
    let place = place.rem_euclid(period);
    place.min(period - place)
}

pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// `512 x 512 x 3`.
pub(crate) fn shown(shape: &[u64]) -> String {
    let sides: Vec<String> = shape.iter().map(u64::to_string).collect();
    if sides.is_empty() { "()".to_owned() } else { sides.join(" x ") }
}

/// Reads `512x512`, `512,512,all`, `-1x64`: the sides of a tile, `all` or -1 for a whole axis.
///
/// # Errors
/// [`Error::Usage`].
pub fn parse_sides(text: &str) -> Result<Vec<Option<u64>>> {
    let side = |word: &str| match word.trim() {
        "all" | "-1" => Ok(Some(None)),
        number => number.replace('_', "").parse::<u64>().map(|side| Some(Some(side))),
    };
    let sides: Result<Option<Vec<_>>, _> = text.split(['x', 'X', ',']).map(side).collect();
    match sides {
        Ok(Some(sides)) if !sides.contains(&Some(0)) => Ok(sides),
        _ => Err(Error::usage(format!(
            "{text:?} is no tile; write its sides from the first axis on, like 512x512, and all \
             for an axis that is not cut: allx512x512"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(shape: &[u64], tile: &[u64], overlap: u64, edge: Edge) -> Grid {
        let tile: Vec<Option<u64>> = tile.iter().copied().map(Some).collect();
        Grid::new(shape, &tile, &[overlap], edge).unwrap()
    }

    #[test]
    fn the_edge_rules_differ_only_at_the_ends() {
        let windows = |edge| {
            let grid = grid(&[1300], &[512], 32, edge);
            (0..3).map(|place| grid.window(0, place).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(windows(Edge::Shrink), [(0, 544), (480, 1056), (992, 1300)]);
        assert_eq!(windows(Edge::Shift), [(0, 576), (480, 1056), (724, 1300)]);
        assert_eq!(windows(Edge::Reflect), [(-32, 544), (480, 1056), (992, 1568)]);
        assert_eq!(windows(Edge::Constant), windows(Edge::Reflect));
    }

    #[test]
    fn cores_are_every_element_once_and_windows_hold_their_cores() {
        for edge in [Edge::Shrink, Edge::Shift, Edge::Reflect, Edge::Constant] {
            for side in 1..40u64 {
                for tile in 1..12 {
                    for overlap in [0, 1, 3, 50] {
                        let grid = grid(&[side], &[tile], overlap, edge);
                        let mut next = 0;
                        for place in 0..grid.len() {
                            let (start, stop) = grid.core(0, place).unwrap();
                            let (first, last) = grid.window(0, place).unwrap();
                            assert_eq!(start, next);
                            assert!(first <= start && stop <= last && start < stop);
                            next = stop;
                            let shown: Vec<i64> =
                                (first..last).filter_map(|p| grid.shows(0, p)).collect();
                            let (low, high) = grid.hull(0, (first, last));
                            assert_eq!(shown.iter().min(), Some(&low), "{grid:?} {place}");
                            assert_eq!(shown.iter().max(), Some(&(high - 1)), "{grid:?} {place}");
                        }
                        assert_eq!(next, side as i64);
                        assert_eq!(grid.core(0, grid.len()), None);
                    }
                }
            }
        }
    }

    #[test]
    fn tiles_count_along_the_last_axis_first() {
        let grid = Grid::new(&[10, 9, 3], &[Some(4), Some(5)], &[], Edge::Shrink).unwrap();
        assert_eq!(grid.counts(), [3, 2, 1]);
        let tile = grid.tile(3).unwrap();
        assert_eq!(tile.at, [1, 1, 0]);
        assert_eq!(tile.core.to_string(), "4:8, 5:9, 0:3");
        assert_eq!(grid.tile(6), None);
    }

    #[test]
    fn what_cannot_be_a_grid_is_refused() {
        let bad = |shape: &[u64], tile: &[Option<u64>], overlap: &[u64]| {
            Grid::new(shape, tile, overlap, Edge::Shrink).unwrap_err().to_string()
        };
        assert!(bad(&[], &[], &[]).contains("no tiles"));
        assert!(bad(&[4, 0], &[Some(1)], &[]).contains("no tiles"));
        assert!(bad(&[4], &[Some(1), Some(1)], &[]).contains("2 axes"));
        assert!(bad(&[4], &[None], &[]).contains("one axis"));
        assert!(bad(&[4, 4], &[None, Some(2)], &[1, 1]).contains("not cut"));
        assert!(bad(&[4, 4], &[Some(2), Some(2)], &[1, 1, 1]).contains("3 numbers"));
        assert!(bad(&[1 << 40, 1 << 40], &[Some(1), Some(1)], &[]).contains("larger"));
    }

    #[test]
    fn sides_are_read_as_people_write_them() {
        assert_eq!(parse_sides("512x256").unwrap(), [Some(512), Some(256)]);
        assert_eq!(parse_sides("all,1_024,-1").unwrap(), [None, Some(1024), None]);
        for bad in ["", "512x", "0x4", "axb", "-2"] {
            assert!(parse_sides(bad).is_err(), "{bad}");
        }
    }
}
