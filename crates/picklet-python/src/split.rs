//! Splitting files and streams, reading single items, merging: what works on
//! bytes alone.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use picklet_segments::{Extracted, Input, MergeOptions, Names, Shared, SplitOptions, Target};
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

impl Options {
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

/// Splits a path or a file object; gives the lines that the user should read.
#[pyfunction]
fn split(py: Python<'_>, source: Source, out: PathBuf, options: Options) -> PyResult<Vec<String>> {
    let raised = Raised::default();
    let (target, shared) = (options.target()?, options.shared()?);
    let existing = existing_of(&options.existing)?;
    let compression = compression_of(options.compress.as_deref())?;
    let out = location(out).or_raise(py)?;
    let work = || {
        let input = match source {
            Source::Path(path) => Input::open(path)?,
            Source::File(file) => {
                let name = name_of(&file);
                Input::reader(name, PyFile { file, raised: &raised }, None)?
            }
        };
        let by = |index: u64, _first: u64| raised.ask(&options.names, index);
        let how = SplitOptions {
            target,
            names: match &options.names {
                Some(Naming::Listed(names)) => Names::Listed(names),
                Some(Naming::By(_)) => Names::By(&by),
                None => Names::Numbered(&options.name),
            },
            shared,
            compression,
            sha256: options.sha256,
            existing,
            made_by: Some(&options.made_by),
            interrupt: &|| raised.interrupted(),
            ..SplitOptions::default()
        };
        picklet_segments::split(&input, &out, &how).map(|report| report.warnings)
    };
    let result = py.detach(work);
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

/// Adds what this file has to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(split, module)?)?;
    module.add_function(wrap_pyfunction!(extract, module)?)?;
    module.add_function(wrap_pyfunction!(find_key, module)?)?;
    module.add_function(wrap_pyfunction!(merge, module)?)
}
