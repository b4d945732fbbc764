//! Segments directories: reading one, and writing one from encoded objects.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use picklet_segments::store::is_url;
use picklet_segments::writer::{EntryMeta, Existing, SegmentsWriter};
use picklet_segments::{
    Compression, Entry, Header, ItemReader, Kind, Location, Segments, Xxh3, name,
};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple};

use crate::errors::IntoPython as _;

/// One segment, as the manifest tells of it.
#[pyclass(name = "Entry", module = "picklet._picklet", frozen)]
pub(crate) struct PyEntry {
    /// The file's name.
    #[pyo3(get)]
    file: String,
    /// Its place in the order of segments.
    #[pyo3(get)]
    index: u64,
    /// Its size in bytes.
    #[pyo3(get)]
    bytes: u64,
    /// How many items it holds, if known.
    #[pyo3(get)]
    items: Option<u64>,
}

impl From<&Entry> for PyEntry {
    fn from(entry: &Entry) -> Self {
        PyEntry {
            file: entry.file.clone(),
            index: entry.index,
            bytes: entry.bytes,
            items: entry.items,
        }
    }
}

/// A segments directory, opened for reading.
#[pyclass(module = "picklet._picklet", frozen)]
pub(crate) struct Directory {
    pub(crate) segments: Segments,
    /// Segments that items were read from, by number.
    readers: Mutex<HashMap<usize, Arc<ItemReader>>>,
    entries: PyOnceLock<Py<PyTuple>>,
}

#[pymethods]
impl Directory {
    /// Opens the directory at `path` and reads its manifest.
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let segments = py.detach(|| Segments::open(&location(path)?)).or_raise(py)?;
        Ok(Directory { segments, readers: Mutex::default(), entries: PyOnceLock::new() })
    }

    /// The directory's path, or its URL.
    #[getter]
    fn location(&self) -> OsString {
        self.segments.location().path().as_os_str().to_owned()
    }

    /// The directory's path. A URL has none.
    #[getter]
    fn path(&self) -> PyResult<PathBuf> {
        let location = self.segments.location();
        location.local_path().map(Path::to_owned).ok_or_else(|| {
            PyValueError::new_err(format!("{location}: is a URL and has no path; see .location"))
        })
    }

    /// What the segments hold: `list`, `dict`, `objects` …
    #[getter]
    fn kind(&self) -> &'static str {
        self.segments.kind().as_str()
    }

    /// How many items there are in all segments, if known.
    #[getter]
    fn items(&self) -> Option<u64> {
        self.segments.items()
    }

    /// The segments in order.
    #[getter]
    fn entries<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyTuple>> {
        let entries = self.entries.get_or_try_init(py, || {
            let all = self.segments.entries().iter().map(PyEntry::from);
            let all = all.map(|entry| Py::new(py, entry)).collect::<PyResult<Vec<_>>>()?;
            PyTuple::new(py, all).map(Bound::unbind)
        })?;
        Ok(entries.bind(py))
    }

    /// One segment's bytes, checked against the manifest.
    fn read<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = py.detach(|| self.segments.read(index)).or_raise(py)?;
        Ok(PyBytes::new(py, &bytes))
    }
}

/// Segments that are kept open to read items from.
const MOST_READERS: usize = 64;

impl Directory {
    /// What reads the items of one segment. It is kept, and made anew when the
    /// file was changed.
    pub(crate) fn reader(&self, index: usize) -> picklet_segments::Result<Arc<ItemReader>> {
        let readers = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reader) = readers().get(&index)
            && reader.is_current()?
        {
            return Ok(reader.clone());
        }
        let reader = Arc::new(ItemReader::segment(&self.segments, index)?);
        let mut readers = readers();
        if readers.len() >= MOST_READERS {
            readers.clear();
        }
        readers.insert(index, reader.clone());
        Ok(reader)
    }
}

/// The place that a path or a URL names. A path as it stands when the object is made: a later
/// `chdir` must not move it.
pub(crate) fn location(path: PathBuf) -> picklet_segments::Result<Location> {
    if is_url(&path) {
        return Location::new(path);
    }
    Ok(Location::local(std::path::absolute(&path).unwrap_or(path)))
}

/// Writes segments of live objects, already encoded, one after another.
///
/// A resumed run encodes everything anew and leaves alone what is already there
/// with the same bytes: nobody can tell whether a live source is still the same.
#[pyclass(module = "picklet._picklet")]
pub(crate) struct Writer {
    location: Location,
    existing: Existing,
    kind: Kind,
    compression: Option<Compression>,
    sha256: bool,
    made_by: String,
    open: Option<Open>,
}

struct Open {
    writer: SegmentsWriter,
    /// What an earlier run left, by place, as far as this run has not come to it.
    kept: BTreeMap<u64, Entry>,
    used: HashSet<String>,
    next: u64,
}

#[pymethods]
impl Writer {
    /// For the directory `out`; `existing` is `refuse`, `resume` or `overwrite`,
    /// `compress` is `zstd`, `gzip` or nothing, `made_by` what to run to make anew
    /// what is lost.
    #[new]
    fn new(
        py: Python<'_>,
        out: PathBuf,
        kind: &str,
        existing: &str,
        compress: Option<&str>,
        sha256: bool,
        made_by: String,
    ) -> PyResult<Self> {
        Ok(Writer {
            location: location(out).or_raise(py)?,
            existing: existing_of(existing)?,
            kind: kind_of(kind)?,
            compression: compression_of(compress)?,
            sha256,
            made_by,
            open: None,
        })
    }

