//! Mapping from Python: the engine driven with Python's signals, progress and
//! functions.
//!
//! The engine runs without the interpreter, which is taken back a moment at a
//! time: to look for Ctrl-C, to call `progress`, to print what workers print.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use picklet_segments::engine::{
    self, Answer, Form, Function, LoadPolicy, MapOptions, MapReport, OnError, PublishTo,
    PythonWorkers, Task, WorkerCommand,
};
use picklet_segments::{Error, Location, Progress, Publisher, Totals};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::directory::{Directory, absolute};
use crate::errors::IntoPython as _;

/// How to map, from keyword arguments whose defaults the package has chosen.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Options {
    workers: Option<usize>,
    on_error: String,
    retries: u32,
    timeout: Option<f64>,
    resume: bool,
    version: Option<String>,
    names: Option<Vec<String>>,
}

impl Options {
    fn read(self) -> PyResult<MapOptions> {
        let timeout = self.timeout.map(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| PyValueError::new_err(format!("timeout= is no time: {seconds}")))
        });
        Ok(MapOptions {
            workers: self.workers,
            on_error: match self.on_error.as_str() {
                "raise" => OnError::Raise,
                "skip" => OnError::Skip,
                "quarantine" => OnError::Quarantine,
                other => {
                    return Err(PyValueError::new_err(format!(
                        "on_error= is 'raise', 'skip' or 'quarantine', not {other:?}"
                    )));
                }
            },
            retries: self.retries,
            timeout: timeout.transpose()?,
            resume: self.resume,
            version: self.version,
            names: self.names,
            ..MapOptions::default()
        })
    }
}

/// Where workers find the function and how they load.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Workers {
    python: PathBuf,
    sys_path: Vec<String>,
    form: String,
    call: Option<String>,
    cloudpickle: Option<String>,
    allow: Vec<String>,
    trust: bool,
}

impl Workers {
    fn read(self) -> PyResult<PythonWorkers> {
        let function = match (self.call, self.cloudpickle) {
            (Some(call), None) => Function::Call(call),
            (None, Some(code)) => Function::Cloudpickle(code),
            _ => return Err(PyValueError::new_err("one of call and cloudpickle")),
        };
        let mut workers = PythonWorkers::new(self.python, function);
        workers.sys_path = self.sys_path;
        workers.form = match self.form.as_str() {
            "segment" => Form::Segment,
            "items" => Form::Items,
            "filter" => Form::Filter,
            other => return Err(PyValueError::new_err(format!("form: {other:?}"))),
        };
        workers.policy = LoadPolicy { allow: self.allow, trust: self.trust };
        Ok(workers)
    }
}

/// Maps with worker processes; gives the report as JSON.
#[pyfunction]
fn map(
    py: Python<'_>,
    input: &Directory,
    out: PathBuf,
    workers: Workers,
    options: Options,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let command = WorkerCommand::Python(workers.read()?);
    let options = options.read()?;
    let out = Location::from(absolute(out));
    let ear = Ear::new(progress);
    let result = py.detach(|| {
        engine::map(&input.segments, &out, &command, &options, &ear, &|| ear.interrupted())
    });
    ear.report(py, result)
}

/// Maps in this process: `run(task, output)` takes and gives the messages that a
/// worker would, as JSON. Gives the report as JSON.
#[pyfunction]
fn map_in_process(
    py: Python<'_>,
    input: &Directory,
    out: PathBuf,
    run: Py<PyAny>,
    options: Options,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let options = options.read()?;
    let out = Location::from(absolute(out));
    let ear = Ear::new(progress);
    let mut answer = |task: &Task, output: &PublishTo| {
        Python::attach(|py| ask(py, &run, task, output)).map_err(|error| {
            ear.keep(error);
            Error::Interrupted
        })
    };
    let result = py.detach(|| {
        engine::map_in_process(&input.segments, &out, &mut answer, &options, &ear, &|| {
            ear.interrupted()
        })
    });
    ear.report(py, result)
}

