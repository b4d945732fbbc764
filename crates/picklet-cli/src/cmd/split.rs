//! `picklet split`: a pickle is cut into segments without being loaded.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use picklet_segments::{
    Compression, Error, Existing, Format, Input, Location, Names, Progress, Segments, Shared,
    SharedCounts, SplitOptions, SplitReport, Target, parse_size, split,
};
use serde_json::json;

use super::slice::Loading;
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
/// of many pickles, or of JSON Lines, each segment is a list of its objects. A numpy array is cut
/// along its first axis as ranges of bytes. Other objects (a pandas table) are loaded by Python, safely,
/// and sliced, and the command says so. Objects that are shared
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
    #[command(flatten)]
    again: Again,
    #[command(flatten)]
    loading: Loading,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// What to do with what is in the output directory already.
#[derive(Debug, Args)]
pub(crate) struct Again {
    /// Go on with an interrupted run over the same source; also on a fresh directory
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Replace what an earlier run made; also on a fresh directory
    #[arg(long)]
    overwrite: bool,
}

impl Again {
    pub(crate) fn existing(&self) -> Existing {
        match (self.resume, self.overwrite) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Overwrite,
            _ => Existing::Refuse,
        }
    }
}

/// How to cut a source.
#[derive(Debug, Args)]
pub(crate) struct Cut {
    #[command(flatten)]
    pub(crate) pieces: Pieces,
    /// What the source is: pickle, or jsonl; found out from its name and first bytes by default
    #[arg(long, value_name = "pickle|jsonl", value_parser = format)]
    format: Option<Format>,
}

/// What segments are to be.
#[derive(Debug, Args)]
pub(crate) struct Pieces {
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
}

impl Pieces {
    /// What the segments are called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The same as options.
    pub(crate) fn options<'o>(
        &'o self,
        stored: &Stored<'o>,
        existing: Existing,
        progress: &'o dyn Progress,
        interrupt: &'o (dyn Fn() -> bool + Sync),
    ) -> SplitOptions<'o> {
        let target = match (self.size, self.count, self.parts) {
            (Some(bytes), ..) => Target::Bytes(bytes),
            (_, Some(items), _) => Target::Items(items),
            (.., Some(parts)) => Target::Parts(parts),
            _ => Target::default(),
        };
        SplitOptions {
            target,
            names: Names::Numbered(&self.name),
            shared: self.shared,
            copied_bytes: self.copy_limit,
            compression: stored.compress,
            sha256: stored.sha256,
            made_by: stored.made_by,
            existing,
            progress,
            interrupt,
        }
    }
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
    pub(super) fn made_by<'a>(&self, command: &'a str) -> Stored<'a> {
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
    /// Splits what must be loaded for that.
    fn sliced(&self, session: &Session<'_>, input: &Input, what: &str) -> Result<SplitReport> {
        let out = Location::new(&self.out)?;
        let (pieces, stored) = (&self.how.pieces, &self.stored);
        let how = json!({
            "out": out.path(), "count": pieces.count, "size": pieces.size, "parts": pieces.parts,
            "name": pieces.name, "compress": stored.compress.map(|how| how.to_string()),
            "sha256": stored.sha256, "resume": self.again.resume,
            "overwrite": self.again.overwrite,
        });
        let warnings = self.loading.slice(input, what, &session.host.python, how)?;
        let segments = Segments::open(&out)?;
        let items = segments.items().unwrap_or(0);
        let shared = SharedCounts::default();
        Ok(SplitReport { segments, items, resumed: 0, shared, warnings })
    }

    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let input = self.how.open(&self.source)?;
        let existing = self.again.existing();
        let made_by = session.again(Some("--resume"));
        let stored = self.stored.made_by(&made_by);
        if self.tiles.wanted() {
            let (out, name, as_json) = (&*self.out, self.how.pieces.name(), self.json);
            let wanted = super::tiles::Wanted { out, name, stored, existing, as_json };
            return self.tiles.run(session, input, &wanted);
        }
        let progress = session.progress("split");
        let report = run(&input, &self.out, &self.how, &stored, existing, &*progress);
        drop(progress);
        let report = match report {
            Err(Error::NotAContainer { what, .. }) if can_be_sliced(&what) => {
                self.sliced(session, &input, &what)?
            }
            report => report.map_err(kept_if_interrupted)?,
        };
        tell(session, &report, &self.out, self.json)?;
        Ok(Verdict::Good)
    }
}

/// Whether an object of that kind can have rows or items when it is loaded.
fn can_be_sliced(what: &str) -> bool {
    ["an instance", "a numpy", "a pandas", "an array"].iter().any(|noun| what.starts_with(noun))
        && what != "a numpy scalar"
}

/// Prints what a split or a resplit did.
pub(crate) fn tell(
    session: &mut Session<'_>,
    report: &SplitReport,
    out: &Path,
    json: bool,
) -> Result<()> {
    for warning in &report.warnings {
        warn(warning);
    }
    let segments = &report.segments;
    if json {
        return session.json(&json!({
            "path": out.to_string_lossy(),
            "kind": segments.kind(),
            "segments": segments.len(),
            "items": report.items,
            "bytes": segments.bytes(),
            "resumed": report.resumed,
            "shared": report.shared,
            "warnings": report.warnings,
        }));
    }
    session.line(&summary(report, out))
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
    let options = how.pieces.options(stored, existing, progress, &interrupted);
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
