//! `picklet optimize`: the same pickle without the memo entries that nothing reads.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_codec::DisError;
use picklet_segments::Error;

use crate::failure::Verdict;
use crate::host::Session;
use crate::output::Output;
use crate::show;
use crate::source::{self, is_dash};
use crate::summary::{Bytes, Stopped, summarize};

const EXAMPLES: &str = "\
Examples:
  picklet optimize big.pickle -o small.pickle
  picklet optimize data.pickle -o data.pickle     in place";

/// Write a pickle anew without the memo entries that nothing reads
///
/// The result means the same and is smaller; the bytes are those of Python's pickletools.optimize.
/// A file of many pickles keeps all of them. The file is read into memory.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Optimize {
    /// A pickle; - is standard input
    file: PathBuf,
    /// The file to write; - is standard output
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

impl Optimize {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let file = source::open(&self.file)?;
        if file.size() == 0 {
            let message = "is empty: there is no pickle in it";
            return Err(Error::input(file.path(), None, message).into());
        }
        let bytes = source::read(&file)?;
        let mut small = Vec::new();
        let mut start = 0;
        while start < file.size() {
            let pickle =
                summarize(&Bytes(&bytes), file.size(), start).map_err(|stopped| match stopped {
                    Stopped::Wrong(wrong) => Error::input(file.path(), wrong.offset, wrong.what),
                    Stopped::Io(error) => Error::io("read", file.path(), error),
                })?;
            let range = start as usize..pickle.end as usize;
            let one = bytes.get(range).unwrap_or_default();
            small.extend(picklet_codec::optimize(one).map_err(|error| match error {
                DisError::Invalid { message, offset, .. } => {
                    Error::input(file.path(), start + offset, message)
                }
                other => Error::input(file.path(), start, other.to_string()),
            })?);
            start = pickle.end;
        }
        let mut out = Output::create(&self.out, session)?;
        out.write_all(&small).map_err(|e| Error::io("write", &self.out, e))?;
        out.finish()?;
        if !is_dash(&self.out) {
            session.line(&format!(
                "{}: {}, was {}",
                show::path(&self.out),
                show::bytes(small.len() as u64),
                show::bytes(file.size())
            ))?;
        }
        Ok(Verdict::Good)
    }
}
