//! Merging: segments are joined into one pickle, without making their objects.
//!
//! Each segment's items are copied with their memo numbers moved up. Memory
//! does not grow with the segments.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::Kind;
use crate::progress::{NoProgress, Progress, Totals};
use crate::split::{AHEAD, Held, Member, Merged, contents, cores, merge_arrays};

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
    if kind == Kind::Tiles {
        return Err(Error::usage("tiles are joined by stitch"));
    }
    let objects = kind == Kind::Objects;
    options.progress.totals(Totals {
        segments: Some(segments.len() as u64),
        items: segments.items(),
        bytes: Some(segments.bytes()),
    });
    let mut counting = Counting { out: BufWriter::with_capacity(1 << 18, out), bytes: 0 };
    if kind == Kind::Array {
        merge_arrays(segments, &mut counting, &options.name)?;
        counting.flush().map_err(|e| Error::io("write", &options.name, e))?;
        let (segments, bytes) = (segments.len() as u64, counting.bytes);
        return Ok(MergeReport { kind, segments, bytes });
    }
    // All beginnings first: they decide about the protocol, and a segment that
    // does not belong to the others is found before anything is written.
    let mut merged = Merged::new(kind, objects);
    for index in 0..segments.len() {
        merged.look(&Member { input: &segments.input(index)?, objects, held: None })?;
    }
    let mut run = merged.begin(&mut counting, &options.name)?;
    let mut add = |index: usize, (input, held): (Input, Option<Held>)| -> Result<()> {
        if (options.interrupt)() {
            return Err(Error::Interrupted);
        }
        let entry = segments.entry(index)?;
        run.add(&Member { input: &input, objects, held })?;
        options.progress.bytes(entry.bytes);
        options.progress.items(entry.items.unwrap_or(0));
        options.progress.segment(&entry.file);
        Ok(())
    };
    let scanned = |index: usize| -> Result<(Input, Option<Held>)> {
        let input = segments.input(index)?;
        // The first was scanned when it was looked at.
        let held = if objects || index == 0 { None } else { Some(contents(&input)?) };
        Ok((input, held))
    };
    if segments.len() > 2 && segments.bytes() > AHEAD && cores() > 1 {
        side_by_side(segments, &scanned, &mut add)?;
    } else {
        for index in 0..segments.len() {
            add(index, scanned(index)?)?;
        }
    }
    run.finish()?;
    counting.flush().map_err(|e| Error::io("write", &options.name, e))?;
    Ok(MergeReport {
        kind: if objects { Kind::List } else { kind },
        segments: segments.len() as u64,
        bytes: counting.bytes,
    })
}

/// Scans in a thread of its own, which is one segment ahead of the writing.
fn side_by_side<T: Send>(
    segments: &Segments,
    scanned: &(dyn Fn(usize) -> Result<T> + Sync),
    add: &mut dyn FnMut(usize, T) -> Result<()>,
) -> Result<()> {
    let (sender, receiver) = sync_channel(1);
    thread::scope(|scope| {
        let scan = move || {
            for index in 0..segments.len() {
                let next = scanned(index);
                let failed = next.is_err();
                // The writer has given up, or will for this reason.
                if sender.send(next).is_err() || failed {
                    return;
                }
            }
        };
        let scan = thread::Builder::new().name("picklet scan".to_owned()).spawn_scoped(scope, scan);
        scan.map_err(|e| Error::io("start a thread for", segments.location().path(), e))?;
        // The receiver goes away with this closure's end, and the scan then ends too.
        for (index, next) in receiver.into_iter().enumerate() {
            add(index, next?)?;
        }
        Ok(())
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
