//! What is done to a segments directory as it stands: verify, repair, append.

use std::path::PathBuf;

use picklet_segments::repair::Lost;
use picklet_segments::writer::{EntryMeta, SegmentsWriter};
use picklet_segments::{Inspect, VerifyOptions, name};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::directory::{Directory, location};
use crate::errors::IntoPython as _;
use crate::map::Ear;

/// Checks lengths and digests, and with `deep` parses every pickle: a dict with
/// `segments`, `bytes`, `damaged` (file and reason), `missing` and `extra`
/// (files). `progress` hears what a map's does.
#[pyfunction]
#[pyo3(signature = (directory, deep=false, progress=None))]
fn verify<'py>(
    py: Python<'py>,
    directory: &Directory,
    deep: bool,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let segments = &directory.segments;
    let report = heard(py, deep, progress, |how| picklet_segments::verify(segments, how))?;
    let damaged: Vec<_> = report.damaged.into_iter().map(|d| (d.file, d.reason)).collect();
    let missing: Vec<_> = report.missing.into_iter().map(|damage| damage.file).collect();
    let answer = PyDict::new(py);
    answer.set_item("segments", report.segments)?;
    answer.set_item("bytes", report.bytes)?;
    answer.set_item("damaged", damaged)?;
    answer.set_item("missing", missing)?;
    answer.set_item("extra", report.extra)?;
    Ok(answer)
}

/// Rebuilds the manifest and the indexes from what is there, after parsing all
/// of it: a dict with `lost` (file and reason), `quarantined` (file and place),
/// `taken_in` and `left_alone` (files), and `way_back` (lines).
#[pyfunction]
#[pyo3(signature = (path, progress=None))]
fn repair(
    py: Python<'_>,
    path: PathBuf,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'_, PyDict>> {
    let location = location(path).or_raise(py)?;
    let report = heard(py, true, progress, |how| picklet_segments::repair(&location, how))?;
    let way_back = report.way_back();
    let place = |lost: &Lost| Some((lost.entry.file.clone(), lost.quarantined.clone()?));
    let quarantined: Vec<_> = report.lost.iter().filter_map(place).collect();
    let lost: Vec<_> = report.lost.into_iter().map(|lost| (lost.entry.file, lost.reason)).collect();
    let answer = PyDict::new(py);
    answer.set_item("lost", lost)?;
    answer.set_item("quarantined", quarantined)?;
    answer.set_item("taken_in", report.taken_in)?;
    answer.set_item("left_alone", report.left_alone)?;
    answer.set_item("way_back", way_back)?;
    Ok(answer)
}

/// Does `work` without the interpreter's lock, and tells `progress` of it. What that raises, and
/// Ctrl-C, end the work.
fn heard<T: Send>(
    py: Python<'_>,
    deep: bool,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&VerifyOptions<'_>) -> picklet_segments::Result<T> + Send,
) -> PyResult<T> {
    let ear = Ear::new(progress);
    let result = py.detach(|| {
        let inspect: &Inspect<'_> = &picklet_cli::inspect;
        work(&VerifyOptions {
            inspect: deep.then_some(inspect),
            progress: &ear,
            interrupt: &|| ear.interrupted(),
            ..VerifyOptions::default()
        })
    });
    match ear.take() {
        Some(raised) => Err(raised),
        None => result.or_raise(py),
    }
}

/// Adds one segment to a finished directory. Without a `name` it gets the next
/// number, with what stands before the number in the last one.
#[pyfunction]
fn append(
    py: Python<'_>,
    directory: PathBuf,
    name: Option<&str>,
    data: &[u8],
    items: Option<u64>,
) -> PyResult<()> {
    let location = location(directory).or_raise(py)?;
    let append = || {
        let mut writer = SegmentsWriter::append(&location)?;
        let index = writer.next_index();
        let name = match name {
            Some(name) => name.to_owned(),
            None => {
                let (base, ending) = base(&writer);
                let width = name::DEFAULT_WIDTH;
                format!("{base}-{index:0width$}{ending}")
            }
        };
        let mut draft = writer.draft(&name)?;
        std::io::Write::write_all(&mut draft, data).map_err(|e| draft.error(e))?;
        writer.commit(draft, EntryMeta { index, items, ..EntryMeta::default() })?;
        writer.finish().map(drop)
    };
    py.detach(append).or_raise(py)
}

/// What stands before and behind the number in the name of the last numbered segment.
fn base(writer: &SegmentsWriter) -> (String, String) {
    let numbered = |file: &str| {
        let (stem, ending) = name::split_ending(file)?;
        let (base, number) = stem.rsplit_once('-')?;
        number.bytes().all(|b| b.is_ascii_digit()).then(|| (base.to_owned(), ending.to_owned()))
    };
    let done = writer.done();
    let last = done.iter().rev().find_map(|entry| numbered(&entry.file));
    last.unwrap_or_else(|| ("data".to_owned(), name::EXTENSION.to_owned()))
}

/// Adds what this file has to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(verify, module)?)?;
    module.add_function(wrap_pyfunction!(repair, module)?)?;
    module.add_function(wrap_pyfunction!(append, module)?)
}
