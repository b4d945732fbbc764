//! Stitching: tiles, or what a map made of them, become one array again.
//!
//! ```text
//! tiles of one band ── read, several at a time ── band in memory ── written, let go
//! ```
//!
//! The array is written band by band along the first axis that was cut. Memory is the cores of one
//! band and the tiles being read; with blending the tiles of one band, and of the bands before it
//! what reaches into it.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use picklet_segments::{Error, NoProgress, Progress, Result, Segments, Totals, name};

use crate::block::{Place, copy, elements};
use crate::cut::default_workers;
use crate::grid::{Grid, Tile, Window};
use crate::layout::Layout;
use crate::output::{self, Output};
use crate::raw::zeros;

mod blend;
mod fit;
mod load;
mod missing;

use blend::Blend;
pub(crate) use fit::Fit;
pub(crate) use load::{Loaded, load};
pub(crate) use missing::Missing;

/// How tiles are joined where they overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Of each tile its core alone: exact, for every type.
    #[default]
    Crop,
    /// The average of all tiles that have an element.
    Mean,
    /// The average weighted by a Hann window over each tile, which is least at its ends: no seams.
    Hann,
    /// The largest that any tile has: for masks and for labels where 0 is nothing.
    Max,
}

impl Mode {
    /// The word used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Crop => "crop",
            Mode::Mean => "mean",
            Mode::Hann => "hann",
            Mode::Max => "max",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mode> {
        let known = [Mode::Crop, Mode::Mean, Mode::Hann, Mode::Max];
        known
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| Error::usage(format!("mode is crop, mean, hann or max, not {text:?}")))
    }
}

/// How to stitch.
#[derive(Clone)]
pub struct StitchOptions<'o> {
    /// How tiles are joined where they overlap.
    pub mode: Mode,
    /// What stands where a tile is missing or damaged, as text: a number, `true`, `nan`. `None`
    /// refuses.
    pub fill: Option<&'o str>,
    /// Tiles read, and slabs blended, at the same time, each of which is in memory.
    pub workers: usize,
    /// Hears of tiles done.
    pub progress: &'o dyn Progress,
    /// Asked often whether to stop (Ctrl-C).
    pub interrupt: &'o (dyn Fn() -> bool + Sync),
}

impl Default for StitchOptions<'_> {
    fn default() -> Self {
        StitchOptions {
            mode: Mode::default(),
            fill: None,
            workers: default_workers(),
            progress: &NoProgress,
            interrupt: &|| false,
        }
    }
}

impl fmt::Debug for StitchOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StitchOptions")
            .field("mode", &self.mode)
            .field("fill", &self.fill)
            .finish_non_exhaustive()
    }
}

/// What a stitch made.
#[derive(Debug, Clone, PartialEq)]
pub struct StitchReport {
    /// The array's shape.
    pub shape: Vec<u64>,
    /// The type of its elements, as `.npy` headers say it.
    pub dtype: serde_json::Value,
    /// Tiles joined.
    pub tiles: u64,
    /// Tiles that were missing or damaged and filled, by name.
    pub filled: Vec<String>,
}

/// Joins the tiles in `segments` into one array in the file `out`, whose ending says what it is.
///
/// # Errors
/// [`Error::Bad`] when tiles are missing and there is nothing to fill them with;
/// [`Error::Damaged`]; [`Error::Input`] when a tile holds no array or one that does not fit the
/// others; [`Error::Usage`] when `out` cannot hold such an array; [`Error::Io`];
/// [`Error::Interrupted`]. `out` stays what it was.
pub fn stitch(
    segments: &Segments,
    out: &Path,
    options: &StitchOptions<'_>,
) -> Result<StitchReport> {
    let layout = Layout::of(segments)?;
    let grid = &layout.grid;
    let dir = segments.location().path();
    let mut positions = layout.positions(segments)?;
    let missing = Missing::find(segments, &layout, &mut positions)?;
    if options.fill.is_none() {
        missing.refuse(dir, &layout)?;
    }
    let Some((first, position, sample)) =
        first_whole(segments, &positions, options.fill.is_some())?
    else {
        return Err(Missing::all_gone(dir, &layout));
    };
    let fit = fit_of(grid, first, &sample)
        .map_err(|why| Error::input(segments.path(position).unwrap_or_default(), None, why))?;
    let item = sample.item;
    drop(sample);
    let Some((band_axis, source_axis)) = fit.band_axis() else {
        return Err(Error::usage("a grid without an axis that is cut"));
    };
    options.progress.totals(Totals { segments: Some(positions.len() as u64), ..Totals::default() });
    let fill = match options.fill {
        Some(text) => Some(missing::element(text, &fit.dtype)?),
        None => None,
    };
    if options.mode != Mode::Crop {
        // Before a file is begun: whether elements of this type can be blended so.
        Blend::new(grid, &fit, options.mode, false).map(drop)?;
    }
    let mut output = output::create(out, &fit.dtype, &fit.shape, band_axis)?;
    let damaged = Mutex::new(Vec::new());
    let run =
        Run { segments, grid, fit: &fit, item, positions: &positions, damaged: &damaged, options };
    match options.mode {
        Mode::Crop => run.cropped(&mut *output, band_axis, source_axis, fill.as_deref(), out)?,
        _ => {
            // With something to fill with, any tile may turn out to be damaged.
            let mut blend = Blend::new(grid, &fit, options.mode, fill.is_some())?;
            run.blended(&mut *output, &mut blend, source_axis, fill.as_deref())?;
        }
    }
    output.finish()?;
    let damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    let tiles = (positions.len() - damaged.len()) as u64;
    let mut filled = missing.names();
    filled.extend(damaged);
    filled.sort_unstable();
    let dtype = fit.dtype.descr().unwrap_or_default();
    Ok(StitchReport { shape: fit.shape.clone(), dtype, tiles, filled })
}

