//! How what a map made of tiles lies in the whole: which of its axes are the cut ones, and by
//! which factor they grew or shrank.

use picklet_segments::array::Dtype;

use crate::grid::{Grid, Tile, Window, shown};

/// A whole factor, or one over a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale {
    times: i64,
    over: i64,
}

impl Scale {
    /// From a window's side to an output's.
    fn between(window: u64, output: u64) -> Option<Scale> {
        let (window, output) = (i64::try_from(window).ok()?, i64::try_from(output).ok()?);
        if window <= 0 || output <= 0 {
            None
        } else if output % window == 0 {
            Some(Scale { times: output / window, over: 1 })
        } else if window % output == 0 {
            Some(Scale { times: 1, over: window / output })
        } else {
            None
        }
    }

    /// A place of the source in the output; `None` where it falls between two elements.
    pub(crate) fn of(self, place: i64) -> Option<i64> {
        let place = place.checked_mul(self.times)?;
        (place % self.over == 0).then(|| place / self.over)
    }
}

/// One axis of the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// An axis that was cut, and its factor.
    Cut {
        /// The source's axis.
        axis: usize,
        /// Elements of the output for one of the source.
        scale: Scale,
    },
    /// Channels, features: every tile has all of it.
    Whole(u64),
}

/// What the whole is to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fit {
    pub(crate) dtype: Dtype,
    pub(crate) axes: Vec<Axis>,
    /// The whole's shape.
    pub(crate) shape: Vec<u64>,
}

impl Fit {
    /// Finds out from one tile's output. Where several readings fit, the first of these: the axes
    /// of the source; the cut ones first; the cut ones last.
    ///
    /// # Errors
    /// A message, the rest of a sentence about the tile.
    pub(crate) fn new(
        grid: &Grid,
        tile: &Tile,
        dtype: &Dtype,
        shape: &[u64],
    ) -> Result<Fit, String> {
        let cut: Vec<usize> =
            grid.tile.iter().enumerate().filter_map(|(axis, side)| side.map(|_| axis)).collect();
        let mut readings: Vec<Vec<Option<usize>>> = Vec::new();
        if shape.len() == grid.shape.len() {
            let same = |axis: usize| cut.contains(&axis).then_some(axis);
            readings.push((0..shape.len()).map(same).collect());
        }
        if let Some(more) = shape.len().checked_sub(cut.len()) {
            let cut = || cut.iter().copied().map(Some);
            let whole = || std::iter::repeat_n(None, more);
            readings.push(cut().chain(whole()).collect());
            readings.push(whole().chain(cut()).collect());
        }
        let window = tile.window.shape();
        for reading in readings {
            if let Some(fit) = Fit::read(grid, &window, dtype, shape, &reading) {
                return Ok(fit);
            }
        }
        Err(format!(
            "is an array of shape {} for a window of {}: along the axes that were cut its sides \
             must be those of the window times a whole number, or divided by one",
            shown(shape),
            shown(&window)
        ))
    }

    fn read(
        grid: &Grid,
        window: &[u64],
        dtype: &Dtype,
        shape: &[u64],
        reading: &[Option<usize>],
    ) -> Option<Fit> {
        let mut axes = Vec::with_capacity(shape.len());
        let mut whole = Vec::with_capacity(shape.len());
        for (side, axis) in shape.iter().zip(reading) {
            match axis {
                None => {
                    axes.push(Axis::Whole(*side));
                    whole.push(*side);
                }
                Some(axis) => {
                    let scale = Scale::between(*window.get(*axis)?, *side)?;
                    axes.push(Axis::Cut { axis: *axis, scale });
                    let side = i64::try_from(*grid.shape.get(*axis)?).ok()?;
                    whole.push(u64::try_from(scale.of(side)?).ok()?);
                }
            }
        }
        Some(Fit { dtype: dtype.clone(), axes, shape: whole })
    }

