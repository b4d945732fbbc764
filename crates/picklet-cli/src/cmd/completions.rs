//! `picklet completions`: what a shell needs to complete picklet's words.

use anyhow::Result;
use clap::Args;
use clap_complete::Shell;

use crate::failure::Verdict;
use crate::host::Session;

const EXAMPLES: &str = "\
Examples:
  picklet completions bash > ~/.local/share/bash-completion/completions/picklet
  picklet completions fish > ~/.config/fish/completions/picklet.fish
  source <(picklet completions zsh)";

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        use std::io::Write as _;
        // clap_complete panics when a write fails, so it writes into memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::definition(), "picklet", &mut script);
        session.out.write_all(&script)?;
        Ok(Verdict::Good)
    }
}
