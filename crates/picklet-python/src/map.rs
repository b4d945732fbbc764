//! Mapping from Python: the engine driven with Python's signals, progress and
//! functions.
//!
//! The engine runs without the interpreter, which is taken back a moment at a
//! time: to look for Ctrl-C, to call `progress`, to print what workers print.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use picklet_segments::engine::{
    self, Answer, Fan, Form, Function, LoadPolicy, MapOptions, MapReport, OnError, Order,
    PublishTo, PythonWorkers, Replay, Task, WorkerCommand,
};
use picklet_segments::{Error, Location, Progress, Publisher, Segments, Totals};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::directory::{Directory, compression_of, location};
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
    only: Option<Vec<String>>,
    names: Option<Vec<String>>,
    /// The call that maps, without `only=`.
    call: Option<String>,
    compress: Option<String>,
    made_by: Option<String>,
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
            only: self.only,
            names: self.names,
            compression: compression_of(self.compress.as_deref())?,
            made_by: self.made_by,
            replay: self.call.as_deref().map(Replay::of_call),
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
        workers.form = form(&self.form)?;
        workers.policy = LoadPolicy { allow: self.allow, trust: self.trust };
        Ok(workers)
    }
}

/// How the function is called, from JSON: `"items"`, `{"batch": 10}`.
fn form(json: &str) -> PyResult<Form> {
    serde_json::from_str(json).map_err(|error| PyValueError::new_err(format!("form: {error}")))
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
    let out = location(out).or_raise(py)?;
    let ear = Ear::new(progress);
    let result = py.detach(|| {
        engine::map(&input.segments, &out, &command, &options, &ear, &|| ear.interrupted())
    });
    ear.report(py, result)
}

/// Maps in this process, in this thread or in several: `run(task, output)` takes and gives the
/// messages that a worker would, as JSON. Gives the report as JSON.
#[pyfunction]
#[pyo3(signature = (input, out, run, form, threads, options, progress))]
#[expect(clippy::too_many_arguments, reason = "each is an argument of the Python function")]
fn map_in_process(
    py: Python<'_>,
    input: &Directory,
    out: PathBuf,
    run: Py<PyAny>,
    form: &str,
    threads: Option<usize>,
    options: Options,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let fan = Fan::of(self::form(form)?);
    let options = MapOptions { fan, workers: threads, ..options.read()? };
    let out = location(out).or_raise(py)?;
    let ear = Ear::new(progress);
    let answer = |task: &Task, output: &PublishTo| {
        Python::attach(|py| ask(py, &run, task, output)).map_err(|error| {
            ear.keep(error);
            Error::Interrupted
        })
    };
    let stop = || ear.interrupted();
    let input = &input.segments;
    let result = py.detach(|| match threads {
        None => engine::map_in_process(input, &out, &mut { answer }, &options, &ear, &stop),
        Some(_) => engine::map_in_threads(input, &out, &answer, &options, &ear, &stop),
    });
    ear.report(py, result)
}

/// Folds all segments into one: `step(input, out)` maps one level, given by path or URL, into the
/// next, and gives its report as JSON.
#[pyfunction]
fn reduce(
    py: Python<'_>,
    input: &Directory,
    out: PathBuf,
    options: Options,
    step: Py<PyAny>,
) -> PyResult<String> {
    let options = options.read()?;
    let out = location(out).or_raise(py)?;
    let ear = Ear::new(None);
    let mut level = |from: &Segments, to: &Location, _: &MapOptions| {
        let told = Python::attach(|py| -> PyResult<MapReport> {
            // As text: what pathlib takes for a path is no URL any more.
            let places = (from.location().path().as_os_str(), to.path().as_os_str());
            let report = step.call1(py, places)?;
            let report: String = report.extract(py)?;
            serde_json::from_str(&report).map_err(|e| PyValueError::new_err(e.to_string()))
        });
        told.map_err(|error| {
            ear.keep(error);
            Error::Interrupted
        })
    };
    let result = py.detach(|| engine::reduce(&input.segments, &out, &options, &mut level));
    ear.report(py, result)
}

/// A map whose tasks Python runs, on somebody's executor.
#[pyclass(module = "picklet._picklet", frozen)]
struct Conductor {
    inner: Mutex<Option<engine::Conductor<'static>>>,
    ear: Arc<Ear>,
}

#[pymethods]
impl Conductor {
    /// Plans the map and takes the output's lock, until `finish` or the end of this object.
    #[new]
    #[pyo3(signature = (input, out, form, seats, options, progress))]
    fn new(
        py: Python<'_>,
        input: &Directory,
        out: PathBuf,
        form: &str,
        seats: usize,
        options: Options,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let fan = Fan::of(self::form(form)?);
        let options = MapOptions { fan, ..options.read()? };
        let out = location(out).or_raise(py)?;
        let ear = Arc::new(Ear::new(progress));
        let told = Box::new(Shared(ear.clone()));
        let inner = py
            .detach(|| {
                engine::Conductor::new(
                    &input.segments,
                    &out,
                    &options,
                    seats,
                    options.replay.clone(),
                    told,
                )
            })
            .or_raise(py)?;
        Ok(Conductor { inner: Mutex::new(Some(inner)), ear })
    }

