//! The manifest, `segments.json`: which segments there are and what each holds.
//!
//! It is never needed to read one segment. It has a digest of itself, so that
//! no damaged byte of it is ever believed, and it keeps fields it does not
//! know, so that an older picklet does not lose what a newer one wrote.
//! `docs/manifest.md` tells the format, `docs/manifest.schema.json` is its schema.
//!
//! This module only turns bytes into a [`Manifest`] and back; it reads and
//! writes no files.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, Result};
use crate::name;

/// The format version that this code writes, and the newest that it reads.
pub const FORMAT_VERSION: u64 = 1;

/// What `format` says in every manifest.
pub const FORMAT_NAME: &str = "picklet-segments";

/// The manifest's field with the grid of tiles, which a map of tiles hands on to its outputs.
pub const GRID_FIELD: &str = "tiles";

/// An entry's field with a tile's place in its array, handed on likewise.
pub const WINDOW_FIELD: &str = "window";

/// An xxh3-128 digest; written as 32 hexadecimal digits, as `xxh128sum` does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Xxh3(pub u128);

impl Xxh3 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Xxh3(xxh3_128(bytes))
    }

    /// Reads 32 hexadecimal digits in lower case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 32 && text.bytes().all(digits))
            .then(|| u128::from_str_radix(text, 16).ok().map(Xxh3))
            .flatten()
    }
}

impl fmt::Display for Xxh3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Xxh3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xxh3({self})")
    }
}

impl Serialize for Xxh3 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Xxh3 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Xxh3::from_hex(&text)
            .ok_or_else(|| serde::de::Error::custom("an xxh3 digest is 32 hexadecimal digits"))
    }
}

/// What the segments hold, and so what merging them makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Each segment is a list.
    List,
    /// Each segment is a tuple.
    Tuple,
    /// Each segment is a dict.
    Dict,
    /// Each segment is a set.
    Set,
    /// Each segment is a frozenset.
    Frozenset,
    /// Each segment is a block of the rows of one array or table.
    Array,
    /// Each segment is a block of an n-d array, with its halo.
    Tiles,
    /// Each segment is an object of its own.
    Objects,
}

impl Kind {
    /// The word used in manifests and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::List => "list",
            Kind::Tuple => "tuple",
            Kind::Dict => "dict",
            Kind::Set => "set",
            Kind::Frozenset => "frozenset",
            Kind::Array => "array",
            Kind::Tiles => "tiles",
            Kind::Objects => "objects",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the segments were made from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Its name as the user gave it; `-` is standard input.
    pub name: String,
    /// Its size in bytes, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its digest, when it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xxh3: Option<Xxh3>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Objects that a segment shares with others, each of which now has its own
/// copy of them: what a split loses of necessity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedCounts {
    /// Strings, numbers, bytes: nobody can tell.
    pub atoms: u64,
    /// Tuples, frozensets, classes: only `is` can tell.
    pub immutable: u64,
    /// Lists, dicts, instances: a change to one copy is not seen in the other.
    pub mutable: u64,
}

impl std::ops::AddAssign for SharedCounts {
    fn add_assign(&mut self, more: SharedCounts) {
        self.atoms += more.atoms;
        self.immutable += more.immutable;
        self.mutable += more.mutable;
    }
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its file's name.
    pub file: String,
    /// Its place in the order of segments. Places may be missing, where a map
    /// skipped a segment.
    pub index: u64,
    /// Number of its first item, counted over all segments from 0.
    #[serde(default, rename = "first", skip_serializing_if = "Option::is_none")]
    pub first_item: Option<u64>,
    /// How many items it holds, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digest. `None` only where a directory has no manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xxh3: Option<Xxh3>,
    /// Its SHA-256 as 64 hexadecimal digits, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What it holds, where that differs from the manifest's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Objects it shared with other segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<SharedCounts>,
    /// Digest of the segment that this one was mapped from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Xxh3>,
    /// The `version` that the function was said to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Fields that this version does not know, and those of split and map.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Everything but the segments: what a run says about itself when it begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// What the segments hold.
    pub kind: Kind,
    /// What they were made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What the run was: two runs with the same fingerprint make the same
    /// segments from the same source, so that one can continue the other.
    pub fingerprint: String,
    /// What to run to make anew what was lost, as a shell or Python takes it:
    /// `picklet split big.pickle -o in --resume`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<String>,
    /// Whether each segment also gets a SHA-256.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sha256: bool,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Header {
    /// A run's header without a source.
    pub fn new(kind: Kind, fingerprint: impl Into<String>) -> Self {
        Header {
            kind,
            source: None,
            fingerprint: fingerprint.into(),
            made_by: None,
            sha256: false,
            extra: Map::new(),
        }
    }

