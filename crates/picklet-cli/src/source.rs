//! What a path on the command line leads to: a segments directory, or a file; `-` is standard input.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use picklet_segments::store::is_url;
use picklet_segments::{Error, Input, Location, Segments};

use crate::summary::{Stopped, summarize};

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
        if !is_dash(path) && (path.is_dir() || leads_to_segments(path)) {
            return Ok(Place::Segments(Segments::open(&Location::new(path)?)?));
        }
        Ok(Place::File(open(path)?))
    }
}

/// Whether a URL is that of a directory: all are, but those that end like a file that picklet reads.
fn leads_to_segments(path: &Path) -> bool {
    let file = path.extension().and_then(OsStr::to_str).is_some_and(|extension| {
        ["pickle", "pkl", "p", "jsonl", "ndjson", "zst", "gz"].contains(&extension)
    });
    is_url(path) && !file
}

/// Opens a file. What comes through a pipe is copied into a temporary file first.
pub(crate) fn open(path: &Path) -> Result<Input> {
    Ok(if is_dash(path) { Input::stdin(None)? } else { Input::open(path)? })
}

/// All of a file's bytes.
pub(crate) fn read(input: &Input) -> Result<Vec<u8>> {
    part(input, 0, input.size())
}

/// The bytes from `start` to `end`.
pub(crate) fn part(input: &Input, start: u64, end: u64) -> Result<Vec<u8>> {
    let too_large = || Error::input(input.path(), None, "does not fit the memory");
    let size = usize::try_from(end.saturating_sub(start)).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| too_large())?;
    bytes.resize(size, 0);
    let read = input.data().read_exact_at(start, &mut bytes);
    read.map_err(|e| Error::io("read", input.path(), e))?;
    Ok(bytes)
}

/// Where the first pickle of `input` ends. All of it is scanned, in memory that does not grow.
pub(crate) fn first_end(input: &Input) -> Result<u64> {
    if input.size() == 0 {
        return Err(Error::input(input.path(), None, "is empty: there is no pickle in it").into());
    }
    end_of(input, 0)
}

/// Where the pickle that begins at `start` ends.
pub(crate) fn end_of(input: &Input, start: u64) -> Result<u64> {
    let summary =
        summarize(input.data(), input.size(), start).map_err(|stopped| match stopped {
            Stopped::Wrong(wrong) => Error::input(input.path(), wrong.offset, wrong.what),
            Stopped::Io(error) => Error::io("read", input.path(), error),
        })?;
    Ok(summary.end)
}