    /// Where outputs are published, as JSON.
    fn output(&self) -> PyResult<String> {
        let output = self.with(|inner| Ok(inner.output().clone()))?;
        serde_json::to_string(&output).map_err(wrong)
    }

    /// How many tasks there are.
    fn tasks(&self) -> PyResult<usize> {
        self.with(|inner| Ok(inner.tasks()))
    }

    /// Says how many workers there are.
    fn set_workers(&self, workers: usize) -> PyResult<()> {
        self.with(|inner| {
            inner.set_workers(workers);
            Ok(())
        })
    }

    /// What is to be done now: `(seat, task)`, the task as JSON, or None where what is in the seat
    /// is to be forgotten.
    fn orders(&self, py: Python<'_>) -> PyResult<Vec<(usize, Option<String>)>> {
        let ear = &self.ear;
        let orders = py.detach(|| {
            self.with(|inner| {
                let mut orders = Vec::new();
                while let Some(order) = inner.next_order()? {
                    match order {
                        Order::Start { seat } => inner.ready(seat),
                        Order::Run { seat, task } => orders.push((seat, Some(task))),
                        Order::Stop { seat } => {
                            inner.died(seat, "stopped", "", "");
                            orders.push((seat, None));
                        }
                    }
                }
                inner.commit()?;
                Ok(orders)
            })
        })?;
        if let Some(error) = ear.take() {
            return Err(error);
        }
        let json = |task: Box<Task>| serde_json::to_string(&task).map_err(wrong);
        orders.into_iter().map(|(seat, task)| Ok((seat, task.map(json).transpose()?))).collect()
    }

    /// Takes what a worker says at the end of its task, as JSON.
    fn answer(&self, seat: usize, answer: &str) -> PyResult<()> {
        let answer: Answer = serde_json::from_str(answer).map_err(wrong)?;
        self.with(|inner| inner.answer(seat, answer))
    }

    /// What ran in the seat is gone, perhaps because of its task.
    fn died(&self, seat: usize, error: &str, message: &str, traceback: &str) -> PyResult<()> {
        self.with(|inner| {
            inner.died(seat, error, message, traceback);
            Ok(())
        })
    }

    /// What ran in the seat is gone before its task began.
    fn lost(&self, seat: usize) -> PyResult<()> {
        self.with(|inner| {
            inner.lost(seat);
            Ok(())
        })
    }

    /// Whether nothing is left to do or to wait for.
    fn is_over(&self) -> PyResult<bool> {
        self.with(|inner| Ok(inner.is_over()))
    }

    /// For how many seconds one may wait for news, `longest` at most.
    fn patience(&self, longest: f64) -> PyResult<f64> {
        let longest = Duration::try_from_secs_f64(longest).unwrap_or_default();
        self.with(|inner| Ok(inner.patience(longest).as_secs_f64()))
    }

    /// Ends the map; gives the report as JSON.
    fn finish(&self, py: Python<'_>) -> PyResult<String> {
        let inner = self.lock().take().ok_or_else(|| PyValueError::new_err("it has ended"))?;
        let result = py.detach(|| inner.finish());
        self.ear.report(py, result)
    }

    /// Ends the map as it stands; what is finished stays.
    fn close(&self, py: Python<'_>) {
        let inner = self.lock().take();
        py.detach(|| {
            if let Some(mut inner) = inner {
                // The error that ends the map is on its way already.
                let _ = inner.commit();
            }
        });
    }
}

impl Conductor {
    /// A thread that panicked with the lock leaves the books as the last order left them.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<engine::Conductor<'static>>> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn with<T>(
        &self,
        ask: impl FnOnce(&mut engine::Conductor<'static>) -> picklet_segments::Result<T>,
    ) -> PyResult<T> {
        let mut inner = self.lock();
        let inner = inner.as_mut().ok_or_else(|| PyValueError::new_err("it has ended"))?;
        let result = ask(inner);
        Python::attach(|py| result.or_raise(py))
    }
}

/// One ear for the map and for those who ask how it went.
struct Shared(Arc<Ear>);

impl Progress for Shared {
    fn totals(&self, totals: Totals) {
        self.0.totals(totals);
    }
    fn bytes(&self, bytes: u64) {
        self.0.bytes(bytes);
    }
    fn items(&self, items: u64) {
        self.0.items(items);
    }
    fn segment(&self, file: &str) {
        self.0.segment(file);
    }
    fn failure(&self, file: &str, message: &str) {
        self.0.failure(file, message);
    }
    fn output(&self, bytes: &[u8]) {
        self.0.output(bytes);
    }
}

