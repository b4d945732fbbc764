//! `picklet ls`: the segments of a directory.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Location, Origin, Segments};
use serde_json::{Value, json};

use crate::failure::Verdict;
use crate::host::Session;
use crate::show::{self, Align, Table};

const EXAMPLES: &str = "\
Examples:
  picklet ls out
  picklet ls out --json | python3 -m json.tool";

/// List the segments of a directory
///
/// Prints each segment's file, how many items it holds, its size, and the number of its first
/// item. Nothing but the manifest is read.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Ls {
    /// A segments directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let segments = Segments::open(&Location::new(&self.directory)?)?;
        if self.json {
            session.json(&as_json(&segments)?)?;
            return Ok(Verdict::Good);
        }
        let mut table = Table::new(&[
            ("SEGMENT", Align::Left),
            ("ITEMS", Align::Right),
            ("BYTES", Align::Right),
            ("FIRST ITEM", Align::Right),
        ]);
        let number = |known: Option<u64>| known.map_or_else(|| "-".to_owned(), show::count);
        for entry in segments.entries() {
            table.row(vec![
                show::printable(&entry.file),
                number(entry.items),
                show::count(entry.bytes),
                number(entry.first_item),
            ]);
        }
        table.row(vec![
            show::counted(segments.len() as u64, "segment"),
            number(segments.items()),
            show::count(segments.bytes()),
            String::new(),
        ]);
        for line in table.lines() {
            session.line(&line)?;
        }
        if let Some(note) = note(segments.origin()) {
            session.line(note)?;
        }
        Ok(Verdict::Good)
    }
}

/// What to say when there is no manifest.
pub(crate) fn note(origin: Origin) -> Option<&'static str> {
    match origin {
        Origin::Manifest => None,
        Origin::Journal => {
            Some("no manifest: the run that makes this directory is not finished; run it again")
        }
        Origin::Files => Some("no manifest: `picklet repair` makes one from the files"),
    }
}

/// The word for where the knowledge came from.
pub(crate) fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Manifest => "manifest",
        Origin::Journal => "journal",
        Origin::Files => "files",
    }
}

/// A segments directory as JSON, with the manifest's names of things.
pub(crate) fn as_json(segments: &Segments) -> Result<Value> {
    Ok(json!({
        "path": segments.location().path().to_string_lossy(),
        "kind": segments.kind(),
        "known_from": origin(segments.origin()),
        "items": segments.items(),
        "bytes": segments.bytes(),
        "source": segments.manifest().header.source,
        "segments": serde_json::to_value(segments.entries())?,
    }))
}
