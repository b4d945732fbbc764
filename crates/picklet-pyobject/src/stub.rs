//! `picklet.Stub`: what stands for a global, or for an object made by one, that a load may not
//! import. It is inert: it holds what the pickle said and does nothing with it. picklet pickles
//! it back to the same opcodes.

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

/// How a stub came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A global: `module` and `name`.
    Global,
    /// `callable(*args)`.
    Call,
    /// `callable.__new__(callable, *args)`.
    New,
    /// `callable.__new__(callable, *args, **kwargs)`.
    NewEx,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Global => "global",
            Form::Call => "call",
            Form::New => "new",
            Form::NewEx => "new_ex",
        }
    }
}

/// A global, or an object made by one, that was not imported: it only remembers.
///
/// ``module`` and ``name`` say which global it is, or is made by. An object also has ``args`` and
/// ``kwargs`` (what it was made with), ``states`` (what BUILD gave it), ``items`` and ``pairs``
/// (what was added to it). Stubs compare by identity and pickle back as they came.
#[pyclass(module = "picklet", name = "Stub", frozen, weakref)]
pub struct Stub {
    pub(crate) form: Form,
    /// The module of the global, as the pickle names it.
    #[pyo3(get)]
    pub(crate) module: String,
    /// The name of the global in its module.
    #[pyo3(get)]
    pub(crate) name: String,
    /// The stub or object that was called; None for a global.
    #[pyo3(get)]
    pub(crate) callable: Option<Py<PyAny>>,
    /// The arguments of the call.
    #[pyo3(get)]
    pub(crate) args: Option<Py<PyAny>>,
    /// The keyword arguments of the call.
    #[pyo3(get)]
    pub(crate) kwargs: Option<Py<PyAny>>,
    /// The states that BUILD gave, in order.
    #[pyo3(get)]
    pub(crate) states: Py<PyList>,
    /// The items that were appended or added.
    #[pyo3(get)]
    pub(crate) items: Py<PyList>,
    /// The (key, value) pairs that were set.
    #[pyo3(get)]
    pub(crate) pairs: Py<PyList>,
}

impl Stub {
    /// The stub of a global.
    pub(crate) fn global(py: Python<'_>, module: &str, name: &str) -> PyResult<Py<Stub>> {
        Self::make(py, Form::Global, (module.to_owned(), name.to_owned()), [None, None, None])
    }

    /// The stub of an object made by calling `callable`.
    pub(crate) fn made(
        callable: &Bound<'_, PyAny>,
        form: Form,
        args: &Bound<'_, PyAny>,
        kwargs: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<Stub>> {
        let py = callable.py();
        let names = match callable.cast::<Stub>() {
            Ok(stub) => (stub.get().module.clone(), stub.get().name.clone()),
            Err(_) => {
                let text = |name: &str| -> PyResult<String> {
                    let value = callable.getattr_opt(name)?;
                    Ok(value.and_then(|value| value.extract().ok()).unwrap_or_default())
                };
                (text("__module__")?, text("__qualname__")?)
            }
        };
        let parts = [Some(callable.clone()), Some(args.clone()), kwargs.cloned()];
        Self::make(py, form, names, parts.map(|part| part.map(Bound::unbind)))
    }

    fn make(
        py: Python<'_>,
        form: Form,
        (module, name): (String, String),
        [callable, args, kwargs]: [Option<Py<PyAny>>; 3],
    ) -> PyResult<Py<Stub>> {
        let empty = || PyList::empty(py).unbind();
        let (states, items, pairs) = (empty(), empty(), empty());
        Py::new(py, Stub { form, module, name, callable, args, kwargs, states, items, pairs })
    }
}

#[pymethods]
impl Stub {
    /// How the stub came to be: "global", "call", "new" or "new_ex".
    #[getter]
    fn form(&self) -> &'static str {
        self.form.name()
    }

    fn __repr__(&self) -> String {
        match self.form {
            Form::Global => format!("<Stub {}.{}>", self.module, self.name),
            _ => format!("<Stub of a {}.{}>", self.module, self.name),
        }
    }

    /// Other picklers would have to import what must not be imported.
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<Py<PyTuple>> {
        Err(PyTypeError::new_err(format!(
            "only picklet pickles a Stub (of {}.{}): use picklet.dumps",
            self.module, self.name
        )))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        for part in [&self.callable, &self.args, &self.kwargs].into_iter().flatten() {
            visit.call(part)?;
        }
        visit.call(&self.states)?;
        visit.call(&self.items)?;
        visit.call(&self.pairs)
    }
}
