//! `dumps`, `loads`, `Pickler` and `Unpickler` of the extension module, whose policies are lists of
//! names: files of them need crates that take minutes to build.
#![forbid(unsafe_code)]

#[path = "../src/codec.rs"]
mod codec;
#[path = "../src/pickler.rs"]
mod pickler;

mod policy {
    use picklet_codec::policy::Policy;
    use pyo3::exceptions::PyValueError;
    use pyo3::prelude::*;

    /// The policy that an `allow=` argument stands for.
    pub(crate) fn policy_from(allow: Option<&Bound<'_, PyAny>>) -> PyResult<Policy> {
        let mut policy = Policy::data();
        let Some(allow) = allow.filter(|allow| !allow.is_none()) else { return Ok(policy) };
        let names = match allow.extract::<String>() {
            Ok(name) => vec![name],
            Err(_) => allow.extract()?,
        };
        for name in names {
            policy.allow(&name).map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        Ok(policy)
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
