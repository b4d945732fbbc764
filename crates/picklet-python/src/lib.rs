//! The extension module `picklet._picklet`: a thin boundary, all work is done by the crates below.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod codec;

use pyo3::prelude::*;

#[pymodule]
fn _picklet(module: &Bound<'_, PyModule>) -> PyResult<()> {
    codec::register(module)
}
