//! Where segments are kept: a [`Location`] names a place, a [`Store`] is what
//! can be done there.
//!
//! # What every store promises
//!
//! * A segment appears under its name whole or not at all. Once
//!   [`Publication::publish`] has returned, a crash can take its name back but
//!   not leave a part of it; once [`Store::sync`] has returned, it is there
//!   after any crash.
//! * The manifest is replaced whole or not at all.
//! * A journal line that [`Store::append_journal`] has returned from is there
//!   after any crash. Of a line it has not returned from, any beginning may be.
//! * Of two writers one gets the lock; the lock ends with its process.
//!   Readers never wait.
//! * After any error the draft that had it is worthless and says so; nothing
//!   is retried behind the caller's back.
//!
//! Stores know nothing of pickles, items or digests. That is [`crate::directory`]'s.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, Result};

pub mod disk;
mod local;
mod location;
#[cfg(feature = "object-store")]
mod remote;
mod whole;

pub use disk::EntryKind;
pub use local::LocalStore;
pub use location::{Location, is_url};
pub use whole::WholeFile;

/// Reading at given positions, from several threads at once.
pub trait ReadAt: Send + Sync {
    /// Reads up to `buffer.len()` bytes from `offset` on; 0 at the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The size in bytes, now.
    ///
    /// # Errors
    /// What the operating system says.
    fn size(&self) -> io::Result<u64>;

    /// When it was last changed, where that can be told at no cost.
    ///
    /// # Errors
    /// What the operating system says.
    fn modified(&self) -> io::Result<Option<SystemTime>> {
        Ok(None)
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when there are not so many bytes;
    /// otherwise what the operating system says.
    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(offset, buffer) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(read) => {
                    offset += read as u64;
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl ReadAt for File {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if i64::try_from(offset).is_err() {
            // The system calls it an invalid argument; no file is so long.
            return Ok(0);
        }
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn modified(&self) -> io::Result<Option<SystemTime>> {
        Ok(self.metadata()?.modified().ok())
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.get(start..));
        rest.unwrap_or_default().read(buffer)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn modified(&self) -> io::Result<Option<SystemTime>> {
        (**self).modified()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn modified(&self) -> io::Result<Option<SystemTime>> {
        (**self).modified()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn modified(&self) -> io::Result<Option<SystemTime>> {
        (**self).modified()
    }
}

/// Reads a [`ReadAt`] from its beginning to its end.
#[derive(Debug)]
pub struct Sequential<R> {
    inner: R,
    offset: u64,
}

impl<R: ReadAt> Sequential<R> {
    /// Begins at byte 0.
    pub fn new(inner: R) -> Self {
        Sequential { inner, offset: 0 }
    }
}

impl<R: ReadAt> io::Read for Sequential<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(self.offset, buffer)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// One thing found in a store: a segment, the manifest, or what others put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The right to write, until dropped.
pub trait Guard: Send + Sync {}

/// A segment being written, not visible to anyone yet. Dropping it leaves
/// nothing behind.
pub trait Publication: Write + Send {
    /// Makes the segment's bytes durable, then visible under its name,
    /// replacing what had that name. The name is durable after the next
    /// [`Store::sync`], by whichever process.
    ///
    /// # Errors
    /// [`Error::Io`]; the segment must then be written anew.
    fn publish(self: Box<Self>) -> Result<()>;
}

/// A place that holds segments, their manifest and journal. See the module's
/// documentation for what every store promises.
pub trait Store: fmt::Debug + Send + Sync {
    /// The place, a path or a URL, for messages and for [`Error`]s.
    fn path(&self) -> &Path;

    /// Everything at the top of the place, in no order; without picklet's own
    /// folder. `None` when the place does not exist.
    fn list(&self) -> Result<Option<Vec<Listed>>>;

    /// Opens a segment for reading.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is none of that name; [`Error::Io`].
    fn open(&self, file: &str) -> Result<Box<dyn ReadAt>>;

    /// The size of a segment in bytes, `None` when there is none.
    fn size(&self, file: &str) -> Result<Option<u64>>;

    /// Removes a segment; no error when there is none.
    fn remove(&self, file: &str) -> Result<()>;

    /// Makes the names durable: of segments that were published, and that
    /// those removed are gone.
    fn sync(&self) -> Result<()>;

    /// Sets a segment aside where no reader looks, and says where.
    fn quarantine(&self, file: &str) -> Result<PathBuf>;

    /// Names of the segments and notes that were set aside, in no order. A
    /// second segment of the same name has a number before its own.
    fn set_aside(&self) -> Result<Vec<String>>;

    /// The segment's path for other programs, when it has one.
    fn local_path(&self, file: &str) -> Option<PathBuf>;

    /// Makes the place and picklet's folder in it, durably, and takes the
    /// writer's lock.
    ///
    /// # Errors
    /// [`Error::Locked`] names the writer that has it; [`Error::Io`].
    fn lock(&self) -> Result<Box<dyn Guard>>;

    /// Begins a writer's session: whatever earlier sessions had begun to
    /// write is gone, and can no longer be published by processes that
    /// outlived them. Needs the lock.
    fn begin_session(&self, session: &str) -> Result<()>;

    /// Begins a segment in a session.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when the session is no longer the current one;
    /// [`Error::Io`].
    fn create(&self, session: &str, file: &str) -> Result<Box<dyn Publication>>;

    /// The manifest's bytes, `None` when there is none.
    fn read_manifest(&self) -> Result<Option<Vec<u8>>>;

    /// Replaces the manifest, durably.
    fn replace_manifest(&self, bytes: &[u8]) -> Result<()>;

    /// Removes the manifest, durably; no error when there is none.
    fn remove_manifest(&self) -> Result<()>;

    /// Replaces the list of SHA-256 digests, [`crate::name::SUMS`], durably.
    fn replace_sums(&self, bytes: &[u8]) -> Result<()>;

    /// The journal's bytes, `None` when there is none.
    fn read_journal(&self) -> Result<Option<Vec<u8>>>;

    /// Replaces the journal, durably.
    fn replace_journal(&self, bytes: &[u8]) -> Result<()>;

    /// Adds to the journal, durably. After an error the store refuses further
    /// additions: there may be half a line.
    fn append_journal(&self, bytes: &[u8]) -> Result<()>;

    /// Writes down `bytes` about a segment beside those set aside, replacing
    /// what was written of that name. For people: losing it loses no data.
    fn write_note(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Removes such a note; no error when there is none.
    fn remove_note(&self, name: &str) -> Result<()>;

    /// Removes everything in the place, and the place. For places that
    /// picklet has made for itself inside another.
    fn remove_all(&self) -> Result<()>;

    /// Removes all of picklet's own but the lock and the journal: quarantine,
    /// drafts.
    fn clear_private(&self) -> Result<()>;
}

/// Reads all of `source`, of which the operating system said that it has
/// `size` bytes.
///
/// # Errors
/// [`Error::Io`]; [`Error::Input`] when it does not fit the memory or changes
/// while it is read.
pub(crate) fn read_whole(source: &dyn ReadAt, path: &Path) -> Result<Vec<u8>> {
    let size = source.size().map_err(|e| Error::io("read", path, e))?;
    let size = usize::try_from(size)
        .map_err(|_| Error::input(path, None, "is larger than this machine's memory"))?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(size)
        .map_err(|_| Error::input(path, None, format!("{size} bytes do not fit the memory")))?;
    bytes.resize(size, 0);
    source.read_exact_at(0, &mut bytes).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::input(path, None, "became shorter while it was read")
        }
        _ => Error::io("read", path, e),
    })?;
    Ok(bytes)
}