    /// Takes the directory.
    fn __enter__<'py>(
        mut this: PyRefMut<'py, Self>,
        py: Python<'py>,
    ) -> PyResult<PyRefMut<'py, Self>> {
        let mut header = Header::new(this.kind, format!("live objects, {}", this.kind));
        header.sha256 = this.sha256;
        header.made_by = Some(this.made_by.clone());
        let (location, existing) = (&this.location, this.existing);
        let writer =
            py.detach(|| SegmentsWriter::create(location, existing, header)).or_raise(py)?;
        this.open = Some(Open::new(writer));
        Ok(this)
    }

    /// Publishes the next segment.
    fn put(&mut self, py: Python<'_>, name: &str, data: &[u8], items: u64) -> PyResult<()> {
        let open = self.open.as_mut().ok_or_else(|| PyRuntimeError::new_err("not entered"))?;
        let file = name::named_file(name).or_raise(py)?;
        let file = self.compression.map_or(file.clone(), |how| how.name(&file));
        py.detach(|| open.put(&file, data, items)).or_raise(py)
    }

    /// Writes the manifest, unless an exception came; what was put stays then.
    #[pyo3(signature = (kind, error=None, traceback=None))]
    fn __exit__(
        &mut self,
        py: Python<'_>,
        kind: Option<Bound<'_, PyAny>>,
        error: Option<Bound<'_, PyAny>>,
        traceback: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let _ = (error, traceback);
        match (self.open.take(), kind) {
            (Some(open), None) => py.detach(|| open.finish()).or_raise(py),
            _ => Ok(()),
        }
    }
}

impl Open {
    fn new(writer: SegmentsWriter) -> Self {
        let kept = writer.done().into_iter().map(|entry| (entry.index, entry.clone())).collect();
        Open { writer, kept, used: HashSet::new(), next: 0 }
    }

    fn put(&mut self, name: &str, data: &[u8], items: u64) -> picklet_segments::Result<()> {
        let file = name::named_file(name)?;
        let index = self.next;
        if !self.keep(&file, index, data, items)? {
            let mut draft = self.writer.draft(&file)?;
            std::io::Write::write_all(&mut draft, data).map_err(|e| draft.error(e))?;
            let meta = EntryMeta { index, items: Some(items), ..EntryMeta::default() };
            // Many small ones share fsyncs; leaving the `with` block makes all of them durable.
            self.writer.stage(draft, meta)?;
        }
        self.used.insert(file);
        self.next = index.saturating_add(1);
        Ok(())
    }

    /// Whether an earlier run left this very segment. Takes back another that
    /// it left at this place.
    fn keep(
        &mut self,
        file: &str,
        index: u64,
        data: &[u8],
        items: u64,
    ) -> picklet_segments::Result<bool> {
        let Some(entry) = self.kept.remove(&index) else { return Ok(false) };
        if self.used.contains(&entry.file) {
            return Ok(false);
        }
        let same = entry.file == file
            && entry.items == Some(items)
            && entry.bytes == data.len() as u64
            && entry.xxh3 == Some(Xxh3::of(data));
        if !same {
            self.writer.discard(&entry.file)?;
        }
        Ok(same)
    }

    fn finish(mut self) -> picklet_segments::Result<()> {
        for entry in self.kept.values().filter(|entry| !self.used.contains(&entry.file)) {
            self.writer.discard(&entry.file)?;
        }
        self.writer.finish().map(|_| ())
    }
}

/// The kind of this name.
fn kind_of(kind: &str) -> PyResult<Kind> {
    let kinds = [
        Kind::List,
        Kind::Tuple,
        Kind::Dict,
        Kind::Set,
        Kind::Frozenset,
        Kind::Array,
        Kind::Objects,
    ];
    let found = kinds.into_iter().find(|known| known.as_str() == kind);
    found.ok_or_else(|| PyValueError::new_err(format!("there is no kind {kind:?}")))
}

/// What to do with what the output directory holds, by name.
pub(crate) fn existing_of(existing: &str) -> PyResult<Existing> {
    match existing {
        "refuse" => Ok(Existing::Refuse),
        "resume" => Ok(Existing::Resume),
        "overwrite" => Ok(Existing::Overwrite),
        other => Err(PyValueError::new_err(format!("existing: {other:?}"))),
    }
}

/// How segments are stored, by name.
pub(crate) fn compression_of(compress: Option<&str>) -> PyResult<Option<Compression>> {
    let named = |name: &str| {
        name.parse().map_err(|_| {
            PyValueError::new_err(format!("compress= is 'zstd' or 'gzip', not {name:?}"))
        })
    };
    compress.map(named).transpose()
}

/// The name of a segment that the user gave no name: `data-00000`.
#[pyfunction]
fn segment_file(base: &str, index: u64) -> String {
    name::segment_file(base, index, name::DEFAULT_WIDTH)
}

/// Raises ValueError if a name cannot be a segment's, or two are the same file.
#[pyfunction]
fn check_names(py: Python<'_>, names: Vec<String>) -> PyResult<()> {
    name::validate_names(names.iter().map(String::as_str)).or_raise(py)
}

/// The bytes that a size like `64MB` means.
#[pyfunction]
fn parse_size(py: Python<'_>, text: &str) -> PyResult<u64> {
    picklet_segments::parse_size(text).or_raise(py)
}

/// Adds what this file has to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Directory>()?;
    module.add_class::<PyEntry>()?;
    module.add_class::<Writer>()?;
    module.add_function(wrap_pyfunction!(segment_file, module)?)?;
    module.add_function(wrap_pyfunction!(check_names, module)?)?;
    module.add_function(wrap_pyfunction!(parse_size, module)?)
}
