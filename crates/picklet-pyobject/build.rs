//! Hands pyo3's version flags (`Py_3_12`, …) to this crate: the layout of `int` depends on them.
fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
