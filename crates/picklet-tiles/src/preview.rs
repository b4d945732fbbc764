//! A picture of a directory of tiles: a thumbnail, the grid over it, missing tiles crossed out.

use std::collections::HashMap;
use std::path::Path;

use picklet_segments::array::{ByteOrder, Dtype, Plain};
use picklet_segments::{Error, Result, Segments};

use crate::grid::Grid;
use crate::layout::Layout;
use crate::output;
use crate::stitch::{Fit, Loaded, Missing, load};

/// Pixels along the longer side, unless asked otherwise.
pub const PREVIEW_PIXELS: u32 = 1024;

/// What a preview shows.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewReport {
    /// Its height and width in pixels.
    pub pixels: (u32, u32),
    /// Tiles shown.
    pub tiles: u64,
    /// Tiles crossed out, by name.
    pub missing: Vec<String>,
}

const LINE: [u8; 3] = [255, 255, 255];
const SHADOW: [u8; 3] = [0, 0, 0];
const MISSING: [u8; 3] = [64, 16, 16];
const CROSS: [u8; 3] = [255, 64, 64];

/// Draws the tiles in `segments` into the PNG file `out`, no side longer than `longest` pixels.
///
/// Of an array of more than two axes that are cut the last two are shown, and of all others the
/// first element; three or four channels at the end are colours. Numbers other than 8 bit without
/// sign are spread from the least to the largest over black to white. Only one tile is in memory
/// at a time.
///
/// # Errors
/// [`Error::Usage`] when the name of `out` does not end in `.png`; [`Error::Input`] when the
/// directory holds no tiles, or tiles that are no arrays of numbers; [`Error::Io`].
pub fn preview(segments: &Segments, out: &Path, longest: u32) -> Result<PreviewReport> {
    let ending = out.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if !ending.eq_ignore_ascii_case("png") {
        return Err(Error::usage(format!(
            "{}: a preview is a PNG; give it a name that ends in .png",
            out.display()
        )));
    }
    let layout = Layout::of(segments)?;
    let mut positions = layout.positions(segments)?;
    let mut missing = Missing::find(segments, &layout, &mut positions)?;
    let grid = &layout.grid;
    let canvas = Canvas::plan(grid, longest.max(1))?;
    let mut picture = canvas.thumbnail(segments, grid, &positions, &mut missing)?;
    for (number, _, _) in missing.tiles() {
        canvas.cross(grid, *number, &mut picture);
    }
    canvas.lines(grid, &mut picture);
    let shape = [u64::from(canvas.height), u64::from(canvas.width), 3];
    let dtype = Dtype::plain("|u1").ok_or_else(|| Error::usage("no pixels"))?;
    let mut file = output::png_file(out, &dtype, &shape)?;
    file.band(0, u64::from(canvas.height), &picture)?;
    file.finish()?;
    Ok(PreviewReport {
        pixels: (canvas.height, canvas.width),
        tiles: grid.len() - missing.tiles().len() as u64,
        missing: missing.names(),
    })
}

/// Where the array's last two cut axes lie on the picture.
struct Canvas {
    /// The source's axes that are shown as rows and columns; an array that is cut along one axis
    /// is shown as columns alone.
    rows: Option<usize>,
    columns: usize,
    height: u32,
    width: u32,
    /// Elements of the source for a pixel.
    step: f64,
}

impl Canvas {
    fn plan(grid: &Grid, longest: u32) -> Result<Canvas> {
        let cut: Vec<usize> =
            grid.tile.iter().enumerate().filter_map(|(axis, side)| side.map(|_| axis)).collect();
        let (rows, columns) = match *cut.as_slice() {
            // Cut along one axis: the next one, if there is one, is shown with it.
            [0] if grid.shape.len() > 1 => (Some(0), 1),
            [axis] if axis > 0 => (Some(axis - 1), axis),
            [axis] => (None, axis),
            [.., rows, columns] => (Some(rows), columns),
            [] => return Err(Error::usage("a grid without an axis that is cut")),
        };
        let side = |axis: usize| grid.shape.get(axis).copied().unwrap_or(1);
        let (tall, wide) = (rows.map_or(1, side), side(columns));
        let step = (tall.max(wide) as f64 / f64::from(longest)).max(1.0);
        let pixels = |side: u64| ((side as f64 / step).round() as u32).max(1);
        let height = if rows.is_none() { 32 } else { pixels(tall) };
        Ok(Canvas { rows, columns, height, width: pixels(wide), step })
    }

