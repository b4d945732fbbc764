//! The `picklet` program as a function: [`run`] takes the arguments and gives the exit code.
//!
//! It is a library so that the Python package can hold the program too. Everything it does is
//! done by `picklet-segments`, `picklet-codec` and `picklet`; here are only arguments, words,
//! tables, progress bars and exit codes, one file for each command in `cmd`. It never links
//! libpython: Python functions run in worker processes.
//!
//! Exit codes: 0 done; 1 it ran, and the answer is bad; 2 usage, bad input or I/O; 130 stopped by
//! Ctrl-C. An error is one line on standard error. A closed pipe is not an error.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)
)]

mod cmd;
mod failure;
mod host;
mod output;
mod progress;
mod show;
mod source;
mod summary;
mod values;

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

pub use cmd::inspect;
pub use host::Host;

use cmd::Command;
use failure::Verdict;
use host::Session;

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(
    name = "picklet",
    bin_name = "picklet",
    version,
    about = "Split, process and reload huge Python pickles",
    long_about = "Split, process and reload huge Python pickles: safely, in parallel, at disk \
                  speed.\nEvery segment stays a plain .pickle that pickle.load of any Python opens.",
    after_help = EXAMPLES,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  picklet info big.pickle                          what is in it; nothing is loaded
  picklet split big.pickle -o in --size 64MB       cut it into plain pickles
  picklet map in -o out --call jobs:process -j 4   run process(segment) over each
  picklet merge out -o result.pickle               join the outputs into one pickle

Every command has examples of its own: picklet split --help
Exit codes: 0 done; 1 it ran, and the answer is bad; 2 usage, bad input or I/O; 130 Ctrl-C.";

/// Runs the program with `args`, the first of which is its own name, and gives the exit code.
///
/// Reads and writes the standard streams of this process. Never panics on any input.
pub fn run(args: impl IntoIterator<Item = OsString>, host: &Host) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = Arguments::command()
        .try_get_matches_from(&args)
        .and_then(|matches| Arguments::from_arg_matches(&matches));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return failure::bad_arguments(&error, &named(&args)),
    };
    let mut session = Session::new(host, &args);
    let result = arguments.command.run(&mut session);
    // What was printed before an error is to be seen before the error.
    let flushed = session.flush();
    let result = match (result, flushed) {
        (Ok(_), Err(error)) => Err(error),
        (result, _) => result,
    };
    match result {
        Ok(Verdict::Good) => 0,
        Ok(Verdict::Bad) => 1,
        Err(error) => failure::report(&error),
    }
}

/// `picklet split`, when that is the command that `args` name.
fn named(args: &[OsString]) -> String {
    let word = args.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    match definition().find_subcommand(word) {
        Some(command) => format!("picklet {}", command.get_name()),
        None => "picklet".to_owned(),
    }
}

/// The definition of all commands, for completions and for tests of the help itself.
pub fn definition() -> clap::Command {
    Arguments::command()
}
