//! The few file operations that a local store is made of.
//!
//! [`RealDisk`] hands each to the operating system. They are a trait because
//! "what was reported done survives a crash" can only be proved by crashing
//! between any two of them: the tests put a disk in place that keeps apart
//! what was written from what would survive a power cut.
//!
//! This module promises nothing about order or durability; that is what
//! [`LocalStore`](super::LocalStore) builds out of it.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::ReadAt;

/// What a directory entry is. Symbolic links are not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, a pipe, a device.
    Other,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name, without the directory.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes (0 for what is no file).
    pub bytes: u64,
}

/// What is at a path, links followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A file being written.
pub trait DiskFile: Write + Send {
    /// Makes durable what was written. After an error the file must be
    /// written anew: the kernel may have dropped the pages that failed, and a
    /// second call would report success.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// A held lock. Dropping it, or the end of the process, releases it.
pub trait Held: Send + Sync {}

/// What came of asking for a lock.
pub enum Lock {
    /// It is ours until dropped.
    Held(Box<dyn Held>),
    /// Another has it; what it wrote about itself.
    Busy(String),
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lock::Held(_) => f.write_str("Held"),
            Lock::Busy(holder) => write!(f, "Busy({holder})"),
        }
    }
}

/// A file system, as far as segments need one. Every method takes a path and
/// returns what the operating system says.
#[allow(missing_docs, reason = "the names are those of the operating system's calls")]
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a file that must not exist yet, for writing.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file to write at its end.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file to read.
    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>>;
    /// Renames within one file system, replacing what was there, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory's entries durable: names made, renamed and removed.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>>;
    /// `None` when there is nothing.
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>>;
    /// Takes the lock that `path` stands for, without waiting, and writes
    /// `holder` there for others to read.
    fn lock(&self, path: &Path, holder: &str) -> io::Result<Lock>;
    /// Whether paths of this disk mean something to other programs.
    fn is_real(&self) -> bool {
        false
    }
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

struct HeldFile(File);

impl Held for HeldFile {}

impl Drop for HeldFile {
    fn drop(&mut self) {
        // Closing alone is not enough: a process that another thread is starting right now has a
        // copy of the descriptor until its exec, and would hold the lock for that moment.
        let _ = self.0.unlock();
    }
}

impl Disk for RealDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).open(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match File::open(path)?.sync_all() {
            // Some network file systems have no such operation on a directory.
            // There is nothing better to do there; docs/manifest.md says so.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTSUP)) => Ok(()),
            other => other,
        }
    }

    // Windows has no such call; NTFS journals the names itself.
    #[cfg(not(unix))]
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let (kind, bytes) = if kind.is_file() {
                // Another process may have removed it since it was listed.
                match entry.metadata() {
                    Ok(metadata) => (EntryKind::File, metadata.len()),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                }
            } else if kind.is_dir() {
                (EntryKind::Directory, 0)
            } else {
                (EntryKind::Other, 0)
            };
            found.push(DirectoryEntry { name: entry.file_name(), kind, bytes });
        }
        Ok(found)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match fs::metadata(path) {
            Ok(metadata) => {
                let kind = if metadata.is_file() {
                    EntryKind::File
                } else if metadata.is_dir() {
                    EntryKind::Directory
                } else {
                    EntryKind::Other
                };
                Ok(Some(Stat { kind, bytes: metadata.len() }))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Lock> {
        // Not truncated on opening: until we hold the lock, what is in it
        // belongs to the one who does.
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let text = fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(text.get(..256).unwrap_or(&text)).into_owned();
                return Ok(Lock::Busy(text));
            }
            Err(fs::TryLockError::Error(e)) => return Err(e),
        }
        file.set_len(0)?;
        file.write_all(holder.as_bytes())?;
        Ok(Lock::Held(Box::new(HeldFile(file))))
    }

    fn is_real(&self) -> bool {
        true
    }
}
