//! `picklet get`: single items, without reading the rest.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use picklet_segments::{Error, Extracted, Input, ItemReader, Kind, Segments};

use crate::failure::Verdict;
use crate::host::Session;
use crate::show;
use crate::source::Place;
use crate::values::Form;

const EXAMPLES: &str = "\
Examples:
  picklet get out 1234567            item 1,234,567, counted from 0
  picklet get out -1                 the last item
  picklet get out 10:20 --json       ten items; -5: are the last five
  picklet get out --key Seoul        the value of a dict's key";

/// Print items of a pickle or of a segments directory by their numbers
///
/// Only the part that holds the item is read: the first time a pickle of 1 MiB or more is scanned,
/// without being loaded, and an index of its items is kept (beside it, in the segments directory, or
/// in the cache folder). Nothing is imported or run. Of dicts, an item is a key and its value; of a
/// file of many pickles, one of them; of a numpy array, a row (printed as an array of that row).
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Get {
    /// A pickle that holds a list, tuple, dict, set or array, or a segments directory; - is standard
    /// input
    #[arg(value_name = "DIR|FILE")]
    path: PathBuf,
    /// The item's number, counted from 0, or a slice of them, A:B; negative numbers count from the
    /// end
    #[arg(value_name = "INDEX", allow_hyphen_values = true, required_unless_present = "key")]
    index: Option<Wanted>,
    /// Print the value of this key of a dict: a str, or an int where it is written as one
    #[arg(long, value_name = "NAME", conflicts_with = "index")]
    key: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// Which items.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    One(i64),
    Slice(Option<i64>, Option<i64>),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| -> Result<i64, String> {
            let digits = text.replace('_', "");
            digits.parse().map_err(|_| format!("{text:?} is no number; write 7, -1, or 10:20"))
        };
        let end = |text: &str| if text.is_empty() { Ok(None) } else { number(text).map(Some) };
        match text.split_once(':') {
            Some((from, to)) => Ok(Wanted::Slice(end(from)?, end(to)?)),
            None => number(text).map(Wanted::One),
        }
    }
}

impl Wanted {
    /// The places among `count` items; `Err` for one that is not there.
    fn places(self, count: u64, noun: &str) -> Result<Range<u64>, String> {
        let from_end = |index: i64| match u64::try_from(index) {
            Ok(index) => Some(index),
            Err(_) => count.checked_sub(index.unsigned_abs()),
        };
        match self {
            Wanted::One(index) => match from_end(index).filter(|place| *place < count) {
                Some(place) => Ok(place..place + 1),
                None if count == 0 => Err(format!("there is no item {index}: it has no items")),
                None => Err(format!(
                    "there is no item {index}: it has {}, counted from 0",
                    show::counted(count, noun)
                )),
            },
            Wanted::Slice(from, to) => {
                let place = |index: Option<i64>, default: u64| {
                    index.map_or(default, |index| from_end(index).unwrap_or(0)).min(count)
                };
                let from = place(from, 0);
                Ok(from..place(to, count).max(from))
            }
        }
    }
}

impl Get {
    pub(crate) fn run(&self, session: &mut Session<'_>) -> Result<Verdict> {
        match Place::open(&self.path)? {
            Place::Segments(segments) => match &self.key {
                Some(key) => self.key_of_segments(session, &segments, key)?,
                None => self.segments(session, &segments)?,
            },
            Place::File(input) => {
                let path = input.path().to_owned();
                if let (Some(rows), None) = (picklet_segments::count_rows(&input)?, &self.key) {
                    let places = self.places(rows, "row");
                    let places = places.map_err(|what| Error::input(&path, None, what))?;
                    self.rows(session, &input, places)?;
                    return Ok(Verdict::Good);
                }
                let places = picklet_segments::index::places_of_file(&path, &input);
                let reader = ItemReader::open(input, &places)?;
                match &self.key {
                    Some(key) => {
                        self.no_dict(reader.kind(), &path)?;
                        if !self.value_of(session, &reader, key, &path)? {
                            return Err(no_key(key, &path));
                        }
                    }
                    None => {
                        let noun = if reader.kind().is_none() { "pickle" } else { "item" };
                        let places = self.places(reader.items(), noun);
                        let places = places.map_err(|what| Error::input(&path, None, what))?;
                        self.print(session, &reader, places, &path)?;
                    }
                }
            }
        }
        Ok(Verdict::Good)
    }

