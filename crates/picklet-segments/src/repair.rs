//! Making a damaged segments directory whole again, as far as that is possible.
//!
//! What is known of the segments comes from the manifest and the journal, or,
//! where both are lost, from the files. A segment that is not what is known of
//! it is set aside in `.picklet/quarantine` (never deleted), and the manifest
//! is rebuilt without it. Resuming the run that made the directory makes anew
//! what was lost: the manifest still says which run that was. The item indexes
//! are compared with what is there, and made anew where they are not its.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::directory::{Segments, in_order, listed_entry, manifest_path};
use crate::error::{Error, Result};
use crate::index;
use crate::journal::Journal;
use crate::manifest::{Entry, Header, Kind, Manifest};
use crate::name;
use crate::progress::Totals;
use crate::split::ItemReader;
use crate::store::{EntryKind, Location, Store};
use crate::verify::{
    Examined, Inspected, VerifyOptions, difference, examine, in_parallel, reason_of,
};
use crate::writer::{APPENDED, journal_bytes, new_session, sums};

/// The fingerprint of a directory of which nobody knows what run made it.
pub const UNKNOWN_RUN: &str = "unknown: rebuilt from the files";

/// A segment that repair could not keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// What was known of it, its item numbers included.
    pub entry: Entry,
    /// Where it is now, when it was there at all.
    pub quarantined: Option<PathBuf>,
    /// What was wrong with it, in one line.
    pub reason: String,
}

/// What repair has found and done.
#[derive(Debug, Clone, PartialEq)]
pub struct RepairReport {
    /// What the manifest says now.
    pub manifest: Manifest,
    /// Why the manifest that was there could not be used, if it could not.
    pub manifest_was: Option<String>,
    /// Whether a line of the journal was damaged.
    pub journal_was_damaged: bool,
    /// Segments that are lost, in order. The run that made the directory,
    /// resumed, makes them anew.
    pub lost: Vec<Lost>,
    /// Files that nobody knew, taken in because the knowledge was damaged.
    pub taken_in: Vec<String>,
    /// Files that nobody knows, left where they are.
    pub left_alone: Vec<String>,
    /// How many segments have an item index now: those that are large enough
    /// to be worth one, in a directory of the local file system.
    pub indexed: usize,
}

impl RepairReport {
    /// Whether nothing was lost.
    pub fn nothing_lost(&self) -> bool {
        self.lost.is_empty()
    }

    /// What to do to get back what is lost, one line each; none when nothing is.
    pub fn way_back(&self) -> Vec<String> {
        let (appended, made): (Vec<_>, Vec<_>) =
            self.lost.iter().partition(|lost| lost.entry.extra.contains_key(APPENDED));
        let mut lines = Vec::new();
        if !made.is_empty() {
            lines.push(self.made_anew());
        }
        if !appended.is_empty() {
            let files: Vec<&str> = appended.iter().map(|lost| lost.entry.file.as_str()).collect();
            lines.push(format!(
                "no run makes what was appended ({}): append it again",
                files.join(", ")
            ));
        }
        lines
    }

    /// What makes anew what a run has made.
    fn made_anew(&self) -> String {
        let header = &self.manifest.header;
        if header.fingerprint == UNKNOWN_RUN {
            return "nobody knows what made this directory: manifest and journal were both lost; \
                    make it anew from its source with --overwrite, or restore the files from a \
                    copy and repair again"
                .to_owned();
        }
        if let Some(command) = &header.made_by {
            return format!("to make anew what is lost, where it was run first: {command}");
        }
        let source = header.source.as_ref().map(|source| format!(" from {:?}", source.name));
        format!(
            "to make anew what is lost, run again what made this directory{}, resuming",
            source.unwrap_or_default()
        )
    }
}

