//! `picklet.scan`: the scanner's report, as the package over it turns it into objects.

use std::path::PathBuf;

use picklet::policy::suggest;
use picklet::scan::{self, FileReport, Options};
use pyo3::prelude::*;

use crate::codec::with_bytes;
use crate::policy::policy_from;

/// What crosses into Python: the report as JSON, and the policy that would admit the file.
fn parts(report: &FileReport, options: &Options) -> (String, String) {
    let imports = report.imports.iter().map(|(_, import)| import);
    (scan::json::file_to_json(report).to_string(), suggest(imports, &options.policy))
}

fn options(policy: Option<&Bound<'_, PyAny>>) -> PyResult<Options> {
    Ok(Options { policy: policy_from(policy)?, ..Options::default() })
}

/// Scan a file, and whatever containers it holds.
#[pyfunction]
fn scan_file(
    py: Python<'_>,
    path: PathBuf,
    policy: Option<&Bound<'_, PyAny>>,
) -> PyResult<(String, String)> {
    let options = options(policy)?;
    Ok(py.detach(|| parts(&scan::scan_file(&path, &options), &options)))
}

/// Scan bytes.
#[pyfunction]
fn scan_bytes(
    py: Python<'_>,
    data: &Bound<'_, PyAny>,
    policy: Option<&Bound<'_, PyAny>>,
) -> PyResult<(String, String)> {
    let options = options(policy)?;
    with_bytes(data, |bytes| {
        let bytes = bytes.to_vec();
        Ok(py.detach(|| parts(&scan::scan_bytes("<bytes>", bytes, &options), &options)))
    })
}

/// Adds the functions of this file to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(scan_file, module)?)?;
    module.add_function(wrap_pyfunction!(scan_bytes, module)?)
}
