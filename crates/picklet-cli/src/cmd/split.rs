//! `picklet split`: a pickle is cut into segments without being loaded.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use picklet_segments::{
    Compression, Error, Existing, Format, Input, Location, Names, Progress, Shared, SplitOptions,
    SplitReport, Target, parse_size, split,
};
use serde_json::json;

use super::tiles::Tiles;
use crate::failure::{Interrupted, Verdict, warn};
use crate::host::{Session, catch_interrupts};
use crate::show;
use crate::source;

const EXAMPLES: &str = "\
Examples:
  picklet split big.pickle -o in                   segments of 64 MB
  picklet split big.pickle -o in --size 256MiB
  picklet split big.pickle -o in --count 10000     10,000 items in each
  picklet split big.pickle -o in --parts 8 --name day
  picklet split big.pickle -o in --resume          go on where Ctrl-C stopped it
  zcat lines.jsonl.gz | picklet split - -o in      JSON Lines, a dict or list for each line
  picklet split scene.npy -o in --tile 512x512 --overlap 32
                                                   an array in tiles, joined by stitch";

/// Cut a pickle into segments, each a plain pickle, without loading it
///
/// Of a pickle that holds a list, tuple, dict or set, each segment is one of the same type. Of a file
/// of many pickles, or of JSON Lines, each segment is a list of its objects. Objects that are shared
/// inside a segment stay shared; those that items of several segments share are in each.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Split {
    /// The source; - is standard input, which is copied into a temporary file (in TMPDIR) first
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The directory to make, or a URL: s3://bucket/folder, gs://…, az://…
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    how: Cut,
    #[command(flatten)]
    stored: StoredArgs,
    #[command(flatten)]
    tiles: Tiles,
    /// Go on with an interrupted split of the same source; also on a fresh directory
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace what an earlier run made; also on a fresh directory
    #[arg(long)]
    overwrite: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// How to cut.
#[derive(Debug, Args)]
pub(crate) struct Cut {
    /// Bytes in a segment: 64MB is 64,000,000, 64MiB is 67,108,864 [default: 64MB]
    #[arg(long, value_name = "BYTES", value_parser = size, group = "target")]
    size: Option<u64>,
    /// Items in a segment
    #[arg(long, value_name = "ITEMS", value_parser = number, group = "target")]
    count: Option<u64>,
    /// How many segments to make, of even bytes
    #[arg(long, value_name = "N", value_parser = number, group = "target")]
    parts: Option<u64>,
    /// Segments are called NAME-00000.pickle, NAME-00001.pickle …
    #[arg(long, default_value = "data")]
    name: String,
    /// When items of different segments share an object that can change: warn, refuse (error),
    /// or say nothing (copy)
    #[arg(long, value_name = "warn|error|copy", default_value = "warn", value_parser = shared)]
    shared: Shared,
    /// Bytes of shared objects that segments may repeat in all
    /// [default: twice the source and 64MB]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    copy_limit: Option<u64>,
    /// What the source is: pickle, or jsonl; found out from its name and first bytes by default
    #[arg(long, value_name = "pickle|jsonl", value_parser = format)]
    format: Option<Format>,
}

/// How the segments are stored.
#[derive(Debug, Default, Args)]
pub(crate) struct StoredArgs {
    /// Store the segments compressed, as .pickle.zst or .pickle.gz; all of picklet reads both
    #[arg(long, value_name = "zstd|gzip", value_parser = compression)]
    pub(super) compress: Option<Compression>,
    /// Give each segment a SHA-256 too, and write SHA256SUMS for sha256sum -c
    #[arg(long)]
    pub(super) sha256: bool,
}

/// How the segments are stored, and what the manifest says of that.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stored<'a> {
    pub(crate) compress: Option<Compression>,
    pub(crate) sha256: bool,
    pub(crate) made_by: Option<&'a str>,
}

