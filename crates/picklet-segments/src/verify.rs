//! Checking that every segment is what the manifest says.
//!
//! Lengths and digests, several segments at a time, each read block by block;
//! with an [`Inspect`] also that each is a pickle of as many items as it
//! should be, read from its first opcode to its last. Nothing is changed: [`crate::repair()`] does that.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::Xxh3 as Xxh3State;

use crate::directory::{Origin, Segments, expanded, sniff};
use crate::draft::hex;
use crate::error::{Error, Result};
use crate::manifest::{Entry, Kind, Xxh3};
use crate::name;
use crate::progress::{NoProgress, Progress, Totals};
use crate::store::{ReadAt, Store, read_whole};

/// How much of a segment is read at a time, in bytes.
const BLOCK_BYTES: usize = 1 << 20;

/// A segment of up to so many bytes is read once, into memory, to be digested and parsed there.
/// A larger one is read twice, so that the memory does not grow with it.
const WHOLE_BYTES: u64 = 16 << 20;

/// What a look at a segment's bytes has found it to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inspected {
    /// What it holds, when that is a container.
    pub kind: Option<Kind>,
    /// How many items it holds, when it is a container.
    pub items: Option<u64>,
}

/// Parses a segment, expanded where it was compressed, from its first byte to
/// its last, and says what it is, or in one line why it is no pickle. This
/// crate's store knows nothing of pickles; whoever does hands this in.
pub type Inspect<'a> = dyn Fn(&dyn ReadAt) -> Result<Inspected, String> + Sync + 'a;

/// How to verify.
#[derive(Clone, Copy)]
pub struct VerifyOptions<'a> {
    /// Segments checked at a time; 0 is one for each processor that this
    /// process may use.
    pub threads: usize,
    /// Parses each segment too, when given.
    pub inspect: Option<&'a Inspect<'a>>,
    /// Hears of each segment.
    pub progress: &'a dyn Progress,
    /// Asked often whether to stop (Ctrl-C); also by the thread that called.
    pub interrupt: &'a (dyn Fn() -> bool + Sync),
}

impl Default for VerifyOptions<'_> {
    fn default() -> Self {
        VerifyOptions { threads: 0, inspect: None, progress: &NoProgress, interrupt: &|| false }
    }
}

impl std::fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("threads", &self.threads)
            .field("inspect", &self.inspect.is_some())
            .finish_non_exhaustive()
    }
}

/// A segment that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its number, counted from 0.
    pub position: usize,
    /// Its file.
    pub file: String,
    /// What is wrong with it, in one line.
    pub reason: String,
}

/// What verifying has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Where the knowledge of the segments came from.
    pub origin: Origin,
    /// How many segments there should be.
    pub segments: usize,
    /// Bytes read.
    pub bytes: u64,
    /// Segments that are there and are not what they should be, in order.
    pub damaged: Vec<Damage>,
    /// Segments that are not there, in order.
    pub missing: Vec<Damage>,
    /// Pickles in the directory that the manifest does not name, in order.
    pub extra: Vec<String>,
    /// Segments of which no digest is known, so that nothing could be compared.
    pub without_digest: usize,
}

