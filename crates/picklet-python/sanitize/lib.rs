//! `dumps`, `loads`, `Pickler` and `Unpickler` of the extension module, with the built-in policy.
#![forbid(unsafe_code)]

#[path = "../src/codec.rs"]
mod codec;
#[path = "../src/pickler.rs"]
mod pickler;

/// The built-in policy: the cases name no others.
mod policy {
    use picklet_codec::policy::Policy;
    use pyo3::prelude::*;

    pub(crate) fn policy_from(_allow: Option<&Bound<'_, PyAny>>) -> PyResult<Policy> {
        Ok(Policy::data())
    }
}

use pyo3::prelude::*;

/// The module.
#[pymodule]
fn _picklet(module: &Bound<'_, PyModule>) -> PyResult<()> {
    picklet_pyobject::check_interpreter(module.py())?;
    codec::register(module)?;
    pickler::register(module)
}
