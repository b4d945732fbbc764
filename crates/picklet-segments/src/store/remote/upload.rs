//! A segment on its way into an object store.
//!
//! Small ones are one conditional put. Larger ones go up in parts while they
//! are written, so that the memory does not grow with them, and appear when
//! the last request says that these are all.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, PutMultipartOptions, PutPayload};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::connect::{spawn, wait};
use super::put::{Condition, Outcome, attributes, made_by, new_writer, put};
use super::{io_error, lease, remote_error};
use crate::error::{Error, Result};
use crate::store::Publication;

/// Bytes of a part. S3 takes 10,000 parts: 80 GiB in a segment.
const PART_BYTES: usize = 8 << 20;

/// Parts on their way at a time, besides the one that is being filled.
const PARTS_AT_ONCE: usize = 3;

/// How often a name is tried that others keep taking.
const TRIES: usize = 8;

/// A segment being written.
pub(super) struct Upload {
    pub(super) client: Arc<dyn ObjectStore>,
    /// The object that it becomes.
    pub(super) path: Path,
    /// The lease, which names the session that may publish.
    pub(super) lock: Path,
    pub(super) session: String,
    /// The store's URL, and the segment's, for messages.
    pub(super) place: PathBuf,
    pub(super) name: PathBuf,
    buffer: Vec<u8>,
    parts: Option<Parts>,
    ended: bool,
}

/// What of a large segment is on its way.
struct Parts {
    upload: Arc<Mutex<Box<dyn MultipartUpload>>>,
    writer: String,
    sending: Vec<JoinHandle<object_store::Result<()>>>,
}

impl Upload {
    pub(super) fn new(
        client: Arc<dyn ObjectStore>,
        path: Path,
        lock: Path,
        session: &str,
        place: PathBuf,
        name: PathBuf,
    ) -> Self {
        let session = session.to_owned();
        let (buffer, parts) = (Vec::new(), None);
        Upload { client, path, lock, session, place, name, buffer, parts, ended: false }
    }

    /// Sends what is in the buffer.
    fn send(&mut self) -> io::Result<()> {
        let mut parts = match self.parts.take() {
            Some(parts) => parts,
            None => self.begin_parts()?,
        };
        let sent = self.send_part(&mut parts);
        self.parts = Some(parts);
        sent
    }

    fn begin_parts(&self) -> io::Result<Parts> {
        let (client, path, writer) = (self.client.clone(), self.path.clone(), new_writer());
        let options = PutMultipartOptions {
            attributes: attributes(&writer),
            ..PutMultipartOptions::default()
        };
        let upload = wait(async move { client.put_multipart_opts(&path, options).await })?
            .map_err(|e| io_error(&e))?;
        Ok(Parts { upload: Arc::new(Mutex::new(upload)), writer, sending: Vec::new() })
    }

    fn send_part(&mut self, parts: &mut Parts) -> io::Result<()> {
        while parts.sending.len() >= PARTS_AT_ONCE {
            let first = parts.sending.remove(0);
            arrived(wait(first)?)?;
        }
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let upload = parts.upload.clone();
        // Its number is taken here, in order; only the sending is left to run by itself.
        let (part,) = wait(async move { (upload.lock().await.put_part(bytes.into()),) })?;
        parts.sending.push(spawn(part)?);
        Ok(())
    }

    /// Publishes a small segment: nothing has its name yet, or what has it is
    /// left over from before this session. A process of an earlier session,
    /// which saw the name free or saw something else there, cannot replace it
    /// any more.
    fn publish_small(&mut self) -> Result<()> {
        let bytes = PutPayload::from(std::mem::take(&mut self.buffer));
        let (client, path) = (self.client.clone(), self.path.clone());
        let (lock, session) = (self.lock.clone(), self.session.clone());
        let published = wait(async move {
            let mut condition = Condition::Absent;
            for _ in 0..TRIES {
                let done = put(client.clone(), path.clone(), bytes.clone(), condition).await?;
                if let Outcome::Done(_) = done {
                    return Ok(true);
                }
                // First what is there, then whose turn it is: were it the other way round,
                // it could be the next session's by now.
                condition = match made_by(&client, &path).await? {
                    Some((_, version)) => Condition::Is(version),
                    None => Condition::Absent,
                };
                if lease::session(&client, &lock).await? != Some(session.clone()) {
                    return Ok(false);
                }
            }
            Ok(false)
        });
        self.told(published)
    }

    fn publish_parts(&mut self, mut parts: Parts) -> Result<()> {
        let name = self.name.clone();
        let failed = |e| Error::io("write", &name, e);
        if !self.buffer.is_empty() {
            self.send_part(&mut parts).map_err(failed)?;
        }
        for part in parts.sending.drain(..) {
            wait(part).and_then(arrived).map_err(failed)?;
        }
        let (client, path, writer) = (self.client.clone(), self.path.clone(), parts.writer.clone());
        let (lock, session) = (self.lock.clone(), self.session.clone());
        let upload = parts.upload.clone();
        // What `Drop` does for a segment that is given up.
        self.parts = Some(parts);
        let published = wait(async move {
            if lease::session(&client, &lock).await? != Some(session) {
                return Ok(false);
            }
            match upload.lock().await.complete().await {
                Ok(_) => Ok(true),
                // The reply was lost: is it there?
                Err(e) => match made_by(&client, &path).await {
                    Ok(Some((Some(maker), _))) if maker == writer => Ok(true),
                    _ => Err(e),
                },
            }
        });
        let told = self.told(published);
        if told.is_ok() {
            self.parts = None;
        }
        told
    }

    fn told(&self, published: io::Result<object_store::Result<bool>>) -> Result<()> {
        match published.map_err(|e| Error::io("publish", &self.name, e))? {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::TakenOver(self.place.clone())),
            Err(e) => Err(remote_error("publish", &self.name, &e)),
        }
    }
}

fn arrived(
    part: std::result::Result<object_store::Result<()>, tokio::task::JoinError>,
) -> io::Result<()> {
    part.map_err(io::Error::other)?.map_err(|e| io_error(&e))
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.ended {
            return Err(io::Error::other("the segment is closed"));
        }
        if self.buffer.len() >= PART_BYTES {
            self.send()?;
        }
        let room = PART_BYTES - self.buffer.len();
        let taken = bytes.get(..bytes.len().min(room)).unwrap_or_default();
        self.buffer.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Publication for Upload {
    fn publish(mut self: Box<Self>) -> Result<()> {
        self.ended = true;
        match self.parts.take() {
            None => self.publish_small(),
            Some(parts) => self.publish_parts(parts),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        // Best effort: a store removes parts that nobody completes, if it is told to.
        let aborted = wait(async move {
            for part in &parts.sending {
                part.abort();
            }
            parts.upload.lock().await.abort().await
        });
        if let Ok(Err(e)) = aborted {
            log::debug!("parts of {} stay in the store: {e}", self.name.display());
        }
    }
}
