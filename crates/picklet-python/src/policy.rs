//! Policies as Python gives them: names, TOML files, `Policy` objects.

use std::path::PathBuf;

use picklet::policy::{self, Policy};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// What crosses into Python: the names of a policy, built-in ones first, and whether it is strict.
type Parts = (Vec<String>, bool);

fn parts(policy: &Policy) -> Parts {
    (policy.names(), policy.is_strict())
}

fn value_error(error: impl ToString) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The policy that an `allow=` argument stands for.
pub(crate) fn policy_from(allow: Option<&Bound<'_, PyAny>>) -> PyResult<Policy> {
    let mut policy = Policy::data();
    let Some(allow) = allow.filter(|allow| !allow.is_none()) else { return Ok(policy) };
    if let Ok(strict) = allow.getattr(pyo3::intern!(allow.py(), "strict")) {
        policy = policy.strict(strict.extract().unwrap_or(false));
    }
    for name in names_of(allow)? {
        policy.allow(&name).map_err(value_error)?;
    }
    Ok(policy)
}

/// The names that an `allow=` argument lists; a file's are read.
fn names_of(allow: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    // A lone name, not its letters.
    if let Ok(name) = allow.cast::<PyString>() {
        let name = name.to_string();
        return if name.ends_with(".toml") { read_names(name.into()) } else { Ok(vec![name]) };
    }
    if allow.hasattr(pyo3::intern!(allow.py(), "__fspath__"))? {
        return read_names(allow.extract()?);
    }
    allow.try_iter()?.map(|name| name?.extract()).collect()
}

fn read_names(path: PathBuf) -> PyResult<Vec<String>> {
    Ok(policy::read(path).map_err(value_error)?.names())
}

/// The names that `allow` lists, checked.
#[pyfunction]
fn policy_names(allow: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<String>> {
    let Some(allow) = allow else { return Ok(Vec::new()) };
    // Checked here, where the caller's line can be blamed; a worker would be far from it.
    policy_from(Some(allow))?;
    names_of(allow)
}

/// The policy of built-in ones and names.
#[pyfunction]
fn policy_of(policies: Vec<String>, allow: Vec<String>, strict: bool) -> PyResult<Parts> {
    let quote = |names: Vec<String>| serde_json::to_string(&names).map_err(value_error);
    // JSON's strings and lists are TOML's.
    let (policies, allow) = (quote(policies)?, quote(allow)?);
    let text = format!("policies = {policies}\nallow = {allow}\nstrict = {strict}\n");
    Ok(parts(&policy::from_toml(&text).map_err(value_error)?))
}

/// The policy in a TOML file.
#[pyfunction]
fn policy_read(path: PathBuf) -> PyResult<Parts> {
    Ok(parts(&policy::read(path).map_err(value_error)?))
}

/// The policy that a TOML text describes.
#[pyfunction]
fn policy_from_toml(text: &str) -> PyResult<Parts> {
    Ok(parts(&policy::from_toml(text).map_err(value_error)?))
}

/// The TOML text of a policy.
#[pyfunction]
fn policy_to_toml(names: Vec<String>, strict: bool) -> PyResult<String> {
    let mut policy = Policy::data().strict(strict);
    for name in names {
        policy.allow(&name).map_err(value_error)?;
    }
    Ok(policy::to_toml(&policy))
}

/// Adds the functions of this file to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(policy_names, module)?)?;
    module.add_function(wrap_pyfunction!(policy_of, module)?)?;
    module.add_function(wrap_pyfunction!(policy_read, module)?)?;
    module.add_function(wrap_pyfunction!(policy_from_toml, module)?)?;
    module.add_function(wrap_pyfunction!(policy_to_toml, module)?)
}