    /// The pixels that show a block of the source: rows and columns, each from the first to
    /// before the last.
    fn pixels(&self, block: &[(i64, i64)]) -> [(u32, u32); 2] {
        let along = |axis: usize, limit: u32| {
            let (low, high) = block.get(axis).copied().unwrap_or((0, 0));
            let pixel = |place: i64| ((place as f64 / self.step).round() as u32).min(limit);
            (pixel(low), pixel(high))
        };
        let rows = self.rows.map_or((0, self.height), |axis| along(axis, self.height));
        [rows, along(self.columns, self.width)]
    }

    fn put(&self, picture: &mut [u8], row: u32, column: u32, color: [u8; 3]) {
        if row < self.height && column < self.width {
            let at = (row as usize * self.width as usize + column as usize) * 3;
            if let Some(place) = picture.get_mut(at..at + 3) {
                place.copy_from_slice(&color);
            }
        }
    }

    /// The picture of the tiles that are there; those found to be damaged go to `missing`.
    fn thumbnail(
        &self,
        segments: &Segments,
        grid: &Grid,
        positions: &HashMap<u64, usize>,
        missing: &mut Missing,
    ) -> Result<Vec<u8>> {
        let count = self.height as usize * self.width as usize;
        let mut values = vec![[f64::NAN; 3]; count];
        let mut eight_bit = true;
        let mut ordered: Vec<(u64, usize)> = positions.iter().map(|(a, b)| (*a, *b)).collect();
        ordered.sort_unstable();
        for (number, position) in ordered {
            let Some(tile) = grid.tile(number) else { continue };
            // Of the axes that are not shown, the first element.
            let shown = |axis: usize| Some(axis) == self.rows || axis == self.columns;
            let hidden =
                tile.core.0.iter().enumerate().any(|(axis, (low, _))| !shown(axis) && *low > 0);
            if hidden {
                continue;
            }
            let loaded = match load(segments, position) {
                Err(Error::Damaged { .. }) => {
                    missing.add_damaged(number, &segments.entry(position)?.file);
                    continue;
                }
                loaded => loaded?,
            };
            let wrong =
                |why: String| Error::input(segments.path(position).unwrap_or_default(), None, why);
            let fit = Fit::new(grid, &tile, &loaded.dtype, &loaded.shape).map_err(wrong)?;
            let plain = loaded.dtype.as_plain().filter(|plain| "buif".contains(plain.kind));
            let Some(plain) = plain.filter(|plain| plain.size <= 8) else {
                return Err(wrong("holds no numbers that could be shown".into()));
            };
            eight_bit &= plain.kind == 'u' && plain.size == 1;
            let [rows, columns] = self.pixels(&tile.core.0);
            let reader = Sampler::new(self, &fit, &tile.window.0, &loaded, plain);
            for row in rows.0..rows.1 {
                for column in columns.0..columns.1 {
                    let at = row as usize * self.width as usize + column as usize;
                    if let Some(value) = values.get_mut(at) {
                        *value = reader.sample(row, column);
                    }
                }
            }
        }
        let finite = || values.iter().flatten().copied().filter(|value| value.is_finite());
        let (low, high) = if eight_bit {
            (0.0, 255.0)
        } else {
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max))
        };
        let span = if high > low { high - low } else { 1.0 };
        let byte = |value: f64| (((value - low) / span) * 255.0).round().clamp(0.0, 255.0) as u8;
        Ok(values.iter().flatten().map(|value| byte(*value)).collect())
    }

    /// Marks a tile that is not there.
    fn cross(&self, grid: &Grid, number: u64, picture: &mut [u8]) {
        let Some(tile) = grid.tile(number) else { return };
        let [rows, columns] = self.pixels(&tile.core.0);
        let (tall, wide) = (rows.1.saturating_sub(rows.0), columns.1.saturating_sub(columns.0));
        for row in rows.0..rows.1 {
            for column in columns.0..columns.1 {
                self.put(picture, row, column, MISSING);
            }
        }
        let steps = tall.max(wide);
        for step in 0..steps {
            let down = u32::try_from(u64::from(step) * u64::from(tall) / u64::from(steps));
            let right = u32::try_from(u64::from(step) * u64::from(wide) / u64::from(steps));
            let (Ok(down), Ok(right)) = (down, right) else { return };
            for thick in 0..2 {
                let column = columns.0 + (right + thick).min(wide.saturating_sub(1));
                let mirror = columns.0 + wide.saturating_sub(1).saturating_sub(right + thick);
                self.put(picture, rows.0 + down, column, CROSS);
                self.put(picture, rows.0 + down, mirror, CROSS);
            }
        }
    }

    /// Draws where the cores of tiles meet: a light line with a dark one beside it, to be seen on
    /// any picture.
    fn lines(&self, grid: &Grid, picture: &mut [u8]) {
        let starts = |axis: usize| -> Vec<u32> {
            let count = grid.counts().get(axis).copied().unwrap_or(1);
            let start = |place: u64| grid.core(axis, place).map(|(start, _)| start);
            let pixel = |start: i64| (start as f64 / self.step).round() as u32;
            (1..count).filter_map(start).map(pixel).collect()
        };
        for column in starts(self.columns) {
            for row in 0..self.height {
                self.put(picture, row, column, LINE);
                self.put(picture, row, column + 1, SHADOW);
            }
        }
        for row in self.rows.map(starts).unwrap_or_default() {
            for column in 0..self.width {
                self.put(picture, row, column, LINE);
                self.put(picture, row + 1, column, SHADOW);
            }
        }
    }
}

