//! Printing values: one item a line, as Python's repr, as JSON, or as pickles.

use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use clap::Args;
use picklet::{Limits, Value, ValueRef, json, repr};
use picklet_segments::Error;

use crate::host::Session;

/// How values are printed.
#[derive(Debug, Args)]
pub(crate) struct Form {
    /// Print JSON, one item a line
    #[arg(long, conflicts_with = "pickle")]
    json: bool,
    /// Print pickles, which hold the items in a container of their own type
    #[arg(long)]
    pub(crate) pickle: bool,
}

/// The longest repr of one item; what is longer ends in `…`.
const REPR_BYTES: usize = 16 << 20;

/// The longest JSON of one item; what is longer is an error, because half of it is no JSON.
const JSON_BYTES: usize = 1 << 30;

impl Form {
    /// Prints a value on one line.
    fn one(&self, session: &mut Session<'_>, value: ValueRef<'_>, path: &Path) -> Result<()> {
        if self.json {
            return session.line(&json::to_json(value, JSON_BYTES).map_err(|e| told(&e, path))?);
        }
        session.line(&repr::repr(value, REPR_BYTES))
    }

    /// Prints a key and its value on one line: `key: value`, in JSON an array of both.
    fn pair(
        &self,
        session: &mut Session<'_>,
        (key, value): (ValueRef<'_>, ValueRef<'_>),
        path: &Path,
    ) -> Result<()> {
        if self.json {
            let key = json::to_json(key, JSON_BYTES).map_err(|e| told(&e, path))?;
            let value = json::to_json(value, JSON_BYTES).map_err(|e| told(&e, path))?;
            return session.line(&format!("[{key}, {value}]"));
        }
        let (key, value) = (repr::repr(key, REPR_BYTES), repr::repr(value, REPR_BYTES));
        session.line(&format!("{key}: {value}"))
    }

    /// Prints the first pickle of `pickle` whole, on one line.
    pub(crate) fn whole(
        &self,
        session: &mut Session<'_>,
        pickle: &[u8],
        path: &Path,
    ) -> Result<()> {
        if self.pickle {
            return Ok(session.out.write_all(pickle)?);
        }
        let (value, _) = read(pickle, path)?;
        self.one(session, value.root(), path)
    }

    /// Prints the value of `key` in a pickled dict; false when it has no such key. A key is a str,
    /// or an int where it is written as one.
    pub(crate) fn value_of(
        &self,
        session: &mut Session<'_>,
        pickle: &[u8],
        key: &str,
        path: &Path,
    ) -> Result<bool> {
        let (value, _) = read(pickle, path)?;
        let number: Option<i64> = key.parse().ok();
        let is_it = |found: ValueRef<'_>| {
            found.as_str() == Some(key) || (number.is_some() && found.as_i64() == number)
        };
        let pair = value.root().pairs().and_then(|mut pairs| pairs.find(|pair| is_it(pair.0)));
        let Some((_, found)) = pair else { return Ok(false) };
        if self.pickle {
            session.out.write_all(pickle)?;
        } else {
            self.one(session, found, path)?;
        }
        Ok(true)
    }

    /// Prints up to `limit` items of the first pickle of `pickle`, a line each; a value that has
    /// no items as one. Gives how many it printed.
    pub(crate) fn items(
        &self,
        session: &mut Session<'_>,
        pickle: &[u8],
        limit: u64,
        path: &Path,
    ) -> Result<u64> {
        let (value, _) = read(pickle, path)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut printed = 0;
        if let Some(pairs) = value.root().pairs() {
            for pair in pairs.take(limit) {
                self.pair(session, pair, path)?;
                printed += 1;
            }
        } else if let Some(items) = value.root().items() {
            for item in items.take(limit) {
                self.one(session, item, path)?;
                printed += 1;
            }
        } else if limit > 0 {
            self.one(session, value.root(), path)?;
            printed = 1;
        }
        Ok(printed)
    }
}

/// Reads the first pickle of `pickle`, and says where it ends.
pub(crate) fn read(pickle: &[u8], path: &Path) -> Result<(Value, usize)> {
    Ok(Value::from_prefix(pickle, Limits::default()).map_err(|error| told(&error, path))?)
}

/// The codec's error with the file's name.
fn told(error: &picklet::Error, path: &Path) -> Error {
    Error::input(path, None, error.to_string())
}
