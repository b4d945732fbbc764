//! The extension module `picklet._picklet`: the Rust crates, as the package
//! over it needs them. It decides nothing; arguments are checked and defaults
//! chosen in the package, and the work is done in the crates below.
//!
//! The interpreter is released (`Python::detach`) around everything that reads,
//! writes or waits.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod codec;
mod directory;
mod errors;
mod health;
mod map;
mod pickler;
mod policy;
mod scan;
mod split;
mod tiles;
mod tools;

use pyo3::prelude::*;

/// The module, each file adding its own.
#[pymodule]
fn _picklet(module: &Bound<'_, PyModule>) -> PyResult<()> {
    picklet_pyobject::check_interpreter(module.py())?;
    codec::register(module)?;
    directory::register(module)?;
    health::register(module)?;
    map::register(module)?;
    pickler::register(module)?;
    policy::register(module)?;
    scan::register(module)?;
    split::register(module)?;
    tiles::register(module)?;
    tools::register(module)
}
