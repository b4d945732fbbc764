//! The payloads: types of Rust, and the Python expressions whose pickles are read into them.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;

use serde::de::DeserializeOwned;

/// What every peer can read and write.
pub trait Payload:
    serde::Serialize
    + DeserializeOwned
    + deser::Serialize
    + for<'de> deser::Deserialize<'de>
    + PartialEq
{
}

impl<T> Payload for T where
    T: serde::Serialize
        + DeserializeOwned
        + deser::Serialize
        + for<'de> deser::Deserialize<'de>
        + PartialEq
{
}

/// A row of a table.
#[derive(
    Debug, PartialEq, serde::Serialize, serde::Deserialize, deser::Serialize, deser::Deserialize,
)]
pub struct Record {
    /// An int that grows past 16 bits.
    pub id: u64,
    /// A string of its own.
    pub name: String,
    /// A fraction.
    pub score: f64,
    /// One of three.
    pub active: bool,
}

/// Small containers in containers.
#[derive(
    Debug, PartialEq, serde::Serialize, serde::Deserialize, deser::Serialize, deser::Deserialize,
)]
pub struct Nested {
    /// Strings.
    pub tags: Vec<String>,
    /// Tuples.
    pub points: Vec<(i64, f64)>,
    /// Lists under ints.
    pub children: BTreeMap<i64, Vec<u32>>,
    /// None.
    pub note: Option<String>,
}

/// Bytes: deser knows them by their type.
#[derive(
    Debug, PartialEq, serde::Serialize, serde::Deserialize, deser::Serialize, deser::Deserialize,
)]
#[serde(transparent)]
#[deser(transparent)]
pub struct Blob(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// A list of one kind of items, as Python makes it.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// What the tables call it.
    pub name: &'static str,
    /// A Python expression in `count`.
    pub expression: &'static str,
    /// Bytes that an item takes, about.
    pub item: usize,
}

/// [`Record`]s.
pub const RECORDS: Source = Source {
    name: "records",
    expression: "[{'id': i * 7919, 'name': f'person number {i}', 'score': i / 7.0, \
                 'active': i % 3 == 0} for i in range(count)]",
    item: 57,
};

/// `i64`.
pub const INTS: Source = Source {
    name: "ints",
    expression: "[i * 2654435769 >> i % 5 * 8 & 0xffffffff for i in range(count)]",
    item: 5,
};

/// `f64`.
pub const FLOATS: Source =
    Source { name: "floats", expression: "[i / 3.0 for i in range(count)]", item: 9 };

/// `String`.
pub const STRINGS: Source = Source {
    name: "strings",
    expression: "[f'string {i} ' + 'of some length, é'[:i % 16] for i in range(count)]",
    item: 25,
};

/// [`Nested`].
pub const NESTED: Source = Source {
    name: "nested",
    expression: "[{'tags': ['a', f'tag {i}'], 'points': [(i, i / 2.0), (-i, 0.5)], \
                 'children': {i: [1, 2, 3], -1: []}, 'note': None} for i in range(count)]",
    item: 105,
};

/// [`Blob`].
pub const BYTES: Source = Source {
    name: "bytes",
    expression: "[bytes([i % 256]) * (i % 4000) for i in range(count)]",
    item: 2000,
};

impl Source {
    /// The pickle that C writes at protocol 4, of `bytes` bytes or a little more.
    ///
    /// # Errors
    /// No Python: the environment variable `PICKLET_PYTHON` names one, or `python3` of the path.
    pub fn pickle(&self, bytes: usize) -> Result<Vec<u8>, Box<dyn Error>> {
        let python = std::env::var("PICKLET_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let program = format!(
            "import pickle, sys\ncount = {}\nsys.stdout.buffer.write(pickle.dumps({}, 4))",
            bytes / self.item + 1,
            self.expression
        );
        let output = Command::new(python).args(["-c", &program]).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(output.stdout)
    }
}

/// The megabytes of the large payloads: the first word of the command line, or `default`.
///
/// # Errors
/// A word that is no number.
pub fn megabytes(default: usize) -> Result<usize, Box<dyn Error>> {
    // cargo passes --bench.
    match std::env::args().skip(1).find(|word| !word.starts_with('-')) {
        Some(word) => Ok(word.parse()?),
        None => Ok(default),
    }
}
