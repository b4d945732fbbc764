//! `picklet split --tile`: an array or image is cut into tiles.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Existing, Input, Location};
use picklet_tiles::{Array, ArrayOptions, CutOptions, CutReport, Edge, cut, parse_sides};
use serde_json::json;

use super::split::Stored;
use crate::failure::Verdict;
use crate::host::{Session, catch_interrupts};
use crate::show;

/// How to cut an array or image into tiles.
#[derive(Debug, Args)]
pub(crate) struct Tiles {
    /// Cut an array (.npy, .npz, pickled ndarray) or image (TIFF, PNG, JPEG) into blocks of these sides, from the first axis on;
    /// `all` for an axis that is not cut: allx512x512
    #[arg(long, value_name = "512x512", value_parser = sides, conflicts_with_all = ["target", "format"],
          help_heading = "Tiles")]
    tile: Option<Sides>,
    /// Each tile has so many elements of its neighbours around it: 32, or 32x16
    #[arg(long, value_name = "32", value_parser = overlap, requires = "tile", help_heading = "Tiles")]
    overlap: Option<Sides>,
    /// What tiles are at the array's ends: smaller (shrink), moved inwards (shift), or as large as
    /// the others, with what lies outside mirrored (reflect) or zero (constant)
    #[arg(long, value_name = "shrink|shift|reflect|constant", default_value = "shrink",
          value_parser = edge, requires = "tile", help_heading = "Tiles")]
    edge: Edge,
    /// Which array of a .npz file
    #[arg(long, value_name = "NAME", requires = "tile", help_heading = "Tiles")]
    member: Option<String>,
    /// Which page of a TIFF, from 0; without it all pages are one array, pages first
    #[arg(long, value_name = "N", requires = "tile", help_heading = "Tiles")]
    page: Option<usize>,
}

/// The sides of a tile.
#[derive(Debug, Clone)]
struct Sides(Vec<Option<u64>>);

fn sides(text: &str) -> Result<Sides, String> {
    parse_sides(text).map(Sides).map_err(|error| error.to_string())
}

fn overlap(text: &str) -> Result<Sides, String> {
    let number = |word: &str| word.trim().replace('_', "").parse().map(Some);
    let numbers: Result<Vec<Option<u64>>, _> = text.split(['x', 'X', ',']).map(number).collect();
    numbers.map(Sides).map_err(|_| "write one number for all axes, or one for each: 32x16".into())
}

fn edge(text: &str) -> Result<Edge, String> {
    text.parse().map_err(|error: picklet_segments::Error| error.to_string())
}

/// What a split of tiles makes, and where.
pub(crate) struct Wanted<'w> {
    pub(crate) out: &'w Path,
    pub(crate) name: &'w str,
    pub(crate) stored: Stored<'w>,
    pub(crate) existing: Existing,
    pub(crate) as_json: bool,
}

impl Tiles {
    /// Whether the user asked for tiles.
    pub(crate) fn wanted(&self) -> bool {
        self.tile.is_some()
    }

    fn array(&self) -> ArrayOptions {
        ArrayOptions { member: self.member.clone(), page: self.page }
    }

    /// Cuts `input`; prints what came of it.
    pub(crate) fn run(
        &self,
        session: &mut Session<'_>,
        input: Input,
        wanted: &Wanted<'_>,
    ) -> Result<Verdict> {
        let Wanted { out, name, stored, existing, as_json } = *wanted;
        let interrupted = catch_interrupts();
        let array = Array::open(input, &self.array())?;
        let progress = session.progress("split");
        let numbers = |sides: &Option<Sides>| sides.as_ref().map(|sides| sides.0.clone());
        let options = CutOptions {
            tile: numbers(&self.tile).unwrap_or_default(),
            overlap: numbers(&self.overlap).unwrap_or_default().into_iter().flatten().collect(),
            edge: self.edge,
            name,
            compression: stored.compress,
            sha256: stored.sha256,
            existing,
            made_by: stored.made_by,
            progress: &*progress,
            interrupt: &interrupted,
            ..CutOptions::default()
        };
        let report = cut(array, &Location::new(out)?, &options);
        drop(progress);
        let report = report.map_err(super::split::kept_if_interrupted)?;
        if as_json {
            session.json(&json!({
                "path": out.to_string_lossy(),
                "kind": report.segments.kind(),
                "segments": report.segments.len(),
                "bytes": report.segments.bytes(),
                "resumed": report.resumed,
                "tiles": report.layout,
            }))?;
            return Ok(Verdict::Good);
        }
        session.line(&summary(&report, out))?;
        Ok(Verdict::Good)
    }
}

/// `in: 6 tiles (2 x 3) of 1000 x 1300 x 3 |u1, 4.0 MB`.
fn summary(report: &CutReport, out: &Path) -> String {
    let sides = |sides: &[u64]| sides.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
    let resumed = match report.resumed {
        0 => String::new(),
        resumed => format!(", {} of them from an earlier run", show::count(resumed)),
    };
    let grid = &report.layout.grid;
    format!(
        "{}: {} ({}){resumed} of an array of {}, {}",
        show::path(out),
        show::counted(report.segments.len() as u64, "tile"),
        sides(&grid.counts()),
        sides(&grid.shape),
        show::bytes(report.segments.bytes())
    )
}
