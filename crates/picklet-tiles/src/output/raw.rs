//! `.npy`, pickles and TIFF: the elements in C order between a head and a tail.

use std::fs::File;
use std::io;
use std::path::Path;

use picklet_segments::Result;
use picklet_segments::array::{Dtype, Envelope};

use super::{Output, Pending};
use crate::block::elements;
use crate::npy;
use crate::source::item_size;

/// A file of elements.
pub(super) struct RawFile {
    pending: Pending,
    /// Where the first element stands.
    offset: u64,
    /// What follows the last.
    tail: Vec<u8>,
    /// Blocks before the band's axis, elements along it, bytes of one element along it.
    outer: u64,
    side: u64,
    inner: u64,
    /// Truth values, to be written as black and white.
    truth: bool,
}

impl RawFile {
    pub(super) fn npy(path: &Path, dtype: &Dtype, shape: &[u64], axis: usize) -> Result<RawFile> {
        let head = npy::write(dtype, shape)?;
        RawFile::new(path, dtype, shape, axis, &head, Vec::new())
    }

    pub(super) fn pickle(
        path: &Path,
        dtype: &Dtype,
        shape: &[u64],
        axis: usize,
    ) -> Result<RawFile> {
        let envelope = Envelope::new(dtype, shape, false)?;
        RawFile::new(path, dtype, shape, axis, &envelope.head, envelope.tail)
    }

    pub(super) fn tiff(path: &Path, dtype: &Dtype, shape: &[u64], axis: usize) -> Result<RawFile> {
        let parts = super::tiff::parts(dtype, shape)?;
        let mut file = RawFile::new(path, dtype, shape, axis, &parts.head, parts.tail)?;
        file.truth = dtype.as_plain().is_some_and(|plain| plain.kind == 'b');
        Ok(file)
    }

    fn new(
        path: &Path,
        dtype: &Dtype,
        shape: &[u64],
        axis: usize,
        head: &[u8],
        tail: Vec<u8>,
    ) -> Result<RawFile> {
        let pending = Pending::new(path)?;
        let item = item_size(dtype, path)? as u64;
        let file = RawFile {
            offset: head.len() as u64,
            tail,
            outer: elements(shape.get(..axis).unwrap_or_default()),
            side: shape.get(axis).copied().unwrap_or(1),
            inner: elements(shape.get(axis + 1..).unwrap_or_default()).saturating_mul(item),
            truth: false,
            pending,
        };
        file.put(0, head)?;
        Ok(file)
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(self.pending.file.as_file(), offset, bytes).map_err(|e| self.pending.error(e))
    }
}

impl Output for RawFile {
    fn band(&mut self, first: u64, rows: u64, block: &[u8]) -> Result<()> {
        let run = usize::try_from(rows.saturating_mul(self.inner)).unwrap_or(usize::MAX);
        if run == 0 {
            return Ok(());
        }
        let mut spread = Vec::new();
        let mut block = block;
        if self.truth {
            spread.extend_from_slice(block);
            super::spread(&mut spread);
            block = &spread;
        }
        let mut offset = self.offset + first * self.inner;
        for part in block.chunks(run) {
            self.put(offset, part)?;
            offset += self.side * self.inner;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        let end = self.offset + self.outer * self.side * self.inner;
        self.put(end, &self.tail)?;
        self.pending.publish()
    }
}

/// Writes all of `bytes` at `offset`.
fn write_all_at(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, offset);
    #[cfg(not(unix))]
    {
        use std::io::{Seek as _, SeekFrom, Write as _};
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }
}
