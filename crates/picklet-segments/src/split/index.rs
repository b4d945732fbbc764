//! The item index of one pickle: what is at its top, and a checkpoint in every
//! 16 KB from which any item can be reached.
//!
//! ```text
//! picklet-index 1 LF | JSON: key, root, items LF | checkpoints, as deltas | xxh3-128 of all
//! ```
//!
//! A checkpoint takes about seven bytes, so that an index of small items has a
//! fraction of a byte for each. It is believed only when its digest is right and
//! its key is that of the pickle as it is now.

use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, Checkpoints};
use super::extract::top;
use super::items::{Items, Step};
use super::join::object;
use super::ops::STOP;
use super::root::{Container, Root, State};
use super::scan::{Scanner, Slot};
use super::window::{Fault, Window};
use super::{follows, stream, told};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::Xxh3;

const MAGIC: &[u8] = b"picklet-index 1\n";

/// What an index says of a pickle.
#[derive(Debug)]
pub(crate) struct Index {
    /// `None` for a file of several pickles, each of which is an item.
    pub(crate) root: Option<Root>,
    pub(crate) items: u64,
    /// Where the items end.
    pub(crate) body_end: u64,
    pub(crate) points: Checkpoints,
    /// For each checkpoint, whether a mark is open before its item.
    pub(crate) batches: Vec<bool>,
    /// Memo numbers that are the container, ascending.
    pub(crate) container_ids: Vec<u64>,
    /// Whether MEMOIZE counts memo entries.
    pub(crate) counted: bool,
}

/// The part of an index that is JSON.
#[derive(Serialize, Deserialize)]
struct Head {
    key: String,
    root: Option<RootHead>,
    items: u64,
    body_end: u64,
    points: u64,
    container_ids: Vec<u64>,
    counted: bool,
}

#[derive(Serialize, Deserialize)]
struct RootHead {
    container: u8,
    class: Option<String>,
    protocol: u8,
    prefix: Vec<u8>,
    prefix_memo: u64,
    body: u64,
    body_end: Option<u64>,
    end: Option<u64>,
    batch_closer: u8,
    single_closer: u8,
    suffix: Vec<u8>,
    #[serde(default)]
    state: Option<State>,
}

const CONTAINERS: [Container; 5] =
    [Container::List, Container::Tuple, Container::Dict, Container::Set, Container::FrozenSet];

impl RootHead {
    fn of(root: &Root) -> Self {
        let container = CONTAINERS.iter().position(|container| *container == root.container);
        RootHead {
            container: container.unwrap_or(0) as u8,
            class: root.class.clone(),
            protocol: root.protocol,
            prefix: root.prefix.clone(),
            prefix_memo: root.prefix_memo,
            body: root.body,
            body_end: root.body_end,
            end: root.end,
            batch_closer: root.batch_closer,
            single_closer: root.single_closer,
            suffix: root.suffix.clone(),
            state: root.state.clone(),
        }
    }

    fn root(self, container_ids: &[u64]) -> Option<Root> {
        Some(Root {
            container: *CONTAINERS.get(usize::from(self.container))?,
            class: self.class,
            protocol: self.protocol,
            prefix: self.prefix,
            prefix_memo: self.prefix_memo,
            container_ids: container_ids.to_vec(),
            body: self.body,
            body_end: self.body_end,
            end: self.end,
            items: None,
            frame: None,
            batch_closer: self.batch_closer,
            single_closer: self.single_closer,
            suffix: self.suffix,
            state: self.state,
        })
    }
}

impl Index {
    /// Scans `input` for its items.
    ///
    /// # Errors
    /// [`Error::NotAContainer`]; [`Error::Input`] with an offset; [`Error::Io`].
    pub(crate) fn build(input: &Input) -> Result<Index> {
        for by_end in [false, true] {
            let root = match top(input, by_end)? {
                Ok(root) => root,
                Err(what) => {
                    return match several(input)? {
                        Some(index) => Ok(index),
                        None => Err(Error::NotAContainer { path: input.path().to_owned(), what }),
                    };
                }
            };
            let built = of_container(input, root);
            if let Some((index, end)) = built.map_err(|fault| told(fault.into(), input.path()))? {
                let others = if follows(input, end)? { several(input)? } else { None };
                return Ok(others.unwrap_or(index));
            }
        }
        Err(Error::input(input.path(), None, "holds a container of an unknown form"))
    }

