//! Segments in an object store: S3, Google Cloud Storage, Azure, the memory,
//! and, to read only, a web server.
//!
//! ```text
//! PREFIX/
//!   data-00000.pickle …      segments
//!   segments.json            the manifest; empty while it is taken back
//!   .picklet/
//!     lock                   who writes; renewed while it lives
//!     journal/FOLDER/NUMBER  what became true, one object each time
//!     quarantine/            damaged segments that `repair` set aside
//! ```
//!
//! An object appears whole or not at all, and is durable once the store has
//! said so, so the steps of a file system are not needed. What is needed
//! instead is that a writer that was thought dead can do no harm when it wakes:
//!
//! * the journal's next object is made on condition that it is not there
//!   (`If-None-Match: *`), and a new session first puts its own in that place;
//! * the manifest is replaced on condition that it is still the one this
//!   session has seen (`If-Match`), and is emptied rather than removed,
//!   because no store can make a removal conditional;
//! * a segment is put on condition that its name is free, or is still what
//!   was there before this session.
//!
//! Two things are not conditional, because stores don't offer it: completing
//! a large segment's upload in parts, and removing an object. Both ask right
//! before whether the lease is still this session's. A writer that sleeps
//! between the two for longer than the lease, and wakes, can replace or remove
//! a segment of the one after it; the digests in the manifest tell.

mod connect;
mod lease;
mod log;
mod put;
mod read;
mod upload;

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::log as logging;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};

use self::connect::{Client, wait};
use self::lease::{Asked, Lease, LeaseGuard};
use self::log::{Log, Next};
use self::put::{Condition, Outcome, made_by, put};
use super::{EntryKind, Guard, Listed, Publication, ReadAt, Store};
use crate::error::{Error, Result};
use crate::name;

/// A place in an object store.
#[derive(Clone)]
pub(super) struct Place {
    client: Client,
    prefix: String,
    url: PathBuf,
    read_only: bool,
    beat: Duration,
}

impl Place {
    /// The place that a URL names. Asks nothing of the network.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(super) fn parse(url: &str) -> Result<Place> {
        let connect::Address { client, prefix, url, read_only } = connect::parse(url)?;
        Ok(Place { client, prefix, url: PathBuf::from(url), read_only, beat: lease::BEAT })
    }

    /// A place of a client that the caller made.
    pub(super) fn given(client: Arc<dyn ObjectStore>, prefix: &str, beat: Duration) -> Place {
        let prefix = prefix.trim_matches('/').to_owned();
        let url = PathBuf::from(format!("store://given/{prefix}"));
        Place { client: Client::Given(client), prefix, url, read_only: false, beat }
    }

    pub(super) fn url(&self) -> &Path {
        &self.url
    }

    /// The object called `name` below the prefix. A slash in it is a folder.
    fn key(&self, name: &str) -> Result<Key> {
        let whole = match self.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        Key::parse(whole).map_err(|e| {
            Error::usage(format!("{name:?} cannot be an object's name: {}", one_line(&e)))
        })
    }

    fn private(&self, name: &str) -> Result<Key> {
        self.key(&format!("{}/{name}", name::PRIVATE))
    }

    fn refuse_read_only(&self) -> Result<()> {
        if self.read_only {
            let url = self.url.display();
            return Err(Error::usage(format!(
                "{url}: a web server can only be read; write to s3://, gs://, az:// or a directory"
            )));
        }
        Ok(())
    }

    /// Waits for `future` to do `action` with `path`.
    fn run<T: Send + 'static>(
        action: &'static str,
        path: &Path,
        future: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T> {
        match wait(future) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(e)) => Err(remote_error(action, path, &e)),
            Err(e) => Err(Error::io(action, path, e)),
        }
    }
}

/// A store in an object store.
pub(super) struct RemoteStore {
    place: Place,
    session: Mutex<Session>,
}

/// What a writer's session has seen. Empty for readers and for workers that only publish.
#[derive(Default)]
struct Session {
    lease: Option<Lease>,
    /// Where the journal goes on; `None` before a session, and after an error.
    next: Option<Next>,
    /// The manifest as this session left or found it.
    manifest: Option<Condition>,
    /// Its name, once it has begun.
    name: Option<String>,
    /// Another writer was found to go on where this one would have.
    lost: bool,
}

impl std::fmt::Debug for RemoteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RemoteStore").field(&self.place.url).finish()
    }
}

impl RemoteStore {
    pub(super) fn new(place: Place) -> Self {
        RemoteStore { place, session: Mutex::default() }
    }

    fn session(&self) -> std::sync::MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Result<Arc<dyn ObjectStore>> {
        self.place.client.get()
    }

