//! What encoder and decoder look up in Python once per process: registries, names, classes.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::object::{Fresh, Raised};

/// Live objects of the standard library. The dictionaries are the registries themselves, so that
/// later registrations are seen.
pub(crate) struct State {
    pub(crate) dispatch_table: Py<PyAny>,
    pub(crate) extension_registry: Py<PyAny>,
    pub(crate) inverted_registry: Py<PyAny>,
    pub(crate) extension_cache: Py<PyAny>,
    pub(crate) codecs_encode: Py<PyAny>,
    pub(crate) getattr: Py<PyAny>,
    pub(crate) partial: Py<PyAny>,
    pub(crate) name_mapping: Py<PyAny>,
    pub(crate) import_mapping: Py<PyAny>,
    pub(crate) reverse_name_mapping: Py<PyAny>,
    pub(crate) reverse_import_mapping: Py<PyAny>,
    pub(crate) pickling_error: Py<PyAny>,
    pub(crate) unpickling_error: Py<PyAny>,
    pub(crate) untrusted_global_error: Py<PyAny>,
    pub(crate) pickle_buffer_type: Py<PyAny>,
    pub(crate) modules: Py<PyDict>,
    pub(crate) fresh: Fresh,
}

static STATE: PyOnceLock<State> = PyOnceLock::new();

impl State {
    /// The process's state, looked up at the first call.
    pub(crate) fn get(py: Python<'_>) -> PyResult<&'static State> {
        STATE.get_or_try_init(py, || State::load(py))
    }

    fn load(py: Python<'_>) -> PyResult<State> {
        let copyreg = py.import("copyreg")?;
        let compat = py.import("_compat_pickle")?;
        let pickle = py.import("pickle")?;
        let attribute = |module: &Bound<'_, PyModule>, name: &str| -> PyResult<Py<PyAny>> {
            Ok(module.getattr(name)?.unbind())
        };
        Ok(State {
            dispatch_table: attribute(&copyreg, "dispatch_table")?,
            extension_registry: attribute(&copyreg, "_extension_registry")?,
            inverted_registry: attribute(&copyreg, "_inverted_registry")?,
            extension_cache: attribute(&copyreg, "_extension_cache")?,
            codecs_encode: attribute(&py.import("codecs")?, "encode")?,
            getattr: attribute(&py.import("builtins")?, "getattr")?,
            partial: attribute(&py.import("functools")?, "partial")?,
            name_mapping: attribute(&compat, "NAME_MAPPING")?,
            import_mapping: attribute(&compat, "IMPORT_MAPPING")?,
            reverse_name_mapping: attribute(&compat, "REVERSE_NAME_MAPPING")?,
            reverse_import_mapping: attribute(&compat, "REVERSE_IMPORT_MAPPING")?,
            pickling_error: attribute(&pickle, "PicklingError")?,
            unpickling_error: attribute(&pickle, "UnpicklingError")?,
            untrusted_global_error: new_error_class(&pickle)?,
            pickle_buffer_type: attribute(&pickle, "PickleBuffer")?,
            modules: py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?.unbind(),
            fresh: Fresh::new(py).map_err(Raised::take)?,
        })
    }
}

/// Whether picklet may work in the interpreter that imports it: what it looks up once per process
/// belongs to the main one.
///
/// # Errors
/// `ImportError` in a subinterpreter.
pub fn check_interpreter(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: both need no more than an attached thread, which `_py` stands for.
    let main =
        unsafe { pyo3::ffi::PyInterpreterState_Get() == pyo3::ffi::PyInterpreterState_Main() };
    if main {
        return Ok(());
    }
    Err(pyo3::exceptions::PyImportError::new_err(
        "picklet does not work in a subinterpreter: use it in the main one, or in processes",
    ))
}

/// `picklet.UntrustedGlobalError`, made here because its base is a Python class.
fn new_error_class(pickle: &Bound<'_, PyModule>) -> PyResult<Py<PyAny>> {
    let py = pickle.py();
    let body = PyDict::new(py);
    body.set_item("__module__", "picklet")?;
    body.set_item(
        "__doc__",
        "A pickle refers to globals that the policy does not list; nothing of it was kept.\n\n\
         ``names`` lists them all, as ``module.name``: load again with ``allow=error.names`` if \
         you trust every one of them.",
    )?;
    body.set_item("names", ())?;
    let bases = (pickle.getattr("UnpicklingError")?,);
    let metaclass = py.get_type::<pyo3::types::PyType>();
    Ok(metaclass.call1(("UntrustedGlobalError", bases, body))?.unbind())
}

/// The class `picklet.UntrustedGlobalError`.
///
/// # Errors
/// Whatever the imports behind it raise.
pub fn untrusted_global_error(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    Ok(State::get(py)?.untrusted_global_error.bind(py).clone())
}

/// `pickle.PicklingError` with a message.
pub(crate) fn pickling_error(py: Python<'_>, message: String) -> PyErr {
    match State::get(py).and_then(|state| state.pickling_error.bind(py).call1((message,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// `pickle.UnpicklingError` with a message.
pub(crate) fn unpickling_error(py: Python<'_>, message: String) -> PyErr {
    match State::get(py).and_then(|state| state.unpickling_error.bind(py).call1((message,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}
