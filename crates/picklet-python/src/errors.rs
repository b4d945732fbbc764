//! What the segments crate says went wrong, as the exceptions Python knows.
//!
//! Messages keep their words, except that options are named as Python's.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use picklet_segments::Error;
use pyo3::exceptions::{
    PyFileExistsError, PyFileNotFoundError, PyIndexError, PyKeyboardInterrupt,
    PyNotADirectoryError, PyOSError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The exception for an error of the segments crate.
pub(crate) fn to_python(py: Python<'_>, error: Error) -> PyErr {
    let message = in_python(&error);
    match error {
        Error::Io { action, path, source } => os_error(py, action, &path, &source),
        Error::NoDirectory(_) | Error::NoSegments(_) => PyFileNotFoundError::new_err(message),
        Error::NotADirectory(_) => PyNotADirectoryError::new_err(message),
        Error::NotEmpty { .. } | Error::Foreign { .. } => PyFileExistsError::new_err(message),
        Error::BadName { .. } | Error::SameName { .. } | Error::Usage(_) => {
            PyValueError::new_err(message)
        }
        Error::NoSuchSegment { .. } => PyIndexError::new_err(message),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::Input { .. } | Error::NotAContainer { .. } => {
            of_package(py, "UnpicklingError", message)
        }
        Error::Damaged { ref path, ref reason } => segment_error(py, &message, path, reason),
        Error::Missing(ref path) => segment_error(py, &message, path, "the file is missing"),
        _ => of_package(py, "SegmentsError", message),
    }
}

/// The message, with `resume=True` where the command line says `--resume`.
fn in_python(error: &Error) -> String {
    match error {
        Error::NotEmpty { .. }
        | Error::OtherRun { .. }
        | Error::Unfinished(_)
        | Error::BadJournal { .. } => with_last_replaced(
            with_last_replaced(error.to_string(), "--resume", "resume=True"),
            "--overwrite",
            "overwrite=True",
        ),
        _ => error.to_string(),
    }
}

/// Replaces the last `from`: whatever a path holds stands before the advice.
fn with_last_replaced(text: String, from: &str, to: &str) -> String {
    match text.rsplit_once(from) {
        Some((before, after)) => format!("{before}{to}{after}"),
        None => text,
    }
}

/// `OSError` with errno and file name, which Python makes the right subclass of.
fn os_error(py: Python<'_>, action: &str, path: &Path, source: &io::Error) -> PyErr {
    match source.raw_os_error() {
        Some(code) => {
            let said = py
                .import("os")
                .and_then(|os| os.call_method1("strerror", (code,)))
                .and_then(|text| text.extract::<String>())
                .unwrap_or_else(|_| source.to_string());
            // As text: a `Path` would show as `PosixPath('…')` in the message.
            let name = path.as_os_str().to_owned();
            PyOSError::new_err((code, format!("cannot {action}: {said}"), name))
        }
        None => PyOSError::new_err(format!("cannot {action} {}: {source}", path.display())),
    }
}

fn segment_error(py: Python<'_>, message: &str, path: &Path, reason: &str) -> PyErr {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let arguments = (message.to_owned(), file.unwrap_or_default(), py.None(), reason.to_owned());
    match package_type(py, "SegmentError") {
        Ok(class) => PyErr::from_type(class, arguments),
        Err(error) => error,
    }
}

/// An exception of the package's own, by name.
pub(crate) fn of_package(py: Python<'_>, name: &str, message: String) -> PyErr {
    match package_type(py, name) {
        Ok(class) => PyErr::from_type(class, (message,)),
        Err(error) => error,
    }
}

fn package_type<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    static PACKAGE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let package = PACKAGE.get_or_try_init(py, || py.import("picklet").map(Bound::unbind))?;
    Ok(package.bind(py).getattr(name)?.cast_into::<PyType>()?)
}

/// Turns results of the segments crate into Python's.
pub(crate) trait IntoPython<T> {
    /// The same, with the exception in place of the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> IntoPython<T> for picklet_segments::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_python(py, error))
    }
}

/// What Python raised while Rust was at work, which is more than the error that
/// Rust made of it.
#[derive(Default)]
pub(crate) struct Raised(Mutex<Option<PyErr>>);

impl Raised {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<PyErr>> {
        // A thread that panicked with the lock leaves a whole value behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the first exception, and gives an error to stop with.
    pub(crate) fn keep(&self, error: PyErr) -> Error {
        self.lock().get_or_insert(error);
        Error::Interrupted
    }

    /// Whether to stop: Ctrl-C, or something that Python raised.
    pub(crate) fn interrupted(&self) -> bool {
        if let Err(error) = Python::attach(|py| py.check_signals()) {
            self.keep(error);
        }
        self.lock().is_some()
    }

    /// The result, unless Python raised something.
    pub(crate) fn or<T>(&self, py: Python<'_>, result: picklet_segments::Result<T>) -> PyResult<T> {
        match self.lock().take() {
            Some(error) => Err(error),
            None => result.or_raise(py),
        }
    }
}
