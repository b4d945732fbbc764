//! Making or continuing a segments directory.
//!
//! One [`SegmentsWriter`] at a time has a directory. Its order of steps is
//! what makes the promise hold, and the crash tests hold it to this order:
//!
//! 1. A name is in the journal before any file may have it. So whatever a
//!    crash leaves is known to be picklet's, and `--overwrite` may remove it.
//! 2. Before a file is replaced, the journal takes back what it said of it and
//!    the manifest that names it is removed. So neither ever names a file that
//!    is not what they say.
//! 3. A segment is durable under its name before the journal says so, and the
//!    journal says so before the caller hears of it. Small segments share the
//!    directory's fsync and the journal's: see [`SegmentsWriter::stage`].
//! 4. The manifest comes last.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::directory::{Segments, in_order, journal_path, manifest_path};
use crate::draft::{Draft, Publisher, Receipt};
use crate::error::{Error, Result};
use crate::journal::{Journal, Record};
use crate::manifest::{Entry, FORMAT_VERSION, Header, Kind, Manifest, SharedCounts, Xxh3};
use crate::name;
use crate::store::{EntryKind, Guard, Listed, Location, Store};

/// What to do with what the output directory already holds. All three work on
/// a directory that does not exist or is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// Refuse a directory that is not empty.
    #[default]
    Refuse,
    /// Continue the run that began it, keeping each segment that is whole.
    Resume,
    /// Remove what picklet put there, and begin anew.
    Overwrite,
}

/// What a caller knows of a segment and the store does not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EntryMeta {
    /// Its place in the order of segments.
    pub index: u64,
    /// How many items it holds, when known.
    pub items: Option<u64>,
    /// What it holds, where that differs from the header's kind.
    pub kind: Option<Kind>,
    /// Objects it shared with other segments.
    pub shared: Option<SharedCounts>,
    /// Digest of the segment that it was mapped from.
    pub input: Option<Xxh3>,
    /// The `version` that the function was said to have.
    pub version: Option<String>,
    /// Further fields for its entry in the manifest.
    pub extra: Map<String, Value>,
}

/// How many numbered names ahead are written into the journal at once, so that
/// announcing costs one fsync in so many segments.
const NAMES_AHEAD: u64 = 64;

/// The field of an entry that says that no run makes this segment: it was appended.
pub(crate) const APPENDED: &str = "appended";

/// How many segments share the fsyncs of directory and journal, at most, and how many bytes they
/// have together. More would gain little: beside so much data two fsyncs are nothing.
const STAGED_SEGMENTS: usize = 64;
const STAGED_BYTES: u64 = 8 << 20;

/// How long a segment may wait for others. A crash loses the work of so long, not more.
const STAGED_FOR: Duration = Duration::from_secs(1);

/// The writer of a segments directory, which holds its lock until dropped.
/// What it was told is kept if it is dropped without [`SegmentsWriter::finish`];
/// [`Existing::Resume`] goes on from there.
pub struct SegmentsWriter {
    location: Location,
    store: Arc<dyn Store>,
    header: Header,
    session: String,
    /// Segments that are there, by file.
    live: BTreeMap<String, Entry>,
    /// Their files by index: looking through all of them at each commit would make the cost of
    /// many segments grow with their square.
    places: HashMap<u64, String>,
    /// Those of them that this session has made.
    fresh: HashSet<String>,
    /// Every file that is picklet's, by the key under which names are equal.
    owned: HashMap<String, String>,
    /// Everything else in the directory, by the same key.
    foreign: HashSet<String>,
    /// Files that the manifest now on disk names.
    in_manifest: HashSet<String>,
    /// Segments that are published and not yet done.
    staged: Vec<Entry>,
    /// When the first of them was.
    staged_since: Option<Instant>,
    /// Whether what it makes is added to what a run has made.
    appends: bool,
    /// Dropped last: until then no other writer may come in.
    _guard: Box<dyn Guard>,
}

