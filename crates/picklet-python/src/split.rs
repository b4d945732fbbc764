//! Splitting files and streams, reading single items, merging: what works on
//! bytes alone.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use picklet_segments::store::WholeFile;
use picklet_segments::{
    Compression, Error, Existing, Extracted, Input, MergeOptions, Names, Shared, SplitOptions,
    Target,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::directory::{Directory, compression_of, existing_of, location};
use crate::errors::{IntoPython as _, Raised};

/// What is split.
#[derive(FromPyObject)]
enum Source {
    Path(PathBuf),
    File(Py<PyAny>),
}

/// How segments are named where they have no numbers.
#[derive(FromPyObject)]
enum Naming {
    Listed(Vec<String>),
    By(Py<PyAny>),
}

/// How to split, from keyword arguments whose defaults the package has chosen.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Options {
    count: Option<u64>,
    size: Option<u64>,
    parts: Option<u64>,
    name: String,
    names: Option<Naming>,
    shared: String,
    compress: Option<String>,
    sha256: bool,
    existing: String,
    made_by: String,
}

/// The options that had to be checked.
struct Plan {
    target: Target,
    shared: Shared,
    existing: Existing,
    compression: Option<Compression>,
}

impl Plan {
    fn options<'o>(
        &self,
        given: &'o Options,
        by: &'o dyn Fn(u64, u64) -> picklet_segments::Result<String>,
    ) -> SplitOptions<'o> {
        SplitOptions {
            target: self.target,
            names: match &given.names {
                Some(Naming::Listed(names)) => Names::Listed(names),
                Some(Naming::By(_)) => Names::By(by),
                None => Names::Numbered(&given.name),
            },
            shared: self.shared,
            compression: self.compression,
            sha256: given.sha256,
            existing: self.existing,
            made_by: Some(&given.made_by),
            ..SplitOptions::default()
        }
    }
}

impl Options {
    fn plan(&self) -> PyResult<Plan> {
        Ok(Plan {
            target: self.target()?,
            shared: self.shared()?,
            existing: existing_of(&self.existing)?,
            compression: compression_of(self.compress.as_deref())?,
        })
    }

    fn target(&self) -> PyResult<Target> {
        match (self.count, self.size, self.parts) {
            (Some(items), None, None) => Ok(Target::Items(items)),
            (None, Some(bytes), None) => Ok(Target::Bytes(bytes)),
            (None, None, Some(parts)) => Ok(Target::Parts(parts)),
            _ => Err(PyValueError::new_err("one of count, size and parts")),
        }
    }

    fn shared(&self) -> PyResult<Shared> {
        match self.shared.as_str() {
            "warn" => Ok(Shared::Warn),
            "error" => Ok(Shared::Error),
            "copy" => Ok(Shared::Copy),
            other => Err(PyValueError::new_err(format!(
                "shared= is 'warn', 'error' or 'copy', not {other:?}"
            ))),
        }
    }
}

/// What the user should read, and what an object that is no container is: a noun and the message
/// of the error.
type Told = (Vec<String>, Option<(String, String)>);

/// Splits a path or a file object. What is no container and no array is told and not raised.
#[pyfunction]
fn split(py: Python<'_>, source: Source, out: PathBuf, options: Options) -> PyResult<Told> {
    let raised = Raised::default();
    let plan = options.plan()?;
    let out = location(out).or_raise(py)?;
    let result = py.detach(|| {
        let input = match source {
            Source::Path(path) => Input::open(path)?,
            Source::File(file) => {
                let name = name_of(&file);
                Input::reader(name, PyFile { file, raised: &raised }, None)?
            }
        };
        let by = |index: u64, _first: u64| raised.ask(&options.names, index);
        let interrupt = || raised.interrupted();
        let how = SplitOptions { interrupt: &interrupt, ..plan.options(&options, &by) };
        match picklet_segments::split(&input, &out, &how) {
            Ok(report) => Ok((report.warnings, None)),
            Err(error) => match &error {
                Error::NotAContainer { what, .. } => {
                    Ok((Vec::new(), Some((what.clone(), error.to_string()))))
                }
                _ => Err(error),
            },
        }
    });
    raised.or(py, result)
}

/// Cuts segments anew; gives the lines that the user should read.
#[pyfunction]
fn resplit(
    py: Python<'_>,
    directory: &Directory,
    out: PathBuf,
    options: Options,
) -> PyResult<Vec<String>> {
    let raised = Raised::default();
    let plan = options.plan()?;
    let out = location(out).or_raise(py)?;
    let result = py.detach(|| {
        let by = |index: u64, _first: u64| raised.ask(&options.names, index);
        let interrupt = || raised.interrupted();
        let how = SplitOptions { interrupt: &interrupt, ..plan.options(&options, &by) };
        picklet_segments::resplit(&directory.segments, &out, &how).map(|report| report.warnings)
    });
    raised.or(py, result)
}

