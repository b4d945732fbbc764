//! What a path on the command line leads to: a segments directory, or a file; `-` is standard input.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use picklet_segments::{Error, Location, ReadAt, Segments};

/// A file, opened. Standard input is copied into a temporary file first.
pub(crate) struct Opened {
    /// Its name for messages.
    pub(crate) path: PathBuf,
    pub(crate) data: Box<dyn ReadAt>,
    pub(crate) size: u64,
}

/// A segments directory or a file.
pub(crate) enum Place {
    Segments(Segments),
    File(Opened),
}

/// Whether the user means standard input.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == OsStr::new("-")
}

impl Place {
    pub(crate) fn open(path: &Path) -> Result<Place> {
        if !is_stdin(path) && path.is_dir() {
            return Ok(Place::Segments(Segments::open(&Location::local(path))?));
        }
        Ok(Place::File(Opened::open(path)?))
    }
}

impl Opened {
    pub(crate) fn open(path: &Path) -> Result<Opened> {
        if is_stdin(path) {
            return spooled(PathBuf::from("standard input"), io::stdin().lock());
        }
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let metadata = file.metadata().map_err(|e| Error::io("read", path, e))?;
        if metadata.is_dir() {
            return Err(
                Error::input(path, None, "is a directory, and a file is needed here").into()
            );
        }
        if !metadata.is_file() {
            // A pipe or a device: its bytes come once.
            return spooled(path.to_owned(), file);
        }
        Ok(Opened { path: path.to_owned(), data: Box::new(file), size: metadata.len() })
    }
}

fn spooled(path: PathBuf, mut reader: impl io::Read) -> Result<Opened> {
    let mut spool = tempfile::tempfile()
        .map_err(|e| Error::io("make a temporary file in", std::env::temp_dir(), e))?;
    let size = io::copy(&mut reader, &mut spool).map_err(|e| Error::io("copy", &path, e))?;
    Ok(Opened { path, data: Box::new(spool), size })
}

impl Opened {
    /// All of it.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        let too_large = || Error::input(&self.path, None, "does not fit the memory");
        let size = usize::try_from(self.size).map_err(|_| too_large())?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size).map_err(|_| too_large())?;
        bytes.resize(size, 0);
        let read = self.data.read_exact_at(0, &mut bytes);
        read.map_err(|e| Error::io("read", &self.path, e))?;
        Ok(bytes)
    }
}