    fn name_of(&self, file: &str) -> PathBuf {
        self.place.url.join(file)
    }

    fn log(&self) -> Result<Log> {
        Ok(Log { client: self.client()?, folder: self.place.private("journal")? })
    }

    fn taken_over(&self) -> Error {
        Error::TakenOver(self.place.url.clone())
    }

    /// Refuses to write once it is known that the lease is somebody else's.
    fn still_ours(&self) -> Result<()> {
        self.place.refuse_read_only()?;
        let lease = {
            let session = self.session();
            if session.lost {
                return Err(self.taken_over());
            }
            session.lease.clone()
        };
        let Some(lease) = lease else { return Ok(()) };
        let lost = wait(async move { lease.is_lost().await });
        match lost.map_err(|e| Error::io("write", &self.place.url, e))? {
            true => Err(self.taken_over()),
            false => Ok(()),
        }
    }

    fn read_object(&self, key: Key, path: &Path) -> Result<Option<Vec<u8>>> {
        let client = self.client()?;
        Place::run("read", path, async move {
            match client.get(&key).await {
                Ok(found) => Ok(Some(found.bytes().await?.into())),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(e),
            }
        })
    }

    fn put_manifest(&self, bytes: &[u8]) -> Result<()> {
        self.ask_whether_ours()?;
        let path = self.name_of(name::MANIFEST);
        let (client, key) = (self.client()?, self.place.key(name::MANIFEST)?);
        let mut session = self.session();
        let condition = match session.manifest.clone() {
            Some(condition) => condition,
            None => seen(&client, &key, &path)?,
        };
        let bytes = PutPayload::from(bytes.to_vec());
        let done = Place::run("replace", &path, put(client, key, bytes, condition))?;
        match done {
            Outcome::Done(version) => {
                session.manifest = Some(Condition::Is(version));
                Ok(())
            }
            Outcome::Conflict => {
                session.lost = true;
                Err(self.taken_over())
            }
        }
    }

    /// Refuses what cannot be made conditional unless the lease names this session right now.
    fn ask_whether_ours(&self) -> Result<()> {
        self.still_ours()?;
        let Some(name) = self.session().name.clone() else { return Ok(()) };
        let (client, lock) = (self.client()?, self.place.private("lock")?);
        let current =
            Place::run(
                "look at",
                &self.place.url,
                async move { lease::session(&client, &lock).await },
            )?;
        if current != Some(name) {
            self.session().lost = true;
            return Err(self.taken_over());
        }
        Ok(())
    }

    /// Adds to the journal or replaces it. After an error nothing more can be added.
    fn write_journal(&self, bytes: &[u8], replace: bool) -> Result<()> {
        self.still_ours()?;
        let path = self.name_of(name::PRIVATE).join("journal");
        let log = self.log()?;
        let mut session = self.session();
        let Some(next) = session.next.take() else {
            let earlier = io::Error::other("no session has begun, or an earlier write failed");
            return Err(Error::io("write", &path, earlier));
        };
        let bytes = bytes.to_vec();
        let done = Place::run("write", &path, async move {
            if replace { log.replace(next, bytes).await } else { log.add(next, bytes).await }
        })?;
        session.lost |= done.is_none();
        session.next = Some(done.ok_or_else(|| self.taken_over())?);
        Ok(())
    }

    /// Removes all objects in a folder that `unwanted` picks.
    fn remove_below(
        &self,
        folder: Key,
        unwanted: impl Fn(&Key) -> bool + Send + 'static,
    ) -> Result<()> {
        let client = self.client()?;
        Place::run("remove", &self.place.url, async move {
            let found: Vec<_> = client.list(Some(&folder)).try_collect().await?;
            let keys = found.into_iter().map(|object| object.location);
            let keys: Vec<_> = keys.filter(|key| unwanted(key)).map(Ok).collect();
            client.delete_stream(stream::iter(keys).boxed()).try_collect::<Vec<_>>().await
        })?;
        Ok(())
    }
}

/// What a put must find at `key`, as it is now.
fn seen(client: &Arc<dyn ObjectStore>, key: &Key, path: &Path) -> Result<Condition> {
    let (client, key) = (client.clone(), key.clone());
    let found = Place::run("look at", path, async move { made_by(&client, &key).await })?;
    Ok(found.map_or(Condition::Absent, |(_, version)| Condition::Is(version)))
}

impl Store for RemoteStore {
    fn path(&self) -> &Path {
        &self.place.url
    }

