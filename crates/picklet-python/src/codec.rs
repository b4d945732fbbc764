//! `dumps`, `loads` and their file forms as Python functions.

use picklet_pyobject::decode::{self, DecodeOptions, Guard, Unknown};
use picklet_pyobject::encode::{self, Container, EncodeOptions, Hooks, Style};
use picklet_pyobject::stub::Stub;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::policy::policy_from;

pub(crate) fn encode_options(
    protocol: Option<i64>,
    fix_imports: bool,
    style: Style,
) -> PyResult<EncodeOptions> {
    EncodeOptions { fix_imports, style, ..EncodeOptions::default() }.with_protocol(protocol)
}

fn hooks<'py>(
    options: EncodeOptions,
    buffer_callback: Option<Bound<'py, PyAny>>,
) -> PyResult<Hooks<'py>> {
    if buffer_callback.is_some() && options.protocol < 5 {
        return Err(pyo3::exceptions::PyValueError::new_err("buffer_callback needs protocol >= 5"));
    }
    Ok(Hooks { buffer_callback, ..Hooks::default() })
}

/// Pickle `obj` to bytes, as `pickle.dumps` does, in fewer bytes and less time.
///
/// What it gives every Python's `pickle.loads` loads. `protocol`, `fix_imports`
/// and `buffer_callback` mean what they mean there.
///
/// >>> import picklet, pickle
/// >>> pickle.loads(picklet.dumps({"이름": ["서울", "부산"]}))
/// {'이름': ['서울', '부산']}
///
/// With `deterministic=True` equal data gives equal bytes, in any process: to hash,
/// to cache, to compare. Only None, bool, int, float, str, bytes, bytearray, list,
/// tuple, dict, set and frozenset are taken; other types are refused by name. Dicts
/// keep their order, sets have none; what is shared counts for mutable objects only.
///
/// >>> numbers = {8, 1}; numbers.discard(8); numbers.add(8)
/// >>> picklet.dumps(numbers, deterministic=True) == picklet.dumps({1, 8}, deterministic=True)
/// True
#[pyfunction]
#[pyo3(signature = (
    obj, protocol=None, *, fix_imports=true, buffer_callback=None, deterministic=false
))]
pub(crate) fn dumps<'py>(
    obj: &Bound<'py, PyAny>,
    protocol: Option<i64>,
    fix_imports: bool,
    buffer_callback: Option<Bound<'py, PyAny>>,
    deterministic: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let options = encode_options(protocol, fix_imports, Style::Native)?;
    if deterministic {
        if buffer_callback.is_some() {
            let message = "deterministic=True writes no out-of-band buffers: no buffer_callback";
            return Err(PyValueError::new_err(message));
        }
        return encode::dumps_deterministic(obj, options.protocol);
    }
    encode::dumps(obj, options, &hooks(options, buffer_callback)?)
}

/// Pickle `obj` to bytes, the same bytes that `pickle.dumps` gives.
#[pyfunction]
#[pyo3(signature = (obj, protocol=None, *, fix_imports=true, buffer_callback=None))]
pub(crate) fn compat_dumps<'py>(
    obj: &Bound<'py, PyAny>,
    protocol: Option<i64>,
    fix_imports: bool,
    buffer_callback: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = encode_options(protocol, fix_imports, Style::Compat)?;
    encode::dumps(obj, options, &hooks(options, buffer_callback)?)
}

fn write_method<'py>(file: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    file.getattr_opt("write")?
        .ok_or_else(|| pyo3::exceptions::PyTypeError::new_err("file must have a 'write' attribute"))
}

/// Pickle `obj` into the file object `file`, which was opened with `'wb'`.
///
/// >>> import picklet
/// >>> with open("data.pickle", "wb") as f:
/// ...     picklet.dump([1, 2, 3], f)
/// >>> with open("data.pickle", "rb") as f:
/// ...     picklet.load(f)
/// [1, 2, 3]
#[pyfunction]
#[pyo3(signature = (obj, file, protocol=None, *, fix_imports=true, buffer_callback=None))]
pub(crate) fn dump<'py>(
    obj: &Bound<'py, PyAny>,
    file: &Bound<'py, PyAny>,
    protocol: Option<i64>,
    fix_imports: bool,
    buffer_callback: Option<Bound<'py, PyAny>>,
) -> PyResult<()> {
    let options = encode_options(protocol, fix_imports, Style::Native)?;
    encode::dump(obj, &write_method(file)?, options, &hooks(options, buffer_callback)?)
}

