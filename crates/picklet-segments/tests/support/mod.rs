//! A disk that keeps apart what was written from what would survive a power cut.
//!
//! Every file has two contents and every directory two lists of entries: the
//! live one, which programs see, and the durable one, which fsync makes of it.
//! A crash can leave any mixture: [`FakeDisk::after_crash`] makes one.
//!
//! The model is harsher than real file systems: fsync of a file does not make
//! its name durable; after a rename between directories the file may be in both
//! (never in neither: file systems keep a rename whole); unsynced bytes may come back as zeros; a failed
//! fsync loses the bytes, and the next one reports success.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use picklet_segments::ReadAt;
use picklet_segments::store::disk::{DirectoryEntry, Disk, DiskFile, EntryKind, Held, Lock, Stat};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    Create,
    Write,
    Sync,
    Rename,
    Remove,
    MakeDir,
    RemoveDir,
    SyncDir,
}

/// One call that changes the disk. For a rename, `path` is the new name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub call: Call,
    pub path: PathBuf,
    /// What a write was given.
    pub bytes: Vec<u8>,
}

/// A program that differs from ours in one thing. Each function is given the
/// calls so far, the one in question last.
#[derive(Clone, Copy)]
pub enum Mutation {
    /// Ours.
    None,
    /// It never makes these calls.
    LeaveOut(fn(&[Op]) -> bool),
    /// It makes the first kind of call only after the second.
    Swap(fn(&[Op]) -> bool, fn(&[Op]) -> bool),
    /// It never makes the calls of this [`step`].
    WithoutStep(&'static str),
    /// It makes the first call of the first [`step`] only after the next one of the second.
    SwapSteps(&'static str, &'static str),
}

impl Mutation {
    fn leaves_out(&self, log: &[Op]) -> bool {
        match self {
            Mutation::LeaveOut(which) => which(log),
            Mutation::WithoutStep(which) => step(log) == *which,
            _ => false,
        }
    }

    fn defers(&self, log: &[Op]) -> bool {
        match self {
            Mutation::Swap(which, _) => which(log),
            Mutation::SwapSteps(which, _) => step(log) == *which,
            _ => false,
        }
    }

    fn makes_up_for(&self, log: &[Op]) -> bool {
        match self {
            Mutation::Swap(_, after) => after(log),
            Mutation::SwapSteps(_, after) => step(log) == *after,
            _ => false,
        }
    }
}

/// Which step of the program the last call is: what it does, to which kind of path, and for the
/// fsync of a directory what was done in it before. The same in each run, whatever numbers
/// processes and sessions have.
pub fn step(log: &[Op]) -> String {
    let Some((op, before)) = log.split_last() else { return String::new() };
    let mut text = format!("{:?} {}", op.call, kind_of(&op.path));
    if op.call == Call::Write && op.path.ends_with("journal") {
        for record in ["begin", "names", "done", "drop"] {
            if String::from_utf8_lossy(&op.bytes).contains(&format!("\"record\":\"{record}\"")) {
                text.push_str(&format!(" {record}"));
            }
        }
    }
    if op.call == Call::SyncDir
        && let Some(last) = before.iter().rfind(|op| op.call != Call::SyncDir)
    {
        text.push_str(&format!(", after {:?} {}", last.call, kind_of(&last.path)));
    }
    text
}

/// A path without what differs from run to run and from segment to segment.
fn kind_of(path: &Path) -> String {
    let mut parts: Vec<String> =
        path.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if let Some(tmp) = parts.iter().position(|part| part == "tmp") {
        parts[tmp + 1..].iter_mut().for_each(|part| *part = "*".to_owned());
    }
    for part in &mut parts {
        if let Some((name, _)) = part.split_once(['-', '0']).filter(|_| !part.starts_with('.')) {
            *part = format!("{name}*");
        } else if part.ends_with(".part") {
            *part = "*.part".to_owned();
        }
    }
    parts.join("/").replacen("//", "/", 1)
}

/// What a crash leaves of everything that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// Nothing: the power was cut.
    Nothing,
    /// Everything, and what was not synced still is not: the process was killed.
    Everything,
    /// Some of it, by this seed.
    Some(u64),
}

#[derive(Debug, Clone)]
enum Node {
    File {
        live: Vec<u8>,
        durable: Vec<u8>,
        lost: bool,
    },
    Dir {
        live: BTreeMap<OsString, usize>,
        durable: BTreeMap<OsString, usize>,
        pending: Vec<(OsString, Option<usize>)>,
    },
}

impl Node {
    fn file() -> Node {
        Node::File { live: Vec::new(), durable: Vec::new(), lost: false }
    }

