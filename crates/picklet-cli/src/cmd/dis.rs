//! `picklet dis`: a pickle's opcodes, as `python -m pickletools` prints them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use picklet_codec::{ANNOTATE_COLUMN, DisError, DisMemo, DisOptions, dis_with_memo};
use picklet_segments::Error;

use crate::failure::Verdict;
use crate::host::{Session, Stdout};
use crate::source::is_dash;

const EXAMPLES: &str = "\
Examples:
  picklet dis data.pickle
  picklet dis -a data.pickle | less
  python3 -c 'import pickle, sys; pickle.dump([1, 2], sys.stdout.buffer)' | picklet dis -";

/// Print the opcodes of a pickle, as python -m pickletools does
///
/// Nothing is loaded, imported or run. More than 1,000 open marks end the listing with an error,
/// because each indents every line under it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Dis {
    /// Pickles; - is standard input. Of each file the first pickle is printed
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Annotate each line with a short description of its opcode
    #[arg(short, long)]
    annotate: bool,
    /// Blanks by which each open mark indents
    #[arg(short = 'l', long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u16).range(0..=100))]
    indent: u16,
    /// Keep the memo from one pickle to the next
    #[arg(short, long)]
    memo: bool,
    /// Print every pickle of each file, not only the first
    #[arg(long)]
    all: bool,
    /// With several files: print this before each
    #[arg(short, long, value_name = "TEXT", default_value = "==> {name} <==")]
    preamble: String,
}

impl Dis {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let mut memo = DisMemo::default();
        for path in &self.files {
            if self.files.len() > 1 {
                session.line(&self.preamble.replace("{name}", &path.to_string_lossy()))?;
            }
            if is_dash(path) {
                let name = Path::new("standard input");
                self.file(name, io::stdin().lock(), &mut session.out, &mut memo)?;
            } else {
                let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
                self.file(path, BufReader::new(file), &mut session.out, &mut memo)?;
            }
        }
        Ok(Verdict::Good)
    }

    fn file(
        &self,
        path: &Path,
        mut pickles: impl BufRead,
        out: &mut Stdout,
        memo: &mut DisMemo,
    ) -> Result<()> {
        let options = DisOptions {
            indent: self.indent.into(),
            annotate: self.annotate.then_some(ANNOTATE_COLUMN),
            ..DisOptions::default()
        };
        let mut offset = 0;
        loop {
            if !self.memo {
                *memo = DisMemo::default();
            }
            let listed = dis_with_memo(&mut pickles, offset, &mut *out, &options, memo);
            // What was printed is to be seen before the error.
            if listed.is_err() {
                out.flush()?;
            }
            offset = listed.map_err(|error| told(error, path))?;
            let more = || Ok::<_, io::Error>(!pickles.fill_buf()?.is_empty());
            if !self.all || !{ more }().map_err(|e| Error::io("read", path, e))? {
                return Ok(());
            }
        }
    }
}

/// The error with the file's name.
fn told(error: DisError, path: &Path) -> anyhow::Error {
    match error {
        DisError::Io(error) => Error::io("read", path, error).into(),
        DisError::Invalid { message, offset, .. } => Error::input(path, offset, message).into(),
        DisError::TooManyOpenMarks { cap, offset } => {
            let message = format!(
                "more than {cap} marks are open here, and a listing indents by each; `picklet \
                 info` has no such limit"
            );
            Error::input(path, offset, message).into()
        }
        other => anyhow::Error::from(other).context(path.display().to_string()),
    }
}