/// What the directory says about itself, believed as far as it can be.
struct Known {
    header: Option<Header>,
    /// What is said of each file. More than one thing where manifest and
    /// journal differ and neither can be trusted over the other.
    entries: Vec<Entry>,
    /// Every file that is picklet's, whether it has an entry or not.
    owned: Vec<String>,
    manifest_was: Option<String>,
    journal_was_damaged: bool,
    /// Whether entries may have been lost together with what was damaged.
    incomplete: bool,
}

impl Known {
    fn read(store: &dyn Store) -> Result<Known> {
        let manifest =
            store.read_manifest()?.map(|bytes| Manifest::from_bytes(&bytes, &manifest_path(store)));
        if let Some(Err(Error::NewerManifest { path, found, supported })) = manifest {
            return Err(Error::NewerManifest { path, found, supported });
        }
        let journal = store.read_journal()?.map(|bytes| Journal::parse(&bytes));
        let journal_was_damaged = journal.as_ref().is_some_and(|j| j.damaged.is_some());
        let whole = journal.as_ref().is_some_and(|j| j.header.is_some() && j.damaged.is_none());
        let (manifest, manifest_was) = match manifest {
            Some(Ok(manifest)) => (Some(manifest), None),
            Some(Err(Error::BadManifest { reason, .. })) => (None, Some(reason)),
            Some(Err(other)) => return Err(other),
            None => (None, None),
        };
        let incomplete = !whole && (manifest.is_none() || journal_was_damaged);
        let mut entries: Vec<Entry> = Vec::new();
        let mut header = None;
        let mut owned = Vec::new();
        if let Some(journal) = journal {
            header = journal.header;
            owned = journal.owned;
            entries.extend(journal.done.into_values());
        }
        if let Some(manifest) = manifest {
            owned.extend(manifest.segments.iter().map(|entry| entry.file.clone()));
            let mut known = header.take().unwrap_or_else(|| manifest.header.clone());
            manifest.lend(&mut known, &mut entries);
            header = Some(known);
            // A whole journal is never behind the manifest: what it no longer
            // says was taken back.
            if !whole {
                entries.extend(manifest.segments);
            }
        }
        Ok(Known { header, entries, owned, manifest_was, journal_was_damaged, incomplete })
    }
}

/// Repairs the directory: sets damaged segments aside, rebuilds manifest and
/// journal from what is whole. Does nothing to a directory that is whole but
/// write its manifest.
///
/// With `options.inspect` segments must also be pickles, and files of which
/// nothing is known get their number of items counted.
///
/// # Errors
/// [`Error::Locked`] while somebody writes; [`Error::NoDirectory`];
/// [`Error::NoSegments`] when there is nothing to repair;
/// [`Error::NewerManifest`]; [`Error::Io`]; [`Error::Interrupted`] while
/// segments are read, and nothing is changed then.
pub fn repair(location: &Location, options: &VerifyOptions<'_>) -> Result<RepairReport> {
    let store = location.store();
    if store.list()?.is_none() {
        return Err(Error::NoDirectory(location.path().to_owned()));
    }
    let known = Known::read(&*store)?;
    if known.entries.is_empty() && unnamed(&*store, &known)?.is_empty() {
        return Err(Error::NoSegments(location.path().to_owned()));
    }
    let _guard = store.lock()?;
    let session = new_session();
    store.begin_session(&session)?;
    let known = Known::read(&*store)?;
    let unnamed = unnamed(&*store, &known)?;

    options.progress.totals(Totals {
        segments: Some((known.entries.len() + unnamed.len()) as u64),
        items: None,
        bytes: known.entries.iter().try_fold(0u64, |sum, entry| sum.checked_add(entry.bytes)),
    });
    let (unnamed, twins) = without_twins(unnamed, &known.entries);
    let (kept, mut lost) = sort_out(&*store, &known, options)?;
    let mut taken_in = Vec::new();
    let mut left_alone = twins;
    let mut strangers = Vec::new();
    if known.incomplete {
        for (file, verdict) in examine_all(&*store, &unnamed, options)? {
            match entry_of(&file, verdict) {
                Ok(entry) => {
                    taken_in.push(file);
                    strangers.push(entry);
                }
                Err(reason) => {
                    let entry = listed_entry(&file, 0);
                    lost.push(Lost { entry, quarantined: None, reason });
                }
            }
        }
    } else {
        left_alone.extend(unnamed);
    }
    for lost in &mut lost {
        if store.size(&lost.entry.file)?.is_some() {
            lost.quarantined = Some(store.quarantine(&lost.entry.file)?);
        }
    }
    let header = known.header.unwrap_or_else(|| Header::new(common_kind(&strangers), UNKNOWN_RUN));
    let manifest = Manifest { segments: in_order(join(kept, strangers)), header };
    let mut owned = known.owned;
    owned.extend(taken_in.iter().cloned());
    store.replace_journal(&journal_bytes(&manifest.header, owned, &manifest.segments)?)?;
    if let Some(sums) = sums(&manifest) {
        store.replace_sums(sums.as_bytes())?;
    }
    store.replace_manifest(&manifest.to_bytes()?)?;
    let segments = Segments::written(location.clone(), store.clone(), manifest.clone());
    let indexed = index_anew(&segments, options);
    Ok(RepairReport {
        manifest,
        manifest_was: known.manifest_was,
        journal_was_damaged: known.journal_was_damaged,
        lost,
        taken_in,
        left_alone,
        indexed,
    })
}

