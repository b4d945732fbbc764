//! Hands pyo3's version flags (`Py_3_12`, …) to this crate, and decides whether it may read and
//! make objects by CPython's layouts (`cfg(layouts)`, see `src/object/`).
fn main() {
    pyo3_build_config::use_pyo3_cfgs();
    println!("cargo:rustc-check-cfg=cfg(layouts)");
    let python = pyo3_build_config::get();
    // Those whose headers were read. Debug builds count and link objects in ways of their own.
    let known = (11..=13).contains(&python.version().minor) && python.pointer_width() == Some(64);
    let flags = python.build_flags().to_string();
    let debug =
        ["Py_DEBUG", "Py_REF_DEBUG", "Py_TRACE_REFS"].iter().any(|flag| flags.contains(flag));
    if known && !debug && std::env::var_os("CARGO_FEATURE_PORTABLE").is_none() {
        println!("cargo:rustc-cfg=layouts");
    }
}
