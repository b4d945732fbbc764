//! Cutting: each tile's window is read, padded as the edge rule says, and published as a pickle.
//!
//! ```text
//! array ── slabs of rows ── their part of each tile of a group ── segment files
//!                       or
//! array ── a block for each tile ── window ── pickle ── segment file
//!            (several at a time: while one waits for the disk, others are read)
//! ```
//!
//! Of what lies in a file as it is in memory, tiles that are neighbours are written together:
//! their rows are read in long runs, and no tile is ever whole in memory. What has to be decoded
//! or padded is read tile by tile, and what is decoded row by row (PNG) is kept in memory for one
//! band of tiles. In no case is there more of the array.

use std::collections::HashSet;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use picklet_segments::array::{Dtype, Envelope};
use picklet_segments::{
    Compression, Draft, EntryMeta, Error, Existing, Header, Kind, Location, NoProgress, Progress,
    Publisher, Receipt, Result, Segments, SegmentsWriter, Totals, name, segment_file,
};

use crate::block::Gather;
use crate::grid::{Edge, Grid, Tile};
use crate::layout::Layout;
use crate::raw::{Raw, SLAB};
use crate::source::{Array, Band, Reader, View, item_size};

/// How to cut.
#[derive(Clone)]
pub struct CutOptions<'o> {
    /// The sides of a tile from the first axis on; `None` for an axis that is not cut.
    pub tile: Vec<Option<u64>>,
    /// The halo on each side, in elements: one number, or one for each axis of `tile`.
    pub overlap: Vec<u64>,
    /// What windows are at the array's ends.
    pub edge: Edge,
    /// Tiles are called `name-00000.pickle`, `name-00001.pickle`, …
    pub name: &'o str,
    /// How the tiles are stored; `None` is as plain pickles.
    pub compression: Option<Compression>,
    /// Whether each tile gets a SHA-256 too.
    pub sha256: bool,
    /// What to do about what the output directory holds.
    pub existing: Existing,
    /// Threads that make tiles. Of what has to be decoded or padded each has one tile in memory
    /// once or twice, of anything else a slab of rows.
    pub workers: usize,
    /// What to run to make lost tiles anew, for the manifest.
    pub made_by: Option<&'o str>,
    /// Hears of tiles done.
    pub progress: &'o dyn Progress,
    /// Asked often whether to stop (Ctrl-C).
    pub interrupt: &'o (dyn Fn() -> bool + Sync),
}

impl Default for CutOptions<'_> {
    fn default() -> Self {
        CutOptions {
            tile: Vec::new(),
            overlap: Vec::new(),
            edge: Edge::default(),
            name: "data",
            compression: None,
            sha256: false,
            existing: Existing::default(),
            workers: default_workers(),
            made_by: None,
            progress: &NoProgress,
            interrupt: &|| false,
        }
    }
}

impl fmt::Debug for CutOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutOptions")
            .field("tile", &self.tile)
            .field("overlap", &self.overlap)
            .field("edge", &self.edge)
            .field("existing", &self.existing)
            .finish_non_exhaustive()
    }
}

/// More than there are processors: a tile waits for the disk longer than it is worked on.
pub(crate) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(2, 16) * 2
}

/// What a cut did.
#[derive(Debug)]
pub struct CutReport {
    /// The tiles.
    pub segments: Segments,
    /// Their grid.
    pub layout: Layout,
    /// Tiles kept from an interrupted run.
    pub resumed: u64,
}

/// How often the interrupt is asked for.
const POLL: Duration = Duration::from_millis(50);

/// How many names are written into the journal at once.
const NAMES_AHEAD: usize = 1024;

/// Files that are written at the same time, at most: each has a buffer, and a process may not have
/// many more open.
const OPEN_FILES: usize = 128;

