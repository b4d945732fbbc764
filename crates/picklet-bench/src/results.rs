//! Rows of results, for the program that makes the page of benchmarks.

use std::fs::OpenOptions;
use std::io::{self, Write as _};

/// Adds `row` as a line to the file that `PICKLET_BENCH_RESULTS` names; without it does nothing.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(row: &serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
    let Some(path) = std::env::var_os("PICKLET_BENCH_RESULTS") else { return Ok(()) };
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(file, "{row}").map_err(io::Error::into)
}
