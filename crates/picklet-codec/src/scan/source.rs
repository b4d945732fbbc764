//! Where a scan reads: anything that can be read at any place.

use std::io;

use crate::arg::Arg;
use crate::limits::Limits;
use crate::opcode::Opcode;
use crate::reader::Reader;

/// Bytes that can be read at any place. A scan reads each byte once, in order, and goes back
/// only for the few names and arguments that it reports.
pub trait Source {
    /// How many bytes there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads up to `buffer.len()` bytes from `offset` on; 0 at the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// All bytes, where they are in memory: they are then not copied.
    fn as_slice(&self) -> Option<&[u8]> {
        None
    }
}

impl Source for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = from.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), from.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(self)
    }
}

/// Reads until `buffer` is full or the source ends.
pub(super) fn read_full(source: &dyn Source, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read_at(offset + filled as u64, rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Bytes of an opcode that are read again for a report or a check.
const AGAIN: usize = 8 * 1024;

/// Reads the opcode at `offset` once more and hands it to `read`; `None` where it is larger than
/// what is read again.
pub(super) fn opcode_at<R>(
    source: &dyn Source,
    offset: u64,
    read: impl FnOnce(Opcode, Arg<'_>) -> Option<R>,
) -> Option<R> {
    let at = usize::try_from(offset).ok();
    if let Some(bytes) = source.as_slice().zip(at).and_then(|(all, at)| all.get(at..)) {
        return decoded(bytes.get(..AGAIN).unwrap_or(bytes), read);
    }
    let mut few = [0; 256];
    let count = read_full(source, offset, &mut few).ok()?;
    let bytes = few.get(..count).unwrap_or_default();
    let short = Reader::with_limits(bytes, Limits::default()).part_of_a_stream(0).next_op();
    if short.is_ok() || count < few.len() {
        return decoded(bytes, read);
    }
    let mut many = vec![0; AGAIN];
    let count = read_full(source, offset, &mut many).ok()?;
    decoded(many.get(..count).unwrap_or_default(), read)
}

fn decoded<R>(bytes: &[u8], read: impl FnOnce(Opcode, Arg<'_>) -> Option<R>) -> Option<R> {
    let op = Reader::with_limits(bytes, Limits::default()).part_of_a_stream(0).next_op().ok()??;
    read(op.opcode, op.arg)
}
