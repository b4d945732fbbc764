//! A block of the source in memory, moved along by positioned reads.
//!
//! The scanner and the walkers look at the source through this, so that their
//! memory is one block whatever the size of the file. What lies inside a large
//! payload is skipped and never read.

use std::io;

use super::ops::{self, Length};
use crate::store::ReadAt;

/// Bytes read at once: large enough to make the calls cheap, small enough to
/// stay in a core's own cache between scanning and writing.
pub(crate) const BLOCK: usize = 256 * 1024;

/// Bytes read at once after more than a block was skipped.
const LANDING: usize = 4 * 1024;

/// Bytes that may be looked at past the position without asking: the longest
/// operation without payload has 9.
pub(crate) const SLOP: usize = 16;

/// What stops a walk through a pickle.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The source could not be read.
    Io(io::Error),
    /// The bytes at an offset are not what a pickle has there, or are
    /// something that cannot be split. The message has the way out.
    Bad(u64, String),
}

impl Fault {
    /// A fault at an offset.
    pub(crate) fn bad<T>(offset: u64, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::Bad(offset, message.into()))
    }

    /// The source ends inside the operation at `offset`.
    #[cold]
    pub(crate) fn truncated(offset: u64) -> Fault {
        Fault::Bad(
            offset,
            "the pickle ends in the middle of what begins here: the file was cut off".to_owned(),
        )
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

/// One operation's place in the source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawOp {
    pub(crate) opcode: u8,
    /// Where it begins.
    pub(crate) at: u64,
    /// Where its argument's payload begins: after the count, if there is one.
    pub(crate) payload: u64,
    /// Where the next operation begins.
    pub(crate) end: u64,
}

/// A block of the source.
pub(crate) struct Window<'a> {
    source: &'a dyn ReadAt,
    /// Where the source ends for this window.
    end: u64,
    /// Offset of the block's first byte.
    base: u64,
    /// The block, followed by `SLOP` zeros.
    buffer: Vec<u8>,
    /// Bytes of the source in `buffer`.
    len: usize,
    /// Bytes read at once.
    most: usize,
}

impl<'a> Window<'a> {
    /// A window on `source` up to `end`. Reads nothing yet.
    pub(crate) fn new(source: &'a dyn ReadAt, end: u64) -> Self {
        Window::sized(source, end, BLOCK)
    }

    /// The same, reading no more than `most` bytes at once: for short
    /// stretches of a long source.
    pub(crate) fn sized(source: &'a dyn ReadAt, end: u64, most: usize) -> Self {
        let most = most.clamp(1 << 10, BLOCK);
        Window { source, end, base: 0, buffer: Vec::new(), len: 0, most }
    }

    /// Another window on the same source, with this one's memory.
    pub(crate) fn reuse(&mut self, end: u64) -> Self {
        let buffer = std::mem::take(&mut self.buffer);
        Window { source: self.source, end, base: 0, buffer, len: 0, most: self.most }
    }

