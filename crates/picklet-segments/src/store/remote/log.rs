//! The journal in a store that cannot append: numbered objects.
//!
//! ```text
//! .picklet/journal/000003/00000000     the journal when it was last replaced
//! .picklet/journal/000003/00000001     what was added, one object each time
//! .picklet/journal/000003/00000002     a seal: a later session has begun
//! ```
//!
//! Each object is made on condition that nothing has its name, so of two
//! writers that add the next one, one wins and the other learns it. A session
//! begins by putting a seal where the earlier writer would go on: what that
//! one has added before is read, and nothing can be added by it any more.
//! Replacing begins the next folder; then all of the earlier ones is removed
//! but the seals, which keep holding off whoever still sleeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, Result};

use super::put::{Condition, Outcome, put};

/// Objects fetched or removed at a time.
const REQUESTS_AT_ONCE: usize = 32;

/// How often a journal is read that another writer replaces meanwhile.
const TRIES: usize = 8;

/// First byte of a seal. A journal's line begins with a hexadecimal digit.
const SEAL: u8 = b'#';

/// Where the next object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    folder: u32,
    number: u32,
}

/// Which objects there are, by folder.
type Numbers = BTreeMap<u32, Vec<u32>>;

/// The journal below one prefix.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) client: Arc<dyn ObjectStore>,
    /// `PREFIX/.picklet/journal`.
    pub(super) folder: Path,
}

impl Log {
    fn path(&self, folder: u32, number: u32) -> Path {
        self.folder.clone().join(format!("{folder:06}")).join(format!("{number:08}"))
    }

    async fn numbers(&self) -> Result<Numbers> {
        let mut numbers = Numbers::new();
        let mut listed = self.client.list(Some(&self.folder));
        while let Some(object) = listed.try_next().await? {
            let Some(parts) = object.location.prefix_match(&self.folder) else { continue };
            let parts: Vec<_> = parts.collect();
            let [folder, number] = parts.as_slice() else { continue };
            if let (Ok(folder), Ok(number)) = (folder.as_ref().parse(), number.as_ref().parse()) {
                numbers.entry(folder).or_default().push(number);
            }
        }
        Ok(numbers)
    }

    /// The journal's bytes, `None` when there is none.
    pub(super) async fn read(&self) -> Result<Option<Vec<u8>>> {
        let mut tries = 1;
        loop {
            match self.read_once().await {
                // It was replaced after it was listed.
                Err(Error::NotFound { .. }) if tries < TRIES => tries += 1,
                other => return other,
            }
        }
    }

    async fn read_once(&self) -> Result<Option<Vec<u8>>> {
        let Some((folder, mut numbers)) = self.numbers().await?.pop_last() else {
            return Ok(None);
        };
        numbers.sort_unstable();
        let requests = numbers.into_iter().map(|number| {
            let (client, path) = (self.client.clone(), self.path(folder, number));
            async move { client.get(&path).await?.bytes().await }
        });
        let objects: Vec<Bytes> =
            stream::iter(requests).buffered(REQUESTS_AT_ONCE).try_collect().await?;
        let lines: Vec<Bytes> =
            objects.into_iter().filter(|bytes| bytes.first() != Some(&SEAL)).collect();
        Ok((!lines.is_empty()).then(|| lines.concat()))
    }

    /// Begins a session: the writer before it can add nothing more. Gives the
    /// place where this one goes on.
    pub(super) async fn seal(&self, session: &str) -> Result<Next> {
        loop {
            let (folder, number) = match self.numbers().await?.pop_last() {
                Some((folder, numbers)) => {
                    (folder, numbers.into_iter().max().map_or(0, |last| last.saturating_add(1)))
                }
                None => (0, 0),
            };
            let seal = format!("{}{session}", char::from(SEAL));
            let path = self.path(folder, number);
            let done = put(self.client.clone(), path, seal.into(), Condition::Absent).await?;
            if let Outcome::Done(_) = done {
                return Ok(Next { folder, number: number.saturating_add(1) });
            }
            // The writer before us has just added something: go behind it.
        }
    }

    /// Adds to the journal; `None` when another writer has gone on here.
    pub(super) async fn add(&self, next: Next, bytes: Vec<u8>) -> Result<Option<Next>> {
        let path = self.path(next.folder, next.number);
        let done = put(self.client.clone(), path, bytes.into(), Condition::Absent).await?;
        Ok(match done {
            Outcome::Done(_) => Some(Next { number: next.number.saturating_add(1), ..next }),
            Outcome::Conflict => None,
        })
    }

    /// Replaces the journal; `None` when another writer has done so.
    pub(super) async fn replace(&self, next: Next, bytes: Vec<u8>) -> Result<Option<Next>> {
        let folder = next.folder.saturating_add(1);
        let Some(next) = self.add(Next { folder, number: 0 }, bytes).await? else {
            return Ok(None);
        };
        // What is left of the earlier ones is never read again, so this may fail.
        if let Err(e) = self.remove_before(folder).await {
            log::debug!("left an old journal below {}: {e}", self.folder);
        }
        Ok(Some(next))
    }

    /// Removes the earlier journals but for the last object of each.
    async fn remove_before(&self, folder: u32) -> Result<()> {
        let mut old = Vec::new();
        for (earlier, numbers) in self.numbers().await?.range(..folder) {
            let last = numbers.iter().max();
            let before = numbers.iter().filter(|number| Some(*number) != last);
            old.extend(before.map(|&number| Ok(self.path(*earlier, number))));
        }
        let removed = self.client.delete_stream(stream::iter(old).boxed());
        removed.try_collect::<Vec<_>>().await.map(|_| ())
    }
}
