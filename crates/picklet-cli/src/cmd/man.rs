//! `picklet man`: the program's manual pages, for `man`.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use clap_mangen::Man;

use crate::failure::Verdict;
use crate::host::Session;

const EXAMPLES: &str = "\
Examples:
  picklet man | man -l -                        read the page
  picklet man -o ~/.local/share/man/man1        one page for each command, for man picklet-split";

/// Print the manual page, or write one for each command
#[derive(Debug, Args)]
#[command(name = "man", after_help = EXAMPLES)]
pub(crate) struct Manual {
    /// The directory to write picklet.1, picklet-split.1 and the others into
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Manual {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        let Some(dir) = &self.out else {
            let mut page = Vec::new();
            Man::new(crate::definition()).render(&mut page)?;
            session.out.write_all(&page)?;
            return Ok(Verdict::Good);
        };
        let named = || dir.display().to_string();
        fs::create_dir_all(dir).with_context(named)?;
        clap_mangen::generate_to(crate::definition(), dir).with_context(named)?;
        Ok(Verdict::Good)
    }
}
