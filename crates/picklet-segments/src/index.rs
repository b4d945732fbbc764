//! Item indexes on disk: where they are kept, and when they are believed.
//!
//! An index tells where items begin, so that one of them can be read without
//! scanning the pickle. It is written by whoever first reads an item and can be
//! deleted at any time.
//!
//! | of | kept in |
//! |---|---|
//! | a segment | `.picklet/index/` of its segments directory |
//! | a file `big.pickle` | `.big.pickle.picklet-index` beside it |
//! | either, where that cannot be written | `picklet/index/` in the user's cache folder (`XDG_CACHE_HOME`, or `~/.cache`) |
//!
//! An index is believed only when its own digest is right and it was made of a
//! pickle of the same size, time of change and digest of both ends. Otherwise
//! it is made anew. Pickles below 1 MiB have none: scanning them is as fast. Nor have those whose
//! time of change nobody tells, in object stores: each process makes theirs anew.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::directory::Segments;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::{Kind, Xxh3};
use crate::name;
use crate::split::{Index, ItemReader};

/// Bytes of a pickle that is worth an index file.
const LEAST: u64 = 1 << 20;
/// Bytes of an index file at most.
const MOST: u64 = 1 << 32;

impl ItemReader {
    /// Opens the pickle `input` to read its items. `places` is where its index
    /// may be, the best place first; none means that it is not kept.
    ///
    /// # Errors
    /// [`Error::NotAContainer`]; [`Error::Input`] with an offset when it is no
    /// pickle or cut off; [`Error::Io`]. An index that cannot be read or
    /// written is no error.
    pub fn open(input: Input, places: &[PathBuf]) -> Result<Self> {
        let key = if places.is_empty() { None } else { key(&input)? };
        let Some(key) = key else {
            let index = Index::build(&input)?;
            return ItemReader::with_index(input, index);
        };
        for place in places {
            if let Some(index) = read(place).and_then(|bytes| Index::from_bytes(&bytes, &key)) {
                return ItemReader::with_index(input, index);
            }
        }
        let index = Index::build(&input)?;
        let bytes = index.to_bytes(&key);
        for place in places {
            match write(place, &bytes) {
                Ok(()) => break,
                Err(error) => log::debug!("no index at {}: {error}", place.display()),
            }
        }
        ItemReader::with_index(input, index)
    }

    /// Opens the file at `path` to read its items; keeps an index beside it or
    /// in the user's cache folder.
    ///
    /// # Errors
    /// As [`ItemReader::open`].
    pub fn file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let input = Input::file(&path)?;
        let places = places_of_file(&path, &input);
        ItemReader::open(input, &places)
    }

    /// Opens one segment to read its items; keeps an index in the segments
    /// directory or in the user's cache folder.
    ///
    /// # Errors
    /// [`Error::NoSuchSegment`]; as [`ItemReader::open`].
    pub fn segment(segments: &Segments, index: usize) -> Result<Self> {
        let name = segments.path(index)?;
        let input = segments.input(index)?;
        let mut places = Vec::new();
        if input.size() >= LEAST {
            if let Some(folder) = folder(segments) {
                places.push(folder.join(index_file(&segments.entry(index)?.file)));
            }
            places.extend(cached(&name));
        }
        ItemReader::open(input, &places)
    }
}

/// The folder of a directory's indexes; none in an object store.
fn folder(segments: &Segments) -> Option<PathBuf> {
    Some(segments.location().local_path()?.join(name::PRIVATE).join("index"))
}

/// Whether a segment is worth an index that is kept: large enough, of items, in a directory.
pub(crate) fn is_worthwhile(segments: &Segments, index: usize) -> bool {
    let Ok(entry) = segments.entry(index) else { return false };
    let kind = entry.kind.unwrap_or(segments.kind());
    let items = !matches!(kind, Kind::Array | Kind::Tiles | Kind::Objects);
    items && entry.bytes >= LEAST && folder(segments).is_some()
}

/// Removes the indexes of segments that the manifest does not name.
pub(crate) fn remove_strange(segments: &Segments) {
    let Some(Ok(found)) = folder(segments).map(fs::read_dir) else { return };
    let known: HashSet<String> =
        segments.entries().iter().map(|entry| index_file(&entry.file)).collect();
    for entry in found.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| known.contains(name)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn index_file(segment: &str) -> String {
    format!("{segment}.index")
}

/// Where the index of a file may be. None for what is small, or no file.
pub fn places_of_file(path: &Path, input: &Input) -> Vec<PathBuf> {
    let (Some(name), true) = (path.file_name(), input.size() >= LEAST && path.is_file()) else {
        return Vec::new();
    };
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(".picklet-index");
    std::iter::once(path.with_file_name(beside)).chain(cached(path)).collect()
}

/// The place in the user's cache folder.
fn cached(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let folder = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let digest = Xxh3::of(absolute.as_os_str().as_encoded_bytes());
    Some(folder.join("picklet").join("index").join(format!("{digest}.index")))
}

/// What tells a pickle from its other states: size, time of change, and a
/// digest of both ends. None where nobody knows when it changed: the ends alone
/// would believe an index of a pickle that has changed in the middle.
fn key(input: &Input) -> Result<Option<String>> {
    let modified = input.data().modified().map_err(|e| Error::io("read", input.path(), e))?;
    let Some(time) = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()) else {
        return Ok(None);
    };
    Ok(Some(format!("{} {}", input.fingerprint()?, time.as_nanos())))
}

fn read(place: &Path) -> Option<Vec<u8>> {
    let size = fs::metadata(place).ok()?.len();
    if size > MOST { None } else { fs::read(place).ok() }
}

/// Writes an index so that another process sees all of it or nothing.
fn write(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = place.parent().ok_or(io::ErrorKind::InvalidInput)?;
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
    }
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(place).map(drop).map_err(|e| e.error)
}
