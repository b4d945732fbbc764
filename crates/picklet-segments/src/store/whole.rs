//! One file outside a segments directory: a merged pickle.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::{Disk, DiskFile, RealDisk};
use crate::error::{Error, Result};

/// A file that appears under its name whole, or not at all: it is written
/// beside its name, fsynced, renamed over what had the name, and the directory
/// is fsynced. Dropped without [`WholeFile::finish`] it leaves nothing behind.
pub struct WholeFile {
    disk: Arc<dyn Disk>,
    temporary: PathBuf,
    path: PathBuf,
    /// `None` once closed.
    writer: Option<Box<dyn DiskFile>>,
}

impl WholeFile {
    /// Begins the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        WholeFile::on_disk(Arc::new(RealDisk), path)
    }

    /// The same on a [`Disk`] of one's own, for tests.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn on_disk(disk: Arc<dyn Disk>, path: impl Into<PathBuf>) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = path.into();
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".picklet-{}-{number}.part", std::process::id());
            let temporary = folder(&path).join(name);
            match disk.create_new(&temporary) {
                Ok(writer) => {
                    return Ok(WholeFile { disk, temporary, path, writer: Some(writer) });
                }
                // Left over from a process of the same number that was killed.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("write", &path, e)),
            }
        }
    }

    /// Makes what was written durable, then visible under its name.
    ///
    /// # Errors
    /// [`Error::Io`]; what had the name before is still there then, unless
    /// the directory's fsync is what failed.
    pub fn finish(mut self) -> Result<()> {
        if let Some(mut writer) = self.writer.take() {
            writer.flush().map_err(|e| Error::io("write", &self.path, e))?;
            writer.sync().map_err(|e| Error::io("fsync", &self.path, e))?;
        }
        let renamed = self.disk.rename(&self.temporary, &self.path);
        renamed.map_err(|e| Error::io("rename into place", &self.path, e))?;
        self.temporary = PathBuf::new();
        let folder = folder(&self.path);
        self.disk.sync_dir(folder).map_err(|e| Error::io("fsync directory", folder, e))
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(bytes),
            None => Err(io::Error::other("the file is closed")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        self.writer = None;
        if !self.temporary.as_os_str().is_empty() {
            // Best effort: the error that matters was told already.
            let _ = self.disk.remove_file(&self.temporary);
        }
    }
}

impl std::fmt::Debug for WholeFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WholeFile").field("path", &self.path).finish_non_exhaustive()
    }
}