    /// The same with a source.
    #[must_use]
    pub fn with_source(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }
}

/// `segments.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// What the run said about itself.
    pub header: Header,
    /// The segments in order.
    pub segments: Vec<Entry>,
}

/// The manifest's fields in the order in which they are written.
#[derive(Serialize, Deserialize)]
struct OnDisk<'a> {
    format: String,
    format_version: u64,
    digest: String,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<u64>,
    bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    fingerprint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_by: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sha256: bool,
    #[serde(flatten)]
    extra: Map<String, Value>,
    segments: std::borrow::Cow<'a, [Entry]>,
}

/// What every manifest has before anything else can be said about it.
#[derive(Deserialize)]
struct Preamble {
    format: String,
    format_version: u64,
}

/// Where the digest is, and what stands there while it is computed.
const DIGEST_KEY: &[u8] = b"\"digest\": \"";
const DIGEST_BLANK: &str = "00000000000000000000000000000000";

impl Manifest {
    /// Items in all segments, when all are known.
    pub fn items(&self) -> Option<u64> {
        self.segments.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.items?))
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().fold(0, |sum, entry| sum.saturating_add(entry.bytes))
    }

    /// Gives a header and entries what this manifest has and they do not know: the fields that a
    /// newer picklet, or another program, has put there.
    pub(crate) fn lend<'e>(
        &self,
        header: &mut Header,
        entries: impl IntoIterator<Item = &'e mut Entry>,
    ) {
        lend(&self.header.extra, &mut header.extra);
        if let (Some(mine), Some(theirs)) = (&self.header.source, &mut header.source) {
            lend(&mine.extra, &mut theirs.extra);
        }
        let known: HashMap<&str, &Entry> =
            self.segments.iter().map(|entry| (entry.file.as_str(), entry)).collect();
        for entry in entries {
            // Of another state of the segment they may not be true.
            if let Some(mine) = known.get(entry.file.as_str())
                && mine.xxh3 == entry.xxh3
            {
                lend(&mine.extra, &mut entry.extra);
            }
        }
    }

    /// Writes the manifest: JSON with two spaces of indentation, fields always
    /// in the same order, the digest computed over all other bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] when a field cannot be JSON, which no field of ours is.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let on_disk = OnDisk {
            format: FORMAT_NAME.to_owned(),
            format_version: FORMAT_VERSION,
            digest: DIGEST_BLANK.to_owned(),
            kind: self.header.kind,
            items: self.items(),
            bytes: self.bytes(),
            source: self.header.source.clone(),
            fingerprint: self.header.fingerprint.clone(),
            made_by: self.header.made_by.clone(),
            sha256: self.header.sha256,
            extra: self.header.extra.clone(),
            segments: self.segments.as_slice().into(),
        };
        let mut bytes = serde_json::to_vec_pretty(&on_disk)
            .map_err(|e| Error::usage(format!("the manifest cannot be written: {e}")))?;
        bytes.push(b'\n');
        let digest = Xxh3::of(&bytes).to_string();
        if let Some(place) = digest_place(&bytes).and_then(|place| bytes.get_mut(place)) {
            place.copy_from_slice(digest.as_bytes());
        }
        Ok(bytes)
    }

    /// Reads and checks a manifest: its digest, its version, every name, that
    /// sizes and item numbers add up. `path` is for messages.
    ///
    /// # Errors
    /// [`Error::BadManifest`], [`Error::NewerManifest`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let bad = |reason: String| Error::BadManifest { path: path.to_owned(), reason };
        let preamble: Preamble =
            serde_json::from_slice(bytes).map_err(|e| bad(format!("is no manifest ({e})")))?;
        if preamble.format != FORMAT_NAME {
            return Err(bad(format!("its format is {:?}, not {FORMAT_NAME:?}", preamble.format)));
        }
        if preamble.format_version > FORMAT_VERSION {
            return Err(Error::NewerManifest {
                path: path.to_owned(),
                found: preamble.format_version,
                supported: FORMAT_VERSION,
            });
        }
        check_digest(bytes).map_err(|reason| bad(reason.to_owned()))?;
        let on_disk: OnDisk<'_> =
            serde_json::from_slice(bytes).map_err(|e| bad(format!("is damaged ({e})")))?;
        let manifest = Manifest {
            header: Header {
                kind: on_disk.kind,
                source: on_disk.source,
                fingerprint: on_disk.fingerprint,
                made_by: on_disk.made_by,
                sha256: on_disk.sha256,
                extra: on_disk.extra,
            },
            segments: on_disk.segments.into_owned(),
        };
        manifest.check().map_err(bad)?;
        Ok(manifest)
    }

    /// What a reader may rely on, whoever wrote the manifest.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut files = HashSet::new();
        let mut last_index = None;
        let mut next_item = Some(0u64);
        for entry in &self.segments {
            name::validate_file(&entry.file).map_err(|e| e.to_string())?;
            if !files.insert(name::same_key(&entry.file)) {
                return Err(format!("names {:?} twice", entry.file));
            }
            if entry.xxh3.is_none() {
                return Err(format!("has no digest for {:?}", entry.file));
            }
            if last_index.is_some_and(|last| entry.index <= last) {
                return Err(format!("{:?} is out of order", entry.file));
            }
            last_index = Some(entry.index);
            if let (Some(first), Some(next)) = (entry.first_item, next_item)
                && first != next
            {
                return Err(format!(
                    "{:?} begins with item {first}, where item {next} is due",
                    entry.file
                ));
            }
            next_item = match (next_item, entry.items) {
                (Some(next), Some(items)) => {
                    Some(next.checked_add(items).ok_or("has more items than can be counted")?)
                }
                _ => None,
            };
        }
        Ok(())
    }
}

fn lend(from: &Map<String, Value>, to: &mut Map<String, Value>) {
    for (field, value) in from {
        to.entry(field).or_insert_with(|| value.clone());
    }
}

/// Where the 32 digits of the digest are.
fn digest_place(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let key = bytes.windows(DIGEST_KEY.len()).position(|window| window == DIGEST_KEY)?;
    let start = key + DIGEST_KEY.len();
    let end = start + DIGEST_BLANK.len();
    (bytes.get(end) == Some(&b'"')).then_some(start..end)
}

/// Computes the digest with its own place blanked, and compares.
fn check_digest(bytes: &[u8]) -> Result<(), &'static str> {
    let missing = "has no digest of itself: it was changed or damaged";
    let place = digest_place(bytes).ok_or(missing)?;
    let said = bytes
        .get(place.clone())
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(Xxh3::from_hex)
        .ok_or(missing)?;
    let mut blanked = bytes.to_vec();
    if let Some(digits) = blanked.get_mut(place) {
        digits.copy_from_slice(DIGEST_BLANK.as_bytes());
    }
    if Xxh3::of(&blanked) == said {
        Ok(())
    } else {
        Err("does not have the digest it says: it was changed or damaged")
    }
}
