//! Reading a segments directory.
//!
//! [`Segments`] believes the manifest, whose digest vouches for it; without
//! one it believes the journal of a run that is not finished; without either
//! it takes the `*.pickle` files in the order a person would. It never writes,
//! never waits for a writer, and never maps a file into memory.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Map;

use crate::compress::{self, Compression};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::journal::Journal;
use crate::manifest::{Entry, Header, Kind, Manifest, Xxh3};
use crate::name;
use crate::store::{EntryKind, Location, ReadAt, Sequential, Store, is_url, read_whole};

/// How much of a segment is checked when it is read whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Its length and its digest, where the manifest has one.
    #[default]
    Digest,
    /// Its length only.
    Length,
}

/// Where the knowledge of a directory's segments came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The manifest.
    Manifest,
    /// The journal: a run was interrupted or is still going on.
    Journal,
    /// The files themselves: there is neither manifest nor journal.
    Files,
}

/// A segments directory, opened for reading. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Segments {
    location: Location,
    store: Arc<dyn Store>,
    manifest: Arc<Manifest>,
    origin: Origin,
}

impl Segments {
    /// Opens a segments directory.
    ///
    /// # Errors
    /// [`Error::NoDirectory`], [`Error::NotADirectory`], [`Error::NoSegments`];
    /// [`Error::Unfinished`] when a run was interrupted before its first
    /// segment; [`Error::BadManifest`] when the manifest is damaged;
    /// [`Error::Io`].
    pub fn open(location: &Location) -> Result<Self> {
        let store = location.store();
        let (manifest, origin) = load(&*store)?;
        Ok(Segments { location: location.clone(), store, manifest: Arc::new(manifest), origin })
    }

    /// What a writer has just made durable.
    pub(crate) fn written(
        location: Location,
        store: Arc<dyn Store>,
        manifest: Manifest,
    ) -> Segments {
        Segments { location, store, manifest: Arc::new(manifest), origin: Origin::Manifest }
    }

    /// How many segments there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// How many items there are in all segments, when all are known.
    pub fn items(&self) -> Option<u64> {
        self.manifest.items()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.manifest.bytes()
    }

    /// What the segments hold. `Objects` where nobody knows.
    pub fn kind(&self) -> Kind {
        self.manifest.header.kind
    }

    /// The segments in order.
    pub fn entries(&self) -> &[Entry] {
        &self.manifest.segments
    }

    /// The manifest, or what stands for it when there is none.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the knowledge of the segments came from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The directory.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// One segment's entry, `index` counted from 0.
    ///
    /// # Errors
    /// [`Error::NoSuchSegment`].
    pub fn entry(&self, index: usize) -> Result<&Entry> {
        self.entries().get(index).ok_or_else(|| Error::NoSuchSegment {
            dir: self.location.path().to_owned(),
            index,
            len: self.len(),
        })
    }

    /// One segment's path, for other programs and for messages.
    ///
    /// # Errors
    /// [`Error::NoSuchSegment`].
    pub fn path(&self, index: usize) -> Result<PathBuf> {
        Ok(self.location.path().join(&self.entry(index)?.file))
    }

    /// Opens one segment to read parts of it. Its length is checked, its
    /// digest is not: that would read all of it. Of a compressed segment it
    /// gives the pickle, expanded into a temporary file.
    ///
    /// # Errors
    /// [`Error::NoSuchSegment`], [`Error::Missing`], [`Error::Damaged`] when
    /// its length is not what the manifest says, [`Error::Io`].
    pub fn open_segment(&self, index: usize) -> Result<Box<dyn ReadAt>> {
        let entry = self.entry(index)?;
        let path = self.path(index)?;
        let file = self.store.open(&entry.file)?;
        let size = file.size().map_err(|e| Error::io("read", &path, e))?;
        if size != entry.bytes {
            return Err(wrong_length(path, entry.bytes, size));
        }
        match sniff(&*file).map_err(|e| Error::io("read", &path, e))? {
            None => Ok(file),
            Some(how) => Ok(Box::new(expanded(how, file, path)?)),
        }
    }

