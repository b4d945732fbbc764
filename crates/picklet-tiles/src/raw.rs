//! Arrays whose elements lie one after another in something that can be read at any place: `.npy`,
//! pickled arrays, stored members of `.npz`, spool files.
//!
//! Blocks are read by positioned reads, each into its place. Nothing is mapped into memory: a file
//! that another program shortens would end the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use picklet_segments::{Error, ReadAt, Result};

use crate::block::{Odometer, elements, strides, to_c_order};

/// A read passes over up to this many bytes that nobody wants, rather than stop before them.
const GAP: u64 = 2048;

/// Bytes read at once where runs are joined over gaps.
const JOINED: u64 = 256 << 10;

/// Bytes of a slab.
pub(crate) const SLAB: u64 = 1 << 20;

/// An array in a file.
#[derive(Clone)]
pub(crate) struct Raw {
    /// The file.
    pub(crate) data: Arc<dyn ReadAt>,
    /// Its name, for messages.
    pub(crate) path: PathBuf,
    /// Where its first element stands, in bytes.
    pub(crate) offset: u64,
    /// Its shape.
    pub(crate) shape: Vec<u64>,
    /// Its axes in the order of memory, those with the longest steps first.
    pub(crate) axes: Vec<usize>,
    /// Bytes of an element.
    pub(crate) item: usize,
}

impl Raw {
    /// Reads the block `hull` (along each axis from the first to before the second) in C order.
    pub(crate) fn read(&self, hull: &[(u64, u64)]) -> Result<Vec<u8>> {
        let pick = |axis: &usize| hull.get(*axis).copied();
        let memory: Vec<(u64, u64)> = self.axes.iter().filter_map(pick).collect();
        let sides = |hull: &[(u64, u64)]| -> Vec<u64> {
            hull.iter().map(|(low, high)| high.saturating_sub(*low)).collect()
        };
        let bytes = elements(&sides(hull)).saturating_mul(self.item as u64);
        let mut block = zeros(bytes, &self.path)?;
        self.read_memory(&memory, &mut block)?;
        if self.is_c_order() {
            return Ok(block);
        }
        Ok(to_c_order(&block, &sides(hull), &self.axes, self.item))
    }

    /// Whether elements that are neighbours along the last axis are neighbours in the file.
    pub(crate) fn is_c_order(&self) -> bool {
        self.axes.iter().enumerate().all(|(place, axis)| place == *axis)
    }

    /// Reads the block `hull` of an array in C order slab by slab, and hands each on: whole rows,
    /// a row being what the block has along the axes from `axis` on. A slab is as many rows as
    /// [`SLAB`] bytes hold, and at least one.
    pub(crate) fn slabs(
        &self,
        hull: &[(u64, u64)],
        axis: usize,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let side = |(low, high): &(u64, u64)| high.saturating_sub(*low);
        // The outermost axis of which one step, with all that is within it, fits a slab.
        let mut cut = axis;
        let mut step = hull.iter().skip(axis).map(side).fold(self.item as u64, u64::saturating_mul);
        while let Some(outer) = cut.checked_sub(1) {
            if cut < axis {
                let wider = step.saturating_mul(hull.get(cut).map_or(1, side));
                if wider > SLAB {
                    break;
                }
                step = wider;
            }
            cut = outer;
        }
        let (low, high) = hull.get(cut).copied().unwrap_or((0, 1));
        let steps =
            if cut < axis { SLAB.checked_div(step).unwrap_or(1).max(1) } else { high - low };
        let mut slab = Vec::new();
        let mut part = hull.to_vec();
        let outer: Vec<u64> = hull.iter().take(cut).map(side).collect();
        let mut walk = Odometer::new(&outer);
        while let Some(at) = walk.at() {
            for ((place, at), (low, _)) in part.iter_mut().zip(at).zip(hull) {
                *place = (low + at, low + at + 1);
            }
            let mut first = low;
            while first < high {
                let end = first.saturating_add(steps).min(high);
                if let Some(place) = part.get_mut(cut) {
                    *place = (first, end);
                }
                let sides = part.iter().map(side).fold(self.item as u64, u64::saturating_mul);
                resize(&mut slab, sides, &self.path)?;
                self.read_memory(&part, &mut slab)?;
                each(&slab)?;
                first = end;
            }
            walk.step();
        }
        Ok(())
    }

    /// Reads a block whose axes are in the order of memory.
    fn read_memory(&self, hull: &[(u64, u64)], block: &mut [u8]) -> Result<()> {
        let item = self.item as u64;
        let shape: Vec<u64> =
            self.axes.iter().filter_map(|axis| self.shape.get(*axis).copied()).collect();
        let extent: Vec<u64> = hull.iter().map(|(low, high)| high.saturating_sub(*low)).collect();
        if extent.contains(&0) || item == 0 {
            return Ok(());
        }
        let strides: Vec<u64> = strides(&shape).into_iter().map(|stride| stride * item).collect();
        let base = hull.iter().zip(&strides).fold(self.offset, |sum, ((low, _), stride)| {
            sum.saturating_add(low.saturating_mul(*stride))
        });
        // Axes at the end that are read whole make one run with the axis before them.
        let mut outer = extent.len();
        let mut run = item;
        for (side, whole) in extent.iter().zip(&shape).rev() {
            outer -= 1;
            run *= side;
            if side != whole {
                break;
            }
        }
        let mut runs = Runs { raw: self, block, out: 0, pending: None };
        let outer_extent = extent.get(..outer).unwrap_or_default();
        let mut walk = Odometer::new(outer_extent);
        while let Some(at) = walk.at() {
            let start = at.iter().zip(&strides).fold(base, |sum, (at, stride)| sum + at * stride);
            runs.add(start, run)?;
            walk.step();
        }
        runs.flush()
    }
}

