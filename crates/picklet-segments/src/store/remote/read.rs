//! Reading parts of an object.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore};

use super::connect::wait;
use super::io_error;
use crate::store::ReadAt;

/// A request asks for no more bytes than this; larger reads are several requests at a time.
const REQUEST_BYTES: u64 = 8 << 20;

/// Requests of one read on their way at a time.
const REQUESTS_AT_ONCE: usize = 8;

/// What is read ahead for someone who reads from the beginning to the end.
const READ_AHEAD_BYTES: u64 = 4 << 20;

/// Someone who jumps gets at least so much, for the small reads that follow.
const LEAST_BYTES: u64 = 64 << 10;

/// An object opened for reading. All reads see the same version of it.
pub(super) struct ObjectReader {
    pub(super) client: Arc<dyn ObjectStore>,
    pub(super) path: Path,
    pub(super) size: u64,
    pub(super) e_tag: Option<String>,
    /// The bytes fetched last.
    pub(super) held: Mutex<Held>,
}

#[derive(Default)]
pub(super) struct Held {
    start: u64,
    bytes: Bytes,
}

impl Held {
    /// As much of `offset..` as is held.
    fn copy(&self, offset: u64, buffer: &mut [u8]) -> Option<usize> {
        let begin = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let held = self.bytes.get(begin..).filter(|held| !held.is_empty())?;
        let length = held.len().min(buffer.len());
        buffer.get_mut(..length)?.copy_from_slice(held.get(..length)?);
        Some(length)
    }
}

impl ObjectReader {
    /// Fetches `range`, in several requests when it is large.
    fn fetch(&self, range: Range<u64>) -> io::Result<Vec<Bytes>> {
        let count = (range.end - range.start).div_ceil(REQUEST_BYTES);
        let ranges: Vec<Range<u64>> = (0..count)
            .map(|number| {
                let start = range.start + number * REQUEST_BYTES;
                start..(start + REQUEST_BYTES).min(range.end)
            })
            .collect();
        let (client, path, e_tag) = (self.client.clone(), self.path.clone(), self.e_tag.clone());
        let fetched = wait(async move {
            let requests = ranges.into_iter().map(|range| {
                let (client, path, e_tag) = (client.clone(), path.clone(), e_tag.clone());
                async move {
                    let options = GetOptions {
                        if_match: e_tag,
                        range: Some(range.into()),
                        ..GetOptions::default()
                    };
                    client.get_opts(&path, options).await?.bytes().await
                }
            });
            stream::iter(requests).buffered(REQUESTS_AT_ONCE).try_collect::<Vec<Bytes>>().await
        })?;
        fetched.map_err(|e| match e {
            object_store::Error::Precondition { .. } => {
                io::Error::other("it was replaced while it was read; open it anew")
            }
            e => io_error(&e),
        })
    }
}

impl ReadAt for ObjectReader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.size.saturating_sub(offset);
        let want = rest.min(buffer.len() as u64);
        if want == 0 {
            return Ok(0);
        }
        let follows = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(copied) = held.copy(offset, buffer) {
                return Ok(copied);
            }
            !held.bytes.is_empty() && offset == held.start + held.bytes.len() as u64
        };
        let least = if follows { READ_AHEAD_BYTES } else { LEAST_BYTES };
        let range = offset..offset + want.max(least).min(rest);
        let large = want > READ_AHEAD_BYTES;
        let fetched = self.fetch(range)?;
        let mut copied = 0;
        for bytes in &fetched {
            let room = buffer.get_mut(copied..).unwrap_or_default();
            let length = room.len().min(bytes.len());
            if let (Some(room), Some(bytes)) = (room.get_mut(..length), bytes.get(..length)) {
                room.copy_from_slice(bytes);
            }
            copied += length;
        }
        if let (false, [bytes]) = (large, fetched.as_slice()) {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            *held = Held { start: offset, bytes: bytes.clone() };
        }
        Ok(copied)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }
}
