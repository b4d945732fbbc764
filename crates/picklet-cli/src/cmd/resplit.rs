//! `picklet resplit`: segments are cut anew.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Location, Segments, resplit};

use super::split::{Again, Pieces, StoredArgs, kept_if_interrupted};
use crate::failure::Verdict;
use crate::host::{Session, catch_interrupts};

const EXAMPLES: &str = "\
Examples:
  picklet resplit out -o larger --size 256MiB
  picklet resplit out -o days --count 1440         1,440 items in each
  picklet resplit results -o eight --parts 8       results that are objects become lists of them";

/// Cut segments anew, into larger or smaller ones, without loading or merging them
///
/// The new segments are of the same type and hold the same items in the same order. Segments that are
/// objects of their own come out as lists of them. The old ones stay as they are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Resplit {
    /// A segments directory, or a URL of one
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The directory to make, or a URL: s3://bucket/folder, gs://…, az://…
    #[arg(short, long, value_name = "DIR2")]
    out: PathBuf,
    #[command(flatten)]
    pieces: Pieces,
    #[command(flatten)]
    stored: StoredArgs,
    #[command(flatten)]
    again: Again,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Resplit {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let segments = Segments::open(&Location::new(&self.directory)?)?;
        let made_by = session.again(Some("--resume"));
        let stored = self.stored.made_by(&made_by);
        let progress = session.progress("resplit");
        let interrupted = catch_interrupts();
        let existing = self.again.existing();
        let options = self.pieces.options(&stored, existing, &*progress, &interrupted);
        let report = resplit(&segments, &Location::new(&self.out)?, &options);
        drop(progress);
        let report = report.map_err(kept_if_interrupted)?;
        super::split::tell(session, &report, &self.out, self.json)?;
        Ok(Verdict::Good)
    }
}