impl std::fmt::Debug for SegmentsWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentsWriter")
            .field("location", &self.location)
            .field("session", &self.session)
            .field("segments", &self.live.len())
            .finish_non_exhaustive()
    }
}

/// What a directory holds when a writer comes.
struct Found {
    listed: Vec<Listed>,
    manifest: Option<Result<Manifest>>,
    journal: Option<Journal>,
}

impl Found {
    fn read(store: &dyn Store) -> Result<Found> {
        let manifest = store.read_manifest()?;
        Ok(Found {
            listed: store.list()?.unwrap_or_default(),
            manifest: manifest.map(|bytes| Manifest::from_bytes(&bytes, &manifest_path(store))),
            journal: store.read_journal()?.map(|bytes| Journal::parse(&bytes)),
        })
    }

    /// Whether the run that was here makes a list of SHA-256 digests.
    fn has_sums(&self) -> bool {
        let journal = self.journal.iter().filter_map(|journal| journal.header.as_ref());
        let manifest = self.manifest.iter().flatten().map(|manifest| &manifest.header);
        journal.chain(manifest).any(|header| header.sha256)
    }

    /// Files that picklet put there or was about to.
    fn owned(&self) -> HashMap<String, String> {
        let journal = self.journal.iter().flat_map(|journal| journal.owned.iter());
        let manifest = self.manifest.iter().flatten().flat_map(|m| &m.segments).map(|e| &e.file);
        journal.chain(manifest).map(|file| (name::same_key(file), file.clone())).collect()
    }

    /// Things in the directory that are not picklet's, by name.
    fn foreign(&self, owned: &HashMap<String, String>) -> Vec<String> {
        let theirs = |found: &&Listed| {
            let text = found.name.to_str().unwrap_or_default();
            let ours = text == name::MANIFEST && self.manifest.is_some()
                || text == name::SUMS && self.has_sums()
                || owned.contains_key(&name::same_key(text));
            found.kind == EntryKind::Directory || !ours
        };
        self.listed.iter().filter(theirs).map(|f| f.name.to_string_lossy().into_owned()).collect()
    }
}

impl SegmentsWriter {
    /// Takes the directory and makes it ready for a run that is described by
    /// `header`. Makes the directory and its parents where they are missing.
    ///
    /// # Errors
    /// [`Error::Locked`] names another writer; [`Error::NotEmpty`] under
    /// [`Existing::Refuse`]; [`Error::OtherRun`] when [`Existing::Resume`]
    /// finds segments of another fingerprint; [`Error::Foreign`] where files
    /// are in the way that are not picklet's; [`Error::BadManifest`],
    /// [`Error::BadJournal`], [`Error::Io`].
    pub fn create(location: &Location, existing: Existing, header: Header) -> Result<Self> {
        let Entered { store, guard, session, found } =
            enter(location, |found, store| admit(found, existing, store))?;
        let owned = found.owned();
        let foreign = foreign_keys(&found, &owned);
        let mut writer = SegmentsWriter {
            location: location.clone(),
            store,
            header,
            session,
            live: BTreeMap::new(),
            places: HashMap::new(),
            fresh: HashSet::new(),
            owned,
            foreign,
            in_manifest: HashSet::new(),
            staged: Vec::new(),
            staged_since: None,
            appends: false,
            _guard: guard,
        };
        match existing {
            Existing::Refuse => writer.begin_journal()?,
            Existing::Resume => writer.resume(found)?,
            Existing::Overwrite => writer.clear(found.has_sums())?,
        }
        Ok(writer)
    }