    fn list(&self) -> Result<Option<Vec<Listed>>> {
        let client = self.client()?;
        let prefix = match self.place.prefix.as_str() {
            "" => None,
            prefix => Key::parse(prefix).ok(),
        };
        let found = Place::run("list", &self.place.url, async move {
            client.list_with_delimiter(prefix.as_ref()).await
        });
        let found = match found {
            // Web servers don't say what they have; what the manifest names can be read all the same.
            Err(e) if self.place.read_only => {
                logging::debug!("not listed: {e}");
                return Ok(Some(Vec::new()));
            }
            found => found?,
        };
        if found.objects.is_empty() && found.common_prefixes.is_empty() {
            return Ok(None);
        }
        let folder = |key: &Key| Listed {
            name: OsString::from(key.filename().unwrap_or_default()),
            kind: EntryKind::Directory,
            bytes: 0,
        };
        let folders = found.common_prefixes.iter().map(folder);
        let objects = found.objects.iter().map(|object| Listed {
            name: OsString::from(object.location.filename().unwrap_or_default()),
            kind: EntryKind::File,
            bytes: object.size,
        });
        let is_ours = |listed: &Listed| listed.name == name::PRIVATE;
        // A manifest that was taken back.
        let is_empty = |listed: &Listed| listed.name == name::MANIFEST && listed.bytes == 0;
        Ok(Some(folders.chain(objects).filter(|l| !is_ours(l) && !is_empty(l)).collect()))
    }