/// Reads the pixels of one tile.
struct Sampler<'s> {
    canvas: &'s Canvas,
    loaded: &'s Loaded,
    plain: &'s Plain,
    /// The tile's axes that are rows and columns, with the window's start and the factor of each.
    rows: Option<Shown>,
    columns: Option<Shown>,
    /// Whether the last axis is colours.
    colors: bool,
    strides: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Shown {
    axis: usize,
    low: i64,
    factor: f64,
    side: u64,
}

impl<'s> Sampler<'s> {
    fn new(
        canvas: &'s Canvas,
        fit: &Fit,
        window: &[(i64, i64)],
        loaded: &'s Loaded,
        plain: &'s Plain,
    ) -> Self {
        let shown = |source: usize| {
            // An axis of the source that was not cut stands where it stood.
            let axis = fit
                .axis_of(source)
                .or_else(|| (loaded.shape.len() == window.len()).then_some(source))?;
            let (low, high) = window.get(source).copied()?;
            let side = loaded.shape.get(axis).copied()?;
            let factor = side as f64 / (high - low).max(1) as f64;
            Some(Shown { axis, low, factor, side })
        };
        let rows = canvas.rows.and_then(shown);
        let columns = shown(canvas.columns);
        let last = loaded.shape.len().saturating_sub(1);
        let taken = [rows, columns].iter().flatten().any(|shown| shown.axis == last);
        let colors = !taken && matches!(loaded.shape.last(), Some(3 | 4));
        let strides = crate::block::strides(&loaded.shape);
        Sampler { canvas, loaded, plain, rows, columns, colors, strides }
    }

    fn sample(&self, row: u32, column: u32) -> [f64; 3] {
        let place = |shown: Option<Shown>, pixel: u32| -> u64 {
            let Some(shown) = shown else { return 0 };
            let source = (f64::from(pixel) + 0.5) * self.canvas.step;
            let within = ((source - shown.low as f64) * shown.factor).max(0.0) as u64;
            let within = within.min(shown.side.saturating_sub(1));
            within * self.strides.get(shown.axis).copied().unwrap_or(0)
        };
        let at = place(self.rows, row) + place(self.columns, column);
        if self.colors {
            [self.number(at), self.number(at + 1), self.number(at + 2)]
        } else {
            [self.number(at); 3]
        }
    }

    fn number(&self, at: u64) -> f64 {
        let item = self.loaded.item;
        let start = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(item);
        let bytes = self.loaded.elements().get(start..start.saturating_add(item));
        bytes.and_then(|bytes| value(bytes, self.plain)).unwrap_or(f64::NAN)
    }
}

/// One element as a number.
fn value(bytes: &[u8], plain: &Plain) -> Option<f64> {
    let mut low = [0u8; 8];
    let place = low.get_mut(..bytes.len())?;
    place.copy_from_slice(bytes);
    if plain.order == ByteOrder::Big {
        place.reverse();
    }
    let bits = u64::from_le_bytes(low);
    let size = u32::try_from(plain.size).ok()?;
    Some(match (plain.kind, size) {
        ('b' | 'u', _) => bits as f64,
        // The sign is the highest bit of `size` bytes.
        ('i', _) => ((bits << (64 - 8 * size)) as i64 >> (64 - 8 * size)) as f64,
        ('f', 2) => half::f16::from_bits(bits as u16).to_f64(),
        ('f', 4) => f64::from(f32::from_bits(bits as u32)),
        ('f', 8) => f64::from_bits(bits),
        _ => return None,
    })
}