/// Makes the item indexes fit what is there: removes those of segments that are gone, and makes
/// those that are missing, damaged or of another state of their segment. The number of those that
/// are there then. An index is only a help, so one that cannot be made is no error.
fn index_anew(segments: &Segments, options: &VerifyOptions<'_>) -> usize {
    index::remove_strange(segments);
    let numbers: Vec<usize> = (0..segments.len()).collect();
    // The repair is done; whoever stops now only goes without indexes.
    let made = in_parallel(&numbers, options, |&number| {
        if !index::is_worthwhile(segments, number) {
            return false;
        }
        let made = ItemReader::segment(segments, number);
        if let Err(error) = &made {
            log::debug!("no index of segment {number}: {error}");
        }
        made.is_ok()
    });
    made.unwrap_or_default().into_iter().filter(|made| *made).count()
}

/// Takes out names that are another segment's after Unicode NFC: a manifest
/// cannot name both.
fn without_twins(files: Vec<String>, entries: &[Entry]) -> (Vec<String>, Vec<String>) {
    let mut seen: HashSet<String> =
        entries.iter().map(|entry| name::same_key(&entry.file)).collect();
    files.into_iter().partition(|file| seen.insert(name::same_key(file)))
}

/// Pickles of which nothing is known, in the order a person would put them in.
fn unnamed(store: &dyn Store, known: &Known) -> Result<Vec<String>> {
    let named: HashSet<&str> = known.entries.iter().map(|entry| entry.file.as_str()).collect();
    let mut found: Vec<String> = store
        .list()?
        .unwrap_or_default()
        .into_iter()
        .filter(|listed| listed.kind == EntryKind::File)
        .filter_map(|listed| listed.name.into_string().ok())
        .filter(|file| name::validate_file(file).is_ok())
        .filter(|file| !named.contains(file.as_str()))
        .collect();
    found.sort_by(|a, b| name::natural_order(a, b));
    Ok(found)
}

fn examine_all(
    store: &dyn Store,
    files: &[String],
    options: &VerifyOptions<'_>,
) -> Result<Vec<(String, Result<Examined>)>> {
    let verdicts = in_parallel(files, options, |file| {
        let verdict = examine(store, file, false, options);
        match &verdict {
            Ok(_) => options.progress.segment(file),
            Err(e) => options.progress.failure(file, &e.to_string()),
        }
        verdict
    })?;
    Ok(files.iter().cloned().zip(verdicts).collect())
}

