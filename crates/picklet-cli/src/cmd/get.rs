//! `picklet get`: one item, without reading the rest.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Error, Input, Kind, Segments, extract};

use crate::failure::Verdict;
use crate::host::Session;
use crate::show;
use crate::source::{self, Place};
use crate::values::Form;

const EXAMPLES: &str = "\
Examples:
  picklet get out 1234567            item 1,234,567, counted from 0
  picklet get data.pickle 3 --json";

/// Print one item of a pickle or of a segments directory
///
/// Of a segments directory only the segment that holds the item is read; a pickle is scanned without
/// being loaded. Nothing is imported or run. Of dicts, the item is a key and its value; of a file of
/// many pickles, it is one of them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Get {
    /// A pickle that holds a list, tuple, dict or set, or a segments directory; - is standard input
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// The item's number, counted from 0
    index: u64,
    #[command(flatten)]
    form: Form,
}

impl Get {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        match Place::open(&self.path)? {
            Place::Segments(segments) => self.segments(session, &segments)?,
            Place::File(input) => self.file(session, &input)?,
        }
        Ok(Verdict::Good)
    }

    fn file(&self, session: &mut Session<'_>, input: &Input) -> Result<()> {
        let mut end = source::first_end(input)?;
        if end == input.size() {
            let pickle = extract(input, self.range()?)?;
            return self.print(session, &pickle, input.path());
        }
        // Many pickles, each of which is one item.
        let mut start = 0;
        for index in 0..self.index {
            if end == input.size() {
                let there = show::counted(index + 1, "pickle");
                let message =
                    format!("there is no item {}: it has {there}, counted from 0", self.index);
                return Err(Error::input(input.path(), None, message).into());
            }
            start = end;
            end = source::end_of(input, start)?;
        }
        let pickle = source::part(input, start, end)?;
        self.form.whole(session, &pickle, input.path())
    }

    fn range(&self) -> Result<std::ops::Range<u64>> {
        let end = self.index.checked_add(1);
        let end = end.ok_or_else(|| Error::usage(format!("there is no item {}", self.index)))?;
        Ok(self.index..end)
    }

    fn print(
        &self,
        session: &mut Session<'_>,
        pickle: &[u8],
        path: &std::path::Path,
    ) -> Result<()> {
        if self.form.pickle {
            return self.form.whole(session, pickle, path);
        }
        self.form.items(session, pickle, 1, path).map(drop)
    }

    fn segments(&self, session: &mut Session<'_>, segments: &Segments) -> Result<()> {
        // Of kind objects, each segment is one item.
        if segments.kind() == Kind::Objects {
            let index = usize::try_from(self.index).unwrap_or(usize::MAX);
            let path = segments.path(index)?;
            return self.form.whole(session, &segments.read(index)?, &path);
        }
        let Some((index, within)) = segments.locate_item(self.index) else {
            let dir = show::path(segments.location().path());
            let reason = match segments.items() {
                Some(0) => "it has no items".to_owned(),
                Some(items) => format!("it has {}, counted from 0", show::counted(items, "item")),
                None => {
                    "it is not known which segment holds it; `picklet repair` counts".to_owned()
                }
            };
            let message = format!("{dir}: there is no item {}: {reason}", self.index);
            return Err(Error::usage(message).into());
        };
        let input = source::segment(segments, index)?;
        let pickle = extract(&input, within..within + 1)?;
        self.print(session, &pickle, &segments.path(index)?)
    }
}
