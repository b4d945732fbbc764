//! `picklet stitch`: tiles become one array again.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Location, Segments};
use picklet_tiles::{Mode, StitchOptions, stitch};
use serde_json::json;

use crate::failure::{Verdict, warn};
use crate::host::{Session, catch_interrupts};
use crate::show;

const EXAMPLES: &str = "\
Examples:
  picklet split scene.npy -o in --tile 512x512 --overlap 32
  picklet map in -o out --call jobs:denoise
  picklet stitch out -o scene2.npy
  picklet stitch out -o scene2.tif --mode hann     overlaps blended
  picklet stitch out -o scene2.npy --fill 0        zeros where a tile is missing";

/// Join tiles, or what a map made of them, into one array
///
/// The outputs may have another type, other channels, and sides that are those of the tiles times a
/// whole number or divided by one.
///
/// crop takes each tile's core and is exact: tiles stitched as they were cut are the source again.
/// mean averages what overlapping tiles say; hann does so with weights that fall towards a tile's
/// ends, which leaves no seams; max takes the largest, for masks and labels.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stitch {
    /// The directory of tiles
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The file to make: .npy, .pickle, .tif or .png
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// What stands where a tile is missing, quarantined or damaged; without it, that is refused
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    fill: Option<String>,
    /// How tiles are joined where they overlap
    #[arg(long, value_name = "crop|mean|hann|max", default_value = "crop", value_parser = mode)]
    mode: Mode,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn mode(text: &str) -> Result<Mode, String> {
    text.parse().map_err(|error: picklet_segments::Error| error.to_string())
}

impl Stitch {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let interrupted = catch_interrupts();
        let segments = Segments::open(&Location::new(&self.directory)?)?;
        let progress = session.progress("stitch");
        let options = StitchOptions {
            mode: self.mode,
            fill: self.fill.as_deref(),
            progress: &*progress,
            interrupt: &interrupted,
            ..StitchOptions::default()
        };
        let report = stitch(&segments, &self.out, &options);
        drop(progress);
        let report = report?;
        if !report.filled.is_empty() {
            warn(&format!(
                "{} missing or damaged, and filled: {}",
                show::counted(report.filled.len() as u64, "tile"),
                report.filled.join(", ")
            ));
        }
        if self.json {
            session.json(&json!({
                "path": self.out.to_string_lossy(),
                "shape": report.shape,
                "dtype": report.dtype,
                "tiles": report.tiles,
                "filled": report.filled,
            }))?;
            return Ok(Verdict::Good);
        }
        let sides: Vec<String> = report.shape.iter().map(u64::to_string).collect();
        session.line(&format!(
            "{}: {} of {}",
            show::path(&self.out),
            sides.join(" x "),
            show::counted(report.tiles, "tile")
        ))?;
        Ok(Verdict::Good)
    }
}