/// Cuts `array` into tiles in `out`, each a pickle of its window as an `numpy.ndarray` in C
/// order.
///
/// # Errors
/// [`Error::Usage`] when the grid cannot be (see [`Grid::new`]); [`Error::Input`] where the array
/// is damaged; those of [`SegmentsWriter`]; [`Error::Interrupted`].
pub fn cut(array: Array, out: &Location, options: &CutOptions<'_>) -> Result<CutReport> {
    name::validate(options.name)?;
    let grid = Grid::new(array.shape(), &options.tile, &options.overlap, options.edge)?;
    let dtype = array.dtype().clone();
    let layout = Layout::new(grid, &dtype, options.name);
    let path = PathBuf::from(array.name());
    let item = item_size(&dtype, &path)?;
    let fingerprint = format!(
        "tiles 1 {} {} tile={} overlap={} edge={} name={}{}",
        array.fingerprint(),
        array.part(),
        sides(layout.grid.tile.iter().copied()),
        sides(layout.grid.overlap.iter().copied().map(Some)),
        layout.grid.edge,
        options.name,
        options.compression.map(|how| format!(" compress={how}")).unwrap_or_default()
    );
    let mut header = Header::new(Kind::Tiles, fingerprint).with_source(array.source().clone());
    header.extra = layout.fields()?;
    header.sha256 = options.sha256;
    header.made_by = options.made_by.map(str::to_owned);
    let writer = SegmentsWriter::create(out, options.existing, header)?;
    let kept: HashSet<u64> = writer.done().iter().map(|entry| entry.index).collect();
    let tiles = layout.grid.len();
    let run = Run { layout: &layout, dtype: &dtype, item, path: &path, options };
    options.progress.totals(Totals {
        segments: Some(tiles.saturating_sub(kept.len() as u64)),
        ..Totals::default()
    });
    let mut writer = writer;
    match array.reader {
        Reader::Raw(raw) => {
            run.tiles(&mut writer, &View::Raw(&raw), 0..tiles, &kept)?;
        }
        Reader::Tiff(tiff) => {
            let axis = tiff.row_axis();
            let window = layout.grid.window(axis, 0).unwrap_or_default();
            tiff.keep_rows(u64::try_from(window.1 - window.0).unwrap_or(0));
            run.tiles(&mut writer, &View::Tiff(&tiff), 0..tiles, &kept)?;
        }
        Reader::Rows(mut rows) => {
            let per_band = tiles / layout.grid.counts().first().copied().unwrap_or(1);
            let mut band = Band::new(&layout.grid.shape, item);
            for (place, (low, high)) in bands(&layout.grid).into_iter().enumerate() {
                band.advance(&mut *rows, low, high)?;
                let first = place as u64 * per_band;
                let view = View::Band(&band, &path);
                run.tiles(&mut writer, &view, first..first + per_band, &kept)?;
            }
        }
    }
    Ok(CutReport { segments: writer.finish()?, layout, resumed: kept.len() as u64 })
}

/// For each band of tiles along the first axis, the first row that it or a later one needs, and
/// the row after the last that it needs.
fn bands(grid: &Grid) -> Vec<(u64, u64)> {
    let count = grid.counts().first().copied().unwrap_or(0);
    let mut bands: Vec<(u64, u64)> = (0..count)
        .filter_map(|place| {
            let (low, high) = grid.hull(0, grid.window(0, place)?);
            Some((u64::try_from(low).ok()?, u64::try_from(high).ok()?))
        })
        .collect();
    let mut least = u64::MAX;
    for (low, _) in bands.iter_mut().rev() {
        least = least.min(*low);
        *low = least;
    }
    bands
}

struct Run<'r> {
    layout: &'r Layout,
    dtype: &'r Dtype,
    item: usize,
    path: &'r Path,
    options: &'r CutOptions<'r>,
}

