//! The writer's lock in a store that has none: an object that says who
//! writes, and is renewed while that one lives.
//!
//! It is what makes a second writer stop with a clear error and what lets the
//! next one in after a crash. It is not what keeps two writers from doing
//! harm: that is the conditional puts of the journal and the manifest, which
//! hold even where a writer slept through its lease. So no clocks of two
//! machines are ever compared: a newcomer watches whether the object changes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, Result};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::connect::wait;
use super::put::{Condition, Outcome, Version, put};
use crate::store::Guard;

/// How often the one who writes says that it lives.
pub(super) const BEAT: Duration = Duration::from_secs(5);

/// How many beats must be missing before somebody else may take over.
const BEATS_MISSED: u32 = 4;

/// What the object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Who it is, for people: `process 4711 on lab3`.
    holder: String,
    /// Which process of which machine, where that can be told.
    process: Option<Process>,
    /// The session that may publish.
    session: String,
    /// Grows while the holder lives.
    beat: u64,
    /// Whether the holder has ended as it should.
    released: bool,
}

/// A process, told from all others that ever were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    /// This run of this machine, and which of its containers.
    machine: String,
    id: u32,
    /// When it began, in the machine's own ticks.
    began: u64,
}

impl Process {
    fn this() -> Option<Process> {
        let id = std::process::id();
        Some(Process { machine: this_machine()?, id, began: began(id)? })
    }

    /// Whether it has ended for certain.
    fn is_dead(&self) -> bool {
        this_machine().is_some_and(|this| this == self.machine)
            && began(self.id) != Some(self.began)
    }

    /// Whether it lives for certain.
    fn is_alive(&self) -> bool {
        this_machine().is_some_and(|this| this == self.machine)
            && began(self.id) == Some(self.began)
    }
}

/// Names this machine since it was started, and the namespace that process
/// numbers count in. `None` where the system does not say.
fn this_machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), namespace.display()))
}

/// When process `id` began. A process that ended and is not yet waited for is gone.
fn began(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The program's name comes second, in parentheses, and may hold anything.
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?;
    let began = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(began)
}

fn this_holder() -> String {
    let process = std::process::id();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => format!("process {process}"),
        host => format!("process {process} on {host}"),
    }
}

/// What came of asking for the lease.
pub(super) enum Asked {
    Ours(Lease),
    /// Somebody else's; who it is.
    Busy(String),
}

/// The lease while it is ours.
#[derive(Clone)]
pub(super) struct Lease {
    shared: Arc<Shared>,
}

struct Shared {
    client: Arc<dyn ObjectStore>,
    path: Path,
    /// Held over each put, so that they follow one another.
    state: tokio::sync::Mutex<State>,
    beating: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    record: Record,
    version: Version,
    lost: bool,
}

impl Lease {
    /// Asks for the lease at `path`.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn ask(
        client: Arc<dyn ObjectStore>,
        path: Path,
        beat: Duration,
    ) -> Result<Asked> {
        let record = Record {
            holder: this_holder(),
            process: Process::this(),
            session: String::new(),
            beat: 0,
            released: false,
        };
        loop {
            let condition = match read(&client, &path).await? {
                None => Condition::Absent,
                Some((None, version)) => Condition::Is(version),
                Some((Some(theirs), version)) => {
                    if !theirs.released && !is_over(&client, &path, &theirs, &version, beat).await?
                    {
                        return Ok(Asked::Busy(theirs.holder));
                    }
                    Condition::Is(version)
                }
            };
            let done = put(client.clone(), path.clone(), text(&record).into(), condition).await?;
            if let Outcome::Done(version) = done {
                let state = State { record, version, lost: false };
                let shared = Arc::new(Shared {
                    client,
                    path,
                    state: tokio::sync::Mutex::new(state),
                    beating: Mutex::new(None),
                });
                let beating = tokio::spawn(keep(shared.clone(), beat));
                *shared.beating.lock().unwrap_or_else(PoisonError::into_inner) = Some(beating);
                return Ok(Asked::Ours(Lease { shared }));
            }
            // Somebody else took it in this moment: ask again who it is.
        }
    }

    /// Says which session may publish.
    ///
    /// # Errors
    /// What the store says. `false` when the lease is somebody else's by now.
    pub(super) async fn begin(&self, session: String) -> Result<bool> {
        self.shared.update(|record| record.session = session).await
    }

    /// Whether somebody else has taken the lease, as far as is known.
    pub(super) async fn is_lost(&self) -> bool {
        self.shared.state.lock().await.lost
    }
}