fn ask(py: Python<'_>, run: &Py<PyAny>, task: &Task, output: &PublishTo) -> PyResult<Answer> {
    let wrong = |error: serde_json::Error| PyValueError::new_err(error.to_string());
    let task = serde_json::to_string(task).map_err(wrong)?;
    let output = serde_json::to_string(output).map_err(wrong)?;
    let answer: String = run.call1(py, (task, output))?.extract(py)?;
    serde_json::from_str(&answer).map_err(wrong)
}

/// Hears what the engine tells, and tells Python.
struct Ear {
    callback: Option<Py<PyAny>>,
    state: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    total: Option<u64>,
    done: u64,
    failed: u64,
    items: u64,
    /// What Python raised while it was asked; the map ends with it.
    raised: Option<PyErr>,
}

impl Ear {
    fn new(callback: Option<Py<PyAny>>) -> Self {
        Ear { callback, state: Mutex::default() }
    }

    /// A thread that panicked with the lock leaves whole numbers behind.
    fn state(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn keep(&self, error: PyErr) {
        self.state().raised.get_or_insert(error);
    }

    /// Whether to stop: Ctrl-C, or something that Python raised.
    fn interrupted(&self) -> bool {
        if let Err(error) = Python::attach(|py| py.check_signals()) {
            self.keep(error);
        }
        self.state().raised.is_some()
    }

    fn tell(&self) {
        let Some(callback) = &self.callback else { return };
        let (done, total, items, failed) = {
            let state = self.state();
            (state.done, state.total, state.items, state.failed)
        };
        let told = Python::attach(|py| callback.call1(py, (done, total, items, failed)).map(drop));
        if let Err(error) = told {
            self.keep(error);
        }
    }

    fn report(
        &self,
        py: Python<'_>,
        result: picklet_segments::Result<MapReport>,
    ) -> PyResult<String> {
        if let Some(error) = self.state().raised.take() {
            return Err(error);
        }
        let report = result.or_raise(py)?;
        serde_json::to_string(&report).map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

impl Progress for Ear {
    fn totals(&self, totals: Totals) {
        self.state().total = totals.segments;
        self.tell();
    }

    fn items(&self, items: u64) {
        let mut state = self.state();
        state.items = state.items.saturating_add(items);
    }

    fn segment(&self, _file: &str) {
        self.state().done += 1;
        self.tell();
    }

    fn failure(&self, _file: &str, _message: &str) {
        self.state().failed += 1;
        self.tell();
    }

    fn output(&self, bytes: &[u8]) {
        // Python's own stderr and not the descriptor: a notebook shows it, a test captures it.
        let text = String::from_utf8_lossy(bytes);
        let written = Python::attach(|py| {
            let stderr = py.import("sys")?.getattr("stderr")?;
            stderr.call_method1("write", (text,))?;
            stderr.call_method0("flush").map(drop)
        });
        // It may be closed or None. What the function prints is not worth its result.
        drop(written);
    }
}

/// Publishes a segment in the name of another process's writer; gives its receipt.
#[pyfunction]
fn publish<'py>(
    py: Python<'py>,
    directory: PathBuf,
    session: &str,
    file: &str,
    data: &[u8],
) -> PyResult<Bound<'py, PyDict>> {
    let receipt = py
        .detach(|| {
            let publisher = Publisher::new(&Location::from(directory), session, false)?;
            let mut draft = publisher.draft(file)?;
            std::io::Write::write_all(&mut draft, data).map_err(|e| draft.error(e))?;
            draft.publish()
        })
        .or_raise(py)?;
    let answer = PyDict::new(py);
    answer.set_item("file", receipt.file)?;
    answer.set_item("bytes", receipt.bytes)?;
    answer.set_item("xxh3", receipt.xxh3.to_string())?;
    Ok(answer)
}

/// Adds what this file has to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(map, module)?)?;
    module.add_function(wrap_pyfunction!(map_in_process, module)?)?;
    module.add_function(wrap_pyfunction!(publish, module)?)
}
