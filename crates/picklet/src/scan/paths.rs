//! Many files: found under folders and patterns, scanned several at a time.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{FileReport, Options, scan_file};

/// A path or a pattern that leads to no file.
#[derive(Debug)]
pub struct NotFound {
    /// As the caller wrote it.
    pub path: PathBuf,
    /// Why there is none.
    pub why: String,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for NotFound {}

/// All files under `path`: itself, those in a folder and its folders, or those that a pattern
/// (`models/**/*.pkl`) matches where there is no file of that name. Links to folders are not
/// followed. In the order of their names.
///
/// # Errors
/// [`NotFound`] if there is none, or a folder cannot be read.
pub fn find(path: &Path) -> Result<Vec<PathBuf>, NotFound> {
    let failed = |why: String| NotFound { path: path.to_owned(), why };
    if path.is_dir() {
        let mut files = Vec::new();
        for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
            let entry = entry.map_err(|error| failed(error.to_string()))?;
            // A link may lead to a file.
            if entry.file_type().is_file() || entry.path_is_symlink() && entry.path().is_file() {
                files.push(entry.into_path());
            }
        }
        return Ok(files);
    }
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let pattern = path.to_str().filter(|text| text.contains(['*', '?', '[']));
    let Some(pattern) = pattern else { return Err(failed("there is no such file".into())) };
    let matches = glob::glob(pattern).map_err(|error| failed(error.to_string()))?;
    let mut files = Vec::new();
    for found in matches {
        let found = found.map_err(|error| failed(error.to_string()))?;
        if found.is_dir() {
            files.extend(find(&found)?);
        } else {
            files.push(found);
        }
    }
    if files.is_empty() {
        return Err(failed("no file matches the pattern".into()));
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Scans `files` with `threads` threads and hands each report to `done` in the order of `files`,
/// as soon as it and all before it are there.
pub fn scan_all(
    files: &[PathBuf],
    options: &Options,
    threads: usize,
    done: impl FnMut(FileReport) + Send,
) {
    struct Order<D> {
        waiting: Vec<Option<FileReport>>,
        next: usize,
        done: D,
    }
    let order = Mutex::new(Order { waiting: files.iter().map(|_| None).collect(), next: 0, done });
    let taken = AtomicUsize::new(0);
    let work = || {
        while let Some((at, path)) = {
            let at = taken.fetch_add(1, Ordering::Relaxed);
            files.get(at).map(|path| (at, path))
        } {
            let report = scan_file(path, options);
            let mut order = order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let order = &mut *order;
            if let Some(place) = order.waiting.get_mut(at) {
                *place = Some(report);
            }
            while let Some(report) = order.waiting.get_mut(order.next).and_then(Option::take) {
                order.next += 1;
                (order.done)(report);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(files.len()).max(1) {
            scope.spawn(work);
        }
        work();
    });
}