impl Shared {
    async fn update(&self, change: impl FnOnce(&mut Record)) -> Result<bool> {
        let mut state = self.state.lock().await;
        if state.lost {
            return Ok(false);
        }
        let mut record = state.record.clone();
        change(&mut record);
        record.beat += 1;
        let condition = Condition::Is(state.version.clone());
        let bytes = text(&record).into();
        match put(self.client.clone(), self.path.clone(), bytes, condition).await? {
            Outcome::Done(version) => {
                state.record = record;
                state.version = version;
            }
            Outcome::Conflict => state.lost = true,
        }
        Ok(!state.lost)
    }
}

/// Renews the lease until it is lost.
async fn keep(shared: Arc<Shared>, beat: Duration) {
    loop {
        tokio::time::sleep(beat).await;
        match shared.update(|_| {}).await {
            Ok(true) => {}
            Ok(false) => return,
            // The next beat tries again; until somebody else takes it, it is ours.
            Err(e) => log::warn!("cannot renew the lock {}: {e}", shared.path),
        }
    }
}

/// Whether the holder of `theirs` has ended.
async fn is_over(
    client: &Arc<dyn ObjectStore>,
    path: &Path,
    theirs: &Record,
    version: &Version,
    beat: Duration,
) -> Result<bool> {
    if let Some(process) = &theirs.process {
        if process.is_alive() {
            return Ok(false);
        }
        if process.is_dead() {
            return Ok(true);
        }
    }
    log::info!("{path} is held by {}; waiting to see whether it still runs", theirs.holder);
    for _ in 0..BEATS_MISSED {
        tokio::time::sleep(beat).await;
        if read(client, path).await?.is_none_or(|(_, now)| now != *version) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn text(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

/// What the object says, and which version says so. A text that is none of ours counts as nobody's.
async fn read(
    client: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<Option<(Option<Record>, Version)>> {
    let found = match client.get(path).await {
        Ok(found) => found,
        Err(Error::NotFound { .. }) => return Ok(None),
        Err(e) => return Err(e),
    };
    let meta = &found.meta;
    let version = Version { e_tag: meta.e_tag.clone(), version: meta.version.clone() };
    Ok(Some((serde_json::from_slice(&found.bytes().await?).ok(), version)))
}

/// The session that may publish, as the lease at `path` says now.
pub(super) async fn session(client: &Arc<dyn ObjectStore>, path: &Path) -> Result<Option<String>> {
    Ok(read(client, path).await?.and_then(|(record, _)| record).map(|record| record.session))
}

/// Gives the lease back when dropped.
pub(super) struct LeaseGuard(pub(super) Lease);

impl Guard for LeaseGuard {}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        let shared = self.0.shared.clone();
        let beating = shared.beating.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Best effort: without it the next writer sees that this process has ended.
        let released = wait(async move {
            let released = shared.update(|record| record.released = true).await;
            // Not before: a beat that is cut off may have changed the object, unknown to us.
            if let Some(beating) = beating {
                beating.abort();
            }
            released
        });
        if let Ok(Err(e)) = released {
            log::debug!("the lock was not given back: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_number() {
        let Some(this) = Process::this() else {
            return eprintln!("SKIPPED: this system does not say when a process began");
        };
        assert!(this.is_alive() && !this.is_dead());
        let earlier = Process { began: this.began - 1, ..this.clone() };
        assert!(earlier.is_dead() && !earlier.is_alive());
        let elsewhere = Process { machine: "another".to_owned(), ..this };
        assert!(!elsewhere.is_dead() && !elsewhere.is_alive());
    }
}
