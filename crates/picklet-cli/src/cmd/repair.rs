//! `picklet repair`: a directory is made whole again from what is whole in it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Entry, Location, VerifyOptions, repair};
use serde_json::{Value, json};

use crate::cmd::verify::{inspect, stopped};
use crate::failure::Verdict;
use crate::host::{Session, catch_interrupts};
use crate::show;

const EXAMPLES: &str = "\
Examples:
  picklet repair out
  picklet repair s3://bucket/out
  picklet split big.pickle -o out --resume      makes lost segments anew
Exit code 1 when segments are lost; it says what to run to get them back.";

/// Rebuild the manifest and the indexes from the segments that are whole
///
/// Every segment is parsed. Damaged ones are moved to .picklet/quarantine; nothing is deleted. The
/// command that made the directory, run again, makes the lost segments anew; it is in the
/// manifest, and is printed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Repair {
    /// A segments directory, or its URL
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// How many segments to read at a time; every processor by default
    #[arg(short, value_name = "N", default_value_t = 0, hide_default_value = true)]
    jobs: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Repair {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let location = Location::new(&self.directory)?;
        let interrupted = catch_interrupts();
        let progress = session.progress("repair");
        let options = VerifyOptions {
            threads: self.jobs,
            inspect: Some(&inspect),
            progress: &*progress,
            interrupt: &interrupted,
        };
        let report = repair(&location, &options);
        drop(progress);
        let report = report.map_err(stopped)?;
        let verdict = if report.nothing_lost() { Verdict::Good } else { Verdict::Bad };
        let kept = report.manifest.segments.len();
        if self.json {
            let lost: Vec<Value> = report
                .lost
                .iter()
                .map(|lost| {
                    let place = lost.quarantined.as_ref().map(|path| path.to_string_lossy());
                    json!({
                        "file": lost.entry.file, "reason": lost.reason, "moved_to": place,
                        "first": lost.entry.first_item, "items": lost.entry.items,
                        "bytes": lost.entry.bytes,
                    })
                })
                .collect();
            session.json(&json!({
                "path": self.directory.to_string_lossy(),
                "segments": kept,
                "items": report.manifest.items(),
                "manifest_was": report.manifest_was,
                "journal_was_damaged": report.journal_was_damaged,
                "lost": lost,
                "made_by": report.manifest.header.made_by,
                "way_back": report.way_back(),
                "indexed": report.indexed,
                "taken_in": report.taken_in,
                "left_alone": report.left_alone,
            }))?;
            return Ok(verdict);
        }
        if let Some(reason) = &report.manifest_was {
            session.line(&format!("the manifest {}; it is made anew", show::printable(reason)))?;
        }
        if report.journal_was_damaged {
            session.line("the journal was damaged; it is made anew")?;
        }
        for lost in &report.lost {
            let place = match &lost.quarantined {
                Some(path) => format!("; it is now {}", show::path(path)),
                None => String::new(),
            };
            let (file, reason) = (show::printable(&lost.entry.file), show::printable(&lost.reason));
            let items = items(&lost.entry);
            session.line(&format!("lost: {file}{items}: {reason}{place}"))?;
        }
        for (word, files) in [("taken in", &report.taken_in), ("left alone", &report.left_alone)] {
            for file in files {
                session.line(&format!("{word}: {}", show::printable(file)))?;
            }
        }
        session.line(&format!(
            "{}: {} in the manifest, {} lost",
            show::path(&self.directory),
            show::counted(kept as u64, "segment"),
            show::count(report.lost.len() as u64)
        ))?;
        for line in report.way_back() {
            session.line(&show::printable(&line))?;
        }
        Ok(verdict)
    }
}

/// ` (items 200 to 299)`, where that is known.
fn items(entry: &Entry) -> String {
    match (entry.first_item, entry.items) {
        (Some(first), Some(count @ 2..)) => {
            format!(" (items {} to {})", show::count(first), show::count(first + count - 1))
        }
        (Some(first), Some(1)) => format!(" (item {})", show::count(first)),
        _ => String::new(),
    }
}