    /// Takes an existing segments directory to add segments to it. Its header
    /// stays what it is.
    ///
    /// # Errors
    /// [`Error::Unfinished`] when a run that began the directory was never
    /// finished; [`Error::NoSegments`]; otherwise as [`SegmentsWriter::create`].
    pub fn append(location: &Location) -> Result<Self> {
        let Entered { store, guard, session, found } = enter(location, |found, store| {
            let begun = match &found.journal {
                Some(journal) => journal.trusted(&journal_path(store))?.is_some(),
                None => false,
            };
            let path = store.path().to_owned();
            match &found.manifest {
                Some(_) => refuse_bad_manifest(found),
                None if begun => Err(Error::Unfinished(path)),
                None => Err(Error::NoSegments(path)),
            }
        })?;
        let owned = found.owned();
        let foreign = foreign_keys(&found, &owned);
        let path = store.path().to_owned();
        let manifest = found.manifest.ok_or(Error::NoSegments(path))??;
        let mut writer = SegmentsWriter {
            location: location.clone(),
            header: manifest.header.clone(),
            session,
            live: BTreeMap::new(),
            places: HashMap::new(),
            fresh: HashSet::new(),
            owned,
            foreign,
            in_manifest: HashSet::new(),
            staged: Vec::new(),
            staged_since: None,
            appends: true,
            store,
            _guard: guard,
        };
        writer.resume(Found { manifest: Some(Ok(manifest)), ..found })?;
        Ok(writer)
    }

    /// Keeps what an earlier run made, if it is the same run.
    fn resume(&mut self, found: Found) -> Result<()> {
        let manifest = found.manifest.and_then(Result::ok);
        self.in_manifest =
            manifest.iter().flat_map(|m| &m.segments).map(|entry| entry.file.clone()).collect();
        // The journal is replaced by all that is true whenever a session
        // begins, so where there is one it is never behind the manifest, but
        // for fields that others have put there.
        let earlier = match found.journal {
            Some(Journal { header: Some(mut header), done, .. }) => {
                let mut entries: Vec<Entry> = done.into_values().collect();
                if let Some(manifest) = &manifest {
                    manifest.lend(&mut header, &mut entries);
                }
                Some((header, entries))
            }
            _ => manifest.map(|manifest| (manifest.header, manifest.segments)),
        };
        if let Some((had, entries)) = earlier {
            let sizes: HashMap<&str, u64> = found
                .listed
                .iter()
                .filter(|listed| listed.kind == EntryKind::File)
                .filter_map(|listed| Some((listed.name.to_str()?, listed.bytes)))
                .collect();
            if !entries.is_empty() {
                if had.fingerprint != self.header.fingerprint {
                    return Err(Error::OtherRun {
                        dir: self.location.path().to_owned(),
                        had: had.fingerprint,
                        want: self.header.fingerprint.clone(),
                    });
                }
                let had = Manifest { header: had, segments: Vec::new() };
                had.lend(&mut self.header, []);
            }
            for entry in entries {
                if sizes.get(entry.file.as_str()) == Some(&entry.bytes) {
                    self.places.insert(entry.index, entry.file.clone());
                    self.live.insert(entry.file.clone(), entry);
                }
            }
        }
        self.begin_journal()
    }

    /// Removes what picklet put there.
    fn clear(&mut self, had_sums: bool) -> Result<()> {
        // From here on the journal forgets the old segments but still knows
        // that their files are picklet's, so that this can be cut off anywhere.
        self.begin_journal()?;
        self.store.remove_manifest()?;
        for file in self.owned.values() {
            self.store.remove(file)?;
        }
        if had_sums {
            self.store.remove(name::SUMS)?;
        }
        self.store.clear_private()?;
        // That took the session's folder with it.
        self.store.begin_session(&self.session)
    }

    /// Replaces the journal by what is true now.
    fn begin_journal(&self) -> Result<()> {
        let owned = self.owned.values().cloned().collect();
        self.store.replace_journal(&journal_bytes(&self.header, owned, self.live.values())?)
    }

    /// The segments that are there, in order: those kept from an earlier run
    /// and those made since.
    pub fn done(&self) -> Vec<&Entry> {
        let mut done: Vec<&Entry> = self.live.values().collect();
        done.sort_by_key(|entry| entry.index);
        done
    }