impl Run<'_> {
    /// Makes the tiles of these numbers that are not there yet.
    fn tiles(
        &self,
        writer: &mut SegmentsWriter,
        view: &View<'_>,
        numbers: std::ops::Range<u64>,
        kept: &HashSet<u64>,
    ) -> Result<()> {
        let wanted: Vec<u64> = numbers.filter(|number| !kept.contains(number)).collect();
        for numbers in wanted.chunks(NAMES_AHEAD) {
            let names: Vec<String> = numbers.iter().map(|number| self.file(*number)).collect();
            writer.announce(&names)?;
            self.several(writer, view, numbers)?;
        }
        Ok(())
    }

    fn file(&self, number: u64) -> String {
        tile_file(self.options, number)
    }

    /// Makes tiles, several at a time; this thread alone writes the journal.
    fn several(&self, writer: &mut SegmentsWriter, view: &View<'_>, numbers: &[u64]) -> Result<()> {
        let publisher = writer.publisher();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let groups = self.groups(view, numbers);
        let workers = self.options.workers.clamp(1, groups.len().max(1));
        let work = Work {
            layout: self.layout,
            dtype: self.dtype,
            item: self.item,
            path: self.path,
            view,
            publisher: &publisher,
            options: self.options,
            stop: &stop,
        };
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(workers);
            for _ in 0..workers {
                let sender = sender.clone();
                let (work, next, groups) = (&work, &next, &groups);
                scope.spawn(move || {
                    while !work.stop.load(Ordering::Relaxed) {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(group) = groups.get(place) else { return };
                        let made = match (group, work.view) {
                            (Group::Together(numbers), View::Raw(raw)) => {
                                work.together(raw, numbers, |made| sender.send(Ok(made)).is_ok())
                            }
                            (Group::Together(numbers) | Group::Alone(numbers), _) => {
                                numbers.iter().try_for_each(|number| {
                                    let made = work.tile(*number)?;
                                    sender.send(Ok(made)).map_err(|_| Error::Interrupted)
                                })
                            }
                        };
                        if let Err(error) = made {
                            // Where nobody listens any more, somebody else has failed.
                            let _ = sender.send(Err(error));
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let result = self.collect(writer, &receiver);
            stop.store(true, Ordering::Relaxed);
            // Whoever waits to send goes on, and ends.
            drop(receiver);
            result
        })
    }

    /// Which tiles are made together: of an array that lies in its file in C order those that are
    /// neighbours along the last axis that is cut, and that need no padding.
    fn groups<'n>(&self, view: &View<'_>, numbers: &'n [u64]) -> Vec<Group<'n>> {
        let alone = |numbers: &'n [u64]| numbers.chunks(1).map(Group::Alone).collect();
        let grid = &self.layout.grid;
        let Some(axis) = last_cut(grid).filter(|axis| *axis > 0) else { return alone(numbers) };
        if !matches!(view, View::Raw(raw) if raw.is_c_order()) {
            return alone(numbers);
        }
        let inner = grid.shape.iter().skip(axis + 1).fold(self.item as u64, |n, side| n * side);
        let workers = self.options.workers.max(1);
        // So many that all threads have something to do; a compressing coder takes megabytes.
        let most = match self.options.compression {
            Some(_) => 1,
            None => numbers.len().div_ceil(workers).min(OPEN_FILES / workers).max(1),
        };
        let line = grid.counts().get(axis).copied().unwrap_or(1);
        let along = |number: &u64| -> Option<(u64, u64)> {
            let tile = grid.tile(*number)?;
            if !Gather::new(grid, &tile.window.0).plain {
                return None;
            }
            let (low, high) = *tile.window.0.get(axis)?;
            Some((u64::try_from(low).ok()?, u64::try_from(high).ok()?))
        };
        let mut groups = Vec::new();
        let mut rest = numbers;
        while let Some(first) = rest.first() {
            let mut count = 1;
            let Some((low, high)) = along(first).filter(|(a, b)| (b - a) * inner <= SLAB) else {
                let (one, after) = rest.split_at(1);
                groups.push(Group::Alone(one));
                rest = after;
                continue;
            };
            let mut end = high;
            while let Some(next) = rest.get(count).filter(|_| count < most) {
                let neighbour = *next == first + count as u64 && next / line == first / line;
                match along(next).filter(|_| neighbour) {
                    Some((_, high)) if (high.max(end) - low) * inner <= SLAB => end = high.max(end),
                    _ => break,
                }
                count += 1;
            }
            let (together, after) = rest.split_at(count);
            groups.push(Group::Together(together));
            rest = after;
        }
        groups
    }

    /// Writes published tiles into the journal as they come.
    fn collect(
        &self,
        writer: &mut SegmentsWriter,
        receiver: &mpsc::Receiver<Result<(Receipt, EntryMeta)>>,
    ) -> Result<()> {
        loop {
            if (self.options.interrupt)() {
                return Err(Error::Interrupted);
            }
            let first = match receiver.recv_timeout(POLL) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let mut failed = None;
            let mut published = Vec::new();
            for made in std::iter::once(first).chain(receiver.try_iter()) {
                match made {
                    Ok(made) => published.push(made),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            let files: Vec<String> = published.iter().map(|(r, _)| r.file.clone()).collect();
            writer.adopt_all(published)?;
            for file in files {
                self.options.progress.segment(&file);
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
    }
}

/// `512x512xall`, as the command line takes it.
fn sides(sides: impl Iterator<Item = Option<u64>>) -> String {
    let side = |side: Option<u64>| side.map_or("all".to_owned(), |side| side.to_string());
    sides.map(side).collect::<Vec<_>>().join("x")
}

/// The last axis that is cut: numbers count along it first.
fn last_cut(grid: &Grid) -> Option<usize> {
    grid.tile.iter().rposition(Option::is_some)
}

fn tile_file(options: &CutOptions<'_>, number: u64) -> String {
    let file = segment_file(options.name, number, name::DEFAULT_WIDTH);
    match options.compression {
        Some(how) => how.name(&file),
        None => file,
    }
}

/// Tiles that one thread makes.
enum Group<'n> {
    /// One after another, each as a block.
    Alone(&'n [u64]),
    /// At the same time, row by row.
    Together(&'n [u64]),
}

/// What the threads share.
struct Work<'w> {
    layout: &'w Layout,
    dtype: &'w Dtype,
    item: usize,
    path: &'w Path,
    view: &'w View<'w>,
    publisher: &'w Publisher,
    options: &'w CutOptions<'w>,
    stop: &'w AtomicBool,
}

/// A tile being written row by row.
struct Rows {
    draft: Draft,
    tail: Vec<u8>,
    meta: EntryMeta,
    /// Where its part of a row begins, and how long it is, in bytes.
    skip: usize,
    run: usize,
}

impl Work<'_> {
    fn of(&self, number: u64) -> Result<(Tile, Vec<u64>, Envelope)> {
        let Some(tile) = self.layout.grid.tile(number) else {
            return Err(Error::usage(format!("there is no tile {number}")));
        };
        let shape = tile.window.shape();
        let envelope = Envelope::new(self.dtype, &shape, false)?;
        Ok((tile, shape, envelope))
    }

    fn meta(&self, number: u64, tile: &Tile) -> EntryMeta {
        EntryMeta { index: number, extra: self.layout.window_fields(tile), ..EntryMeta::default() }
    }

    /// Reads, pads and publishes one tile.
    fn tile(&self, number: u64) -> Result<(Receipt, EntryMeta)> {
        let (tile, shape, envelope) = self.of(number)?;
        let gather = Gather::new(&self.layout.grid, &tile.window.0);
        let mut block = self.view.read(&gather.hull)?;
        if !gather.plain {
            let mut window = crate::raw::zeros(envelope.payload, self.path)?;
            gather.window(&block, &shape, self.item, &mut window);
            block = window;
        }
        let mut draft = self.publisher.draft(&tile_file(self.options, number))?;
        envelope.write(&mut draft, &block).map_err(|e| draft.error(e))?;
        Ok((draft.publish()?, self.meta(number, &tile)))
    }

    /// Reads the rows of tiles that are neighbours and writes each its part, then publishes them.
    /// `publish` says whether anybody wants more.
    fn together(
        &self,
        raw: &Raw,
        numbers: &[u64],
        mut publish: impl FnMut((Receipt, EntryMeta)) -> bool,
    ) -> Result<()> {
        let axis = last_cut(&self.layout.grid).unwrap_or(0);
        let mut hull: Vec<(u64, u64)> = Vec::new();
        let mut tiles = Vec::with_capacity(numbers.len());
        for number in numbers {
            let (tile, shape, envelope) = self.of(*number)?;
            let own = Gather::new(&self.layout.grid, &tile.window.0).hull;
            match (hull.get_mut(axis), own.get(axis)) {
                (Some((_, end)), Some((_, high))) => *end = (*end).max(*high),
                _ => hull.clone_from(&own),
            }
            let low = |hull: &[(u64, u64)]| hull.get(axis).map_or(0, |(low, _)| *low);
            let before = low(&own).saturating_sub(low(&hull));
            let inner = shape.iter().skip(axis + 1).fold(self.item as u64, |n, side| n * side);
            let run = shape.get(axis).map_or(0, |side| side * inner);
            let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
            let mut draft = self.publisher.draft(&tile_file(self.options, *number))?;
            draft.write_all(&envelope.head).map_err(|e| draft.error(e))?;
            tiles.push(Rows {
                draft,
                tail: envelope.tail,
                meta: self.meta(*number, &tile),
                skip: bytes(before * inner),
                run: bytes(run),
            });
        }
        let row = hull.iter().skip(axis).map(|(low, high)| high - low);
        let row = usize::try_from(row.fold(self.item as u64, |n, side| n * side)).unwrap_or(1);
        raw.slabs(&hull, axis, |slab| {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            for tile in &mut tiles {
                for row in slab.chunks_exact(row) {
                    let part = row.get(tile.skip..tile.skip + tile.run).unwrap_or_default();
                    tile.draft.write_all(part).map_err(|e| tile.draft.error(e))?;
                }
            }
            Ok(())
        })?;
        for mut tile in tiles {
            tile.draft.write_all(&tile.tail).map_err(|e| tile.draft.error(e))?;
            if !publish((tile.draft.publish()?, tile.meta)) {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_keeps_the_rows_that_a_later_mirror_shows() {
        // The last band has one row and mirrors four.
        let grid = Grid::new(&[13], &[Some(4)], &[1], Edge::Reflect).unwrap();
        assert_eq!(bands(&grid), [(0, 5), (3, 9), (7, 13), (8, 13)]);
        let grid = Grid::new(&[13], &[Some(6)], &[0], Edge::Reflect).unwrap();
        assert_eq!(bands(&grid), [(0, 6), (6, 12), (7, 13)]);
        let grid = Grid::new(&[9], &[Some(8)], &[0], Edge::Reflect).unwrap();
        assert_eq!(bands(&grid), [(0, 8), (1, 9)]);
    }
}