    fn places(&self, count: u64, noun: &str) -> Result<Range<u64>, String> {
        self.index.unwrap_or(Wanted::Slice(None, None)).places(count, noun)
    }

    /// Prints the items `places` of one pickle.
    fn print(
        &self,
        session: &mut Session<'_>,
        reader: &ItemReader,
        places: Range<u64>,
        path: &Path,
    ) -> Result<()> {
        if reader.kind().is_none() {
            for place in places {
                if let Extracted::Object(pickle) = reader.read(place..place + 1)? {
                    self.form.whole(session, &pickle, path)?;
                }
            }
            return Ok(());
        }
        let count = places.end - places.start;
        match reader.read(places)? {
            Extracted::Items(pickle) if !self.form.pickle => {
                self.form.items(session, &pickle, count, path).map(drop)
            }
            Extracted::Items(pickle) | Extracted::Object(pickle) => {
                self.form.whole(session, &pickle, path)
            }
        }
    }

    /// Prints the rows `places` of an array, as an array of these.
    fn rows(&self, session: &mut Session<'_>, input: &Input, places: Range<u64>) -> Result<()> {
        match picklet_segments::extract_rows(input, places)? {
            Some(pickle) => self.form.whole(session, &pickle, input.path()),
            None => {
                let what = "holds a table, or an array whose rows are no ranges of bytes: \
                            Segments.items in Python reads them";
                Err(Error::input(input.path(), None, what).into())
            }
        }
    }

    fn segments(&self, session: &mut Session<'_>, segments: &Segments) -> Result<()> {
        let dir = show::path(segments.location().path());
        let told = |what: String| Error::usage(format!("{dir}: {what}"));
        // Of kind objects, each segment is one item.
        if segments.kind() == Kind::Objects {
            for place in self.places(segments.len() as u64, "item").map_err(told)? {
                let index = usize::try_from(place).unwrap_or(usize::MAX);
                let path = segments.path(index)?;
                self.form.whole(session, &segments.read(index)?, &path)?;
            }
            return Ok(());
        }
        let Some(count) = segments.items() else {
            let what = "it is not known which segment holds an item; `picklet repair` counts";
            return Err(told(what.to_owned()).into());
        };
        let mut places = self.places(count, "item").map_err(told)?;
        while !places.is_empty() {
            let Some((index, within)) = segments.locate_item(places.start) else { break };
            let here = segments.entry(index)?.items.unwrap_or(0) - within;
            let here = here.min(places.end - places.start);
            let within = within..within + here;
            if segments.kind() == Kind::Array {
                self.rows(session, &segments.input(index)?, within)?;
            } else {
                let reader = ItemReader::segment(segments, index)?;
                self.print(session, &reader, within, &segments.path(index)?)?;
            }
            places.start += here;
        }
        Ok(())
    }

    fn key_of_segments(
        &self,
        session: &mut Session<'_>,
        segments: &Segments,
        key: &str,
    ) -> Result<()> {
        self.no_dict(Some(segments.kind()), segments.location().path())?;
        for index in 0..segments.len() {
            let reader = ItemReader::segment(segments, index)?;
            if self.value_of(session, &reader, key, &segments.path(index)?)? {
                return Ok(());
            }
        }
        Err(no_key(key, segments.location().path()))
    }

    fn no_dict(&self, kind: Option<Kind>, path: &Path) -> Result<()> {
        if kind == Some(Kind::Dict) {
            return Ok(());
        }
        let message = "holds no dict, and only dicts have keys; give the item's number";
        Err(Error::input(path, None, message).into())
    }

    /// Prints the value of a key; false when there is no such key.
    fn value_of(
        &self,
        session: &mut Session<'_>,
        reader: &ItemReader,
        key: &str,
        path: &Path,
    ) -> Result<bool> {
        // Of a key that comes twice, the last one counts.
        for place in reader.find_key(key)?.into_iter().rev() {
            if let Extracted::Items(pickle) = reader.read(place..place + 1)?
                && self.form.value_of(session, &pickle, key, path)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn no_key(key: &str, path: &Path) -> anyhow::Error {
    Error::input(path, None, format!("there is no key {key:?}")).into()
}