    /// The header, with what was kept from an earlier run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The header, to add what is known only at the end (a pipe's size and
    /// digest). It reaches the manifest in [`SegmentsWriter::finish`].
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    /// The directory.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The index after the last segment's.
    pub fn next_index(&self) -> u64 {
        self.places.keys().map(|index| index.saturating_add(1)).max().unwrap_or(0)
    }

    /// What a worker process needs to publish segments itself. It works until
    /// another writer takes the directory.
    pub fn publisher(&self) -> Publisher {
        Publisher::of_session(self.store.clone(), &self.session, self.header.sha256)
    }

    /// Says which segments are about to be written, by name (with or without
    /// `.pickle`). [`SegmentsWriter::draft`] does it by itself; for segments
    /// that worker processes publish it must come before they begin, at best
    /// for all at once. A segment of that name that was kept is no longer
    /// done from here on, and its file stays until it is replaced or the run
    /// is finished.
    ///
    /// # Errors
    /// [`Error::BadName`]; [`Error::SameName`] when this run has made one of
    /// that name; [`Error::Foreign`] when a file of that name is there and is
    /// not picklet's; [`Error::Io`].
    pub fn announce<S: AsRef<str>>(&mut self, names: &[S]) -> Result<()> {
        let mut new = Vec::new();
        let mut taken_back = Vec::new();
        for name in names {
            let file = name::named_file(name.as_ref())?;
            let key = name::same_key(&file);
            if self.foreign.contains(&key) {
                return Err(Error::Foreign { dir: self.location.path().to_owned(), file });
            }
            match self.owned.get(&key) {
                None => {
                    self.owned.insert(key, file.clone());
                    new.push(file);
                }
                Some(other) if *other != file || self.fresh.contains(&file) => {
                    return Err(Error::SameName { first: other.clone(), second: file });
                }
                Some(_) if self.live.contains_key(&file) => taken_back.push(file),
                Some(_) => {}
            }
        }
        let mut lines = Vec::new();
        if !new.is_empty() {
            lines.extend(Record::Names { files: new }.to_line()?);
        }
        for file in &taken_back {
            lines.extend(Record::Drop { file: file.clone() }.to_line()?);
        }
        if !lines.is_empty() {
            self.store.append_journal(&lines)?;
        }
        for file in &taken_back {
            if let Some(entry) = self.live.remove(file)
                && self.places.get(&entry.index) == Some(file)
            {
                self.places.remove(&entry.index);
            }
        }
        if names
            .iter()
            .any(|n| name::named_file(n.as_ref()).is_ok_and(|f| self.in_manifest.contains(&f)))
        {
            self.store.remove_manifest()?;
            self.in_manifest.clear();
        }
        Ok(())
    }

    /// Takes back a segment kept from an earlier run: it is no longer done,
    /// and [`SegmentsWriter::finish`] removes its file unless it was made anew.
    ///
    /// # Errors
    /// As [`SegmentsWriter::announce`].
    pub fn discard(&mut self, file: &str) -> Result<()> {
        self.announce(&[file])
    }

    /// Begins a segment of this name (with or without `.pickle`). It is
    /// visible to nobody until [`SegmentsWriter::commit`].
    ///
    /// # Errors
    /// As [`SegmentsWriter::announce`].
    pub fn draft(&mut self, name: &str) -> Result<Draft> {
        let file = name::named_file(name)?;
        if self.owned.contains_key(&name::same_key(&file)) {
            self.announce(&[file.as_str()])?;
        } else {
            let mut names = vec![file.clone()];
            names.extend(following(&file).filter(|next| {
                let key = name::same_key(next);
                !self.foreign.contains(&key) && !self.owned.contains_key(&key)
            }));
            self.announce(&names)?;
        }
        self.publisher().draft(&file)
    }