/// Runs of bytes to be read one after another into a block, those that lie close together by one
/// read.
struct Runs<'b> {
    raw: &'b Raw,
    block: &'b mut [u8],
    /// Bytes of the block that are filled or pending.
    out: usize,
    pending: Option<Pending>,
}

/// Runs of one length and one distance.
struct Pending {
    start: u64,
    end: u64,
    run: u64,
    /// From one run's start to the next's; 0 while there is one run.
    step: u64,
    /// Where in the block they go.
    out: usize,
}

impl Runs<'_> {
    fn add(&mut self, start: u64, run: u64) -> Result<()> {
        let out = self.out;
        self.out = out.saturating_add(usize::try_from(run).unwrap_or(usize::MAX));
        if let Some(pending) = &mut self.pending {
            let last = pending.end - pending.run;
            let step = start.saturating_sub(last);
            if start >= pending.end
                && start - pending.end <= GAP
                && (pending.step == 0 || pending.step == step)
                && run == pending.run
                && start + run - pending.start <= JOINED
            {
                pending.step = step;
                pending.end = start + run;
                return Ok(());
            }
        }
        self.flush()?;
        self.pending = Some(Pending { start, end: start + run, run, step: 0, out });
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let raw = self.raw;
        let span = usize::try_from(pending.end - pending.start).unwrap_or(usize::MAX);
        let run = usize::try_from(pending.run).unwrap_or(usize::MAX);
        let step = usize::try_from(pending.step).unwrap_or(usize::MAX);
        if step == 0 || step == run {
            let place = self.block.get_mut(pending.out..pending.out.saturating_add(span));
            return read_exact(raw, pending.start, place.unwrap_or_default());
        }
        let mut joined = vec![0; span];
        read_exact(raw, pending.start, &mut joined)?;
        let places = self.block.get_mut(pending.out..).unwrap_or_default().chunks_exact_mut(run);
        for (part, place) in joined.chunks(step).zip(places) {
            if let Some(part) = part.get(..run) {
                place.copy_from_slice(part);
            }
        }
        Ok(())
    }
}

fn read_exact(raw: &Raw, offset: u64, place: &mut [u8]) -> Result<()> {
    raw.data.read_exact_at(offset, place).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::input(
            &raw.path,
            offset,
            "the file ends here, before its array does: it was cut off, or became shorter",
        ),
        _ => Error::io("read", &raw.path, e),
    })
}

/// So many zero bytes, if the memory has room for them.
pub(crate) fn zeros(bytes: u64, path: &Path) -> Result<Vec<u8>> {
    let mut zeros = Vec::new();
    resize(&mut zeros, bytes, path)?;
    Ok(zeros)
}

/// Makes a buffer so long, if the memory has room for it; what is new is zero.
fn resize(buffer: &mut Vec<u8>, bytes: u64, path: &Path) -> Result<()> {
    let too_large =
        || Error::input(path, None, format!("a tile of {bytes} bytes does not fit the memory"));
    let bytes = usize::try_from(bytes).map_err(|_| too_large())?;
    let more = bytes.saturating_sub(buffer.len());
    buffer.try_reserve_exact(more).map_err(|_| too_large())?;
    buffer.resize(bytes, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_are_the_block_in_order_in_whole_rows() {
        // Rows of 3, 300 x 700 of them, in a file of 8 bytes before: more than one slab.
        let shape = [3u64, 300, 700, 3];
        let bytes: Vec<u8> = (0..8 + elements(&shape)).map(|at| (at % 251) as u8).collect();
        let raw = Raw {
            data: Arc::new(bytes),
            path: PathBuf::from("x.npy"),
            offset: 8,
            shape: shape.to_vec(),
            axes: vec![0, 1, 2, 3],
            item: 1,
        };
        for hull in [
            [(0, 3), (0, 300), (0, 700), (0, 3)],
            [(1, 3), (17, 300), (5, 600), (0, 3)],
            [(2, 3), (299, 300), (699, 700), (1, 2)],
        ] {
            let whole = raw.read(&hull).unwrap();
            for axis in 1..4 {
                let row: u64 = hull[axis..].iter().map(|(low, high)| high - low).product();
                let mut joined = Vec::new();
                raw.slabs(&hull, axis, |slab| {
                    assert_eq!(slab.len() as u64 % row, 0);
                    assert!(slab.len() as u64 <= SLAB.max(row));
                    joined.extend_from_slice(slab);
                    Ok(())
                })
                .unwrap();
                assert_eq!(joined, whole);
            }
        }
    }
}