fn wrong(error: serde_json::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn ask(py: Python<'_>, run: &Py<PyAny>, task: &Task, output: &PublishTo) -> PyResult<Answer> {
    let task = serde_json::to_string(task).map_err(wrong)?;
    let output = serde_json::to_string(output).map_err(wrong)?;
    let answer: String = run.call1(py, (task, output))?.extract(py)?;
    serde_json::from_str(&answer).map_err(wrong)
}

/// Hears what the engine tells, and tells Python.
pub(crate) struct Ear {
    /// Called with the state. Where it has methods `segment` and `failure`, they hear of each.
    callback: Option<Py<PyAny>>,
    state: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    total: Option<u64>,
    done: u64,
    failed: u64,
    items: u64,
    bytes: u64,
    all_bytes: Option<u64>,
    /// What Python raised while it was asked; the map ends with it.
    raised: Option<PyErr>,
}

impl Ear {
    pub(crate) fn new(callback: Option<Py<PyAny>>) -> Self {
        Ear { callback, state: Mutex::default() }
    }

    /// A thread that panicked with the lock leaves whole numbers behind.
    fn state(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn keep(&self, error: PyErr) {
        self.state().raised.get_or_insert(error);
    }

    pub(crate) fn take(&self) -> Option<PyErr> {
        self.state().raised.take()
    }

    /// Whether to stop: Ctrl-C, or something that Python raised.
    pub(crate) fn interrupted(&self) -> bool {
        if let Err(error) = Python::attach(|py| py.check_signals()) {
            self.keep(error);
        }
        self.state().raised.is_some()
    }

    fn tell(&self) {
        let Some(callback) = &self.callback else { return };
        let now = {
            let state = self.state();
            (state.done, state.total, state.items, state.failed, state.bytes, state.all_bytes)
        };
        let told = Python::attach(|py| callback.call1(py, now).map(drop));
        if let Err(error) = told {
            self.keep(error);
        }
    }

    fn name(&self, method: &str, words: &[&str]) {
        let Some(callback) = &self.callback else { return };
        let told = Python::attach(|py| match callback.bind(py).getattr_opt(method)? {
            Some(method) => method.call1(PyTuple::new(py, words)?).map(drop),
            None => Ok(()),
        });
        if let Err(error) = told {
            self.keep(error);
        }
    }

    fn report(
        &self,
        py: Python<'_>,
        result: picklet_segments::Result<MapReport>,
    ) -> PyResult<String> {
        if let Some(error) = self.take() {
            return Err(error);
        }
        let report = result.or_raise(py)?;
        serde_json::to_string(&report).map_err(|error| PyValueError::new_err(error.to_string()))
    }
}

impl Progress for Ear {
    fn totals(&self, totals: Totals) {
        {
            let mut state = self.state();
            state.total = totals.segments;
            state.all_bytes = totals.bytes;
        }
        self.tell();
    }

    fn bytes(&self, bytes: u64) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_add(bytes);
    }

    fn items(&self, items: u64) {
        let mut state = self.state();
        state.items = state.items.saturating_add(items);
    }

    fn segment(&self, file: &str) {
        self.state().done += 1;
        self.tell();
        self.name("segment", &[file]);
    }

    fn failure(&self, file: &str, message: &str) {
        self.state().failed += 1;
        self.tell();
        self.name("failure", &[file, message]);
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
            let publisher = Publisher::new(&location(directory)?, session, false)?;
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

/// What keeps this process from working on a map, in one line: from reading the segment at a path
/// or URL, of so many bytes, or from publishing to `output` (as JSON).
#[pyfunction]
fn out_of_reach(py: Python<'_>, path: &str, bytes: u64, output: &str) -> PyResult<Option<String>> {
    let output: PublishTo = serde_json::from_str(output).map_err(wrong)?;
    Ok(py.detach(|| engine::out_of_reach(path, bytes, &output)))
}

/// How many workers run when nobody says: affinity and cgroup count.
#[pyfunction]
fn default_workers() -> usize {
    engine::default_workers()
}

/// A segment's bytes by its path or URL, for workers.
#[pyfunction]
fn read_file<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyBytes>> {
    let bytes = py.detach(|| picklet_segments::directory::read_file(&path)).or_raise(py)?;
    Ok(PyBytes::new(py, &bytes))
}

/// Adds what this file has to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(map, module)?)?;
    module.add_function(wrap_pyfunction!(map_in_process, module)?)?;
    module.add_function(wrap_pyfunction!(reduce, module)?)?;
    module.add_class::<Conductor>()?;
    module.add_function(wrap_pyfunction!(default_workers, module)?)?;
    module.add_function(wrap_pyfunction!(out_of_reach, module)?)?;
    module.add_function(wrap_pyfunction!(read_file, module)?)?;
    module.add_function(wrap_pyfunction!(publish, module)?)
}
