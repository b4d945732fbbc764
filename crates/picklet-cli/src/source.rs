//! What a path on the command line leads to: a segments directory, or a file; `-` is standard input.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use picklet_segments::{Error, Input, Location, Segments};

/// A segments directory or a file.
pub(crate) enum Place {
    Segments(Segments),
    File(Input),
}

/// Whether the user means standard input, or output.
pub(crate) fn is_dash(path: &Path) -> bool {
    path.as_os_str() == OsStr::new("-")
}

impl Place {
    pub(crate) fn open(path: &Path) -> Result<Place> {
        if !is_dash(path) && path.is_dir() {
            return Ok(Place::Segments(Segments::open(&Location::local(path))?));
        }
        Ok(Place::File(open(path)?))
    }
}

/// Opens a file. What comes through a pipe is copied into a temporary file first.
pub(crate) fn open(path: &Path) -> Result<Input> {
    Ok(if is_dash(path) { Input::stdin(None)? } else { Input::file(path)? })
}

/// All of a file's bytes.
pub(crate) fn read(input: &Input) -> Result<Vec<u8>> {
    let too_large = || Error::input(input.path(), None, "does not fit the memory");
    let size = usize::try_from(input.size()).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| too_large())?;
    bytes.resize(size, 0);
    let read = input.data().read_exact_at(0, &mut bytes);
    read.map_err(|e| Error::io("read", input.path(), e))?;
    Ok(bytes)
}