    /// Where the source ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The source.
    pub(crate) fn source(&self) -> &'a dyn ReadAt {
        self.source
    }

    /// Offset of the block's first byte.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Bytes of the source in the block.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the block reaches the end of the source.
    pub(crate) fn at_end(&self) -> bool {
        self.base + self.len as u64 >= self.end
    }

    /// The block's bytes, with zeros after them.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len + SLOP).unwrap_or(&self.buffer)
    }

    /// The block's bytes to change in place.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.buffer.get_mut(..len).unwrap_or_default()
    }

    /// The block's bytes to change in place, with the zeros after them, which
    /// are to be left alone.
    pub(crate) fn whole_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.buffer.get_mut(..len + SLOP).unwrap_or_default()
    }

    /// The bytes from `from` to `to` to change in place, where all of them are in the block.
    pub(crate) fn held_mut(&mut self, from: u64, to: u64) -> Option<&mut [u8]> {
        let inside = |offset: u64| usize::try_from(offset.checked_sub(self.base)?).ok();
        let (from, to) = (inside(from)?, inside(to)?);
        self.bytes_mut().get_mut(from..to)
    }

    /// Moves the block so that it begins at `offset`. What is in it already is
    /// kept, changes made in place included.
    pub(crate) fn load(&mut self, offset: u64) -> io::Result<()> {
        // After a large payload the next one may follow at once, and most of a
        // block would be read for nothing.
        let there = self.base + self.len as u64;
        let far = self.len > 0 && offset > there + BLOCK as u64;
        let most = if far { LANDING.min(self.most) } else { self.most };
        self.load_most(offset, most)
    }

    /// Moves the block to a short stretch somewhere, of which some neighbours
    /// may be wanted next.
    pub(crate) fn load_around(&mut self, from: u64, to: u64) -> io::Result<()> {
        let begin = from - from % LANDING as u64;
        let most = to.saturating_sub(begin).clamp(2 * LANDING as u64, BLOCK as u64);
        self.load_most(begin, most as usize)
    }

    fn load_most(&mut self, offset: u64, most: usize) -> io::Result<()> {
        let there = self.base + self.len as u64;
        let mut filled = 0;
        if offset >= self.base && offset < there {
            let from = (offset - self.base) as usize;
            self.buffer.copy_within(from..self.len, 0);
            filled = self.len - from;
        }
        self.base = offset;
        let room = self.end.saturating_sub(offset).min(most as u64) as usize;
        // Short stretches are read by the hundred thousand: no more memory than they need.
        if self.buffer.len() < room.max(filled) + SLOP {
            self.buffer.resize(room.max(filled) + SLOP, 0);
        }
        while filled < room {
            let free = self.buffer.get_mut(filled..room).unwrap_or_default();
            match self.source.read_at(offset + filled as u64, free) {
                Ok(0) => {
                    // The file became shorter: what is gone is its end.
                    self.end = offset + filled as u64;
                    break;
                }
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.len = filled;
        if let Some(after) = self.buffer.get_mut(filled..filled + SLOP) {
            after.fill(0);
        }
        Ok(())
    }

    /// Where the line that begins at `offset` ends: the offset after its line
    /// feed. Leaves the block alone; for lines longer than it.
    pub(crate) fn line_end(&self, mut offset: u64) -> Result<Option<u64>, Fault> {
        let mut block = vec![0; BLOCK];
        while offset < self.end {
            let want = (self.end - offset).min(BLOCK as u64) as usize;
            let room = block.get_mut(..want).unwrap_or_default();
            let read = self.source.read_at(offset, room)?;
            if read == 0 {
                break;
            }
            if let Some(at) = memchr::memchr(b'\n', room.get(..read).unwrap_or_default()) {
                return Ok(Some(offset + at as u64 + 1));
            }
            offset += read as u64;
        }
        Ok(None)
    }

    /// The bytes from `from` to `to`, for short names and numbers.
    pub(crate) fn copy(&self, from: u64, to: u64) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
        self.source.read_exact_at(from, &mut bytes)?;
        Ok(bytes)
    }

    /// The operation at `offset`. Slow and careful; for the few operations at
    /// a pickle's beginning and end.
    pub(crate) fn op(&mut self, offset: u64) -> Result<RawOp, Fault> {
        if offset >= self.end {
            return Err(Fault::truncated(offset));
        }
        let inside = offset >= self.base && offset + SLOP as u64 <= self.base + self.len as u64;
        if !inside {
            self.load(offset)?;
        }
        let from = (offset - self.base) as usize;
        let bytes = self.bytes().get(from..).unwrap_or_default();
        let Some(&opcode) = bytes.first() else {
            return Err(Fault::truncated(offset));
        };
        let kind = ops::LENGTHS.get(usize::from(opcode)).copied().unwrap_or(Length::Unknown);
        let (payload, end) = match kind {
            Length::Unknown => return Err(unknown(offset, opcode)),
            Length::Fixed(n) => (offset + 1, offset + u64::from(n)),
            Length::Counted(n) => {
                let count = ops::little(bytes.get(1..1 + usize::from(n)).unwrap_or_default());
                if ops::signed_count(opcode) && count > i32::MAX as u64 {
                    return Fault::bad(offset, "negative byte count");
                }
                let payload = offset + 1 + u64::from(n);
                (payload, payload.saturating_add(count))
            }
            Length::Lines(n) => {
                let mut end = offset + 1;
                for _ in 0..n {
                    match self.line_end(end)? {
                        Some(next) => end = next,
                        None => return Err(Fault::truncated(offset)),
                    }
                }
                (offset + 1, end)
            }
        };
        if end > self.end {
            return Err(Fault::truncated(offset));
        }
        Ok(RawOp { opcode, at: offset, payload, end })
    }
}

/// The fault of a byte that is no opcode.
pub(crate) fn unknown(offset: u64, byte: u8) -> Fault {
    Fault::Bad(
        offset,
        format!("{byte:#04x} is no pickle opcode: this is not a pickle, or it is damaged"),
    )
}
