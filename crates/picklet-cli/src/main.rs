//! The `picklet` program: hands its arguments to [`picklet_cli::run`].
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(picklet_cli::run(std::env::args_os(), &picklet_cli::Host::default()))
}
