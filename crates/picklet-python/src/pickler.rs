//! The state behind `Pickler` and `Unpickler`: their memos.
//!
//! The classes themselves, with their hooks and attributes, are Python (`picklet.compat`); at
//! each dump and load they hand everything over. The memo is taken out while a dump or load
//! runs, so that a hook that uses the same object again gets an error and not a half-made memo.

use std::sync::{Mutex, PoisonError};

use picklet_pyobject::decode::{self, DecodeOptions, Guard, SeenProtocol, UnpicklerMemo};
use picklet_pyobject::encode::{self, EncodeOptions, Hooks, PicklerMemo, Style};
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::codec::{encode_options, guard, unless_default};

/// A memo that is there, or in use.
struct Slot<T>(Mutex<Option<T>>);

impl<T> Slot<T> {
    fn new(value: T) -> Slot<T> {
        Slot(Mutex::new(Some(value)))
    }

    fn take(&self) -> PyResult<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .ok_or_else(|| PyRuntimeError::new_err("the pickler or unpickler is already in use"))
    }

    fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// Uses the value. It is out of its place meanwhile: `run` may run Python code.
    fn with<R>(&self, run: impl FnOnce(&mut T) -> PyResult<R>) -> PyResult<R> {
        let mut value = self.take()?;
        let answer = run(&mut value);
        self.put(value);
        answer
    }

    /// Puts `new` in place of what was there, which is dropped afterwards.
    fn replace(&self, new: T) -> PyResult<()> {
        let old = self.take()?;
        self.put(new);
        drop(old);
        Ok(())
    }

    /// For the collector: what is in use is not looked at, and so counts as referred to.
    fn look(
        &self,
        look: impl FnOnce(&T) -> Result<(), PyTraverseError>,
    ) -> Result<(), PyTraverseError> {
        match self.0.try_lock().as_deref() {
            Ok(Some(value)) => look(value),
            _ => Ok(()),
        }
    }
}

/// The protocol and the memo of a Pickler.
#[pyclass(module = "picklet._picklet", frozen)]
pub(crate) struct PicklerState {
    options: EncodeOptions,
    memo: Slot<PicklerMemo>,
}

#[pymethods]
impl PicklerState {
    #[new]
    #[pyo3(signature = (protocol, fix_imports, buffers))]
    fn new(protocol: Option<i64>, fix_imports: bool, buffers: bool) -> PyResult<Self> {
        let options = encode_options(protocol, fix_imports, Style::Compat)?;
        if buffers && options.protocol < 5 {
            let message = "buffer_callback needs protocol >= 5";
            return Err(pyo3::exceptions::PyValueError::new_err(message));
        }
        Ok(PicklerState { options, memo: Slot::new(PicklerMemo::default()) })
    }

    /// The protocol, 0 to 5.
    #[getter]
    fn protocol(&self) -> u8 {
        self.options.protocol
    }

    /// Pickle `obj` into `write`. A hook that is None is none.
    #[pyo3(signature = (
        obj, write, *, binary, fast, persistent_id, reducer_override, dispatch_table,
        buffer_callback
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are the hooks and flags of a Pickler")]
    fn dump<'py>(
        &self,
        obj: &Bound<'py, PyAny>,
        write: &Bound<'py, PyAny>,
        binary: bool,
        fast: bool,
        persistent_id: Option<Bound<'py, PyAny>>,
        reducer_override: Option<Bound<'py, PyAny>>,
        dispatch_table: Option<Bound<'py, PyAny>>,
        buffer_callback: Option<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let options = EncodeOptions { fast, binary: Some(binary), ..self.options };
        let hooks = Hooks { persistent_id, reducer_override, dispatch_table, buffer_callback };
        self.memo.with(|memo| encode::dump_with(obj, write, options, &hooks, memo))
    }

    /// The memo as `{id(obj): (index, obj)}`.
    fn memo<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.memo.with(|memo| memo.to_dict(py))
    }

    /// Replace the memo by what `memo` gave.
    fn set_memo(&self, memo: &Bound<'_, PyDict>) -> PyResult<()> {
        self.memo.replace(PicklerMemo::from_dict(memo)?)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.memo.look(|memo| memo.traverse(&visit))
    }

    fn __clear__(&self) {
        // In use is impossible here, and would not matter.
        drop(self.memo.replace(PicklerMemo::default()));
    }
}

/// The memo of an Unpickler, the protocol it last saw, and its policy.
#[pyclass(module = "picklet._picklet", frozen)]
pub(crate) struct UnpicklerState {
    guard: Option<Guard>,
    fix_imports: bool,
    seen: SeenProtocol,
    memo: Slot<UnpicklerMemo>,
}

#[pymethods]
impl UnpicklerState {
    #[new]
    #[pyo3(signature = (file, fix_imports, *, allow=None, trust=false, unknown=None))]
    fn new(
        file: &Bound<'_, PyAny>,
        fix_imports: bool,
        allow: Option<&Bound<'_, PyAny>>,
        trust: bool,
        unknown: Option<&str>,
    ) -> PyResult<Self> {
        decode::check_file(file)?;
        Ok(UnpicklerState {
            guard: guard(allow, trust, unknown)?,
            fix_imports,
            seen: SeenProtocol::default(),
            memo: Slot::new(UnpicklerMemo::default()),
        })
    }

    /// Load one pickle from `file`. A hook that is None is none.
    #[pyo3(signature = (file, *, encoding, errors, buffers, find_class, persistent_load))]
    fn load<'py>(
        &self,
        file: &Bound<'py, PyAny>,
        encoding: &str,
        errors: &str,
        buffers: Option<Bound<'py, PyAny>>,
        find_class: Option<Bound<'py, PyAny>>,
        persistent_load: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = DecodeOptions {
            fix_imports: self.fix_imports,
            encoding: unless_default(encoding, "ASCII"),
            errors: unless_default(errors, "strict"),
            buffers,
            find_class,
            persistent_load,
            seen_protocol: Some(self.seen.clone()),
            guard: self.guard.clone(),
        };
        self.memo.with(|memo| decode::load_with(file, &options, memo))
    }

    /// The global `module.name`, as the pickle being loaded means it.
    fn find_class<'py>(
        &self,
        module: &Bound<'py, PyAny>,
        name: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let protocol = self.seen.get();
        match &self.guard {
            Some(guard) => decode::find_listed(guard, module, name, protocol, self.fix_imports),
            None => decode::find_class(module, name, protocol, self.fix_imports && protocol < 3),
        }
    }

    /// The memo as `{index: obj}`.
    fn memo<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.memo.with(|memo| memo.to_dict(py))
    }

    /// Replace the memo by what `memo` gave.
    fn set_memo(&self, memo: &Bound<'_, PyDict>) -> PyResult<()> {
        self.memo.replace(UnpicklerMemo::from_dict(memo)?)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.memo.look(|memo| memo.traverse(&visit))
    }

    fn __clear__(&self) {
        drop(self.memo.replace(UnpicklerMemo::default()));
    }
}

/// Adds the classes of this file to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PicklerState>()?;
    module.add_class::<UnpicklerState>()
}