impl StoredArgs {
    fn made_by<'a>(&self, command: &'a str) -> Stored<'a> {
        Stored { compress: self.compress, sha256: self.sha256, made_by: Some(command) }
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    match text.replace('_', "").parse() {
        Ok(0) | Err(_) => Err("write a whole number, 1 or more".into()),
        Ok(number) => Ok(number),
    }
}

fn shared(text: &str) -> Result<Shared, String> {
    match text {
        "warn" => Ok(Shared::Warn),
        "error" => Ok(Shared::Error),
        "copy" => Ok(Shared::Copy),
        _ => Err("write warn, error or copy".into()),
    }
}

pub(crate) fn compression(text: &str) -> Result<Compression, String> {
    text.parse().map_err(|_| "write zstd or gzip".into())
}

fn format(text: &str) -> Result<Format, String> {
    match text {
        "pickle" => Ok(Format::Pickle),
        "jsonl" => Ok(Format::JsonLines),
        _ => Err("write pickle or jsonl".into()),
    }
}

impl Cut {
    /// Opens the source.
    pub(crate) fn open(&self, path: &Path) -> Result<Input> {
        Ok(source::open(path)?.with_format(self.format.unwrap_or_default()))
    }
}

impl Split {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let input = self.how.open(&self.source)?;
        let existing = match (self.resume, self.overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        };
        let made_by = session.again(Some("--resume"));
        let stored = self.stored.made_by(&made_by);
        if self.tiles.wanted() {
            let (out, name) = (&self.out, &self.how.name);
            return self.tiles.run(session, input, out, name, &stored, existing, self.json);
        }
        let progress = session.progress("split");
        let report = run(&input, &self.out, &self.how, &stored, existing, &*progress);
        drop(progress);
        let report = report.map_err(kept_if_interrupted)?;
        for warning in &report.warnings {
            warn(warning);
        }
        let segments = &report.segments;
        if self.json {
            session.json(&json!({
                "path": self.out.to_string_lossy(),
                "kind": segments.kind(),
                "segments": segments.len(),
                "items": report.items,
                "bytes": segments.bytes(),
                "resumed": report.resumed,
                "shared": report.shared,
                "warnings": report.warnings,
            }))?;
            return Ok(Verdict::Good);
        }
        session.line(&summary(&report, &self.out))?;
        Ok(Verdict::Good)
    }
}

/// An error, or what Ctrl-C means for a split.
pub(crate) fn kept_if_interrupted(error: Error) -> anyhow::Error {
    match error {
        Error::Interrupted => Interrupted(
            "interrupted; what is finished is kept, and the same command with --resume goes on",
        )
        .into(),
        error => error.into(),
    }
}

/// Splits. The caller says what Ctrl-C means for what it does.
pub(crate) fn run(
    input: &Input,
    out: &Path,
    how: &Cut,
    stored: &Stored<'_>,
    existing: Existing,
    progress: &dyn Progress,
) -> Result<SplitReport, Error> {
    let interrupted = catch_interrupts();
    let target = match (how.size, how.count, how.parts) {
        (Some(bytes), ..) => Target::Bytes(bytes),
        (_, Some(items), _) => Target::Items(items),
        (.., Some(parts)) => Target::Parts(parts),
        _ => Target::default(),
    };
    let options = SplitOptions {
        target,
        names: Names::Numbered(&how.name),
        shared: how.shared,
        copied_bytes: how.copy_limit,
        compression: stored.compress,
        sha256: stored.sha256,
        made_by: stored.made_by,
        existing,
        progress,
        interrupt: &interrupted,
    };
    split(input, &Location::new(out)?, &options)
}

/// `in: 4 segments, 1,000 items, 64.0 MB`.
fn summary(report: &SplitReport, out: &Path) -> String {
    let segments = &report.segments;
    let resumed = match report.resumed {
        0 => String::new(),
        resumed => format!(", {} of them from an earlier run", show::count(resumed)),
    };
    format!(
        "{}: {}{resumed}, {}, {}",
        show::path(out),
        show::counted(segments.len() as u64, "segment"),
        show::counted(report.items, "item"),
        show::bytes(segments.bytes())
    )
}
