//! `picklet preview`: a picture of a directory of tiles.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Location, Segments};
use picklet_tiles::{PREVIEW_PIXELS, preview};
use serde_json::json;

use crate::failure::Verdict;
use crate::host::Session;
use crate::show;

const EXAMPLES: &str = "\
Examples:
  picklet preview in -o preview.png
  picklet preview out -o preview.png --pixels 2000";

/// Draw tiles as a picture: a thumbnail, the grid over it, missing and quarantined tiles crossed out
///
/// Of an array of more than two axes the last two that were cut are shown, and of the others the
/// first element; three or four channels at the end are colours.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Preview {
    /// The directory of tiles
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The PNG to make
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Pixels along the longer side
    #[arg(long, value_name = "N", default_value_t = PREVIEW_PIXELS,
          value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pixels: u32,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Preview {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let segments = Segments::open(&Location::new(&self.directory)?)?;
        let report = preview(&segments, &self.out, self.pixels)?;
        let (height, width) = report.pixels;
        if self.json {
            session.json(&json!({
                "path": self.out.to_string_lossy(),
                "width": width,
                "height": height,
                "tiles": report.tiles,
                "missing": report.missing,
            }))?;
            return Ok(Verdict::Good);
        }
        let missing = match report.missing.len() {
            0 => String::new(),
            missing => format!(", {} missing", show::count(missing as u64)),
        };
        session.line(&format!(
            "{}: {width} x {height} pixels, {}{missing}",
            show::path(&self.out),
            show::counted(report.tiles, "tile"),
        ))?;
        Ok(Verdict::Good)
    }
}