    /// The bytes of an index file; `key` tells the pickle as it is now.
    pub(crate) fn to_bytes(&self, key: &str) -> Vec<u8> {
        let head = Head {
            key: key.to_owned(),
            root: self.root.as_ref().map(RootHead::of),
            items: self.items,
            body_end: self.body_end,
            points: self.points.len() as u64,
            container_ids: self.container_ids.clone(),
            counted: self.counted,
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(serde_json::to_vec(&head).unwrap_or_default());
        bytes.push(b'\n');
        let mut last = Checkpoint { slot: Slot::default(), item: 0 };
        for at in 0..self.points.len() {
            let Some(point) = self.points.get(at) else { break };
            put(&mut bytes, point.slot.start - last.slot.start);
            put(&mut bytes, point.slot.memo - last.slot.memo);
            let batch = u64::from(self.batches.get(at).copied().unwrap_or(false));
            put(&mut bytes, (point.item - last.item) * 2 + batch);
            last = point;
        }
        let digest = Xxh3::of(&bytes);
        bytes.extend_from_slice(&digest.0.to_le_bytes());
        bytes
    }

    /// Reads an index file; `None` unless it is whole and of `key`.
    pub(crate) fn from_bytes(bytes: &[u8], key: &str) -> Option<Index> {
        let (body, digest) = bytes.split_last_chunk::<16>()?;
        if Xxh3::of(body).0 != u128::from_le_bytes(*digest) {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let line = memchr::memchr(b'\n', rest)?;
        let head: Head = serde_json::from_slice(rest.get(..line)?).ok()?;
        if head.key != key {
            return None;
        }
        let mut rest = rest.get(line + 1..)?;
        let (mut points, mut batches) = (Checkpoints::default(), Vec::new());
        let mut last = Checkpoint { slot: Slot::default(), item: 0 };
        for _ in 0..head.points {
            last.slot.start = last.slot.start.checked_add(take(&mut rest)?)?;
            last.slot.memo = last.slot.memo.checked_add(take(&mut rest)?)?;
            let item = take(&mut rest)?;
            last.item = last.item.checked_add(item / 2)?;
            points.push(last);
            batches.push(item % 2 == 1);
        }
        let root = match head.root {
            Some(root) => Some(root.root(&head.container_ids)?),
            None => None,
        };
        Some(Index {
            root,
            items: head.items,
            body_end: head.body_end,
            points,
            batches,
            container_ids: head.container_ids,
            counted: head.counted,
        })
    }
}

/// Seven bits a byte, the lowest first.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// The index of a container, and where its pickle ends.
fn of_container(input: &Input, root: Root) -> Result<Option<(Index, u64)>, Fault> {
    let mut items = Items::new(Window::new(input.data(), input.size()), &root)?;
    let (stride, mut count) = (root.stride(), 0);
    let (mut points, mut batches) = (Checkpoints::default(), Vec::new());
    loop {
        match items.step()? {
            Step::Unfit => return Ok(None),
            Step::Piece => {
                let piece = items.piece();
                points.note(piece.slots, stride, count);
                batches.resize(points.len(), piece.batch);
                count += (piece.slots.len() / stride) as u64;
            }
            Step::End { body_end, end } => {
                let counted = items.scanner.counted();
                let mut container_ids = items.container_ids;
                container_ids.sort_unstable();
                let root = Some(root);
                let index =
                    Index { root, items: count, body_end, points, batches, container_ids, counted };
                return Ok(Some((index, end)));
            }
        }
    }
}

/// The index of a file of several pickles; `None` where there is one.
fn several(input: &Input) -> Result<Option<Index>> {
    let mut scanner = Scanner::new(Window::new(input.data(), input.size()), 0, 0, false);
    let mut points = Checkpoints::default();
    let (mut offset, mut items) = (0, 0);
    while offset < input.size() && (offset == 0 || stream::begins(input, offset)?) {
        points.note(&[Slot { start: offset, memo: 0 }], 1, items);
        offset = object(&mut scanner, offset).map_err(|fault| told(fault.into(), input.path()))?;
        items += 1;
    }
    let batches = vec![false; points.len()];
    let (container_ids, counted) = (Vec::new(), false);
    let index =
        Index { root: None, items, body_end: offset, points, batches, container_ids, counted };
    Ok((items > 1).then_some(index))
}

/// Whether what closes the items of `root` says that they were in a batch.
pub(crate) fn closes_batch(root: &Root, opcode: u8) -> Option<bool> {
    match opcode {
        STOP | 0 => None,
        opcode if opcode == root.batch_closer => Some(true),
        opcode if opcode == root.single_closer => Some(false),
        _ => None,
    }
}