    fn open(&self, file: &str) -> Result<Box<dyn ReadAt>> {
        let path = self.name_of(file);
        let (client, key) = (self.client()?, self.place.key(file)?);
        let (asked, at) = (client.clone(), key.clone());
        let found = Place::run("open", &path, async move {
            match asked.head(&at).await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                found => found.map(Some),
            }
        })?;
        let meta = found.ok_or(Error::Missing(path))?;
        Ok(Box::new(read::ObjectReader {
            client,
            path: key,
            size: meta.size,
            e_tag: meta.e_tag,
            held: Mutex::default(),
        }))
    }

    fn size(&self, file: &str) -> Result<Option<u64>> {
        let (client, key) = (self.client()?, self.place.key(file)?);
        Place::run("look at", &self.name_of(file), async move {
            match client.head(&key).await {
                Ok(meta) => Ok(Some(meta.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(e) => Err(e),
            }
        })
    }

    fn remove(&self, file: &str) -> Result<()> {
        self.ask_whether_ours()?;
        let (client, key) = (self.client()?, self.place.key(file)?);
        Place::run("remove", &self.name_of(file), async move {
            match client.delete(&key).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                done => done,
            }
        })
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn quarantine(&self, file: &str) -> Result<PathBuf> {
        self.ask_whether_ours()?;
        let from = self.name_of(file);
        let client = self.client()?;
        let mut target = format!("quarantine/{file}");
        let mut number = 1;
        loop {
            let key = self.place.private(&target)?;
            if let Condition::Absent = seen(&client, &key, &from)? {
                break;
            }
            target = format!("quarantine/{number}-{file}");
            number += 1;
        }
        let (key, to) = (self.place.key(file)?, self.place.private(&target)?);
        Place::run("set aside", &from, async move {
            client.copy(&key, &to).await?;
            client.delete(&key).await
        })?;
        Ok(self.name_of(name::PRIVATE).join(target))
    }

    fn set_aside(&self) -> Result<Vec<String>> {
        if self.place.read_only {
            // Web servers don't say what they have.
            return Ok(Vec::new());
        }
        let (client, key) = (self.client()?, self.place.private("quarantine")?);
        let path = self.name_of(name::PRIVATE).join("quarantine");
        let found =
            Place::run("list", &path, async move { client.list_with_delimiter(Some(&key)).await })?;
        let name =
            |object: &object_store::ObjectMeta| object.location.filename().map(str::to_owned);
        Ok(found.objects.iter().filter_map(name).collect())
    }

    fn local_path(&self, _file: &str) -> Option<PathBuf> {
        None
    }

    fn lock(&self) -> Result<Box<dyn Guard>> {
        self.place.refuse_read_only()?;
        let path = self.name_of(name::PRIVATE).join("lock");
        let (client, key) = (self.client()?, self.place.private("lock")?);
        match Place::run("lock", &path, Lease::ask(client, key, self.place.beat))? {
            Asked::Busy(holder) => Err(Error::Locked { dir: self.place.url.clone(), holder }),
            Asked::Ours(lease) => {
                let mut session = self.session();
                *session = Session { lease: Some(lease.clone()), ..Session::default() };
                Ok(Box::new(LeaseGuard(lease)))
            }
        }
    }

    fn begin_session(&self, session: &str) -> Result<()> {
        self.still_ours()?;
        let path = self.name_of(name::PRIVATE).join("journal");
        let lease = self.session().lease.clone().ok_or_else(|| self.taken_over())?;
        let (log, name, begun) = (self.log()?, session.to_owned(), session.to_owned());
        let next = Place::run("begin a session in", &path, async move {
            // First nobody can begin a segment in an earlier session's name any more.
            if lease.begin(name.clone()).await? {
                log.seal(&name).await.map(Some)
            } else {
                Ok(None)
            }
        })?;
        let next = next.ok_or_else(|| self.taken_over())?;
        let (client, key) = (self.client()?, self.place.key(name::MANIFEST)?);
        let manifest = seen(&client, &key, &self.name_of(name::MANIFEST))?;
        let mut session = self.session();
        session.next = Some(next);
        session.manifest = Some(manifest);
        session.name = Some(begun);
        Ok(())
    }

    fn create(&self, session: &str, file: &str) -> Result<Box<dyn Publication>> {
        self.still_ours()?;
        let name = self.name_of(file);
        let (client, key) = (self.client()?, self.place.key(file)?);
        let lock = self.place.private("lock")?;
        let (asked, at) = (client.clone(), lock.clone());
        let current =
            Place::run("create", &name, async move { lease::session(&asked, &at).await })?;
        if current.as_deref() != Some(session) {
            let mut state = self.session();
            state.lost |= state.name.as_deref() == Some(session);
            return Err(self.taken_over());
        }
        let place = self.place.url.clone();
        Ok(Box::new(upload::Upload::new(client, key, lock, session, place, name)))
    }

    fn read_manifest(&self) -> Result<Option<Vec<u8>>> {
        let bytes =
            self.read_object(self.place.key(name::MANIFEST)?, &self.name_of(name::MANIFEST))?;
        // Empty is what `remove_manifest` leaves.
        Ok(bytes.filter(|bytes| !bytes.is_empty()))
    }

    fn replace_manifest(&self, bytes: &[u8]) -> Result<()> {
        self.put_manifest(bytes)
    }

    fn replace_sums(&self, bytes: &[u8]) -> Result<()> {
        self.ask_whether_ours()?;
        let (client, key) = (self.client()?, self.place.key(name::SUMS)?);
        let bytes = PutPayload::from(bytes.to_vec());
        Place::run("replace", &self.name_of(name::SUMS), async move {
            client.put(&key, bytes).await.map(drop)
        })
    }

    fn remove_manifest(&self) -> Result<()> {
        match self.read_manifest()? {
            Some(_) => self.put_manifest(&[]),
            None => Ok(()),
        }
    }

    fn read_journal(&self) -> Result<Option<Vec<u8>>> {
        if self.place.read_only {
            return Ok(None);
        }
        let log = self.log()?;
        let path = self.name_of(name::PRIVATE).join("journal");
        Place::run("read", &path, async move { log.read().await })
    }

    fn replace_journal(&self, bytes: &[u8]) -> Result<()> {
        self.write_journal(bytes, true)
    }

    fn append_journal(&self, bytes: &[u8]) -> Result<()> {
        self.write_journal(bytes, false)
    }

    fn write_note(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.still_ours()?;
        let (client, key) = (self.client()?, self.place.private(&format!("quarantine/{name}"))?);
        let path = self.name_of(name::PRIVATE).join("quarantine").join(name);
        let bytes = PutPayload::from(bytes.to_vec());
        Place::run("write", &path, async move { client.put(&key, bytes).await.map(drop) })
    }

    fn remove_note(&self, name: &str) -> Result<()> {
        self.remove(&format!("{}/quarantine/{name}", name::PRIVATE))
    }

    fn remove_all(&self) -> Result<()> {
        self.still_ours()?;
        self.remove_below(self.place.key("")?, |_| true)
    }

    fn clear_private(&self) -> Result<()> {
        self.still_ours()?;
        let (lock, journal) = (self.place.private("lock")?, self.place.private("journal")?);
        self.remove_below(self.place.key(name::PRIVATE)?, move |key| {
            *key != lock && !key.prefix_matches(&journal)
        })
    }
}

/// An error of the store in one line, without what only its authors can use.
fn one_line(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

fn io_error(error: &object_store::Error) -> io::Error {
    use object_store::Error as E;
    let kind = match error {
        E::NotFound { .. } => io::ErrorKind::NotFound,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        E::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        E::NotSupported { .. } | E::NotImplemented { .. } => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, one_line(error))
}

fn remote_error(action: &'static str, path: &Path, error: &object_store::Error) -> Error {
    Error::io(action, path, io_error(error))
}
