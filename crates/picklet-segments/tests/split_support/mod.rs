//! What the tests of splitting share: stock pickle as the writer of sources and
//! the reader of segments.
#![allow(dead_code, reason = "each test uses some of it")]

use std::path::Path;
use std::process::Command;

use picklet_segments::{Input, Location, Shared, SplitOptions, SplitReport, Target, split};

/// The interpreter to compare with; `None` after saying loudly that there is
/// none.
pub(crate) fn python() -> Option<String> {
    let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).arg("-c").arg("import pickle").output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("SKIPPED: {python} does not run; set PICKLET_PYTHON to compare with stock pickle");
    None
}

/// Runs `code` in Python with `pickle`, `io` and others imported, `folder` set,
/// and `segments(name)`, which loads the segments of a directory with stock
/// pickle's two unpicklers.
pub(crate) fn run_python(python: &str, folder: &Path, code: &str) -> String {
    let code = format!(
        "import pickle, io, os, pickletools, random, sys, collections
folder = {folder:?}
def segments(name):
    for file in sorted(f for f in os.listdir(f'{{folder}}/{{name}}') if f.endswith('.pickle')):
        with open(f'{{folder}}/{{name}}/{{file}}', 'rb') as f: data = f.read()
        yield pickle.loads(data)
{code}"
    );
    let output = Command::new(python).arg("-c").arg(code).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A temporary folder, in memory where there is such a place: every segment is
/// synced to the disk.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

/// Splits `folder/NAME.pickle` into `folder/NAME`.
pub(crate) fn cut(
    folder: &Path,
    name: &str,
    target: Target,
) -> picklet_segments::Result<SplitReport> {
    let options = SplitOptions { target, shared: Shared::Copy, ..SplitOptions::default() };
    cut_with(folder, name, &options)
}

/// The same with options.
pub(crate) fn cut_with(
    folder: &Path,
    name: &str,
    options: &SplitOptions<'_>,
) -> picklet_segments::Result<SplitReport> {
    let input = Input::file(folder.join(format!("{name}.pickle")))?;
    split(&input, &Location::local(folder.join(name)), options)
}
