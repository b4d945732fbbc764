//! Conditional puts, and what to make of a reply that got lost.
//!
//! Every object carries the name of the put that made it. When a put fails
//! in a way that leaves open whether it happened (the connection broke, a
//! proxy gave up, a retry met its own first try), the object is asked whose it
//! is: ours means done.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload, Result,
    UpdateVersion,
};

/// The attribute that names an object's put. Azure takes no dash in it.
const WRITER: &str = "pickletwriter";

/// How often a put is tried. The client itself retries what a server asks it
/// to; this is for what the client must not decide: whether it happened.
const TRIES: u32 = 6;

/// The first pause between two tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// What must be so for a put to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing has that name (`If-None-Match: *`).
    Absent,
    /// What has that name is still this (`If-Match`).
    Is(Version),
}

/// Which of an object's states was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) e_tag: Option<String>,
    pub(super) version: Option<String>,
}

/// What came of a conditional put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done(Version),
    /// Somebody else was there first.
    Conflict,
}

/// A name that no other put has.
pub(super) fn new_writer() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    format!("{process}-{number}-{:016x}", RandomState::new().hash_one((process, number)))
}

/// The attributes of an object that the put `writer` makes.
pub(super) fn attributes(writer: &str) -> Attributes {
    let key = Attribute::Metadata(Cow::Borrowed(WRITER));
    Attributes::from_iter([(key, writer.to_owned())])
}

/// Puts `bytes` at `path` if `condition` holds.
///
/// # Errors
/// What the store says, when it is certain that the put did not happen or
/// nobody can tell.
pub(super) async fn put(
    client: Arc<dyn ObjectStore>,
    path: Path,
    bytes: PutPayload,
    condition: Condition,
) -> Result<Outcome> {
    let writer = new_writer();
    let mode = match condition {
        Condition::Absent => PutMode::Create,
        Condition::Is(Version { e_tag, version }) => {
            PutMode::Update(UpdateVersion { e_tag, version })
        }
    };
    let mut pause = FIRST_PAUSE;
    for tried in 1.. {
        let options = PutOptions {
            mode: mode.clone(),
            attributes: attributes(&writer),
            ..PutOptions::default()
        };
        let error = match client.put_opts(&path, bytes.clone(), options).await {
            Ok(done) => {
                return Ok(Outcome::Done(Version { e_tag: done.e_tag, version: done.version }));
            }
            Err(e) => e,
        };
        let taken = matches!(
            error,
            Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }
        );
        if !taken && !may_have_happened(&error) {
            return Err(error);
        }
        match made_by(&client, &path).await {
            Ok(Some((Some(maker), version))) if maker == writer => {
                return Ok(Outcome::Done(version));
            }
            Ok(_) if taken => return Ok(Outcome::Conflict),
            Ok(_) => {}
            Err(_) if tried < TRIES => {}
            Err(_) => return Err(error),
        }
        if tried >= TRIES {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(Outcome::Conflict)
}

/// Whether an error leaves open what happened.
pub(super) fn may_have_happened(error: &Error) -> bool {
    matches!(error, Error::Generic { .. } | Error::JoinError { .. })
}

/// Who put what is at `path`, and which version it is; `None` when nothing is there.
///
/// # Errors
/// What the store says.
pub(super) async fn made_by(
    client: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<Option<(Option<String>, Version)>> {
    let options = GetOptions { head: true, ..GetOptions::default() };
    match client.get_opts(path, options).await {
        Ok(found) => {
            let key = Attribute::Metadata(Cow::Borrowed(WRITER));
            let writer = found.attributes.get(&key).map(|value| value.to_string());
            let version = Version { e_tag: found.meta.e_tag, version: found.meta.version };
            Ok(Some((writer, version)))
        }
        Err(Error::NotFound { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}