    /// Publishes a draft and writes it into the journal. When this returns,
    /// the segment is there after any crash.
    ///
    /// # Errors
    /// [`Error::Io`]; the segment must then be written anew, if at all.
    pub fn commit(&mut self, draft: Draft, meta: EntryMeta) -> Result<Entry> {
        let receipt = draft.publish()?;
        self.adopt(receipt, meta)
    }

    /// Publishes a draft that may wait for others before it counts as done,
    /// because each fsync of the directory and of the journal costs as much
    /// for one small segment as for many. Returns those that are done now, in
    /// order: none, or all that were staged since the last time. They are
    /// there after any crash; of the others a crash may leave nothing, and a
    /// resumed run makes them anew.
    ///
    /// # Errors
    /// [`Error::Io`]; then none of those that were staged counts as done.
    pub fn stage(&mut self, draft: Draft, meta: EntryMeta) -> Result<Vec<Entry>> {
        let receipt = draft.publish()?;
        let entry = self.checked(receipt, meta)?;
        // From here on neither its name nor its place is another's.
        self.places.insert(entry.index, entry.file.clone());
        self.fresh.insert(entry.file.clone());
        self.staged.push(entry);
        let since = *self.staged_since.get_or_insert_with(Instant::now);
        let bytes: u64 = self.staged.iter().map(|entry| entry.bytes).sum();
        let full = self.staged.len() >= STAGED_SEGMENTS || bytes >= STAGED_BYTES;
        if full || since.elapsed() >= STAGED_FOR { self.settle() } else { Ok(Vec::new()) }
    }

    /// Makes done what was staged, and returns it in order.
    ///
    /// # Errors
    /// [`Error::Io`]; then none of it counts as done.
    pub fn settle(&mut self) -> Result<Vec<Entry>> {
        let staged = std::mem::take(&mut self.staged);
        self.staged_since = None;
        if let Err(error) = self.book(&staged) {
            for entry in &staged {
                self.places.remove(&entry.index);
                self.fresh.remove(&entry.file);
            }
            return Err(error);
        }
        Ok(staged)
    }

    /// Writes a segment into the journal that a worker process has published
    /// through [`Publisher`].
    ///
    /// # Errors
    /// [`Error::Usage`] when its name was not announced or its index is
    /// another's; [`Error::Missing`] or [`Error::Damaged`] when the file is
    /// not what the receipt says; [`Error::Io`].
    pub fn adopt(&mut self, receipt: Receipt, meta: EntryMeta) -> Result<Entry> {
        let entry = self.checked(receipt, meta)?;
        self.book(std::slice::from_ref(&entry))?;
        Ok(entry)
    }

    /// Does the same for several segments with one fsync of the directory and
    /// one of the journal.
    ///
    /// # Errors
    /// As [`SegmentsWriter::adopt`], for the first that is wrong; then none of
    /// them counts as done.
    pub fn adopt_all(&mut self, published: Vec<(Receipt, EntryMeta)>) -> Result<()> {
        let mut files = HashSet::new();
        let mut indexes = HashSet::new();
        let mut entries = Vec::with_capacity(published.len());
        for (receipt, meta) in published {
            let entry = self.checked(receipt, meta)?;
            if !files.insert(entry.file.clone()) || !indexes.insert(entry.index) {
                return Err(Error::usage(format!("segment {:?} was published twice", entry.file)));
            }
            entries.push(entry);
        }
        self.book(&entries)
    }

