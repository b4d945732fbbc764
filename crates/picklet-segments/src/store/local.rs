//! Segments in a directory of a file system.
//!
//! Everything is published by the same four steps, in this order: write a
//! temporary file on the same file system, fsync it, rename it over its name,
//! fsync the directory. A file that was renamed before its own fsync may be
//! empty after a power cut; a rename that was not followed by the directory's
//! fsync may be undone by one. Several segments may share the last step, which
//! is [`Store::sync`]'s: it is what costs when they are small and many.
//!
//! ```text
//! out/
//!   data-00000.pickle …      segments
//!   segments.json            the manifest
//!   .picklet/
//!     lock                   held by the one writer; says who it is
//!     journal                one line for each thing that became true
//!     tmp/SESSION/           what the writer is writing
//!     quarantine/            damaged segments that `repair` set aside
//! ```

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, DiskFile, EntryKind, Held, Lock};
use super::{Guard, Listed, Publication, ReadAt, Store, read_whole};
use crate::error::{Error, Result};
use crate::name;

/// Largest manifest or journal that is read, in bytes: some ten million
/// segments. A larger file is not ours, and would only fill the memory.
const MAX_METADATA_BYTES: u64 = 4 << 30;

/// Deepest nesting of folders that is removed from picklet's own folder.
const MAX_PRIVATE_DEPTH: usize = 8;

/// A store in a directory.
#[derive(Debug)]
pub struct LocalStore {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    journal: Mutex<JournalFile>,
}

/// Temporary files that this process has made. Not of one store: worker threads have each their
/// own on the same directory.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// The journal as this store has it open.
enum JournalFile {
    Closed,
    Open(Box<dyn DiskFile>),
    /// A write failed: there may be half a line at its end.
    Broken,
}

impl std::fmt::Debug for JournalFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            JournalFile::Closed => "Closed",
            JournalFile::Open(_) => "Open",
            JournalFile::Broken => "Broken",
        })
    }
}

struct LocalGuard(#[expect(dead_code, reason = "held for its drop")] Box<dyn Held>);

impl Guard for LocalGuard {}

impl LocalStore {
    /// A store in the directory `root` of `disk`. Touches nothing yet.
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        LocalStore { disk, root, journal: Mutex::new(JournalFile::Closed) }
    }

    fn private(&self) -> PathBuf {
        self.root.join(name::PRIVATE)
    }

    fn drafts_of(&self, session: &str) -> PathBuf {
        self.private().join("tmp").join(session)
    }

    fn journal_path(&self) -> PathBuf {
        self.private().join("journal")
    }

    /// Makes `path` and its missing parents. They are not durable yet.
    fn make_dirs(&self, path: &Path) -> Result<()> {
        let mut missing = Vec::new();
        let mut at = path;
        loop {
            match self.disk.stat(at).map_err(|e| Error::io("look at", at, e))? {
                Some(stat) if stat.kind == EntryKind::Directory => break,
                Some(_) => return Err(Error::NotADirectory(at.to_owned())),
                None => missing.push(at),
            }
            match at.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => at = parent,
                _ => break,
            }
        }
        for dir in missing.into_iter().rev() {
            match self.disk.create_dir(dir) {
                Ok(()) => {}
                // Another process was faster.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("make directory", dir, e)),
            }
        }
        Ok(())
    }

    /// Makes the directory durable in its parent, and that in its own, and so
    /// on to the top. All of them, not only those that this process has made:
    /// an earlier one may have been killed after making them.
    fn sync_parents(&self) -> Result<()> {
        for parent in self.root.ancestors().skip(1) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            match self.disk.sync_dir(parent) {
                // One may make things in a directory that one may not read,
                // and only what can be read can be fsynced.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                Err(e) => return Err(Error::io("fsync directory", parent, e)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn sync_parent(&self, path: &Path) -> Result<()> {
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.disk.sync_dir(parent).map_err(|e| Error::io("fsync directory", parent, e))
    }

    /// Replaces `path` by `bytes`: temporary file beside it, fsync, rename,
    /// fsync of the directory.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let temporary = self.private().join(format!("new-{}-{number}", std::process::id()));
        let result = self.write_and_rename(&temporary, path, bytes);
        if result.is_err() {
            // Best effort: the error that matters is the first one.
            let _ = self.disk.remove_file(&temporary);
        }
        result
    }

    fn write_and_rename(&self, temporary: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
        match self.disk.remove_file(temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", temporary, e));
            }
            _ => {}
        }
        let mut file =
            self.disk.create_new(temporary).map_err(|e| Error::io("create", temporary, e))?;
        file.write_all(bytes).map_err(|e| Error::io("write", path, e))?;
        file.sync().map_err(|e| Error::io("fsync", path, e))?;
        drop(file);
        self.disk.rename(temporary, path).map_err(|e| Error::io("rename into place", path, e))?;
        self.sync_parent(path)
    }

    fn read_metadata(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let file = match self.disk.open(path) {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(Error::io("open", path, e)),
        };
        let size = file.size().map_err(|e| Error::io("read", path, e))?;
        if size > MAX_METADATA_BYTES {
            return Err(Error::input(
                path,
                None,
                format!("{size} bytes is too large to be picklet's; move it away"),
            ));
        }
        read_whole(&*file, path).map(Some)
    }

    /// Removes `path` and all in it. Links are removed, not followed.
    fn remove_tree(&self, path: &Path, depth: usize) -> Result<()> {
        if depth > MAX_PRIVATE_DEPTH {
            return Err(Error::input(
                path,
                None,
                "is nested too deep to be picklet's; remove it yourself",
            ));
        }
        let entries = match self.disk.list(path) {
            Ok(entries) => entries,
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(Error::io("list", path, e)),
        };
        for entry in entries {
            let child = path.join(&entry.name);
            if entry.kind == EntryKind::Directory {
                self.remove_tree(&child, depth + 1)?;
            } else {
                self.remove_if_there(&child)?;
            }
        }
        match self.disk.remove_dir(path) {
            Err(e) if !is_absent(&e) => Err(Error::io("remove directory", path, e)),
            _ => Ok(()),
        }
    }

    fn remove_if_there(&self, path: &Path) -> Result<()> {
        match self.disk.remove_file(path) {
            Err(e) if !is_absent(&e) => Err(Error::io("remove", path, e)),
            _ => Ok(()),
        }
    }
}