/// Pickle `obj` into the file object `file`, the same bytes that `pickle.dump` writes.
#[pyfunction]
#[pyo3(signature = (obj, file, protocol=None, *, fix_imports=true, buffer_callback=None))]
pub(crate) fn compat_dump<'py>(
    obj: &Bound<'py, PyAny>,
    file: &Bound<'py, PyAny>,
    protocol: Option<i64>,
    fix_imports: bool,
    buffer_callback: Option<Bound<'py, PyAny>>,
) -> PyResult<()> {
    let options = encode_options(protocol, fix_imports, Style::Compat)?;
    encode::dump(obj, &write_method(file)?, options, &hooks(options, buffer_callback)?)
}

/// Runs `read` on the bytes of a bytes-like object.
pub(crate) fn with_bytes<'py, T>(
    data: &Bound<'py, PyAny>,
    read: impl FnOnce(&[u8]) -> PyResult<T>,
) -> PyResult<T> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return read(bytes.as_bytes());
    }
    let buffer = PyBuffer::<u8>::get(data).or_else(|_| {
        // Buffers of other items than bytes are taken as the bytes they are.
        let view = data.py().import("builtins")?.getattr("memoryview")?.call1((data,))?;
        PyBuffer::<u8>::get(&view.call_method1("cast", ("B",))?)
    })?;
    // A copy when the buffer may change: the load may run code that writes to it.
    let copy = buffer.to_vec(data.py())?;
    read(&copy)
}

/// The rules of a load: `None` when the pickle is trusted.
pub(crate) fn guard(
    allow: Option<&Bound<'_, PyAny>>,
    trust: bool,
    unknown: Option<&str>,
) -> PyResult<Option<Guard>> {
    let unknown = match unknown {
        None | Some("error") => Unknown::Error,
        Some("stub") => Unknown::Stub,
        Some(other) => {
            return Err(PyValueError::new_err(format!(
                "unknown must be \"error\" or \"stub\", not {other:?}"
            )));
        }
    };
    if trust {
        return Ok(None);
    }
    let policy = policy_from(allow)?;
    Ok(Some(Guard { policy, unknown }))
}

/// Load the pickle in `data`, safely: only what `allow` and the built-in policy list is imported.
///
/// The policy holds Python's own data types, those of the standard library,
/// numpy's arrays and pandas' frames. `allow` takes names, a `Policy`, or the path
/// of a TOML file. Anything else raises `UntrustedGlobalError` before it is
/// imported; its `names` are what `allow` would have to list. `trust=True` gives
/// pickle's full behaviour, which runs what the pickle says. With
/// `unknown="stub"` unknown classes become inert `Stub` objects, which pickle
/// back unchanged.
///
/// >>> import picklet, pickle, shlex
/// >>> data = pickle.dumps(shlex.split)
/// >>> try:
/// ...     picklet.loads(data)
/// ... except picklet.UntrustedGlobalError as error:
/// ...     print(error.names)
/// ('shlex.split',)
/// >>> picklet.loads(data, allow=["shlex.split"]) is shlex.split
/// True
#[pyfunction]
#[pyo3(signature = (
    data, /, *, fix_imports=true, encoding="ASCII", errors="strict", buffers=None,
    allow=None, trust=false, unknown=None
))]
#[expect(clippy::too_many_arguments, reason = "they are Python keywords, pickle's and ours")]
pub(crate) fn loads<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
    fix_imports: bool,
    encoding: &str,
    errors: &str,
    buffers: Option<Bound<'py, PyAny>>,
    allow: Option<&Bound<'py, PyAny>>,
    trust: bool,
    unknown: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut options = decode_options(fix_imports, encoding, errors, buffers);
    options.guard = guard(allow, trust, unknown)?;
    with_bytes(data, |bytes| decode::loads(py, bytes, &options))
}

/// Load one pickle from the file object `file`, safely, as `loads` does.
///
/// No byte behind the pickle is read, so that pickles can follow one another.
///
/// >>> import picklet, io
/// >>> file = io.BytesIO(picklet.dumps("first") + picklet.dumps("second"))
/// >>> picklet.load(file), picklet.load(file)
/// ('first', 'second')
///
/// With `mmap=True` the file, which must be one on disk, is mapped into memory:
/// numpy arrays in a pickle of protocol 5 view the map instead of a copy. The map
/// is copy-on-write, so that arrays can be changed and the file stays as it is.
/// Nobody may shorten the file while they are in use.
#[pyfunction]
#[pyo3(signature = (
    file, *, fix_imports=true, encoding="ASCII", errors="strict", buffers=None,
    allow=None, trust=false, unknown=None, mmap=false
))]
#[expect(clippy::too_many_arguments, reason = "they are Python keywords, pickle's and ours")]
pub(crate) fn load<'py>(
    file: &Bound<'py, PyAny>,
    fix_imports: bool,
    encoding: &str,
    errors: &str,
    buffers: Option<Bound<'py, PyAny>>,
    allow: Option<&Bound<'py, PyAny>>,
    trust: bool,
    unknown: Option<&str>,
    mmap: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let mut options = decode_options(fix_imports, encoding, errors, buffers);
    options.guard = guard(allow, trust, unknown)?;
    if mmap { decode::load_mapped(file, &options) } else { decode::load(file, &options) }
}