    /// The entry of a published segment, after a look at its file.
    fn checked(&self, receipt: Receipt, meta: EntryMeta) -> Result<Entry> {
        let path = self.location.path().join(&receipt.file);
        let announced = self.owned.get(&name::same_key(&receipt.file));
        if announced != Some(&receipt.file) || self.live.contains_key(&receipt.file) {
            return Err(Error::usage(format!(
                "segment {:?} was not announced before it was published",
                receipt.file
            )));
        }
        if let Some(other) = self.places.get(&meta.index) {
            return Err(Error::usage(format!(
                "segments {other:?} and {:?} have the same index {}",
                receipt.file, meta.index
            )));
        }
        match self.store.size(&receipt.file)? {
            None => return Err(Error::Missing(path)),
            Some(found) if found != receipt.bytes => {
                return Err(Error::Damaged {
                    path,
                    reason: format!("it has {found} bytes, its writer wrote {}", receipt.bytes),
                });
            }
            Some(_) => {}
        }
        let mut extra = meta.extra;
        if self.appends {
            extra.insert(APPENDED.to_owned(), true.into());
        }
        Ok(Entry {
            file: receipt.file,
            index: meta.index,
            first_item: None,
            items: meta.items,
            bytes: receipt.bytes,
            xxh3: Some(receipt.xxh3),
            sha256: receipt.sha256,
            kind: meta.kind,
            shared: meta.shared,
            input: meta.input,
            version: meta.version,
            extra,
        })
    }

    /// Makes the names of published segments durable and writes them into the
    /// journal; once this returns they are done.
    fn book(&mut self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.store.sync()?;
        let mut lines = Vec::new();
        for entry in entries {
            lines.extend(Record::Done { entry: Box::new(entry.clone()) }.to_line()?);
        }
        self.store.append_journal(&lines)?;
        for entry in entries {
            self.places.insert(entry.index, entry.file.clone());
            self.live.insert(entry.file.clone(), entry.clone());
            self.fresh.insert(entry.file.clone());
        }
        Ok(())
    }

    /// Ends the run: numbers the items, removes files of names that were
    /// announced and came to nothing, writes the manifest.
    ///
    /// # Errors
    /// [`Error::Io`]; everything committed is kept, and resuming ends the run.
    pub fn finish(mut self) -> Result<Segments> {
        self.settle()?;
        let present = self.store.list()?.unwrap_or_default();
        for found in present {
            let Some(file) = found.name.to_str() else { continue };
            let ours = self.owned.get(&name::same_key(file)).is_some_and(|owned| owned == file);
            if ours && !self.live.contains_key(file) && found.kind != EntryKind::Directory {
                // Durable together with the manifest.
                self.store.remove(file)?;
            }
        }
        let manifest = Manifest {
            header: self.header.clone(),
            segments: in_order(self.live.values().cloned().collect()),
        };
        manifest.check().map_err(|reason| {
            let path = manifest_path(&*self.store);
            Error::input(path, None, format!("cannot be written: it {reason}"))
        })?;
        if let Some(sums) = sums(&manifest) {
            self.store.replace_sums(sums.as_bytes())?;
        }
        self.store.replace_manifest(&manifest.to_bytes()?)?;
        Ok(Segments::written(self.location.clone(), self.store.clone(), manifest))
    }
}

impl Drop for SegmentsWriter {
    fn drop(&mut self) {
        // A run that was interrupted keeps what it has made. Nobody was told that these are done,
        // so an error breaks no promise: they are made anew.
        if let Err(error) = self.settle() {
            log::debug!("segments that were not yet done are made anew: {error}");
        }
    }
}

/// The list that `sha256sum -c` takes, when every segment has such a digest.
pub(crate) fn sums(manifest: &Manifest) -> Option<String> {
    if !manifest.header.sha256 {
        return None;
    }
    let line = |entry: &Entry| Some(format!("{}  {}\n", entry.sha256.as_ref()?, entry.file));
    manifest.segments.iter().map(line).collect()
}

/// A directory whose lock is held and whose session has begun.
struct Entered {
    store: Arc<dyn Store>,
    guard: Box<dyn Guard>,
    session: String,
    found: Found,
}

/// Takes the lock, fences off earlier sessions and reads what is there.
/// `check` decides whether the directory may be entered at all; it is asked
/// before anything is made in a directory that is not yet picklet's.
fn enter(location: &Location, check: impl Fn(&Found, &dyn Store) -> Result<()>) -> Result<Entered> {
    let store = location.store();
    let before = Found::read(&*store)?;
    if before.journal.is_none() {
        check(&before, &*store)?;
    }
    let guard = store.lock()?;
    let session = new_session();
    check(&Found::read(&*store)?, &*store)?;
    store.begin_session(&session)?;
    // Read again: a process that outlived its writer may have published until
    // the session began, and cannot any more.
    let found = Found::read(&*store)?;
    check(&found, &*store)?;
    Ok(Entered { store, guard, session, found })
}