/// The first tile that is whole: its number, its position, and what it holds. Where there is
/// something to fill with, damaged tiles are passed over.
fn first_whole(
    segments: &Segments,
    positions: &HashMap<u64, usize>,
    fills: bool,
) -> Result<Option<(u64, usize, Loaded)>> {
    let mut ordered: Vec<(u64, usize)> = positions.iter().map(|(a, b)| (*a, *b)).collect();
    ordered.sort_unstable();
    for (number, position) in ordered {
        match load(segments, position) {
            Err(Error::Damaged { .. }) if fills => {}
            loaded => return Ok(Some((number, position, loaded?))),
        }
    }
    Ok(None)
}

fn fit_of(grid: &Grid, number: u64, loaded: &Loaded) -> Result<Fit, String> {
    let tile = grid.tile(number).ok_or("is no tile of the grid")?;
    Fit::new(grid, &tile, &loaded.dtype, &loaded.shape)
}

/// The numbers of the tiles in each band along an axis.
fn bands(grid: &Grid, axis: usize) -> Vec<Vec<u64>> {
    let counts = grid.counts();
    let along = counts.get(axis).copied().unwrap_or(1);
    // The axes before it have one tile each: it is the first that was cut.
    let per_band = grid.len() / along.max(1);
    (0..along).map(|place| (place * per_band..(place + 1) * per_band).collect()).collect()
}

/// The part of the whole that the cores of a band are.
fn band_window(grid: &Grid, fit: &Fit, axis: usize, place: u64) -> Result<Window> {
    let mut whole: Vec<(i64, i64)> =
        grid.shape.iter().map(|side| (0, i64::try_from(*side).unwrap_or(i64::MAX))).collect();
    if let (Some(side), Some(core)) = (whole.get_mut(axis), grid.core(axis, place)) {
        *side = core;
    }
    fit.part(&Window(whole)).ok_or_else(|| {
        Error::usage(
            "a band of tiles ends between two elements of the whole; choose sides of tiles that \
             the factor divides",
        )
    })
}

struct Run<'r> {
    segments: &'r Segments,
    grid: &'r Grid,
    fit: &'r Fit,
    item: usize,
    positions: &'r HashMap<u64, usize>,
    /// Names of tiles that turned out to be damaged and were filled.
    damaged: &'r Mutex<Vec<String>>,
    options: &'r StitchOptions<'r>,
}