    /// Whether another tile's output fits too.
    pub(crate) fn check(&self, tile: &Tile, dtype: &Dtype, shape: &[u64]) -> Result<(), String> {
        if *dtype != self.dtype {
            let name = |dtype: &Dtype| dtype.descr().unwrap_or_default().to_string();
            return Err(format!(
                "has elements of type {}, where other tiles have {}",
                name(dtype),
                name(&self.dtype)
            ));
        }
        match self.part(&tile.window) {
            Some(part) if part.shape() == *shape => Ok(()),
            Some(part) => Err(format!(
                "has the shape {}, and by the other tiles {} is due for a window of {}",
                shown(shape),
                shown(&part.shape()),
                shown(&tile.window.shape())
            )),
            None => Err(format!(
                "begins or ends between two elements of the whole: its window is {}; choose sides \
                 and an overlap that the factor divides",
                tile.window
            )),
        }
    }

    /// A block of the source as a block of the whole.
    pub(crate) fn part(&self, window: &Window) -> Option<Window> {
        let part = |axis: &Axis| match axis {
            Axis::Whole(side) => Some((0, i64::try_from(*side).ok()?)),
            Axis::Cut { axis, scale } => {
                let (start, stop) = window.0.get(*axis)?;
                Some((scale.of(*start)?, scale.of(*stop)?))
            }
        };
        self.axes.iter().map(part).collect::<Option<Vec<_>>>().map(Window)
    }

    /// The whole's axis that an axis of the source became, if that was cut.
    pub(crate) fn axis_of(&self, source: usize) -> Option<usize> {
        self.axes.iter().position(|axis| matches!(axis, Axis::Cut { axis, .. } if *axis == source))
    }

    /// The first axis of the whole that was cut: its bands are written one after another.
    pub(crate) fn band_axis(&self) -> Option<(usize, usize)> {
        self.axes.iter().enumerate().find_map(|(place, axis)| match axis {
            Axis::Cut { axis, .. } => Some((place, *axis)),
            Axis::Whole(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::Edge;

    fn fit(shape: &[u64], tile: &[Option<u64>], output: &[u64]) -> Result<Vec<u64>, String> {
        let grid = Grid::new(shape, tile, &[], Edge::Shrink).unwrap();
        let dtype = Dtype::plain("|u1").unwrap();
        Fit::new(&grid, &grid.tile(0).unwrap(), &dtype, output).map(|fit| fit.shape)
    }

    #[test]
    fn channels_come_and_go_and_sides_grow_and_shrink() {
        let cut = [Some(8), Some(8)];
        assert_eq!(fit(&[20, 24, 3], &cut, &[8, 8, 3]), Ok(vec![20, 24, 3]));
        assert_eq!(fit(&[20, 24, 3], &cut, &[8, 8]), Ok(vec![20, 24]));
        assert_eq!(fit(&[20, 24, 3], &cut, &[8, 8, 5]), Ok(vec![20, 24, 5]));
        assert_eq!(fit(&[20, 24, 3], &cut, &[16, 32]), Ok(vec![40, 96]));
        assert_eq!(fit(&[20, 24, 3], &cut, &[2, 4, 7]), Ok(vec![5, 12, 7]));
        assert_eq!(fit(&[3, 20, 24], &[None, Some(8), Some(8)], &[8, 8]), Ok(vec![20, 24]));
        assert_eq!(fit(&[3, 20, 24], &[None, Some(8), Some(8)], &[7, 8, 8]), Ok(vec![7, 20, 24]));
        assert_eq!(fit(&[20, 24], &cut, &[5, 8, 8]), Ok(vec![5, 20, 24]));
        assert!(fit(&[20, 24], &cut, &[8, 9]).is_err());
        assert!(fit(&[20, 24], &cut, &[8]).is_err());
        // 21 rows do not end on an element of a half.
        assert!(fit(&[21, 24], &cut, &[4, 8]).is_err());
    }
}