/// Compares every known segment with its file: what can be kept and what is
/// lost, both in order.
fn sort_out(
    store: &dyn Store,
    known: &Known,
    options: &VerifyOptions<'_>,
) -> Result<(Vec<Entry>, Vec<Lost>)> {
    let mut by_file: HashMap<&str, Vec<&Entry>> = HashMap::new();
    for entry in &known.entries {
        by_file.entry(&entry.file).or_default().push(entry);
    }
    let mut said: Vec<Vec<&Entry>> = by_file.into_values().collect();
    said.sort_by_key(|entries| entries.first().map(|entry| entry.index));
    let verdicts = in_parallel(&said, options, |entries| {
        let first = entries.first()?;
        let sha256 = entries.iter().any(|entry| entry.sha256.is_some());
        let found = match examine(store, &first.file, sha256, options) {
            Ok(found) => found,
            Err(Error::Missing(_)) => return Some(Err("it is not there".to_owned())),
            Err(e) => return Some(Err(reason_of(e))),
        };
        let differences: Vec<_> =
            entries.iter().map(|entry| (entry, difference(entry, &found))).collect();
        let true_one = differences.iter().find(|(_, difference)| difference.is_none());
        Some(match true_one {
            Some((entry, _)) => Ok((**entry).clone()),
            None => Err(differences.into_iter().find_map(|(_, d)| d).unwrap_or_default()),
        })
    })?;
    // Numbered over all of them, so that what is lost says which items it held.
    let numbered = in_order(said.iter().filter_map(|e| e.first().map(|e| (*e).clone())).collect());
    let mut numbers: HashMap<String, Entry> =
        numbered.into_iter().map(|entry| (entry.file.clone(), entry)).collect();
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    for (entries, verdict) in said.iter().zip(verdicts) {
        let Some((first, verdict)) = entries.first().zip(verdict) else { continue };
        match verdict {
            Ok(entry) => {
                options.progress.segment(&entry.file);
                kept.push(entry);
            }
            Err(reason) => {
                options.progress.failure(&first.file, &reason);
                let entry = numbers.remove(&first.file).unwrap_or_else(|| (*first).clone());
                lost.push(Lost { entry, quarantined: None, reason });
            }
        }
    }
    Ok((kept, lost))
}

/// The entry of a file of which nothing was known.
fn entry_of(file: &str, verdict: Result<Examined>) -> Result<Entry, String> {
    let found = verdict.map_err(reason_of)?;
    let inspected = match found.inspected {
        Some(Err(reason)) => return Err(format!("it is no whole pickle: {reason}")),
        Some(Ok(inspected)) => inspected,
        None => Inspected::default(),
    };
    Ok(Entry {
        items: inspected.items,
        kind: inspected.kind,
        xxh3: Some(found.xxh3),
        ..listed_entry(file, found.bytes)
    })
}

/// What all of these hold, when it is the same.
fn common_kind(entries: &[Entry]) -> Kind {
    let mut kinds = entries.iter().map(|entry| entry.kind);
    match kinds.next() {
        Some(Some(kind)) if kinds.all(|other| other == Some(kind)) => kind,
        _ => Kind::Objects,
    }
}

/// Puts segments of which only the file is known among those of which more is
/// known: where names tell the order, by name; otherwise at the end. Numbers
/// them anew where they are not numbered in order.
fn join(mut kept: Vec<Entry>, strangers: Vec<Entry>) -> Vec<Entry> {
    kept.sort_by_key(|entry| entry.index);
    if !strangers.is_empty() {
        let by_name = kept.is_sorted_by(|a, b| name::natural_order(&a.file, &b.file).is_lt());
        kept.extend(strangers);
        if by_name {
            kept.sort_by(|a, b| name::natural_order(&a.file, &b.file));
        }
    }
    if !kept.is_sorted_by(|a, b| a.index < b.index) {
        for (index, entry) in kept.iter_mut().enumerate() {
            entry.index = index as u64;
        }
    }
    kept
}
