//! Writing one segment: counted and digested on its way, published at once.
//!
//! A [`Draft`] needs no lock, so worker processes publish their own segments
//! and hand the writer a [`Receipt`]. What keeps a process that outlived its
//! writer from doing harm is the session: the next writer ends it, and nothing
//! can be published in its name any more.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::Xxh3 as Xxh3State;

use crate::compress::Coder;
use crate::error::{Error, Result};
use crate::manifest::Xxh3;
use crate::name;
use crate::store::{Location, Publication, Store};

/// How many bytes of small writes are gathered before they go to the store.
const BUFFER_BYTES: usize = 32 << 10;

/// Publishes segments in the name of a [`SegmentsWriter`](crate::SegmentsWriter), from its own or
/// another process, without its lock. Once another writer has taken the
/// directory it can publish nothing more.
#[derive(Debug, Clone)]
pub struct Publisher {
    store: Arc<dyn Store>,
    session: String,
    sha256: bool,
}

impl Publisher {
    pub(crate) fn of_session(store: Arc<dyn Store>, session: &str, sha256: bool) -> Self {
        Publisher { store, session: session.to_owned(), sha256 }
    }

    /// The publisher of another process's writer: `session` is that of
    /// [`Publisher::session`] there.
    ///
    /// # Errors
    /// [`Error::BadName`] when `session` is none.
    pub fn new(location: &Location, session: &str, sha256: bool) -> Result<Self> {
        name::validate(session)?;
        Ok(Publisher { store: location.store(), session: session.to_owned(), sha256 })
    }

    /// The session's name, to hand to another process.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Whether segments get a SHA-256.
    pub fn sha256(&self) -> bool {
        self.sha256
    }

    /// Begins a segment of this name (with or without `.pickle`), which the
    /// writer must have announced. One that ends in `.pickle.zst` or
    /// `.pickle.gz` is compressed on its way.
    ///
    /// # Errors
    /// [`Error::BadName`]; [`Error::TakenOver`] when another writer has the
    /// directory by now; [`Error::Io`].
    pub fn draft(&self, name: &str) -> Result<Draft> {
        let file = name::named_file(name)?;
        let publication = self.store.create(&self.session, &file)?;
        let path = self.store.path().join(&file);
        let digests = Digesting {
            publication,
            xxh3: Box::new(Xxh3State::new()),
            sha256: self.sha256.then(Sha256::new),
            bytes: 0,
            failed: false,
        };
        let coder = Coder::for_file(&file, digests).map_err(|e| Error::io("compress", &path, e))?;
        Ok(Draft { file, path, writer: BufWriter::with_capacity(BUFFER_BYTES, coder) })
    }
}

/// A segment being written. Small writes are gathered. Dropping it leaves
/// nothing behind; after any error it can only be dropped.
pub struct Draft {
    file: String,
    path: PathBuf,
    writer: BufWriter<Coder<Digesting>>,
}

/// What a published segment is, as its writer saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The segment's file.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its digest.
    pub xxh3: Xxh3,
    /// Its SHA-256, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Draft {
    /// The file it will be.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The path it will have, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that the file has so far, and those that are gathered.
    pub fn bytes(&self) -> u64 {
        self.writer.get_ref().get_ref().bytes + self.writer.buffer().len() as u64
    }

    /// An error of writing to this draft as one of this crate.
    pub fn error(&self, source: io::Error) -> Error {
        Error::io("write", &self.path, source)
    }

    /// Makes the segment's bytes durable, and visible under its name. The
    /// writer must be told by [`crate::SegmentsWriter::adopt`] before it counts
    /// as done: only then would its name survive a crash, too.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::TakenOver`]. Also when an earlier write failed:
    /// such a draft is never published.
    pub fn publish(self) -> Result<Receipt> {
        let Draft { file, path, mut writer } = self;
        writer.flush().map_err(|e| Error::io("write", &path, e))?;
        let (coder, rest) = writer.into_parts();
        let digests = coder.finish().map_err(|e| Error::io("write", &path, e))?;
        if digests.failed || !rest.is_ok_and(|rest| rest.is_empty()) {
            let earlier = io::Error::other("an earlier write to it failed");
            return Err(Error::io("write", &path, earlier));
        }
        digests.publication.publish()?;
        Ok(Receipt {
            file,
            bytes: digests.bytes,
            xxh3: Xxh3(digests.xxh3.digest128()),
            sha256: digests.sha256.map(|state| hex(&state.finalize())),
        })
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Counts and digests what reaches the store.
struct Digesting {
    publication: Box<dyn Publication>,
    xxh3: Box<Xxh3State>,
    sha256: Option<Sha256>,
    bytes: u64,
    failed: bool,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.publication.write(bytes) {
            Ok(written) => {
                let written_bytes = bytes.get(..written).unwrap_or(bytes);
                self.xxh3.update(written_bytes);
                if let Some(sha256) = &mut self.sha256 {
                    sha256.update(written_bytes);
                }
                self.bytes += written as u64;
                Ok(written)
            }
            Err(e) => {
                self.failed |= e.kind() != io::ErrorKind::Interrupted;
                Err(e)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.publication.flush()
    }
}

/// Bytes as hexadecimal digits in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