impl VerifyReport {
    /// Whether every segment is there and what it should be.
    pub fn is_good(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

/// Checks every segment's length, digest and, when `options.inspect` is given,
/// its content.
///
/// # Errors
/// [`Error::Io`] when the directory itself cannot be listed;
/// [`Error::Interrupted`]. A segment that cannot be read is damage, not an
/// error.
pub fn verify(segments: &Segments, options: &VerifyOptions<'_>) -> Result<VerifyReport> {
    let store = segments.location().store();
    let entries = segments.entries();
    options.progress.totals(Totals {
        segments: Some(entries.len() as u64),
        items: segments.items(),
        bytes: Some(segments.bytes()),
    });
    let verdicts = in_parallel(entries, options, |entry| {
        let verdict = check(&*store, entry, options);
        match &verdict {
            Ok(_) => options.progress.segment(&entry.file),
            Err(Error::Interrupted) => {}
            Err(e) => options.progress.failure(&entry.file, &e.to_string()),
        }
        verdict
    })?;
    let mut report = VerifyReport {
        origin: segments.origin(),
        segments: entries.len(),
        bytes: 0,
        damaged: Vec::new(),
        missing: Vec::new(),
        extra: extra(&*store, entries)?,
        without_digest: entries.iter().filter(|entry| entry.xxh3.is_none()).count(),
    };
    for (position, (entry, verdict)) in entries.iter().zip(verdicts).enumerate() {
        let damage = |reason| Damage { position, file: entry.file.clone(), reason };
        match verdict {
            Ok(bytes) => report.bytes += bytes,
            Err(Error::Missing(_)) => report.missing.push(damage("it is not there".to_owned())),
            Err(e) => report.damaged.push(damage(reason_of(e))),
        }
    }
    Ok(report)
}

/// The part of an error that says what is wrong with a segment whose name is
/// told anyway.
pub(crate) fn reason_of(error: Error) -> String {
    match error {
        Error::Damaged { reason, .. } => reason,
        Error::Io { action, source, .. } => format!("cannot {action} it: {source}"),
        Error::Input { message, .. } => format!("it {message}"),
        other => other.to_string(),
    }
}

/// Pickles that nobody names.
fn extra(store: &dyn Store, entries: &[Entry]) -> Result<Vec<String>> {
    let named: HashSet<&str> = entries.iter().map(|entry| entry.file.as_str()).collect();
    let mut extra: Vec<String> = store
        .list()?
        .unwrap_or_default()
        .iter()
        .map(|found| found.name.to_string_lossy().into_owned())
        .filter(|file| name::is_segment(file) && !named.contains(file.as_str()))
        .collect();
    extra.sort_by(|a, b| name::natural_order(a, b));
    Ok(extra)
}

/// Checks one segment; the bytes read.
fn check(store: &dyn Store, entry: &Entry, options: &VerifyOptions<'_>) -> Result<u64> {
    let found = examine(store, &entry.file, entry.sha256.is_some(), options)?;
    match difference(entry, &found) {
        None => Ok(found.bytes),
        Some(reason) => Err(Error::Damaged { path: store.path().join(&entry.file), reason }),
    }
}

/// What a segment's file is.
#[derive(Debug, Clone)]
pub(crate) struct Examined {
    pub(crate) bytes: u64,
    pub(crate) xxh3: Xxh3,
    pub(crate) sha256: Option<String>,
    pub(crate) inspected: Option<Result<Inspected, String>>,
}

/// In what a file differs from what its entry says.
pub(crate) fn difference(entry: &Entry, found: &Examined) -> Option<String> {
    if found.bytes != entry.bytes {
        return Some(format!("it has {} bytes, the manifest says {}", found.bytes, entry.bytes));
    }
    if let Some(said) = entry.xxh3
        && said != found.xxh3
    {
        return Some(format!("its xxh3 is {}, the manifest says {said}", found.xxh3));
    }
    if let (Some(said), Some(sha256)) = (&entry.sha256, &found.sha256)
        && said != sha256
    {
        return Some(format!("its sha256 is {sha256}, the manifest says {said}"));
    }
    match (&found.inspected, entry.items) {
        (Some(Err(reason)), _) => Some(format!("it is no whole pickle: {reason}")),
        (Some(Ok(Inspected { items: Some(items), .. })), Some(said)) if *items != said => {
            Some(format!("it holds {items} items, the manifest says {said}"))
        }
        _ => None,
    }
}

/// Reads a segment once and says what it is.
pub(crate) fn examine(
    store: &dyn Store,
    file: &str,
    sha256: bool,
    options: &VerifyOptions<'_>,
) -> Result<Examined> {
    let path = store.path().join(file);
    let source = store.open(file)?;
    let mut digests = Digests::new(sha256);
    let size = source.size().map_err(|e| Error::io("read", &path, e))?;
    let source: Box<dyn ReadAt> = if options.inspect.is_some() && size <= WHOLE_BYTES {
        let bytes = read_whole(&*source, &path)?;
        digests.update(&bytes);
        options.progress.bytes(bytes.len() as u64);
        Box::new(bytes)
    } else {
        read_blocks(&*source, &path, &mut digests, options)?;
        source
    };
    let inspected = match options.inspect {
        None => None,
        Some(inspect) => Some(match parse(source, inspect, &path) {
            Err(Error::Damaged { reason, .. }) => Err(reason),
            other => other?,
        }),
    };
    Ok(Examined {
        bytes: digests.bytes,
        xxh3: Xxh3(digests.xxh3.digest128()),
        sha256: digests.sha256.map(|state| hex(&state.finalize())),
        inspected,
    })
}

/// Parses a file, by way of a temporary one where it is compressed.
fn parse(
    source: Box<dyn ReadAt>,
    inspect: &Inspect<'_>,
    path: &Path,
) -> Result<Result<Inspected, String>> {
    let compression = sniff(&*source).map_err(|e| Error::io("read", path, e))?;
    Ok(match compression {
        None => inspect(&*source),
        Some(how) => inspect(&expanded(how, source, path.to_owned())?),
    })
}

struct Digests {
    bytes: u64,
    xxh3: Box<Xxh3State>,
    sha256: Option<Sha256>,
}

impl Digests {
    fn new(sha256: bool) -> Self {
        Digests { bytes: 0, xxh3: Box::new(Xxh3State::new()), sha256: sha256.then(Sha256::new) }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.xxh3.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }
}

fn read_blocks(
    source: &dyn ReadAt,
    path: &Path,
    digests: &mut Digests,
    options: &VerifyOptions<'_>,
) -> Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        if (options.interrupt)() {
            return Err(Error::Interrupted);
        }
        let read = match source.read_at(digests.bytes, &mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Error::io("read", path, e)),
        };
        digests.update(block.get(..read).unwrap_or_default());
        options.progress.bytes(read as u64);
    }
}

/// Does `work` for each of `items` on `options.threads` threads (0: one for each processor), the
/// calling one among them, and returns the results in the items' order.
///
/// # Errors
/// [`Error::Interrupted`] when `options.interrupt` says so before all are done.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    options: &VerifyOptions<'_>,
    work: impl Fn(&T) -> R + Sync,
) -> Result<Vec<R>> {
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
    .min(items.len());
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    let run = || {
        while !stopped.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            if (options.interrupt)() {
                stopped.store(true, Ordering::Relaxed);
                return;
            }
            let result = work(item);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    // One of them may have stopped in the middle of its work.
    if stopped.into_inner() || (options.interrupt)() {
        return Err(Error::Interrupted);
    }
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
