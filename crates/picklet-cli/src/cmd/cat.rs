//! `picklet cat`: the items of a pickle or a segments directory, a line each.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Error, Input, Kind, Segments, extract};

use crate::failure::Verdict;
use crate::host::Session;
use crate::source::{self, Place};
use crate::values::{Form, read};

const EXAMPLES: &str = "\
Examples:
  picklet cat data.pickle --limit 10
  picklet cat out --json | jq .name
  picklet cat out --pickle > stream.pickle       one pickle after another";

/// Print the items of a pickle or of all segments, a line each
///
/// Items are printed as Python's repr shows them. Nothing is imported or run: an object of a class
/// is shown as the call that would make it. Of segments, one is held in memory at a time.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cat {
    /// A pickle, or a segments directory; - is standard input
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// Print this many items at most
    #[arg(long, value_name = "ITEMS")]
    limit: Option<u64>,
    #[command(flatten)]
    form: Form,
}

impl Cat {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        match Place::open(&self.path)? {
            Place::Segments(segments) => self.segments(session, &segments)?,
            Place::File(input) => self.file(session, &input)?,
        }
        Ok(Verdict::Good)
    }

    fn segments(&self, session: &mut Session<'_>, segments: &Segments) -> Result<()> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        for (index, entry) in segments.entries().iter().enumerate() {
            if left == 0 {
                break;
            }
            let path = segments.path(index)?;
            // Of kind objects, each segment is one item.
            if segments.kind() == Kind::Objects {
                self.form.whole(session, &segments.read(index)?, &path)?;
                left -= 1;
                continue;
            }
            let pickle = if entry.items.is_none_or(|items| items > left) {
                extract(&segments.input(index)?, 0..left)?
            } else {
                segments.read(index)?
            };
            left -= self.pickle(session, &pickle, left, entry.items, &path)?;
        }
        Ok(())
    }

    /// Prints one pickle that has no more items than are wanted. Gives how many it has.
    fn pickle(
        &self,
        session: &mut Session<'_>,
        pickle: &[u8],
        left: u64,
        items: Option<u64>,
        path: &std::path::Path,
    ) -> Result<u64> {
        if self.form.pickle {
            session.out.write_all(pickle)?;
            return Ok(items.unwrap_or(0).min(left));
        }
        self.form.items(session, pickle, left, path)
    }

    fn file(&self, session: &mut Session<'_>, input: &Input) -> Result<()> {
        let limit = self.limit.unwrap_or(u64::MAX);
        if source::first_end(input)? == input.size() {
            let some = self.limit.map(|limit| extract(input, 0..limit)).transpose();
            let pickle = match some {
                Ok(Some(pickle)) => pickle,
                Ok(None) | Err(Error::NotAContainer { .. }) => source::read(input)?,
                Err(error) => return Err(error.into()),
            };
            self.pickle(session, &pickle, limit, None, input.path())?;
            return Ok(());
        }
        // Many pickles, each of which is one item.
        let bytes = source::read(input)?;
        let (mut rest, mut left) = (bytes.as_slice(), limit);
        while !rest.is_empty() && left > 0 {
            let (_, end) = read(rest, input.path())?;
            let (pickle, after) = rest.split_at(end.min(rest.len()));
            self.form.whole(session, pickle, input.path())?;
            (rest, left) = (after, left - 1);
        }
        Ok(())
    }
}
