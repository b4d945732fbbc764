//! Looking at pickles and rewriting them, without loading anything.

use std::ffi::OsString;

use picklet_codec::{ANNOTATE_COLUMN, DisError, DisOptions};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::codec::with_bytes;
use crate::errors::of_package;

/// Give the listing of a pickle's opcodes that `pickletools.dis` prints. Nothing is loaded.
///
/// `data` is the pickle as bytes; what follows its end is ignored. `annotate=True`
/// adds a short description of each opcode, and `indent` is the number of
/// blanks for each open mark. A listing of more than 1,000 open marks, and what is
/// no pickle, raise `UnpicklingError`.
///
/// >>> import picklet
/// >>> print(picklet.dis(picklet.dumps(1, protocol=2)), end="")
///     0: \x80 PROTO      2
///     2: K    BININT1    1
///     4: .    STOP
/// highest protocol among opcodes = 2
#[pyfunction]
#[pyo3(signature = (data, /, *, annotate=false, indent=4))]
fn dis(data: &Bound<'_, PyAny>, annotate: bool, indent: usize) -> PyResult<String> {
    let options = DisOptions {
        indent,
        annotate: annotate.then_some(ANNOTATE_COLUMN),
        ..DisOptions::default()
    };
    let py = data.py();
    with_bytes(data, |bytes| {
        let mut listing = Vec::new();
        py.detach(|| picklet_codec::dis(bytes, &mut listing, &options))
            .map_err(|error| unpickling_error(py, &error))?;
        Ok(String::from_utf8_lossy(&listing).into_owned())
    })
}

/// Give an equivalent pickle without the memo entries that nothing reads, as
/// `pickletools.optimize` does. Nothing is loaded.
///
/// >>> import picklet, pickle
/// >>> data = pickle.dumps(["a", "b"])
/// >>> small = picklet.optimize(data)
/// >>> len(small) < len(data), pickle.loads(small)
/// (True, ['a', 'b'])
#[pyfunction]
#[pyo3(signature = (data, /))]
fn optimize<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = data.py();
    with_bytes(data, |bytes| {
        let small = py
            .detach(|| picklet_codec::optimize(bytes))
            .map_err(|error| unpickling_error(py, &error))?;
        Ok(PyBytes::new(py, &small))
    })
}

fn unpickling_error(py: Python<'_>, error: &DisError) -> PyErr {
    of_package(py, "UnpicklingError", error.to_string())
}

/// Runs the program with `arguments`, the first of which is its own name; gives the exit code.
#[pyfunction]
fn run(py: Python<'_>, arguments: Vec<OsString>, python: OsString) -> u8 {
    py.detach(|| picklet_cli::run(arguments, &picklet_cli::Host { python }))
}

/// Adds what this file has to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(dis, module)?)?;
    module.add_function(wrap_pyfunction!(optimize, module)?)?;
    module.add_function(wrap_pyfunction!(run, module)?)
}
