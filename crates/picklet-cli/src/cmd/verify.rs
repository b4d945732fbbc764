//! `picklet verify`: whether every segment is there and what its manifest says.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_codec::{StackKind, StreamReader};
use picklet_segments::store::Sequential;
use picklet_segments::{Error, Inspected, Kind, Location, ReadAt, Segments, VerifyOptions, verify};
use serde_json::{Value, json};

use crate::cmd::ls;
use crate::failure::{Interrupted, Verdict};
use crate::host::{Session, catch_interrupts};
use crate::show;
use crate::summary::{Stopped, Top, summarize};

const EXAMPLES: &str = "\
Examples:
  picklet verify out && echo all is well
  picklet verify out --deep                     also that every segment is one whole pickle
  picklet verify s3://bucket/out --json
Exit code 1 when a segment is damaged or missing.";

/// Check that every segment is there and undamaged
///
/// Reads every segment and compares its length and digest with the manifest's, several segments at
/// a time. With --deep every pickle is also parsed from its first opcode to its last, and its items
/// are counted. Loads and runs nothing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {
    /// A segments directory, or its URL
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Also parse every pickle: each opcode, its argument, what it needs of the stack and the memo
    #[arg(long)]
    deep: bool,
    /// How many segments to check at a time; every processor by default
    #[arg(short, value_name = "N", default_value_t = 0, hide_default_value = true)]
    jobs: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let segments = Segments::open(&Location::new(&self.directory)?)?;
        let interrupted = catch_interrupts();
        let progress = session.progress("verify");
        let options = VerifyOptions {
            threads: self.jobs,
            inspect: self.deep.then_some(&inspect),
            progress: &*progress,
            interrupt: &interrupted,
        };
        let report = verify(&segments, &options);
        drop(progress);
        let report = report.map_err(stopped)?;
        let verdict = if report.is_good() { Verdict::Good } else { Verdict::Bad };
        let listed = |damage: &[picklet_segments::verify::Damage]| -> Value {
            let one = |d: &picklet_segments::verify::Damage| json!({ "index": d.position, "file": d.file, "reason": d.reason });
            damage.iter().map(one).collect()
        };
        if self.json {
            session.json(&json!({
                "path": self.directory.to_string_lossy(),
                "good": report.is_good(),
                "deep": self.deep,
                "known_from": ls::origin(report.origin),
                "segments": report.segments,
                "bytes": report.bytes,
                "damaged": listed(&report.damaged),
                "missing": listed(&report.missing),
                "not_in_manifest": report.extra,
                "without_digest": report.without_digest,
            }))?;
            return Ok(verdict);
        }
        for (word, list) in [("damaged", &report.damaged), ("missing", &report.missing)] {
            for damage in list {
                let file = show::printable(&damage.file);
                session.line(&format!("{word}: {file}: {}", show::printable(&damage.reason)))?;
            }
        }
        for file in &report.extra {
            session.line(&format!("not in the manifest: {}", show::printable(file)))?;
        }
        if report.without_digest > 0 {
            let segments = show::counted(report.without_digest as u64, "segment");
            session.line(&format!("{segments} without a digest to compare with"))?;
        }
        let bad = report.damaged.len() + report.missing.len();
        let answer = match bad {
            0 => "all is well".to_owned(),
            bad => format!(
                "{} damaged or missing; `picklet repair` sets them aside",
                show::count(bad as u64)
            ),
        };
        session.line(&format!(
            "{}: {}, {} read, {answer}",
            show::path(&self.directory),
            show::counted(report.segments as u64, "segment"),
            show::bytes(report.bytes),
        ))?;
        Ok(verdict)
    }
}

/// An error, or what Ctrl-C means where nothing is changed.
pub(crate) fn stopped(error: Error) -> anyhow::Error {
    match error {
        Error::Interrupted => Interrupted("interrupted; nothing was changed").into(),
        error => error.into(),
    }
}

/// What a segment is: one pickle, and nothing after it. Its structure is walked, which also counts
/// the items, and then the codec reads each argument, as loading would.
pub fn inspect(data: &dyn ReadAt) -> Result<Inspected, String> {
    let size = data.size().map_err(|error| format!("cannot be read: {error}"))?;
    let summary = summarize(data, size, 0).map_err(|stopped| match stopped {
        Stopped::Wrong(wrong) => format!("byte {}: {}", wrong.offset, wrong.what),
        Stopped::Io(error) => format!("cannot be read: {error}"),
    })?;
    if summary.end != size {
        return Err(format!("byte {}: {} bytes follow its end", summary.end, size - summary.end));
    }
    let mut reader = StreamReader::new(Sequential::new(data));
    while reader.next_op().map_err(|error| error.to_string())?.is_some() {}
    let kind = match summary.top {
        Top::Plain(StackKind::List) => Some(Kind::List),
        Top::Plain(StackKind::Tuple) => Some(Kind::Tuple),
        Top::Plain(StackKind::Dict) => Some(Kind::Dict),
        Top::Plain(StackKind::Set) => Some(Kind::Set),
        Top::Plain(StackKind::FrozenSet) => Some(Kind::Frozenset),
        _ => None,
    };
    Ok(Inspected { kind, items: kind.and(summary.items) })
}