/// Nothing is there, or something above it is no directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

impl Store for LocalStore {
    fn path(&self) -> &Path {
        &self.root
    }

    fn list(&self) -> Result<Option<Vec<Listed>>> {
        let entries = match self.disk.list(&self.root) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                return Err(Error::NotADirectory(self.root.clone()));
            }
            Err(e) => return Err(Error::io("list", &self.root, e)),
        };
        let listed = entries
            .into_iter()
            .filter(|entry| entry.name != name::PRIVATE)
            .map(|entry| Listed { name: entry.name, kind: entry.kind, bytes: entry.bytes })
            .collect();
        Ok(Some(listed))
    }

    fn open(&self, file: &str) -> Result<Box<dyn ReadAt>> {
        let path = self.root.join(file);
        self.disk.open(&path).map_err(|e| {
            if is_absent(&e) {
                Error::Missing(path.clone())
            } else {
                Error::io("open", path.clone(), e)
            }
        })
    }

    fn size(&self, file: &str) -> Result<Option<u64>> {
        let path = self.root.join(file);
        let stat = self.disk.stat(&path).map_err(|e| Error::io("look at", &path, e))?;
        Ok(stat.filter(|stat| stat.kind == EntryKind::File).map(|stat| stat.bytes))
    }

    fn remove(&self, file: &str) -> Result<()> {
        self.remove_if_there(&self.root.join(file))
    }

    fn sync(&self) -> Result<()> {
        self.disk.sync_dir(&self.root).map_err(|e| Error::io("fsync directory", &self.root, e))
    }

    fn quarantine(&self, file: &str) -> Result<PathBuf> {
        let dir = self.private().join("quarantine");
        self.make_dirs(&dir)?;
        let mut target = dir.join(file);
        let mut number = 1;
        while self.disk.stat(&target).map_err(|e| Error::io("look at", &target, e))?.is_some() {
            target = dir.join(format!("{number}-{file}"));
            number += 1;
        }
        self.sync_parent(&dir)?;
        let from = self.root.join(file);
        self.disk.rename(&from, &target).map_err(|e| Error::io("set aside", &from, e))?;
        self.sync_parent(&target)?;
        self.sync()?;
        Ok(target)
    }

    fn set_aside(&self) -> Result<Vec<String>> {
        let dir = self.private().join("quarantine");
        match self.disk.list(&dir) {
            Ok(entries) => {
                Ok(entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect())
            }
            Err(e) if is_absent(&e) => Ok(Vec::new()),
            Err(e) => Err(Error::io("list", &dir, e)),
        }
    }

    fn local_path(&self, file: &str) -> Option<PathBuf> {
        self.disk.is_real().then(|| self.root.join(file))
    }

    fn lock(&self) -> Result<Box<dyn Guard>> {
        self.make_dirs(&self.private())?;
        let path = self.private().join("lock");
        let holder = format!("process {}", std::process::id());
        match self.disk.lock(&path, &holder).map_err(|e| Error::io("lock", &path, e))? {
            Lock::Held(held) => {
                // What an earlier writer had made or removed when it was killed
                // is believed from here on, so it has to be durable.
                self.sync()?;
                let journal = self.journal_path();
                let begun =
                    self.disk.stat(&journal).map_err(|e| Error::io("look at", &journal, e))?;
                if begun.is_none() {
                    self.sync_parents()?;
                }
                Ok(Box::new(LocalGuard(held)))
            }
            Lock::Busy(text) => {
                let known = text.starts_with("process ") && !text.contains(char::is_control);
                let holder = if known { text } else { "another process".to_owned() };
                Err(Error::Locked { dir: self.root.clone(), holder })
            }
        }
    }

    fn begin_session(&self, session: &str) -> Result<()> {
        let drafts = self.private().join("tmp");
        self.remove_tree(&drafts, 0)?;
        // Leftovers of a `replace` that was cut off.
        let private = self.private();
        for entry in self.disk.list(&private).map_err(|e| Error::io("list", &private, e))? {
            if entry.kind == EntryKind::File && entry.name.to_string_lossy().starts_with("new-") {
                self.remove_if_there(&private.join(&entry.name))?;
            }
        }
        // Nothing in there has to survive a crash, so no fsync.
        for dir in [drafts, self.drafts_of(session)] {
            self.disk.create_dir(&dir).map_err(|e| Error::io("make directory", &dir, e))?;
        }
        Ok(())
    }

    fn create(&self, session: &str, file: &str) -> Result<Box<dyn Publication>> {
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        // Not the segment's name: with a suffix it could be too long for a file.
        let temporary = self.drafts_of(session).join(format!("{}-{number}", std::process::id()));
        let path = self.root.join(file);
        let writer = self.disk.create_new(&temporary).map_err(|e| {
            if is_absent(&e) {
                Error::TakenOver(self.root.clone())
            } else {
                Error::io("create", &path, e)
            }
        })?;
        Ok(Box::new(LocalPublication {
            disk: self.disk.clone(),
            root: self.root.clone(),
            temporary,
            path,
            writer: Some(writer),
        }))
    }

    fn read_manifest(&self) -> Result<Option<Vec<u8>>> {
        self.read_metadata(&self.root.join(name::MANIFEST))
    }

    fn replace_manifest(&self, bytes: &[u8]) -> Result<()> {
        self.replace(&self.root.join(name::MANIFEST), bytes)
    }

    fn replace_sums(&self, bytes: &[u8]) -> Result<()> {
        self.replace(&self.root.join(name::SUMS), bytes)
    }

    fn remove_manifest(&self) -> Result<()> {
        self.remove_if_there(&self.root.join(name::MANIFEST))?;
        self.sync()
    }

    fn read_journal(&self) -> Result<Option<Vec<u8>>> {
        self.read_metadata(&self.journal_path())
    }

    fn replace_journal(&self, bytes: &[u8]) -> Result<()> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        *journal = JournalFile::Broken;
        self.replace(&self.journal_path(), bytes)?;
        *journal = JournalFile::Closed;
        Ok(())
    }

    fn append_journal(&self, bytes: &[u8]) -> Result<()> {
        let path = self.journal_path();
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = match std::mem::replace(&mut *journal, JournalFile::Broken) {
            JournalFile::Open(file) => file,
            JournalFile::Closed => {
                self.disk.append(&path).map_err(|e| Error::io("open", &path, e))?
            }
            JournalFile::Broken => {
                let earlier = io::Error::other("an earlier write to it failed");
                return Err(Error::io("write", &path, earlier));
            }
        };
        file.write_all(bytes).map_err(|e| Error::io("write", &path, e))?;
        file.sync().map_err(|e| Error::io("fsync", &path, e))?;
        *journal = JournalFile::Open(file);
        Ok(())
    }

    fn write_note(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let dir = self.private().join("quarantine");
        self.make_dirs(&dir)?;
        self.replace(&dir.join(name), bytes)
    }

    fn remove_note(&self, name: &str) -> Result<()> {
        self.remove_if_there(&self.private().join("quarantine").join(name))
    }

    fn remove_all(&self) -> Result<()> {
        self.remove_tree(&self.root, 0)
    }

    fn clear_private(&self) -> Result<()> {
        let private = self.private();
        for entry in self.disk.list(&private).map_err(|e| Error::io("list", &private, e))? {
            let path = private.join(&entry.name);
            if entry.name == "lock" || entry.name == "journal" {
                continue;
            }
            if entry.kind == EntryKind::Directory {
                self.remove_tree(&path, 0)?;
            } else {
                self.remove_if_there(&path)?;
            }
        }
        Ok(())
    }
}

/// A segment on its way.
struct LocalPublication {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    temporary: PathBuf,
    path: PathBuf,
    /// `None` once closed.
    writer: Option<Box<dyn DiskFile>>,
}

impl Write for LocalPublication {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Err(io::Error::other("the segment is closed")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Publication for LocalPublication {
    fn publish(mut self: Box<Self>) -> Result<()> {
        if let Some(mut writer) = self.writer.take() {
            writer.sync().map_err(|e| Error::io("fsync", &self.path, e))?;
        }
        self.disk.rename(&self.temporary, &self.path).map_err(|e| {
            if is_absent(&e) {
                Error::TakenOver(self.root.clone())
            } else {
                Error::io("rename into place", &self.path, e)
            }
        })?;
        self.temporary = PathBuf::new();
        Ok(())
    }
}

impl Drop for LocalPublication {
    fn drop(&mut self) {
        self.writer = None;
        if !self.temporary.as_os_str().is_empty() {
            // Best effort: what stays is removed when the next session begins.
            let _ = self.disk.remove_file(&self.temporary);
        }
    }
}