impl Run<'_> {
    /// Writes the cores of all tiles, band after band.
    fn cropped(
        &self,
        output: &mut dyn Output,
        band_axis: usize,
        source_axis: usize,
        fill: Option<&[u8]>,
        out: &Path,
    ) -> Result<()> {
        let mut block = Vec::new();
        for (place, numbers) in bands(self.grid, source_axis).into_iter().enumerate() {
            let band = band_window(self.grid, self.fit, source_axis, place as u64)?;
            let bytes = elements(&band.shape()).saturating_mul(self.item as u64);
            // Where no tile is missing, what the last band left is written over.
            if block.len() as u64 != bytes {
                block = zeros(bytes, out)?;
            }
            if numbers.iter().any(|number| !self.positions.contains_key(number)) {
                block.fill(0);
                if let Some(fill) = fill {
                    missing::fill(&mut block, fill);
                }
            }
            self.crop(&numbers, &band, &mut block, fill)?;
            let (low, high) = band.0.get(band_axis).copied().unwrap_or_default();
            let unsigned = |place: i64| u64::try_from(place).unwrap_or(0);
            output.band(unsigned(low), unsigned(high - low), &block)?;
        }
        Ok(())
    }

    /// Writes the blended tiles, as far as each band is ready.
    fn blended(
        &self,
        output: &mut dyn Output,
        blend: &mut Blend<'_>,
        source_axis: usize,
        fill: Option<&[u8]>,
    ) -> Result<()> {
        let between = || {
            Error::usage(
                "windows of tiles end between two elements of the whole; choose sides \
                          and an overlap that the factor divides",
            )
        };
        let mut written = 0;
        for (place, numbers) in bands(self.grid, source_axis).into_iter().enumerate() {
            self.each(&numbers, |number, tile, loaded| match loaded {
                Some(loaded) => blend.hold(number, tile, loaded),
                None => Ok(()),
            })?;
            let ready = blend.ready(place as u64).ok_or_else(between)?;
            if ready > written {
                blend.rows(written..ready, fill, self.options.workers, |first, rows, bytes| {
                    if (self.options.interrupt)() {
                        return Err(Error::Interrupted);
                    }
                    output.band(first, rows, bytes)
                })?;
                blend.let_go(ready)?;
                written = ready;
            }
        }
        Ok(())
    }

    /// Copies the cores of tiles into the band's block.
    fn crop(
        &self,
        numbers: &[u64],
        band: &Window,
        block: &mut [u8],
        fill: Option<&[u8]>,
    ) -> Result<()> {
        let band_shape = band.shape();
        self.each(numbers, |_, tile, loaded| {
            let (Some(core), Some(window)) =
                (self.fit.part(&tile.core), self.fit.part(&tile.window))
            else {
                return Err(Error::usage("a core that begins or ends between two elements"));
            };
            let offsets = |base: &Window| -> Vec<u64> {
                let offset = |((a, _), (b, _)): (&(i64, i64), &(i64, i64))| {
                    u64::try_from(a - b).unwrap_or(0)
                };
                core.0.iter().zip(&base.0).map(offset).collect()
            };
            let (from, to) = (offsets(&window), offsets(band));
            let core_shape = core.shape();
            let target = Place { shape: &band_shape, start: &to };
            if let Some(loaded) = loaded {
                let source = Place { shape: &loaded.shape, start: &from };
                copy(loaded.elements(), source, block, target, &core_shape, self.item);
                return Ok(());
            }
            let bytes = elements(&core_shape).saturating_mul(self.item as u64);
            let mut filled = zeros(bytes, self.segments.location().path())?;
            missing::fill(&mut filled, fill.unwrap_or_default());
            let start = vec![0; core_shape.len()];
            let source = Place { shape: &core_shape, start: &start };
            copy(&filled, source, block, target, &core_shape, self.item);
            Ok(())
        })
    }

    /// Reads tiles, several at a time, and hands them on in any order: `None` for a damaged one
    /// that is to be filled.
    fn each(
        &self,
        numbers: &[u64],
        mut take: impl FnMut(u64, &Tile, Option<Loaded>) -> Result<()>,
    ) -> Result<()> {
        let present: Vec<(u64, usize)> = numbers
            .iter()
            .filter_map(|number| Some((*number, *self.positions.get(number)?)))
            .collect();
        let workers = self.options.workers.clamp(1, present.len().max(1));
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(workers);
            for _ in 0..workers {
                let sender = sender.clone();
                let (next, stop, present) = (&next, &stop, &present);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some((number, position)) = present.get(place) else { return };
                        if sender.send(self.load(*number, *position)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut result = Ok(());
            for loaded in &receiver {
                result = loaded.and_then(|(number, tile, loaded)| take(number, &tile, loaded));
                if (self.options.interrupt)() {
                    result = Err(Error::Interrupted);
                }
                if result.is_err() {
                    break;
                }
                self.options.progress.segment("");
            }
            stop.store(true, Ordering::Relaxed);
            drop(receiver);
            result
        })
    }

    fn load(&self, number: u64, position: usize) -> Result<(u64, Tile, Option<Loaded>)> {
        let wrong =
            |why: String| Error::input(self.segments.path(position).unwrap_or_default(), None, why);
        let tile = self.grid.tile(number).ok_or_else(|| wrong("is no tile of the grid".into()))?;
        let loaded = match load(self.segments, position) {
            Err(Error::Damaged { .. }) if self.options.fill.is_some() => {
                let name = name::stem(&self.segments.entry(position)?.file).to_owned();
                self.damaged.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                None
            }
            loaded => Some(loaded?),
        };
        if let Some(loaded) = &loaded {
            self.fit.check(&tile, &loaded.dtype, &loaded.shape).map_err(wrong)?;
        }
        Ok((number, tile, loaded))
    }
}