impl Raised {
    /// The name that Python's function gives to a segment.
    fn ask(&self, names: &Option<Naming>, index: u64) -> picklet_segments::Result<String> {
        let Some(Naming::By(name)) = names else { return Ok(String::new()) };
        Python::attach(|py| name.call1(py, (index,))?.extract(py)).map_err(|error| self.keep(error))
    }
}

/// What a file object calls itself, for messages and the manifest.
fn name_of(file: &Py<PyAny>) -> String {
    Python::attach(|py| {
        let name = file.getattr(py, "name").and_then(|name| name.extract::<String>(py));
        name.unwrap_or_else(|_| "the stream".to_owned())
    })
}

/// A file object of Python, opened for reading or writing bytes.
struct PyFile<'r> {
    file: Py<PyAny>,
    raised: &'r Raised,
}

impl PyFile<'_> {
    /// Takes the interpreter for one call. What it raises is kept, and tells more than the
    /// error that stands for it here.
    fn call<T>(&self, call: impl FnOnce(Python<'_>) -> PyResult<T>) -> io::Result<T> {
        Python::attach(call).map_err(|error| io::Error::other(self.raised.keep(error)))
    }
}

impl Read for PyFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|py| {
            let answer = self.file.bind(py).call_method1("read", (buffer.len(),))?;
            let bytes = answer.cast::<PyBytes>().map_err(|_| {
                PyTypeError::new_err("read() gave no bytes; open the file with 'rb', blocking")
            })?;
            let bytes = bytes.as_bytes();
            let place = buffer.get_mut(..bytes.len());
            let place = place.ok_or_else(|| PyValueError::new_err("read() gave too much"))?;
            place.copy_from_slice(bytes);
            Ok(bytes.len())
        })
    }
}

impl Write for PyFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|py| {
            let written = self.file.bind(py).call_method1("write", (PyBytes::new(py, bytes),))?;
            // Raw files tell how much they took; others may give nothing, and took all.
            let taken = written.extract::<usize>().unwrap_or(bytes.len());
            Ok(taken.min(bytes.len()))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pickle with only the items `start` to `stop` of one segment.
#[pyfunction]
fn extract<'py>(
    py: Python<'py>,
    directory: &Directory,
    index: usize,
    start: u64,
    stop: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let pickle = py.detach(|| match directory.reader(index)?.read(start..stop)? {
        Extracted::Items(pickle) | Extracted::Object(pickle) => Ok(pickle),
    });
    Ok(PyBytes::new(py, &pickle.or_raise(py)?))
}

/// A pickle with only the rows `start` to `stop` of one segment that is an array; `None` when it is
/// no array whose rows are ranges of bytes.
#[pyfunction]
fn extract_rows<'py>(
    py: Python<'py>,
    directory: &Directory,
    index: usize,
    start: u64,
    stop: u64,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let rows = py
        .detach(|| picklet_segments::extract_rows(&directory.segments.input(index)?, start..stop));
    Ok(rows.or_raise(py)?.map(|pickle| PyBytes::new(py, &pickle)))
}

/// The pairs of a dict's segment whose key may be the text `key`.
#[pyfunction]
fn find_key(py: Python<'_>, directory: &Directory, index: usize, key: &str) -> PyResult<Vec<u64>> {
    py.detach(|| directory.reader(index)?.find_key(key)).or_raise(py)
}

/// Joins all segments into one pickle, written to a file object.
#[pyfunction]
fn merge(py: Python<'_>, directory: &Directory, file: Py<PyAny>) -> PyResult<()> {
    let raised = Raised::default();
    let result = py.detach(|| {
        let name = PathBuf::from(name_of(&file));
        let mut out = PyFile { file, raised: &raised };
        let how =
            MergeOptions { name, interrupt: &|| raised.interrupted(), ..MergeOptions::default() };
        picklet_segments::merge(&directory.segments, &mut out, &how).map(drop)
    });
    raised.or(py, result)
}

/// The same into the file at `path`, which appears whole or not at all, durably.
#[pyfunction]
fn merge_to(py: Python<'_>, directory: &Directory, path: PathBuf) -> PyResult<()> {
    let raised = Raised::default();
    let result = py.detach(|| {
        let mut file = WholeFile::create(&path)?;
        let how = MergeOptions {
            name: path,
            interrupt: &|| raised.interrupted(),
            ..MergeOptions::default()
        };
        picklet_segments::merge(&directory.segments, &mut file, &how)?;
        file.finish()
    });
    raised.or(py, result)
}

/// Adds what this file has to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(split, module)?)?;
    module.add_function(wrap_pyfunction!(extract, module)?)?;
    module.add_function(wrap_pyfunction!(extract_rows, module)?)?;
    module.add_function(wrap_pyfunction!(find_key, module)?)?;
    module.add_function(wrap_pyfunction!(merge, module)?)?;
    module.add_function(wrap_pyfunction!(merge_to, module)?)?;
    module.add_function(wrap_pyfunction!(resplit, module)?)
}
