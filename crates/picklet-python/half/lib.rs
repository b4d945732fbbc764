//! `dumps`, `loads`, `Pickler` and `Unpickler` of the extension module, and their policies.
#![forbid(unsafe_code)]

#[path = "../src/codec.rs"]
mod codec;
#[path = "../src/pickler.rs"]
mod pickler;
#[path = "../src/policy.rs"]
mod policy;

use pyo3::prelude::*;

/// The module.
#[pymodule]
fn _picklet(module: &Bound<'_, PyModule>) -> PyResult<()> {
    picklet_pyobject::check_interpreter(module.py())?;
    codec::register(module)?;
    pickler::register(module)?;
    policy::register(module)
}