    /// One segment to be cut, merged or read from, as [`Segments::open_segment`] opens it; its path
    /// is its name.
    ///
    /// # Errors
    /// As [`Segments::open_segment`].
    pub fn input(&self, index: usize) -> Result<Input> {
        let path = self.path(index)?;
        let mut input = Input::read_at("", self.open_segment(index)?)?;
        input.rename(path);
        Ok(input)
    }

    /// Reads one segment whole and checks its length and digest. Of a
    /// compressed segment it gives the pickle.
    ///
    /// # Errors
    /// As [`Segments::open_segment`]; [`Error::Damaged`] also when the digest
    /// is not what the manifest says.
    pub fn read(&self, index: usize) -> Result<Vec<u8>> {
        self.read_with(index, Check::Digest)
    }

    /// Reads one segment whole and checks as much as `check` says.
    ///
    /// # Errors
    /// As [`Segments::read`].
    pub fn read_with(&self, index: usize, check: Check) -> Result<Vec<u8>> {
        let entry = self.entry(index)?;
        let path = self.path(index)?;
        let bytes = read_whole(&*self.store.open(&entry.file)?, &path)?;
        if bytes.len() as u64 != entry.bytes {
            return Err(wrong_length(path, entry.bytes, bytes.len() as u64));
        }
        if check == Check::Digest
            && let Some(said) = entry.xxh3
        {
            let found = Xxh3::of(&bytes);
            if found != said {
                return Err(wrong_digest(path, said, found));
            }
        }
        compress::plain(bytes).map_err(|reason| Error::Damaged { path, reason })
    }

    /// The segment that holds item `item`, and the item's number in it.
    /// `None` when there is no such item or the counts are not known.
    pub fn locate_item(&self, item: u64) -> Option<(usize, u64)> {
        let entries = self.entries();
        let after = entries.partition_point(|entry| entry.first_item.is_some_and(|f| f <= item));
        let position = after.checked_sub(1)?;
        let entry = entries.get(position)?;
        let within = item.checked_sub(entry.first_item?)?;
        (within < entry.items?).then_some((position, within))
    }
}

/// The pickle in the file at a path or URL, expanded where it is compressed.
///
/// # Errors
/// [`Error::Io`], [`Error::Missing`], [`Error::Damaged`].
pub fn read_file(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let (file, path) = open_file(path.as_ref())?;
    let bytes = read_whole(&*file, &path)?;
    compress::plain(bytes).map_err(|reason| Error::Damaged { path, reason })
}

/// The file at a path or URL, as it lies there, and its path for messages.
///
/// # Errors
/// [`Error::Io`], [`Error::Missing`].
pub(crate) fn open_file(path: &Path) -> Result<(Box<dyn ReadAt>, PathBuf)> {
    let file: Box<dyn ReadAt> = match path.to_str().filter(|_| is_url(path)) {
        Some(url) => match url.rsplit_once('/') {
            Some((folder, file)) => Location::new(folder)?.store().open(file)?,
            None => return Err(Error::usage(format!("{url:?}: names no file"))),
        },
        None => Box::new(File::open(path).map_err(|e| Error::io("open", path, e))?),
    };
    Ok((file, path.to_owned()))
}

/// How a file is compressed, by its first bytes.
pub(crate) fn sniff(file: &dyn ReadAt) -> io::Result<Option<Compression>> {
    let mut first = [0; 4];
    let read = file.read_at(0, &mut first)?;
    Ok(Compression::sniff(first.get(..read).unwrap_or_default()))
}

