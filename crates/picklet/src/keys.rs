//! Equality of dict keys and set members as Python compares them.
//!
//! `1 == 1.0 == True`, `0.0 == -0.0`, a NaN equals only itself, ints of any size, str, bytes,
//! tuples and frozensets of all these. Everything else (instances, whose `__eq__` may be
//! anything) is told apart by identity.
//!
//! Each object gets a class, once: a number that objects which are equal share. A tuple's class
//! follows from those of its items, so that a key is never walked twice, however often the
//! pickle refers to it and however large it would unfold.

use num_bigint::BigInt;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::HashMap;

use crate::graph::{Graph, Id, Node};

/// Dicts of str keys up to this size are checked pair by pair.
const SMALL: usize = 12;
/// Bytes of a str that are compared in that way; longer ones are hashed, each once.
const SHORT: usize = 64;

/// Keeps one entry for each key of each dict (the first key, the last value) and one of each
/// member of each set and frozenset among `keyed`. Whether there was anything to drop.
pub(crate) fn drop_duplicates(graph: &mut Graph, keyed: &[Id]) -> bool {
    let replacements = replacements(graph, keyed);
    let dropped = !replacements.is_empty();
    for (id, replacement) in replacements {
        if let Some(node) = graph.node_mut(id) {
            *node = replacement;
        }
    }
    dropped
}

fn replacements(graph: &Graph, keyed: &[Id]) -> Vec<(Id, Node)> {
    let mut classes = Classes { graph, of: Vec::new(), known: HashMap::new(), count: 0 };
    let mut replacements = Vec::new();
    for id in keyed.iter().copied() {
        let replacement = match graph.node(id) {
            Node::Dict(pairs) if pairs.len() > 1 && !few_different_str(graph, pairs) => {
                distinct_pairs(&mut classes, pairs).map(Node::Dict)
            }
            Node::Set(ids) if ids.len() > 1 => distinct(&mut classes, ids).map(Node::Set),
            Node::FrozenSet(ids) if ids.len() > 1 => {
                distinct(&mut classes, ids).map(|ids| Node::FrozenSet(ids.into_boxed_slice()))
            }
            _ => None,
        };
        replacements.extend(replacement.map(|node| (id, node)));
    }
    replacements
}

/// Whether these are a few short str keys, all different: most dicts.
fn few_different_str(graph: &Graph, pairs: &[(Id, Id)]) -> bool {
    let text = |id: Id| match graph.node(id) {
        Node::Str(text) => Some(text.as_bytes()).filter(|text| text.len() <= SHORT),
        _ => None,
    };
    pairs.len() <= SMALL
        && pairs.iter().enumerate().all(|(at, (key, _))| {
            let key = text(*key);
            key.is_some() && pairs.iter().take(at).all(|(earlier, _)| text(*earlier) != key)
        })
}

/// The pairs without repeated keys, or `None` where there are none.
fn distinct_pairs(classes: &mut Classes<'_>, pairs: &[(Id, Id)]) -> Option<Vec<(Id, Id)>> {
    let mut places: FxHashMap<u32, usize> = FxHashMap::default();
    places.reserve(pairs.len());
    let mut kept: Vec<(Id, Id)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let place = *places.entry(classes.of(*key)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(pair) => pair.1 = *value,
            None => kept.push((*key, *value)),
        }
    }
    (kept.len() < pairs.len()).then_some(kept)
}

fn distinct(classes: &mut Classes<'_>, ids: &[Id]) -> Option<Vec<Id>> {
    let mut seen = FxHashSet::default();
    seen.reserve(ids.len());
    let mut kept = Vec::with_capacity(ids.len());
    kept.extend(ids.iter().copied().filter(|id| seen.insert(classes.of(*id))));
    (kept.len() < ids.len()).then_some(kept)
}

