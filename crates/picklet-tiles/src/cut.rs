//! Cutting: each tile's window is read, padded as the edge rule says, and published as a pickle.
//!
//! ```text
//! array ── a block for each tile ── window ── pickle ── segment file
//!            (several at a time: while one waits for the disk, others are read)
//! ```
//!
//! What can be read at any place is read tile by tile; what is decoded row by row (PNG, JPEG)
//! is kept in memory for one band of tiles. In neither case is there more of the array.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use picklet_segments::array::{Dtype, Envelope};
use picklet_segments::{
    EntryMeta, Error, Existing, Header, Kind, Location, NoProgress, Progress, Publisher, Receipt,
    Result, Segments, SegmentsWriter, Totals, name, segment_file,
};

use crate::block::Gather;
use crate::grid::{Edge, Grid};
use crate::layout::Layout;
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
    /// What to do about what the output directory holds.
    pub existing: Existing,
    /// Tiles made at the same time, each of which is in memory once or twice.
    pub workers: usize,
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
            existing: Existing::default(),
            workers: default_workers(),
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
        "tiles 1 {} {} tile={:?} overlap={:?} edge={} name={}",
        array.fingerprint(),
        array.part(),
        layout.grid.tile,
        layout.grid.overlap,
        layout.grid.edge,
        options.name
    );
    let mut header = Header::new(Kind::Tiles, fingerprint).with_source(array.source().clone());
    header.extra = layout.fields()?;
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
        segment_file(self.options.name, number, name::DEFAULT_WIDTH)
    }

    /// Makes tiles, several at a time; this thread alone writes the journal.
    fn several(&self, writer: &mut SegmentsWriter, view: &View<'_>, numbers: &[u64]) -> Result<()> {
        let publisher = writer.publisher();
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let workers = self.options.workers.clamp(1, numbers.len().max(1));
        let work = Work {
            layout: self.layout,
            dtype: self.dtype,
            item: self.item,
            path: self.path,
            view,
            publisher: &publisher,
            name: self.options.name,
        };
        std::thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(workers);
            for _ in 0..workers {
                let sender = sender.clone();
                let (work, next, stop) = (&work, &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let Some(number) = numbers.get(place) else { return };
                        if sender.send(work.tile(*number)).is_err() {
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

/// What the threads share.
struct Work<'w> {
    layout: &'w Layout,
    dtype: &'w Dtype,
    item: usize,
    path: &'w Path,
    view: &'w View<'w>,
    publisher: &'w Publisher,
    name: &'w str,
}

impl Work<'_> {
    /// Reads, pads and publishes one tile.
    fn tile(&self, number: u64) -> Result<(Receipt, EntryMeta)> {
        let Some(tile) = self.layout.grid.tile(number) else {
            return Err(Error::usage(format!("there is no tile {number}")));
        };
        let gather = Gather::new(&self.layout.grid, &tile.window.0);
        let shape = tile.window.shape();
        let envelope = Envelope::new(self.dtype, &shape, false)?;
        let mut block = self.view.read(&gather.hull)?;
        if !gather.plain {
            let mut window = crate::raw::zeros(envelope.payload, self.path)?;
            gather.window(&block, &shape, self.item, &mut window);
            block = window;
        }
        let mut draft =
            self.publisher.draft(&segment_file(self.name, number, name::DEFAULT_WIDTH))?;
        envelope.write(&mut draft, &block).map_err(|e| draft.error(e))?;
        let receipt = draft.publish()?;
        let meta = EntryMeta {
            index: number,
            extra: self.layout.window_fields(&tile),
            ..EntryMeta::default()
        };
        Ok((receipt, meta))
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
