//! `picklet explain`: a pickle as readable pseudocode.

use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use picklet::codec::StreamReader;
use picklet::explain::{Options, explain};
use picklet_segments::Input;

use crate::failure::Verdict;
use crate::host::Session;
use crate::show;
use crate::source::open;

const EXAMPLES: &str = "\
Examples:
  picklet explain data.pickle
  picklet explain --lines 1000 data.pickle | less
  zcat data.pickle.gz | picklet explain -";

/// Show a pickle as readable pseudocode: what it builds, imports and calls
///
/// It looks like Python and is not meant to be run. Calls that the policy lists stand where their
/// results are used; all others are lines of their own, in their order. What is used more than
/// once has a name. Nothing is loaded, imported or called.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// A file of one pickle, or of several one after another; - is standard input
    file: PathBuf,
    /// How many lines to print of each pickle at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    lines: usize,
}

/// Pickles of one file that are explained.
const PICKLES: u64 = 20;

impl Explain {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let input = open(&self.file)?;
        let told = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", show::path(input.path()));
        let mut head = [0; 4];
        if input.data().read_at(0, &mut head)? == 4 && head == *b"PK\x03\x04" {
            return Err(told(
                &"is a zip archive: `picklet scan` looks into it; to explain a pickle in it, \
                  unpack it first: unzip -p FILE MEMBER | picklet explain -",
            ));
        }
        let options = Options { lines: self.lines, ..Options::default() };
        let mut stream = StreamReader::new(From { input: &input, at: 0 });
        let mut number = 0;
        while stream.next_pickle().map_err(|error| told(&error))? {
            if number == PICKLES {
                session.line(&format!("# more pickles begin at byte {}", stream.offset()))?;
                break;
            }
            let start = stream.offset();
            let explained = explain(&mut stream, &options);
            session
                .line(&format!("# {}, pickle {number}, byte {start}", show::path(input.path())))?;
            for line in &explained.lines {
                session.line(&show::printable(line))?;
            }
            if let Some(error) = explained.error {
                session.flush()?;
                return Err(told(&error));
            }
            if !stream.is_stopped() {
                break;
            }
            number += 1;
        }
        if input.size() == 0 {
            return Err(told(&"is empty: there is no pickle in it"));
        }
        Ok(Verdict::Good)
    }
}

/// An input from its first byte on.
struct From<'i> {
    input: &'i Input,
    at: u64,
}

impl Read for From<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.data().read_at(self.at, buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}
