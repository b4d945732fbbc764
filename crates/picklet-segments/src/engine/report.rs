//! What a map has to say when it is over: what was done, what was there already, what failed.
//!
//! Plain data that serialises to JSON; nothing here prints.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a segment failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The function raised, or its output does not pickle.
    Raised,
    /// It ran longer than the timeout, and was killed; a thread's output was thrown away.
    Timeout,
    /// Its process ended: a crash, `os._exit`, the out-of-memory killer.
    Died,
    /// The external command gave an exit code other than 0.
    Exit,
    /// The external command's output is not one whole pickle, or not the text that was asked for.
    Output,
    /// The segment cannot be given to the external command as the text that was asked for.
    Input,
}

/// One segment that failed, and all that is needed to find out why and to replay it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The segment's name.
    pub name: String,
    /// Its place among the segments, from 0.
    pub index: u64,
    /// The file of the segment.
    pub path: String,
    /// The number of its first item in the whole data set, where known.
    pub first_item: Option<u64>,
    /// How many items it holds, where known.
    pub items: Option<u64>,
    /// The number of the very item that failed, where the function is called item by item.
    pub item: Option<u64>,
    /// Why it failed.
    pub kind: FailureKind,
    /// The exception's class, the signal's name, or `exit code N`.
    pub error: String,
    /// One or more lines of what happened.
    pub message: String,
    /// The whole traceback, or the last of what the process wrote to standard error.
    pub traceback: String,
    /// How often it was tried.
    pub tries: u32,
    /// How long the last try took, in seconds.
    pub seconds: f64,
    /// The worker's peak memory, in bytes, where known.
    pub peak_rss: Option<u64>,
    /// The file that holds all that the external command wrote to standard error, if it wrote any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

impl Failure {
    /// The items of the segment in words: `items 40..=49`, or an empty text.
    pub fn item_range(&self) -> String {
        match (self.item, self.first_item, self.items) {
            (Some(item), ..) => format!("item {item}"),
            (None, Some(first), Some(1)) => format!("item {first}"),
            (None, Some(first), Some(items)) if items > 1 => {
                format!("items {first}..={}", first.saturating_add(items - 1))
            }
            (None, None, Some(items)) => format!("{items} items"),
            _ => String::new(),
        }
    }
}

impl fmt::Display for Failure {
    /// One line: `segment data-00004 (items 40..=49): ValueError: no such city`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}", self.name)?;
        let range = self.item_range();
        if !range.is_empty() {
            write!(f, " ({range})")?;
        }
        let message = self.message.lines().next().unwrap_or_default();
        write!(f, ": {}", self.error)?;
        if !message.is_empty() {
            write!(f, ": {message}")?;
        }
        if self.tries > 1 {
            write!(f, " (tried {} times)", self.tries)?;
        }
        Ok(())
    }
}

/// One segment that was mapped in this run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mapped {
    /// The output's name.
    pub name: String,
    /// Its place among the segments, from 0.
    pub index: u64,
    /// Items that went in, where known.
    pub items: Option<u64>,
    /// Size of the output, in bytes.
    pub bytes: u64,
    /// From handing it out to its receipt, in seconds.
    pub seconds: f64,
    /// The worker's peak memory, in bytes, where known.
    pub peak_rss: Option<u64>,
}

/// What a map did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MapReport {
    /// Segments of the input.
    pub segments: u64,
    /// Segments mapped in this run.
    pub done: u64,
    /// Segments that an earlier run had done, with the same input and version.
    pub resumed: u64,
    /// Segments that failed for good, in the order of the input.
    pub failed: Vec<Failure>,
    /// Segments that were not run, because the map stopped at a failure or `only` left them out.
    pub not_run: u64,
    /// Items that went into this run's segments, as far as known.
    pub items: u64,
    /// Bytes of this run's outputs.
    pub bytes: u64,
    /// Workers that were used at the same time, at most.
    pub workers: usize,
    /// The whole run, in seconds.
    pub seconds: f64,
    /// The largest worker's peak memory, in bytes, where known.
    pub peak_rss: Option<u64>,
    /// The segments that took longest, the longest first.
    pub slowest: Vec<Mapped>,
    /// The segments with the largest outputs, the largest first.
    pub largest: Vec<Mapped>,
}

/// How many segments [`MapReport::slowest`] and [`MapReport::largest`] hold.
pub const REPORTED_EXTREMES: usize = 5;

impl MapReport {
    /// Whether every segment of the input has its output.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty() && self.not_run == 0
    }

    pub(crate) fn add(&mut self, mapped: Mapped) {
        self.done = self.done.saturating_add(1);
        self.items = self.items.saturating_add(mapped.items.unwrap_or(0));
        self.bytes = self.bytes.saturating_add(mapped.bytes);
        self.peak_rss = self.peak_rss.max(mapped.peak_rss);
        insert(&mut self.largest, mapped.clone(), |a, b| a.bytes > b.bytes);
        insert(&mut self.slowest, mapped, |a, b| a.seconds > b.seconds);
    }
}

impl MapReport {
    /// Adds what another map did after this one.
    pub(crate) fn join(&mut self, other: MapReport) {
        self.segments = self.segments.saturating_add(other.segments);
        self.done = self.done.saturating_add(other.done);
        self.resumed = self.resumed.saturating_add(other.resumed);
        self.failed.extend(other.failed);
        self.not_run = self.not_run.saturating_add(other.not_run);
        self.items = self.items.saturating_add(other.items);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.workers = self.workers.max(other.workers);
        self.seconds += other.seconds;
        self.peak_rss = self.peak_rss.max(other.peak_rss);
        for mapped in other.largest {
            insert(&mut self.largest, mapped, |a, b| a.bytes > b.bytes);
        }
        for mapped in other.slowest {
            insert(&mut self.slowest, mapped, |a, b| a.seconds > b.seconds);
        }
    }
}

fn insert(list: &mut Vec<Mapped>, mapped: Mapped, before: impl Fn(&Mapped, &Mapped) -> bool) {
    let place = list.iter().position(|other| before(&mapped, other)).unwrap_or(list.len());
    list.insert(place, mapped);
    list.truncate(REPORTED_EXTREMES);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_segment_items_and_error() {
        let failure = Failure {
            name: "data-00004".into(),
            index: 4,
            path: "/in/data-00004.pickle".into(),
            first_item: Some(40),
            items: Some(10),
            item: None,
            kind: FailureKind::Raised,
            error: "ValueError".into(),
            message: "no such city\nand more".into(),
            traceback: String::new(),
            tries: 3,
            seconds: 0.0,
            peak_rss: None,
            stderr: None,
        };
        assert_eq!(
            failure.to_string(),
            "segment data-00004 (items 40..=49): ValueError: no such city (tried 3 times)"
        );
    }

    #[test]
    fn the_extremes_are_sorted_and_few() {
        let mut report = MapReport::default();
        for n in [3u32, 9, 1, 7, 5, 8, 2] {
            report.add(Mapped {
                name: n.to_string(),
                index: n.into(),
                items: Some(1),
                bytes: 100 - u64::from(n),
                seconds: n.into(),
                peak_rss: Some(n.into()),
            });
        }
        let names = |list: &[Mapped]| list.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&report.slowest), ["9", "8", "7", "5", "3"]);
        assert_eq!(names(&report.largest), ["1", "2", "3", "5", "7"]);
        assert_eq!((report.done, report.items, report.peak_rss), (7, 7, Some(9)));
    }
}