/// Whether a run may enter a directory that holds `found`.
fn admit(found: &Found, existing: Existing, store: &dyn Store) -> Result<()> {
    let dir = store.path().to_owned();
    match existing {
        Existing::Refuse => match found.listed.first() {
            Some(first) => {
                let file = first.name.to_string_lossy().into_owned();
                Err(Error::NotEmpty { dir, file })
            }
            None => Ok(()),
        },
        Existing::Resume => {
            if let Some(journal) = &found.journal
                && journal.trusted(&journal_path(store))?.is_some()
            {
                return Ok(());
            }
            refuse_bad_manifest(found)?;
            match (&found.manifest, found.listed.first()) {
                (None, Some(first)) => {
                    let file = first.name.to_string_lossy().into_owned();
                    Err(Error::Foreign { dir, file })
                }
                _ => Ok(()),
            }
        }
        Existing::Overwrite => match found.foreign(&found.owned()).into_iter().min() {
            Some(file) => {
                // Where the manifest is damaged, the files that it names look
                // like somebody else's: say what the matter is.
                refuse_bad_manifest(found)?;
                Err(Error::Foreign { dir, file })
            }
            None => Ok(()),
        },
    }
}

/// A whole journal: the run, the files that are picklet's, the segments done.
pub(crate) fn journal_bytes<'a>(
    header: &Header,
    mut owned: Vec<String>,
    done: impl IntoIterator<Item = &'a Entry>,
) -> Result<Vec<u8>> {
    let header = Box::new(header.clone());
    let mut lines = Record::Begin { format_version: FORMAT_VERSION, header }.to_line()?;
    owned.sort();
    owned.dedup();
    if !owned.is_empty() {
        lines.extend(Record::Names { files: owned }.to_line()?);
    }
    for entry in done {
        lines.extend(Record::Done { entry: Box::new(entry.clone()) }.to_line()?);
    }
    Ok(lines)
}

/// Gives back the error of a manifest that could not be read.
fn refuse_bad_manifest(found: &Found) -> Result<()> {
    match &found.manifest {
        Some(Err(Error::BadManifest { path, reason })) => {
            Err(Error::BadManifest { path: path.clone(), reason: reason.clone() })
        }
        Some(Err(Error::NewerManifest { path, found, supported })) => {
            Err(Error::NewerManifest { path: path.clone(), found: *found, supported: *supported })
        }
        _ => Ok(()),
    }
}

fn foreign_keys(found: &Found, owned: &HashMap<String, String>) -> HashSet<String> {
    found.foreign(owned).iter().map(|file| name::same_key(file)).collect()
}

/// The numbered names that follow `file`: `data-00008.pickle` … for
/// `data-00007.pickle`; none for other names.
fn following(file: &str) -> impl Iterator<Item = String> {
    let numbered = || {
        let (stem, ending) = name::split_ending(file)?;
        let (base, digits) = stem.rsplit_once('-')?;
        let number: u64 = digits.parse().ok()?;
        let width = digits.len();
        let same = format!("{base}-{number:0width$}{ending}") == file;
        same.then_some((base, number, width, ending))
    };
    numbered().into_iter().flat_map(|(base, number, width, ending)| {
        (1..NAMES_AHEAD)
            .filter_map(move |ahead| number.checked_add(ahead))
            .map(move |next| format!("{base}-{next:0width$}{ending}"))
            .filter(|next| name::validate_file(next).is_ok())
    })
}

/// A name that no other session has: the process, and 64 random bits.
pub(crate) fn new_session() -> String {
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}-{random:016x}", std::process::id())
}
