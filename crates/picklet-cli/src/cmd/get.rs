//! `picklet get`: one item, without reading the rest.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Error, Input, Kind, Segments, count_items, extract};

use crate::failure::Verdict;
use crate::host::Session;
use crate::show;
use crate::source::{self, Place};
use crate::values::Form;

const EXAMPLES: &str = "\
Examples:
  picklet get out 1234567            item 1,234,567, counted from 0
  picklet get out -1                 the last item
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
    /// The item's number, counted from 0; negative numbers count from the end
    #[arg(allow_negative_numbers = true)]
    index: i64,
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
        let end = source::first_end(input)?;
        if end == input.size() {
            // What has no items is `extract`'s to refuse.
            let index = match self.index {
                0.. => self.place(|| None),
                _ => self.place(|| count_items(input).ok().and_then(|contents| contents.items)),
            };
            let index = index.map_err(|message| Error::input(input.path(), None, message))?;
            let pickle = extract(input, index..index.saturating_add(1))?;
            return self.print(session, &pickle, input.path());
        }
        // Many pickles, each of which is one item.
        let mut ends = vec![0, end];
        while let Some(&last) = ends.last()
            && last != input.size()
            && (self.index < 0 || ends.len() as u64 - 1 <= self.index.unsigned_abs())
        {
            ends.push(source::end_of(input, last)?);
        }
        let count = ends.len() as u64 - 1;
        let place = self.place(|| Some(count)).ok().and_then(|index| usize::try_from(index).ok());
        let Some(&[start, end]) = place.and_then(|index| ends.get(index..index + 2)) else {
            let there = show::counted(count, "pickle");
            let message =
                format!("there is no item {}: it has {there}, counted from 0", self.index);
            return Err(Error::input(input.path(), None, message).into());
        };
        let pickle = source::part(input, start, end)?;
        self.form.whole(session, &pickle, input.path())
    }

    /// The item's number from the beginning. `count` is asked only for numbers from the end.
    fn place(&self, count: impl FnOnce() -> Option<u64>) -> Result<u64, String> {
        if let Ok(index) = u64::try_from(self.index) {
            return Ok(index);
        }
        let Some(count) = count() else {
            return Err(format!("there is no item {}: its items are not counted", self.index));
        };
        count.checked_sub(self.index.unsigned_abs()).ok_or_else(|| {
            format!("there is no item {}: it has {}", self.index, show::counted(count, "item"))
        })
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
        let dir = show::path(segments.location().path());
        let objects = segments.kind() == Kind::Objects;
        let place = self.place(|| match objects {
            true => Some(segments.len() as u64),
            false => segments.items(),
        });
        let place = place.map_err(|message| Error::usage(format!("{dir}: {message}")))?;
        // Of kind objects, each segment is one item.
        if objects {
            let index = usize::try_from(place).unwrap_or(usize::MAX);
            let path = segments.path(index)?;
            return self.form.whole(session, &segments.read(index)?, &path);
        }
        let Some((index, within)) = segments.locate_item(place) else {
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
