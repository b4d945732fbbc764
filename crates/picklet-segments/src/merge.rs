//! Merging: segments are joined into one pickle, without making their objects.
//!
//! Each segment's items are copied with their memo numbers moved up. Memory
//! does not grow with the segments.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::Kind;
use crate::progress::{NoProgress, Progress, Totals};
use crate::split::{Member, Merged};

/// How to merge.
#[derive(Clone)]
pub struct MergeOptions<'o> {
    /// What is written to, for messages.
    pub name: PathBuf,
    /// Hears of segments done.
    pub progress: &'o dyn Progress,
    /// Asked after each segment whether to stop (Ctrl-C).
    pub interrupt: &'o (dyn Fn() -> bool + Sync),
}

impl Default for MergeOptions<'_> {
    fn default() -> Self {
        MergeOptions {
            name: PathBuf::from("the merged pickle"),
            progress: &NoProgress,
            interrupt: &|| false,
        }
    }
}

impl std::fmt::Debug for MergeOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MergeOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a merge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeReport {
    /// What the merged pickle is. Segments that are objects of their own give
    /// a list of them.
    pub kind: Kind,
    /// Segments merged.
    pub segments: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Joins all of `segments`, in order, into one pickle written to `out`.
///
/// What was shared within a segment stays shared. Segments of kind `objects`
/// become the items of a list.
///
/// # Errors
/// [`Error::Usage`] when the segments are of different types, or of a kind
/// that has no merged form; [`Error::Input`] with an offset for a segment that
/// is no pickle; [`Error::Missing`]; [`Error::Io`]; [`Error::Interrupted`].
/// What was written until then is no pickle.
pub fn merge(
    segments: &Segments,
    out: &mut dyn Write,
    options: &MergeOptions<'_>,
) -> Result<MergeReport> {
    let kind = segments.kind();
    if matches!(kind, Kind::Array | Kind::Tiles) {
        return Err(Error::usage(format!(
            "segments of kind {kind} cannot be merged into a pickle without their objects"
        )));
    }
    let objects = kind == Kind::Objects;
    options.progress.totals(Totals {
        segments: Some(segments.len() as u64),
        items: segments.items(),
        bytes: Some(segments.bytes()),
    });
    let member = |index: usize| -> Result<Input> {
        let path = segments.location().path().join(&segments.entry(index)?.file);
        let mut input = Input::read_at("", segments.open_segment(index)?)?;
        input.rename(path);
        Ok(input)
    };
    // All beginnings first: they decide about the protocol, and a segment that
    // does not belong to the others is found before anything is written.
    let mut merged = Merged::new(kind, objects);
    for index in 0..segments.len() {
        merged.look(&Member { input: &member(index)?, objects })?;
    }
    let mut counting = Counting { out: BufWriter::with_capacity(1 << 18, out), bytes: 0 };
    let mut run = merged.begin(&mut counting, &options.name)?;
    for index in 0..segments.len() {
        if (options.interrupt)() {
            return Err(Error::Interrupted);
        }
        let entry = segments.entry(index)?;
        run.add(&Member { input: &member(index)?, objects })?;
        options.progress.bytes(entry.bytes);
        options.progress.items(entry.items.unwrap_or(0));
        options.progress.segment(&entry.file);
    }
    run.finish()?;
    counting.flush().map_err(|e| Error::io("write", &options.name, e))?;
    Ok(MergeReport {
        kind: if objects { Kind::List } else { kind },
        segments: segments.len() as u64,
        bytes: counting.bytes,
    })
}

struct Counting<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
