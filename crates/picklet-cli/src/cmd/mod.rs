//! The commands, one file each. Each holds its arguments, its help and what it prints.

use anyhow::Result;
use clap::Subcommand;

use crate::failure::Verdict;
use crate::host::Session;

mod cat;
mod cluster;
mod completions;
mod dis;
mod explain;
mod get;
mod info;
mod ls;
mod man;
mod map;
mod merge;
mod optimize;
mod preview;
mod repair;
mod resplit;
mod run;
mod scan;
mod slice;
mod split;
mod stitch;
mod tiles;
mod verify;

pub use verify::inspect;

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Split(split::Split),
    Map(map::Map),
    Run(run::Run),
    Merge(merge::Merge),
    Resplit(resplit::Resplit),
    Stitch(stitch::Stitch),
    Preview(preview::Preview),
    Ls(ls::Ls),
    Cat(cat::Cat),
    Get(get::Get),
    Info(info::Info),
    Scan(scan::Scan),
    Explain(explain::Explain),
    Dis(dis::Dis),
    Optimize(optimize::Optimize),
    Verify(verify::Verify),
    Repair(repair::Repair),
    Completions(completions::Completions),
    Man(man::Manual),
}

impl Command {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        match self {
            Command::Split(command) => command.run(session),
            Command::Run(command) => command.run(session),
            Command::Map(command) => command.run(session),
            Command::Merge(command) => command.run(session),
            Command::Resplit(command) => command.run(session),
            Command::Stitch(command) => command.run(session),
            Command::Preview(command) => command.run(session),
            Command::Cat(command) => command.run(session),
            Command::Get(command) => command.run(session),
            Command::Ls(command) => command.run(session),
            Command::Info(command) => command.run(session),
            Command::Scan(command) => command.run(session),
            Command::Explain(command) => command.run(session),
            Command::Dis(command) => command.run(session),
            Command::Optimize(command) => command.run(session),
            Command::Verify(command) => command.run(session),
            Command::Repair(command) => command.run(session),
            Command::Completions(command) => command.run(session),
            Command::Man(command) => command.run(session),
        }
    }
}
