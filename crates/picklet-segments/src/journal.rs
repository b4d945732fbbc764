//! The journal, `.picklet/journal`: one line for each thing that became true.
//!
//! A line is the xxh3-64 of the rest in 16 hexadecimal digits, a space, a JSON
//! object and a line break. It is written and fsynced before anyone is told
//! that the thing is true, so a crash can only cut the last line short, and a
//! last line that is cut short is about something nobody was told. Any other
//! damaged line is damage, and is reported.
//!
//! The journal is complete by itself: the writer begins each session by
//! replacing it with what is still true.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::manifest::{Entry, Header};
use crate::name;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "lowercase")]
pub(crate) enum Record {
    /// The first line: what run this is.
    Begin { format_version: u64, header: Box<Header> },
    /// These files are picklet's, from now on, whether they get written or not.
    Names { files: Vec<String> },
    /// This segment is there, whole.
    Done { entry: Box<Entry> },
    /// This segment is about to be written anew: forget what was said of it.
    Drop { file: String },
}

impl Record {
    /// The record as a line.
    pub(crate) fn to_line(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_string(self)
            .map_err(|e| Error::usage(format!("the journal cannot be written: {e}")))?;
        Ok(format!("{:016x} {json}\n", xxh3_64(json.as_bytes())).into_bytes())
    }

    fn from_line(line: &[u8]) -> Option<Record> {
        let (digits, rest) = line.split_at_checked(16)?;
        let json = rest.strip_prefix(b" ")?;
        let said = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if said != xxh3_64(json) || format!("{said:016x}").as_bytes() != digits {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// What a journal says when read to its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    pub(crate) header: Option<Header>,
    /// Segments that are there, by file.
    pub(crate) done: HashMap<String, Entry>,
    /// Every file that is or was picklet's.
    pub(crate) owned: Vec<String>,
    /// The first damaged line that is not the last, counted from 1.
    pub(crate) damaged: Option<usize>,
}

impl Journal {
    /// Reads a journal; never fails, because even a damaged one says which
    /// files are picklet's.
    pub(crate) fn parse(bytes: &[u8]) -> Journal {
        let mut journal = Journal::default();
        let mut lines = bytes.split_inclusive(|&b| b == b'\n').enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let record = line.strip_suffix(b"\n").and_then(Record::from_line);
            match record {
                Some(record) if (number == 0) == matches!(record, Record::Begin { .. }) => {
                    journal.apply(record);
                }
                _ if number > 0 && lines.peek().is_none() => {}
                _ => journal.damaged = journal.damaged.or(Some(number + 1)),
            }
        }
        journal
    }

    fn apply(&mut self, record: Record) {
        match record {
            Record::Begin { header, .. } => self.header = Some(*header),
            Record::Names { files } => {
                self.owned.extend(files.into_iter().filter(|f| name::validate_file(f).is_ok()));
            }
            Record::Done { entry } => {
                if name::validate_file(&entry.file).is_ok() {
                    self.owned.push(entry.file.clone());
                    self.done.insert(entry.file.clone(), *entry);
                }
            }
            Record::Drop { file } => {
                self.done.remove(&file);
            }
        }
    }

    /// The header, when the journal can be relied on.
    ///
    /// # Errors
    /// [`Error::BadJournal`] when a line other than the last is damaged: a
    /// lost line may have been the one that took a segment back.
    pub(crate) fn trusted(&self, path: &Path) -> Result<Option<&Header>> {
        match self.damaged {
            Some(line) => Err(Error::BadJournal { path: path.to_owned(), line }),
            None => Ok(self.header.as_ref()),
        }
    }
}
