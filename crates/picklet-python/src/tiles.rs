//! Arrays and images: cut into tiles, stitched back, drawn.

use std::path::PathBuf;

use picklet_segments::{Input, Result};
use picklet_tiles::{
    Array, ArrayOptions, CutOptions, PREVIEW_PIXELS, StitchOptions, cut, preview, stitch,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::directory::{Directory, compression_of, existing_of, location};
use crate::errors::{IntoPython as _, Raised};

/// How to cut, from keyword arguments whose defaults the package has chosen.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct TileOptions {
    tile: Vec<Option<u64>>,
    overlap: Vec<u64>,
    edge: String,
    member: Option<String>,
    page: Option<usize>,
    name: String,
    compress: Option<String>,
    sha256: bool,
    existing: String,
    made_by: String,
}

/// Cuts the array in a file into tiles. `called` is the source's name in the manifest, where the
/// file is a temporary one.
#[pyfunction]
#[pyo3(name = "tiles", signature = (source, out, options, called=None))]
fn tiles_of(
    py: Python<'_>,
    source: PathBuf,
    out: PathBuf,
    options: TileOptions,
    called: Option<String>,
) -> PyResult<()> {
    let raised = Raised::default();
    let existing = existing_of(&options.existing)?;
    let compression = compression_of(options.compress.as_deref())?;
    let out = location(out).or_raise(py)?;
    let work = || -> Result<()> {
        let mut input = Input::file(source)?;
        if let Some(name) = called {
            input = input.called(name);
        }
        let which = ArrayOptions { member: options.member, page: options.page };
        let array = Array::open(input, &which)?;
        let how = CutOptions {
            tile: options.tile,
            overlap: options.overlap,
            edge: options.edge.parse()?,
            name: &options.name,
            compression,
            sha256: options.sha256,
            existing,
            made_by: Some(&options.made_by),
            interrupt: &|| raised.interrupted(),
            ..CutOptions::default()
        };
        cut(array, &out, &how).map(drop)
    };
    let result = py.detach(work);
    raised.or(py, result)
}

/// Joins tiles into one array in a file; gives its shape and the names of the tiles filled.
#[pyfunction]
#[pyo3(name = "stitch")]
fn stitch_tiles(
    py: Python<'_>,
    directory: &Directory,
    out: PathBuf,
    mode: &str,
    fill: Option<String>,
) -> PyResult<(Vec<u64>, Vec<String>)> {
    let raised = Raised::default();
    let work = || {
        let how = StitchOptions {
            mode: mode.parse()?,
            fill: fill.as_deref(),
            interrupt: &|| raised.interrupted(),
            ..StitchOptions::default()
        };
        stitch(&directory.segments, &out, &how).map(|report| (report.shape, report.filled))
    };
    let result = py.detach(work);
    raised.or(py, result)
}

/// Draws tiles into a PNG: a dict with `width`, `height`, `tiles` and `missing`.
#[pyfunction]
#[pyo3(name = "preview")]
fn preview_tiles<'py>(
    py: Python<'py>,
    directory: &Directory,
    out: PathBuf,
    pixels: Option<u32>,
) -> PyResult<Bound<'py, PyDict>> {
    let longest = pixels.unwrap_or(PREVIEW_PIXELS);
    let report = py.detach(|| preview(&directory.segments, &out, longest)).or_raise(py)?;
    let answer = PyDict::new(py);
    answer.set_item("width", report.pixels.1)?;
    answer.set_item("height", report.pixels.0)?;
    answer.set_item("tiles", report.tiles)?;
    answer.set_item("missing", report.missing)?;
    Ok(answer)
}

/// Adds what this file has to the module.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(tiles_of, module)?)?;
    module.add_function(wrap_pyfunction!(stitch_tiles, module)?)?;
    module.add_function(wrap_pyfunction!(preview_tiles, module)?)
}
