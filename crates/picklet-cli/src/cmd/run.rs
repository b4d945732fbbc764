//! `picklet run`: split and map in one go.
//!
//! The segments in between are in `OUT/.picklet/run-input`: on the same disk as the output, in the
//! folder that may be deleted when nothing runs, because the next run makes them again. They stay
//! when the run fails or is interrupted, so that the next one goes on, and go when it is done.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use picklet_segments::engine::{MapOptions, prepare};
use picklet_segments::{Error, Existing, Input, Location, Progress, Segments};

use crate::cmd::{map, split};
use crate::failure::{Interrupted, Verdict, warn};
use crate::host::Session;

const EXAMPLES: &str = "\
Examples:
  picklet run big.pickle -o out --call jobs:process -j 4
  picklet run big.pickle -o out --count 10000 -- ./filter
The same command run again goes on where the last run stopped. Exit code 1 when a segment failed.";

/// Split a pickle and map its segments in one go
///
/// The segments in between are in OUT/.picklet/run-input until the run is done.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    /// The source, as for split; - is standard input, which is copied into a temporary file (in TMPDIR) first
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The directory to make
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    cut: split::Cut,
    #[command(flatten)]
    worker: map::Worker,
    #[command(flatten)]
    how: map::How,
    /// Begin anew, even what an earlier run has finished
    #[arg(long)]
    no_resume: bool,
    /// Print JSON, a line for each thing that happens and the report as the last
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let worker = self.worker.command(session)?;
        let input = self.cut.open(&self.source)?;
        let out = Location::new(&self.out)?;
        // Refused now rather than when the split is done. What is begun anew is removed here, so
        // that the map does not remove its own input.
        prepare(&out, !self.no_resume)?;
        let between = self.out.join(".picklet").join("run-input");
        let progress = session.events("split", self.json);
        let segments = self.split(&input, &between, &*progress);
        drop(progress);
        let segments = segments?;

        let progress = session.events("map", self.json);
        let options =
            MapOptions { resume: true, made_by: Some(session.again(None)), ..self.how.options() };
        let report = self.worker.run(&worker, &segments, &out, &options, &*progress);
        drop(progress);
        let report = report?;
        if report.is_complete() {
            Location::new(&between)?.store().remove_all()?;
        }
        map::finish(session, &report, &self.out, self.json)
    }

    fn split(&self, input: &Input, between: &Path, progress: &dyn Progress) -> Result<Segments> {
        let run = |existing| {
            split::run(input, between, &self.cut, &split::Stored::default(), existing, progress)
        };
        let report = match run(Existing::Resume) {
            // An earlier run had another source or another size; its segments are nobody's.
            Err(Error::OtherRun { .. }) => run(Existing::Overwrite),
            result => result,
        };
        let report = report.map_err(|error| match error {
            Error::Interrupted => {
                Interrupted("interrupted; what is finished is kept, and the same command goes on")
                    .into()
            }
            error => anyhow::Error::from(error),
        })?;
        for warning in &report.warnings {
            warn(warning);
        }
        Ok(report.segments)
    }
}