    fn dir() -> Node {
        Node::Dir { live: BTreeMap::new(), durable: BTreeMap::new(), pending: Vec::new() }
    }
}

type Effect = Box<dyn FnOnce(&FakeDisk) -> io::Result<()> + Send>;

/// A call that a mutated program makes later.
struct Deferred {
    effect: Effect,
    /// The call after which it is made has come.
    due: bool,
}

struct State {
    nodes: Vec<Node>,
    log: Vec<Op>,
    crash_at: Option<usize>,
    crashed: bool,
    fail: Option<(usize, i32)>,
    short_writes: bool,
    mutation: Mutation,
    deferred: Option<Deferred>,
    was_deferred: bool,
    locked: Vec<PathBuf>,
    /// Renames between directories that are not durable yet.
    moves: Vec<Move>,
}

#[derive(Clone)]
struct Move {
    from: (usize, OsString),
    to: (usize, OsString),
    node: usize,
}

#[derive(Clone)]
pub struct FakeDisk(Arc<Mutex<State>>);

impl std::fmt::Debug for FakeDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeDisk")
    }
}

impl Default for FakeDisk {
    fn default() -> Self {
        FakeDisk::of(vec![Node::dir()])
    }
}

impl FakeDisk {
    fn of(nodes: Vec<Node>) -> FakeDisk {
        FakeDisk(Arc::new(Mutex::new(State {
            nodes,
            log: Vec::new(),
            crash_at: None,
            crashed: false,
            fail: None,
            short_writes: false,
            mutation: Mutation::None,
            deferred: None,
            was_deferred: false,
            locked: Vec::new(),
            moves: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From here on the `n`-th changing call (counted from 1) and all calls
    /// after it fail: the machine is down.
    pub fn crash_at(&self, n: usize) {
        let mut state = self.state();
        state.crash_at = Some(state.log.len() + n);
    }

    /// The `n`-th changing call from here on fails with this error number, once.
    pub fn fail_at(&self, n: usize, errno: i32) {
        let mut state = self.state();
        state.fail = Some((state.log.len() + n, errno));
    }

    /// Each write takes at most half of what it is given.
    pub fn write_short(&self) {
        self.state().short_writes = true;
    }

    /// From here on the program is another than ours.
    pub fn mutate(&self, mutation: Mutation) {
        self.state().mutation = mutation;
    }

    /// The program has ended: makes the call that it was still to make.
    pub fn make_up(&self) -> io::Result<()> {
        let deferred = self.state().deferred.take();
        deferred.map_or(Ok(()), |deferred| (deferred.effect)(self))
    }

    pub fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// The changing calls so far.
    pub fn log(&self) -> Vec<Op> {
        self.state().log.clone()
    }

    /// The disk that a machine finds when it comes up again.
    pub fn after_crash(&self, survives: Survives) -> FakeDisk {
        let state = self.state();
        if survives == Survives::Everything {
            let disk = FakeDisk::of(state.nodes.clone());
            disk.state().moves.clone_from(&state.moves);
            return disk;
        }
        let mut random = Random(match survives {
            Survives::Some(seed) => seed,
            _ => 0,
        });
        let nodes = state
            .nodes
            .iter()
            .map(|node| match node {
                Node::File { live, durable, .. } => {
                    let content = surviving_bytes(live, durable, survives, &mut random);
                    Node::File { live: content.clone(), durable: content, lost: false }
                }
                Node::Dir { durable, pending, .. } => {
                    let entries = match survives {
                        Survives::Nothing | Survives::Everything => durable.clone(),
                        Survives::Some(_) => {
                            let mut entries = durable.clone();
                            for (name, target) in pending {
                                if random.below(2) == 0 {
                                    continue;
                                }
                                match target {
                                    Some(node) => entries.insert(name.clone(), *node),
                                    None => entries.remove(name),
                                };
                            }
                            entries
                        }
                    };
                    Node::Dir { live: entries.clone(), durable: entries, pending: Vec::new() }
                }
            })
            .collect();
        FakeDisk::of(nodes)
    }

    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        match &state.nodes[state.find(path.as_ref()).ok()?] {
            Node::File { live, .. } => Some(live.clone()),
            Node::Dir { .. } => None,
        }
    }

    /// Puts a file there, durably, as another program would have.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut state = self.state();
        let path = path.as_ref();
        let (dir, name) = state.parent(path).unwrap();
        let node = state.nodes.len();
        state.nodes.push(Node::File { live: bytes.to_vec(), durable: bytes.to_vec(), lost: false });
        if let Node::Dir { live, durable, .. } = &mut state.nodes[dir] {
            live.insert(name.clone(), node);
            durable.insert(name, node);
        }
    }

    /// Every file, by path.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let mut found = BTreeMap::new();
        let mut todo = vec![(PathBuf::from("/"), 0)];
        while let Some((path, node)) = todo.pop() {
            match &state.nodes[node] {
                Node::File { live, .. } => {
                    found.insert(path, live.clone());
                }
                Node::Dir { live, .. } => {
                    todo.extend(live.iter().map(|(name, node)| (path.join(name), *node)));
                }
            }
        }
        found
    }

    /// Counts a changing call and has its effect, unless it is the moment to
    /// go down, to fail, or to be another program than ours.
    fn act(&self, call: Call, path: &Path, bytes: &[u8], effect: Effect) -> io::Result<()> {
        let mut state = self.state();
        if state.crashed {
            return Err(io::Error::other("the machine is down"));
        }
        state.log.push(Op { call, path: path.to_owned(), bytes: bytes.to_vec() });
        let n = state.log.len();
        if state.crash_at == Some(n) {
            state.crashed = true;
            return Err(io::Error::other("the machine went down"));
        }
        if let Some((_, errno)) = state.fail.take_if(|(at, _)| *at == n) {
            if call == Call::Sync
                && let Ok(node) = state.find(path)
                && let Node::File { lost, .. } = &mut state.nodes[node]
            {
                *lost = true;
            }
            return Err(io::Error::from_raw_os_error(errno));
        }
        let due = state.deferred.take_if(|deferred| deferred.due);
        let mutation = state.mutation;
        if mutation.leaves_out(&state.log) {
            return Ok(());
        }
        let again = matches!(mutation, Mutation::SwapSteps(..)) && state.was_deferred;
        if state.deferred.is_none() && !again && mutation.defers(&state.log) {
            state.deferred = Some(Deferred { effect, due: false });
            state.was_deferred = true;
            drop(state);
            return due.map_or(Ok(()), |due| (due.effect)(self));
        }
        if mutation.makes_up_for(&state.log)
            && let Some(deferred) = &mut state.deferred
        {
            deferred.due = true;
        }
        drop(state);
        if let Some(due) = due {
            (due.effect)(self)?;
        }
        effect(self)
    }

    fn link(&self, path: &Path, target: Option<usize>) -> io::Result<()> {
        let mut state = self.state();
        let (dir, name) = state.parent(path)?;
        match &mut state.nodes[dir] {
            Node::Dir { live, pending, .. } => {
                match target {
                    Some(node) => live.insert(name.clone(), node),
                    None => live.remove(&name),
                };
                pending.push((name, target));
                Ok(())
            }
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&self, path: &Path, node: Node) -> io::Result<usize> {
        let number = {
            let mut state = self.state();
            if state.find(path).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.parent(path)?;
            state.nodes.push(node);
            state.nodes.len() - 1
        };
        self.link(path, Some(number))?;
        Ok(number)
    }
}

/// What is left of a file of which `durable` was synced and `live` written.
fn surviving_bytes(
    live: &[u8],
    durable: &[u8],
    survives: Survives,
    random: &mut Random,
) -> Vec<u8> {
    match survives {
        Survives::Some(_) if live.len() > durable.len() => {
            let more = random.below(live.len() - durable.len() + 1);
            let mut bytes = live[..durable.len() + more].to_vec();
            if random.below(3) == 0 {
                // The size reached the disk, the bytes did not.
                bytes[durable.len()..].fill(0);
            }
            bytes
        }
        _ => durable.to_vec(),
    }
}

struct Random(u64);

impl Random {
    /// A number from 0 to `limit - 1` (splitmix64).
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

impl State {
    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for part in path.components() {
            let name: &OsStr = match part {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name,
                _ => return Err(ErrorKind::InvalidInput.into()),
            };
            match &self.nodes[at] {
                Node::Dir { live, .. } => {
                    at = *live.get(name).ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
                }
                Node::File { .. } => return Err(ErrorKind::NotADirectory.into()),
            }
        }
        Ok(at)
    }

    fn parent(&self, path: &Path) -> io::Result<(usize, OsString)> {
        let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
        Ok((self.find(path.parent().unwrap_or(Path::new("/")))?, name.to_owned()))
    }
}

struct FakeFile {
    disk: FakeDisk,
    path: PathBuf,
    node: usize,
}

impl Write for FakeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let half = self.disk.state().short_writes && bytes.len() > 1;
        let taken = if half { bytes[..bytes.len() / 2].to_vec() } else { bytes.to_vec() };
        let (node, count) = (self.node, taken.len());
        let effect: Effect = Box::new(move |disk| {
            if let Node::File { live, .. } = &mut disk.state().nodes[node] {
                live.extend_from_slice(&taken);
            }
            Ok(())
        });
        self.disk.act(Call::Write, &self.path, bytes, effect)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for FakeFile {
    fn sync(&mut self) -> io::Result<()> {
        let node = self.node;
        let effect: Effect = Box::new(move |disk| {
            if let Node::File { live, durable, lost: false } = &mut disk.state().nodes[node] {
                durable.clone_from(live);
            }
            Ok(())
        });
        self.disk.act(Call::Sync, &self.path, &[], effect)
    }
}

/// A file as it was when it was opened, whatever becomes of its name.
struct FakeRead(Vec<u8>);

impl ReadAt for FakeRead {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

struct FakeLock {
    disk: FakeDisk,
    path: PathBuf,
}

impl Held for FakeLock {}

impl Drop for FakeLock {
    fn drop(&mut self) {
        self.disk.state().locked.retain(|path| *path != self.path);
    }
}

impl Disk for FakeDisk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let made = path.to_owned();
        let effect: Effect = Box::new(move |disk| disk.add(&made, Node::file()).map(|_| ()));
        self.act(Call::Create, path, &[], effect)?;
        let node = self.state().find(path)?;
        Ok(Box::new(FakeFile { disk: self.clone(), path: path.to_owned(), node }))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let node = self.state().find(path)?;
        Ok(Box::new(FakeFile { disk: self.clone(), path: path.to_owned(), node }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn ReadAt>> {
        let state = self.state();
        match &state.nodes[state.find(path)?] {
            Node::File { live, .. } => Ok(Box::new(FakeRead(live.clone()))),
            Node::Dir { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, new) = (from.to_owned(), to.to_owned());
        let effect: Effect = Box::new(move |disk| {
            let node = disk.state().find(&old)?;
            disk.link(&new, Some(node))?;
            let mut state = disk.state();
            let (from, to) = (state.parent(&old)?, state.parent(&new)?);
            if let Node::Dir { live, .. } = &mut state.nodes[from.0] {
                live.remove(&from.1);
            }
            state.moves.push(Move { from, to, node });
            Ok(())
        });
        self.act(Call::Rename, to, &[], effect)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state().find(path)?;
        let gone = path.to_owned();
        self.act(Call::Remove, path, &[], Box::new(move |disk| disk.link(&gone, None)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let made = path.to_owned();
        let effect: Effect = Box::new(move |disk| disk.add(&made, Node::dir()).map(|_| ()));
        self.act(Call::MakeDir, path, &[], effect)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let gone = path.to_owned();
        self.act(Call::RemoveDir, path, &[], Box::new(move |disk| disk.link(&gone, None)))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let synced = path.to_owned();
        let effect: Effect = Box::new(move |disk| {
            let mut state = disk.state();
            let node = state.find(&synced)?;
            if let Node::Dir { live, durable, pending } = &mut state.nodes[node] {
                durable.clone_from(live);
                pending.clear();
            }
            for moved in std::mem::take(&mut state.moves) {
                if moved.from.0 == node {
                    if let Node::Dir { durable, .. } = &mut state.nodes[moved.to.0] {
                        durable.insert(moved.to.1, moved.node);
                    }
                } else if moved.to.0 == node {
                    if let Node::Dir { pending, .. } = &mut state.nodes[moved.from.0] {
                        pending.push((moved.from.1, None));
                    }
                } else {
                    state.moves.push(moved);
                }
            }
            Ok(())
        });
        self.act(Call::SyncDir, path, &[], effect)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let state = self.state();
        match &state.nodes[state.find(path)?] {
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
            Node::Dir { live, .. } => Ok(live
                .iter()
                .map(|(name, node)| {
                    let (kind, bytes) = match &state.nodes[*node] {
                        Node::File { live, .. } => (EntryKind::File, live.len() as u64),
                        Node::Dir { .. } => (EntryKind::Directory, 0),
                    };
                    DirectoryEntry { name: name.clone(), kind, bytes }
                })
                .collect()),
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let state = self.state();
        match state.find(path) {
            Ok(node) => Ok(Some(match &state.nodes[node] {
                Node::File { live, .. } => Stat { kind: EntryKind::File, bytes: live.len() as u64 },
                Node::Dir { .. } => Stat { kind: EntryKind::Directory, bytes: 0 },
            })),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn lock(&self, path: &Path, holder: &str) -> io::Result<Lock> {
        if self.state().locked.iter().any(|locked| locked == path) {
            return Ok(Lock::Busy(holder.to_owned()));
        }
        if self.stat(path)?.is_none() {
            self.create_new(path)?;
        }
        self.state().locked.push(path.to_owned());
        Ok(Lock::Held(Box::new(FakeLock { disk: self.clone(), path: path.to_owned() })))
    }
}
