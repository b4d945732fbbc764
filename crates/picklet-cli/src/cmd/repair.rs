//! `picklet repair`: a directory is made whole again from what is whole in it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Location, VerifyOptions, repair};
use serde_json::{Value, json};

use crate::cmd::verify::inspect;
use crate::failure::Verdict;
use crate::host::Session;
use crate::show;

const EXAMPLES: &str = "\
Examples:
  picklet repair out
  picklet split big.pickle -o out --resume      makes lost segments anew
Exit code 1 when segments are lost.";

/// Rebuild the manifest from the segments that are whole
///
/// Damaged segments are moved to .picklet/quarantine; nothing is deleted. The command that made
/// the directory, run again, makes the lost segments anew.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Repair {
    /// A segments directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Repair {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let progress = session.progress("repair");
        let options =
            VerifyOptions { inspect: Some(&inspect), progress: &*progress, ..Default::default() };
        let report = repair(&Location::new(&self.directory)?, &options)?;
        drop(progress);
        let verdict = if report.nothing_lost() { Verdict::Good } else { Verdict::Bad };
        let kept = report.manifest.segments.len();
        if self.json {
            let lost: Vec<Value> = report
                .lost
                .iter()
                .map(|lost| {
                    let place = lost.quarantined.as_ref().map(|path| path.to_string_lossy());
                    json!({ "file": lost.entry.file, "reason": lost.reason, "moved_to": place })
                })
                .collect();
            session.json(&json!({
                "path": self.directory.to_string_lossy(),
                "segments": kept,
                "items": report.manifest.items(),
                "manifest_was": report.manifest_was,
                "journal_was_damaged": report.journal_was_damaged,
                "lost": lost,
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
            session.line(&format!("lost: {file}: {reason}{place}"))?;
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
        Ok(verdict)
    }
}
