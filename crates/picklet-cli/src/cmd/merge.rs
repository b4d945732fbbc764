//! `picklet merge`: segments are joined into one pickle.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Error, Location, MergeOptions, Segments, merge};
use serde_json::json;

use crate::failure::{Interrupted, Verdict};
use crate::host::{Session, catch_interrupts};
use crate::output::Output;
use crate::show;
use crate::source::is_dash;

const EXAMPLES: &str = "\
Examples:
  picklet merge out -o result.pickle
  picklet merge out -o - | gzip > result.pickle.gz";

/// Join all segments into one pickle, without loading them
///
/// Lists become one list, dicts one dict, and so on; segments that are objects of their own become
/// the items of a list. The file appears when it is whole, and replaces one that was there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Merge {
    /// A segments directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The pickle to write; - is standard output
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Merge {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        if self.json && is_dash(&self.out) {
            let message = "--json and -o - would both write to standard output; name a file";
            return Err(Error::usage(message).into());
        }
        let segments = Segments::open(&Location::new(&self.directory)?)?;
        let progress = session.progress("merge");
        let interrupted = catch_interrupts();
        let mut out = Output::create(&self.out, session)?;
        let name =
            if is_dash(&self.out) { PathBuf::from("standard output") } else { self.out.clone() };
        let options = MergeOptions { name, progress: &*progress, interrupt: &interrupted };
        let report = merge(&segments, &mut out, &options).map_err(|error| match error {
            Error::Interrupted => Interrupted("interrupted; nothing was written").into(),
            error => anyhow::Error::from(error),
        })?;
        out.finish()?;
        drop(progress);
        if self.json {
            session.json(&json!({
                "path": self.out.to_string_lossy(),
                "kind": report.kind,
                "segments": report.segments,
                "items": segments.items(),
                "bytes": report.bytes,
            }))?;
        } else if !is_dash(&self.out) {
            session.line(&format!(
                "{}: {} of {}, {}",
                show::path(&self.out),
                report.kind,
                show::counted(report.segments, "segment"),
                show::bytes(report.bytes)
            ))?;
        }
        Ok(Verdict::Good)
    }
}
