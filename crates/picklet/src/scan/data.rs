//! The bytes of a file or of a member, readable at any place.

use std::fs::File;
use std::io::{self, Read, Write as _};

use picklet_codec::scan::Source;
use picklet_segments::store::ReadAt;

/// Bytes of a member that are kept in memory; larger ones go to a temporary file.
const IN_MEMORY: usize = 16 << 20;

/// Some bytes.
pub(super) enum Data<'a> {
    /// The file itself.
    Root { data: &'a dyn ReadAt, size: u64 },
    /// A stretch of other bytes.
    Part { whole: &'a Data<'a>, start: u64, size: u64 },
    /// A small member, expanded.
    Memory(Vec<u8>),
    /// A large one, in a temporary file without a name.
    Spool { file: File, size: u64 },
}

impl<'a> Data<'a> {
    /// `size` bytes from `start`, or as many as there are.
    pub(super) fn part(&'a self, start: u64, size: u64) -> Data<'a> {
        let left = self.len().saturating_sub(start);
        Data::Part { whole: self, start, size: size.min(left) }
    }

    /// Reads on from `start`.
    pub(super) fn reader(&'a self, start: u64) -> Reader<'a> {
        Reader { data: self, at: start }
    }

    /// Up to `count` bytes from `start`.
    pub(super) fn bytes(&self, start: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(start + filled as u64, rest) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

impl Source for Data<'_> {
    fn len(&self) -> u64 {
        match self {
            Data::Root { size, .. } | Data::Part { size, .. } | Data::Spool { size, .. } => *size,
            Data::Memory(bytes) => bytes.len() as u64,
        }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(left);
        let Some(buffer) = buffer.get_mut(..count).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        match self {
            Data::Root { data, .. } => data.read_at(offset, buffer),
            Data::Part { whole, start, .. } => whole.read_at(start + offset, buffer),
            Data::Memory(bytes) => Source::read_at(bytes.as_slice(), offset, buffer),
            Data::Spool { file, .. } => ReadAt::read_at(file, offset, buffer),
        }
    }

    fn as_slice(&self) -> Option<&[u8]> {
        match self {
            Data::Memory(bytes) => Some(bytes),
            Data::Part { whole, start, size } => {
                let start = usize::try_from(*start).ok()?;
                let end = start.checked_add(usize::try_from(*size).ok()?)?;
                whole.as_slice()?.get(start..end)
            }
            Data::Root { .. } | Data::Spool { .. } => None,
        }
    }
}

/// Reads [`Data`] in order.
pub(super) struct Reader<'a> {
    data: &'a Data<'a>,
    pub(super) at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.data.read_at(self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// What came out of a reader.
pub(super) struct Copied {
    pub(super) data: Data<'static>,
    /// The reader had more than it was allowed to give.
    pub(super) cut: bool,
    /// What the reader failed with, after what it gave.
    pub(super) error: Option<io::Error>,
}

/// Copies what `reader` gives, at most `most` bytes of it.
///
/// # Errors
/// Those of the temporary file.
pub(super) fn copy(mut reader: impl Read, most: u64) -> io::Result<Copied> {
    let mut memory = Vec::new();
    let mut spool: Option<File> = None;
    let (mut size, mut cut, mut failed) = (0u64, false, None);
    let mut block = vec![0; 128 * 1024];
    loop {
        let read = match reader.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        let room = usize::try_from(most - size).unwrap_or(usize::MAX);
        let bytes = block.get(..read.min(room)).unwrap_or_default();
        size += bytes.len() as u64;
        match &mut spool {
            Some(file) => file.write_all(bytes)?,
            None => memory.extend_from_slice(bytes),
        }
        if memory.len() > IN_MEMORY {
            let mut file = tempfile::tempfile()?;
            file.write_all(&memory)?;
            memory = Vec::new();
            spool = Some(file);
        }
        if read > room {
            cut = true;
            break;
        }
    }
    let data = match spool {
        Some(file) => Data::Spool { file, size },
        None => Data::Memory(memory),
    };
    Ok(Copied { data, cut, error: failed })
}