/// A compressed file's content, in a temporary file.
pub(crate) fn expanded(how: Compression, file: impl ReadAt, path: PathBuf) -> Result<File> {
    let mut plain = tempfile::tempfile()
        .map_err(|e| Error::io("make a temporary file in", std::env::temp_dir(), e))?;
    compress::copy(how, Sequential::new(file), |block| plain.write_all(block))
        .map_err(|reason| Error::Damaged { path, reason })?;
    Ok(plain)
}

pub(crate) fn wrong_length(path: PathBuf, said: u64, found: u64) -> Error {
    Error::Damaged { path, reason: format!("it has {found} bytes, the manifest says {said}") }
}

pub(crate) fn wrong_digest(path: PathBuf, said: Xxh3, found: Xxh3) -> Error {
    Error::Damaged { path, reason: format!("its xxh3 is {found}, the manifest says {said}") }
}

/// The manifest of a store, or what stands for it.
fn load(store: &dyn Store) -> Result<(Manifest, Origin)> {
    if let Some(bytes) = store.read_manifest()? {
        let manifest = Manifest::from_bytes(&bytes, &manifest_path(store))?;
        return Ok((manifest, Origin::Manifest));
    }
    let Some(listed) = store.list()? else {
        return Err(Error::NoDirectory(store.path().to_owned()));
    };
    if let Some(bytes) = store.read_journal()? {
        let journal = Journal::parse(&bytes);
        if let (Some(header), None) = (journal.header, journal.damaged) {
            if journal.done.is_empty() {
                return Err(Error::Unfinished(store.path().to_owned()));
            }
            let segments = in_order(journal.done.into_values().collect());
            return Ok((Manifest { header, segments }, Origin::Journal));
        }
    }
    let mut segments = Vec::new();
    for found in listed {
        let Some(file) = found.name.to_str() else {
            if name::is_segment(&found.name.to_string_lossy()) {
                let path = store.path().join(&found.name);
                return Err(Error::input(path, None, "has a name that is not UTF-8; rename it"));
            }
            continue;
        };
        if !name::is_segment(file) || file.starts_with('.') {
            continue;
        }
        name::validate_file(file)?;
        let bytes = match found.kind {
            EntryKind::File => found.bytes,
            EntryKind::Directory => continue,
            // A link to a pickle elsewhere is as good as the pickle.
            EntryKind::Other => match store.size(file)? {
                Some(bytes) => bytes,
                None => continue,
            },
        };
        segments.push(listed_entry(file, bytes));
    }
    if segments.is_empty() {
        return Err(Error::NoSegments(store.path().to_owned()));
    }
    segments.sort_by(|a, b| name::natural_order(&a.file, &b.file));
    for (index, entry) in segments.iter_mut().enumerate() {
        entry.index = index as u64;
    }
    Ok((Manifest { header: Header::new(Kind::Objects, ""), segments }, Origin::Files))
}

/// All that is known of a segment that only its file tells of.
pub(crate) fn listed_entry(file: &str, bytes: u64) -> Entry {
    Entry {
        file: file.to_owned(),
        index: 0,
        first_item: None,
        items: None,
        bytes,
        xxh3: None,
        sha256: None,
        kind: None,
        shared: None,
        input: None,
        version: None,
        extra: Map::new(),
    }
}

/// Sorts entries by index and numbers their items, as far as the counts are
/// known without a gap.
pub(crate) fn in_order(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by(|a, b| a.index.cmp(&b.index).then_with(|| a.file.cmp(&b.file)));
    let mut next = Some(0u64);
    for entry in &mut entries {
        entry.first_item = next;
        next = next.and_then(|first| first.checked_add(entry.items?));
    }
    entries
}

/// The manifest's path, for messages.
pub(crate) fn manifest_path(store: &dyn Store) -> PathBuf {
    store.path().join(name::MANIFEST)
}

/// The journal's path, for messages.
pub(crate) fn journal_path(store: &dyn Store) -> PathBuf {
    store.path().join(Path::new(name::PRIVATE).join("journal"))
}