/// What makes an object equal to another.
#[derive(PartialEq, Eq, Hash)]
enum Key<'g> {
    None,
    Int(i64),
    /// Two's complement, outside `i64`.
    BigInt(Vec<u8>),
    /// The bits of a float that is no whole number.
    Float(u64),
    Str(&'g [u8]),
    Bytes(&'g [u8]),
    Py2Str(&'g [u8]),
    /// The items' classes.
    Tuple(Vec<u32>),
    /// The members' classes, in order.
    FrozenSet(Vec<u32>),
}

/// The class of an object that was not met yet.
const UNKNOWN: u32 = 0;
/// The class of an object whose items are being classified. It cannot be met, because what a
/// tuple or frozenset holds is older than itself; if it were, it would be told apart.
const OPEN: u32 = u32::MAX;

/// Numbers that equal objects share.
struct Classes<'g> {
    graph: &'g Graph,
    /// By node. Empty until the first key that needs it.
    of: Vec<u32>,
    known: HashMap<Key<'g>, u32>,
    count: u32,
}

impl<'g> Classes<'g> {
    fn of(&mut self, key: Id) -> u32 {
        if self.of.is_empty() {
            self.of.resize(self.graph.len(), UNKNOWN);
        }
        let mut open = vec![key];
        while let Some(&id) = open.last() {
            let before = self.get(id);
            if before != UNKNOWN && before != OPEN {
                open.pop();
                continue;
            }
            if let (UNKNOWN, Node::Tuple(items) | Node::FrozenSet(items)) =
                (before, self.graph.node(id))
            {
                self.set(id, OPEN);
                open.extend(items.iter().filter(|item| self.get(**item) == UNKNOWN));
                continue;
            }
            open.pop();
            let class = self.classify(id);
            self.set(id, class);
        }
        self.get(key)
    }

    fn get(&self, id: Id) -> u32 {
        self.of.get(id.0 as usize).copied().unwrap_or(OPEN)
    }

    fn set(&mut self, id: Id, class: u32) {
        if let Some(slot) = self.of.get_mut(id.0 as usize) {
            *slot = class;
        }
    }

    /// The class of an object whose items have theirs.
    fn classify(&mut self, id: Id) -> u32 {
        let next = self.count + 1;
        let class = match self.key(id) {
            Some(key) => *self.known.entry(key).or_insert(next),
            None => next,
        };
        self.count = self.count.max(class);
        class
    }

    /// `None` for what equals only itself.
    fn key(&self, id: Id) -> Option<Key<'g>> {
        Some(match self.graph.node(id) {
            Node::None => Key::None,
            Node::Bool(value) => Key::Int((*value).into()),
            Node::Int(value) => Key::Int(*value),
            Node::BigInt(bytes) => Key::BigInt(bytes.to_vec()),
            Node::Float(value) if value.is_nan() => return None,
            Node::Float(value) => match whole(*value) {
                Some(value) => match i64::try_from(&value) {
                    Ok(small) => Key::Int(small),
                    Err(_) => Key::BigInt(value.to_signed_bytes_le()),
                },
                None => Key::Float(value.to_bits()),
            },
            Node::Str(text) => Key::Str(text.as_bytes()),
            Node::Bytes(bytes) => Key::Bytes(bytes),
            Node::Py2Str(bytes) => Key::Py2Str(bytes),
            Node::Tuple(items) => Key::Tuple(items.iter().map(|item| self.get(*item)).collect()),
            Node::FrozenSet(members) => {
                let mut classes: Vec<u32> = members.iter().map(|item| self.get(*item)).collect();
                classes.sort_unstable();
                classes.dedup();
                Key::FrozenSet(classes)
            }
            _ => return None,
        })
    }
}

/// The int that a float equals.
fn whole(value: f64) -> Option<BigInt> {
    if !value.is_finite() || value.trunc() != value {
        return None;
    }
    let bits = value.to_bits();
    let exponent = i64::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1075;
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let magnitude = match u64::try_from(exponent) {
        _ if value == 0.0 => BigInt::ZERO,
        Ok(shift) => BigInt::from(mantissa) << shift,
        // Whole numbers have no bits below the point, and are not below 1.
        Err(_) => BigInt::from(mantissa.checked_shr(exponent.unsigned_abs() as u32).unwrap_or(0)),
    };
    Some(if value < 0.0 { -magnitude } else { magnitude })
}
