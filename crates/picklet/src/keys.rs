//! Equality of dict keys and set members as Python compares them.
//!
//! `1 == 1.0 == True`, `0.0 == -0.0`, a NaN equals only itself, ints of any size, str, bytes and
//! tuples of all these. Everything else (frozensets and instances, whose `__eq__` may be
//! anything) is told apart by identity.

use std::collections::{HashMap, HashSet};

use num_bigint::BigInt;

use crate::graph::{Graph, Id, Node};

/// Objects looked at within one tuple key; a larger one is told apart by identity.
const TUPLE_BUDGET: usize = 256;
/// Dicts of str keys up to this size are checked pair by pair.
const SMALL: usize = 12;

/// Keeps one entry for each key of each dict (the first key, the last value) and one of each
/// member of each set and frozenset among `keyed`. Whether there was anything to drop.
pub(crate) fn drop_duplicates(graph: &mut Graph, keyed: &[Id]) -> bool {
    let mut dropped = false;
    for id in keyed.iter().copied() {
        let replacement = match graph.node(id) {
            Node::Dict(pairs) if pairs.len() > 1 && !few_different_str(graph, pairs) => {
                distinct_pairs(graph, pairs).map(Node::Dict)
            }
            Node::Set(ids) if ids.len() > 1 => distinct(graph, ids).map(Node::Set),
            Node::FrozenSet(ids) if ids.len() > 1 => {
                distinct(graph, ids).map(|ids| Node::FrozenSet(ids.into_boxed_slice()))
            }
            _ => None,
        };
        if let (Some(replacement), Some(node)) = (replacement, graph.node_mut(id)) {
            *node = replacement;
            dropped = true;
        }
    }
    dropped
}

/// Whether these are a few str keys, all different: most dicts.
fn few_different_str(graph: &Graph, pairs: &[(Id, Id)]) -> bool {
    let text = |id: Id| match graph.node(id) {
        Node::Str(text) => Some(text.as_bytes()),
        _ => None,
    };
    pairs.len() <= SMALL
        && pairs.iter().enumerate().all(|(at, (key, _))| {
            let key = text(*key);
            key.is_some() && pairs.iter().take(at).all(|(earlier, _)| text(*earlier) != key)
        })
}

/// The pairs without repeated keys, or `None` where there are none.
fn distinct_pairs(graph: &Graph, pairs: &[(Id, Id)]) -> Option<Vec<(Id, Id)>> {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::with_capacity(pairs.len());
    let mut kept: Vec<(Id, Id)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        let place = *places.entry(canonical(graph, *key)).or_insert(kept.len());
        match kept.get_mut(place) {
            Some(pair) => pair.1 = *value,
            None => kept.push((*key, *value)),
        }
    }
    (kept.len() < pairs.len()).then_some(kept)
}

fn distinct(graph: &Graph, ids: &[Id]) -> Option<Vec<Id>> {
    let mut seen: HashSet<Vec<u8>> = HashSet::with_capacity(ids.len());
    let mut kept = Vec::with_capacity(ids.len());
    kept.extend(ids.iter().copied().filter(|id| seen.insert(canonical(graph, *id))));
    (kept.len() < ids.len()).then_some(kept)
}

/// Bytes that are equal for keys that Python calls equal.
fn canonical(graph: &Graph, key: Id) -> Vec<u8> {
    let mut out = Vec::new();
    let mut open = vec![key];
    let mut budget = TUPLE_BUDGET;
    while let Some(id) = open.pop() {
        if budget == 0 {
            out.clear();
            push(&mut out, b'@', &key.0.to_le_bytes());
            return out;
        }
        budget -= 1;
        match graph.node(id) {
            Node::None => out.push(b'n'),
            Node::Bool(value) => push_int(&mut out, &BigInt::from(u8::from(*value))),
            Node::Int(value) => push_int(&mut out, &BigInt::from(*value)),
            Node::BigInt(bytes) => push(&mut out, b'i', bytes),
            Node::Float(value) => match whole(*value) {
                Some(value) => push_int(&mut out, &value),
                None if value.is_nan() => push(&mut out, b'@', &id.0.to_le_bytes()),
                None => push(&mut out, b'f', &value.to_le_bytes()),
            },
            Node::Str(text) => push(&mut out, b's', text.as_bytes()),
            Node::Bytes(bytes) => push(&mut out, b'b', bytes),
            Node::Py2Str(bytes) => push(&mut out, b'2', bytes),
            Node::Tuple(items) => {
                push(&mut out, b't', &(items.len() as u64).to_le_bytes());
                // One more than fits, so that the budget runs out on a longer tuple.
                open.extend(items.iter().take(budget + 1).rev());
            }
            _ => push(&mut out, b'@', &id.0.to_le_bytes()),
        }
    }
    out
}

fn push(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn push_int(out: &mut Vec<u8>, value: &BigInt) {
    push(out, b'i', &value.to_signed_bytes_le());
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