/// Load the pickle in `data` with pickle's full behaviour: runs what the pickle says.
#[pyfunction]
#[pyo3(signature = (data, /, *, fix_imports=true, encoding="ASCII", errors="strict", buffers=None))]
pub(crate) fn compat_loads<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyAny>,
    fix_imports: bool,
    encoding: &str,
    errors: &str,
    buffers: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = decode_options(fix_imports, encoding, errors, buffers);
    with_bytes(data, |bytes| decode::loads(py, bytes, &options))
}

/// Load one pickle from the file object `file` with pickle's full behaviour.
#[pyfunction]
#[pyo3(signature = (file, *, fix_imports=true, encoding="ASCII", errors="strict", buffers=None))]
pub(crate) fn compat_load<'py>(
    file: &Bound<'py, PyAny>,
    fix_imports: bool,
    encoding: &str,
    errors: &str,
    buffers: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    decode::load(file, &decode_options(fix_imports, encoding, errors, buffers))
}

/// What the decoder takes for granted need not be copied for each load.
pub(crate) fn unless_default(given: &str, default: &str) -> Option<String> {
    (given != default).then(|| given.to_owned())
}

fn decode_options<'py>(
    fix_imports: bool,
    encoding: &str,
    errors: &str,
    buffers: Option<Bound<'py, PyAny>>,
) -> DecodeOptions<'py> {
    DecodeOptions {
        fix_imports,
        encoding: unless_default(encoding, "ASCII"),
        errors: unless_default(errors, "strict"),
        buffers,
        ..DecodeOptions::default()
    }
}

/// Pickles a container whose items come one at a time, to close a segment when it is full.
#[pyclass(module = "picklet._picklet", unsendable)]
pub(crate) struct SegmentEncoder(encode::SegmentEncoder);

#[pymethods]
impl SegmentEncoder {
    #[new]
    #[pyo3(signature = (kind, protocol=None))]
    fn new(py: Python<'_>, kind: &str, protocol: Option<i64>) -> PyResult<Self> {
        let container = match kind {
            "list" => Container::List,
            "tuple" => Container::Tuple,
            "dict" => Container::Dict,
            "set" => Container::Set,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "kind must be list, tuple, dict or set, not {kind:?}"
                )));
            }
        };
        let options = encode_options(protocol, true, Style::Native)?;
        encode::SegmentEncoder::new(py, container, options).map(SegmentEncoder)
    }

    /// Add an item; not for a dict.
    fn append(&mut self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.append(item)
    }

    /// Add a key and its value; only for a dict.
    fn append_pair(&mut self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.append_pair(key, value)
    }

    /// Bytes of the pickle so far.
    #[getter]
    fn bytes_so_far(&self) -> u64 {
        self.0.bytes_so_far()
    }

    /// Items, or pairs, so far.
    #[getter]
    fn items(&self) -> u64 {
        self.0.items()
    }

    /// End the container and give the pickle.
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.finish(py)
    }
}

/// Adds the functions of this file to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(dumps, module)?)?;
    module.add_function(wrap_pyfunction!(dump, module)?)?;
    module.add_function(wrap_pyfunction!(loads, module)?)?;
    module.add_function(wrap_pyfunction!(load, module)?)?;
    module.add_class::<Stub>()?;
    module.add_class::<SegmentEncoder>()?;
    module.add("UntrustedGlobalError", picklet_pyobject::untrusted_global_error(module.py())?)?;
    module.add_function(wrap_pyfunction!(compat_dumps, module)?)?;
    module.add_function(wrap_pyfunction!(compat_dump, module)?)?;
    module.add_function(wrap_pyfunction!(compat_loads, module)?)?;
    module.add_function(wrap_pyfunction!(compat_load, module)?)?;
    module.add("HIGHEST_PROTOCOL", encode::HIGHEST_PROTOCOL)?;
    module.add("DEFAULT_PROTOCOL", encode::DEFAULT_PROTOCOL)
}
