//! Copies stretches of pickles into one, with their memo numbers changed: the
//! loop that a merge spends its time in.
//!
//! It keeps no stack. What it copies was scanned before, so that it only has to
//! know how long operations are. Numbers are changed in the block in place where
//! they fit; most of a stretch goes out as it came in.

use std::io::{self, Write};

use hashbrown::HashMap;

use super::emit::Halt;
use super::ops::{self, *};
use super::scan::text_id;
use super::symbols::{Node, Nodes, SHORT};
use super::walk::copy_plain;
use super::window::{Fault, SLOP, Window, unknown};

/// No number: the entry is not defined here, or not yet.
pub(crate) const NOWHERE: u64 = u64::MAX;
/// The entry is None, and not in what is written.
pub(crate) const IS_NONE: u64 = u64::MAX - 1;
/// The entry is the container itself.
pub(crate) const CONTAINER: u64 = u64::MAX - 2;

/// What is written so far.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    /// The next number in it.
    pub(crate) next: u64,
    /// Whether numbers were left out, so that MEMOIZE would count wrongly.
    pub(crate) gaps: bool,
}

/// Where the memo entries of one pickle are in what is written.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// Of the first entries, each on its own.
    pub(crate) low: Vec<u64>,
    /// What is added to the others, once the first of them is known.
    pub(crate) shift: Option<u64>,
    /// The next number in the pickle.
    pub(crate) next: u64,
    /// For the first entries: the number of an equal text that is written
    /// already, and takes the entry's place.
    pub(crate) instead: Vec<Option<u64>>,
    /// For the first entries: the number of an equal global that is written
    /// already, and is referred to in its place.
    pub(crate) alias: Vec<Option<u64>>,
    /// Whether a text among the first entries is referred to where a pickle before this one had it
    /// among its first, see [`Texts::before`].
    pub(crate) before: bool,
}

impl Ids {
    /// The new number of an entry.
    pub(crate) fn map(&self, id: u64) -> Option<u64> {
        match usize::try_from(id).ok().and_then(|id| self.low.get(id)) {
            Some(&new) => (new != NOWHERE).then_some(new),
            None if id < self.next => Some(id.wrapping_add(self.shift?)),
            None => None,
        }
    }

    /// Defines entry `id`; gives its new number.
    fn define(&mut self, id: u64, memo: &mut Memo) -> u64 {
        let new = match usize::try_from(id).ok().filter(|id| *id < self.low.len()) {
            Some(at) => {
                let new = memo.next;
                if let Some(place) = self.low.get_mut(at) {
                    *place = match self.alias.get(at) {
                        Some(&Some(alias)) => alias,
                        _ => new,
                    };
                }
                new
            }
            None => {
                let shift = *self.shift.get_or_insert(memo.next.wrapping_sub(id));
                id.wrapping_add(shift)
            }
        };
        memo.gaps |= new > memo.next;
        memo.next = new + 1;
        self.next = id + 1;
        new
    }
}

/// Texts that later pickles refer to: where they are in what is written.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) nodes: Nodes,
    /// The number of each node, [`NOWHERE`] where it is not written yet.
    known: Vec<u64>,
    /// Which nodes are looked for.
    wanted: Vec<bool>,
    /// Of those, how many are not written yet.
    missing: usize,
    /// A bit for each wanted text, by [`print`].
    filter: Vec<u64>,
    /// The first texts of pickles, their numbers in what is written, and the last of the pickles
    /// that has each.
    before: HashMap<Box<[u8]>, (u64, u64)>,
    /// The pickle that is being copied, counted from the first.
    pickle: u64,
}

const FILTER_BITS: usize = 1 << 16;

/// A number made of a text's length and its ends.
#[expect(clippy::indexing_slicing, reason = "evaluated below the slice's length")]
fn print(bytes: &[u8]) -> usize {
    let length = bytes.len();
    let word = |at: usize| -> u32 {
        let mut word = [0; 4];
        let some = &bytes[at..(at + 4).min(length)];
        word[..some.len()].copy_from_slice(some);
        u32::from_le_bytes(word)
    };
    let (first, last) = (word(length.min(2)), word(length.saturating_sub(4)));
    let mixed = (u64::from(first) << 32 | u64::from(last)) ^ (length as u64).rotate_left(17);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % FILTER_BITS
}

impl Texts {
    /// Looks for the texts that these operations make.
    pub(crate) fn seeking<'t>(operations: impl Iterator<Item = &'t [u8]>) -> Self {
        let mut texts = Texts::default();
        for operation in operations {
            if let Some(node) = texts.nodes.node(operation) {
                texts.want(node);
            }
        }
        texts
    }

    /// The number of a node in what is written.
    pub(crate) fn known(&self, node: Node) -> Option<u64> {
        self.known.get(node as usize).copied().filter(|id| *id != NOWHERE)
    }

    /// Takes note of where a node is, unless it is elsewhere already.
    pub(crate) fn learn(&mut self, node: Node, id: u64) {
        let at = node as usize;
        if self.known.len() <= at {
            self.known.resize(at + 1, NOWHERE);
        }
        if let Some(place) = self.known.get_mut(at).filter(|place| **place == NOWHERE) {
            *place = id;
            if self.wanted.get(at) == Some(&true) {
                self.missing -= 1;
            }
        }
    }

    /// Begins another pickle, for [`Texts::before`].
    pub(crate) fn next_pickle(&mut self) {
        self.pickle += 1;
    }

    /// The number of the text that `operation` makes, if a pickle before this one had it among its
    /// first. If not, it is remembered as long as numbers are short: `new`.
    ///
    /// Two equal texts of one pickle stay two.
    fn before(&mut self, operation: &[u8], new: u64) -> Option<u64> {
        match self.before.get_mut(operation) {
            Some((there, last)) => {
                (std::mem::replace(last, self.pickle) < self.pickle).then_some(*there)
            }
            None => {
                if new < SHORT {
                    self.before.insert(operation.into(), (new, self.pickle));
                }
                None
            }
        }
    }

    /// How many texts are looked for and not written yet.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Looks for a node from now on.
    fn want(&mut self, node: Node) {
        let at = node as usize;
        if self.wanted.len() <= at {
            self.wanted.resize(at + 1, false);
        }
        if !self.nodes.is_text(node) || self.known(node).is_some() {
            return;
        }
        if let Some(wanted) = self.wanted.get_mut(at).filter(|wanted| !**wanted) {
            *wanted = true;
            self.missing += 1;
            self.filter.resize(FILTER_BITS / 64, 0);
            let bit = print(self.nodes.operation(node));
            if let Some(word) = self.filter.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
    }

    /// Forgets nodes that were noted after the first `count`.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.nodes.truncate(count);
        self.known.truncate(count);
        self.wanted.truncate(count);
    }

    /// The text with these bytes, if it is looked for and not written yet.
    fn sought(&self, operation: &[u8]) -> Option<Node> {
        let bit = print(operation);
        if self.filter.get(bit / 64)? & (1 << (bit % 64)) == 0 {
            return None;
        }
        let node = self.nodes.find(operation)?;
        (self.wanted.get(node as usize) == Some(&true) && self.known(node).is_none())
            .then_some(node)
    }
}

/// Copies stretches of one source.
pub(crate) struct Splice<'a> {
    window: Window<'a>,
    offset: u64,
    to: u64,
    /// Everything before this offset is written, or left out.
    written: u64,
    /// The memo number before whose definition to stop.
    stop: u64,
    /// Whether each stretch is a pickle, which ends with STOP: the window then goes beyond.
    pickles: bool,
}

enum Pause {
    /// The number to stop at is the next one.
    Stop,
    /// The window has to move to the offset.
    Block,
    /// STOP, or the end of the stretch.
    End,
    /// An operation is replaced by other bytes: its beginning, its end.
    Replace(u64, u64, Bytes),
}

/// A few bytes.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    bytes: [u8; 24],
    len: usize,
}

impl Bytes {
    const NOTHING: Bytes = Bytes { bytes: [0; 24], len: 0 };

    fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = Bytes::NOTHING;
        for part in parts {
            if let Some(room) = bytes.bytes.get_mut(bytes.len..bytes.len + part.len()) {
                room.copy_from_slice(part);
                bytes.len += part.len();
            }
        }
        bytes
    }

    /// A GET or a PUT, which has these opcodes in its three widths.
    fn memo([short, long, text]: [u8; 3], id: u64) -> Self {
        match (u8::try_from(id), u32::try_from(id)) {
            (Ok(id), _) => Bytes::of(&[&[short, id]]),
            (_, Ok(id)) => Bytes::of(&[&[long], &id.to_le_bytes()]),
            _ => Bytes::of(&[&[text], id.to_string().as_bytes(), b"\n"]),
        }
    }

    pub(crate) fn get(id: u64) -> Self {
        if id == IS_NONE {
            Bytes::of(&[&[NONE]])
        } else {
            Bytes::memo([BINGET, LONG_BINGET, GET], id)
        }
    }

    fn put(id: u64) -> Self {
        Bytes::memo([BINPUT, LONG_BINPUT, PUT], id)
    }

    /// The same for a pickle that has only text in it.
    fn text(opcode: u8, id: u64) -> Self {
        Bytes::of(&[&[opcode], id.to_string().as_bytes(), b"\n"])
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl<'a> Splice<'a> {
    /// Copies what lies between offsets that are given later.
    pub(crate) fn new(window: Window<'a>) -> Self {
        Splice { window, offset: 0, to: 0, written: 0, stop: u64::MAX, pickles: false }
    }

    /// Copies pickles that follow one another, each up to its STOP.
    pub(crate) fn pickles(window: Window<'a>) -> Self {
        Splice { pickles: true, ..Splice::new(window) }
    }

    /// What it has in memory.
    pub(crate) fn window(&mut self) -> &mut Window<'a> {
        &mut self.window
    }

    /// Stops where `number` is the next memo number, from now on.
    pub(crate) fn stop_before(&mut self, number: u64) {
        self.stop = number;
    }

    /// Copies `from..to`, or up to a STOP, which is left out as FRAMEs are.
    /// Calls `out.flush()` only where an operation ends. Returns where it ended.
    pub(crate) fn copy(
        &mut self,
        (from, to): (u64, u64),
        ids: &mut Ids,
        memo: &mut Memo,
        texts: &mut Texts,
        out: &mut dyn Write,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<u64, Halt> {
        // What is in memory of the same source is not read again.
        if self.window.end() != to && !self.pickles {
            self.window = self.window.reuse(to);
        }
        (self.offset, self.to, self.written) = (from, to, from);
        loop {
            match self.block(ids, memo, texts)? {
                Pause::Replace(at, end, bytes) => {
                    self.flush(at, out, failed)?;
                    self.written = end;
                    out.write_all(bytes.as_slice()).map_err(&mut *failed)?;
                }
                Pause::Block => {
                    self.flush(self.offset, out, failed)?;
                    out.flush().map_err(&mut *failed)?;
                    self.window.load(self.offset).map_err(Fault::from)?;
                    if self.window.len() == 0 {
                        return Err(Fault::truncated(self.offset).into());
                    }
                }
                Pause::End | Pause::Stop => {
                    self.flush(self.offset, out, failed)?;
                    out.flush().map_err(&mut *failed)?;
                    return Ok(self.offset);
                }
            }
        }
    }

    /// Writes up to `until` what is not written yet.
    fn flush(
        &mut self,
        until: u64,
        out: &mut dyn Write,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<(), Halt> {
        let base = self.window.base();
        let there = base + self.window.len() as u64;
        if self.written < until && self.written >= base && self.written < there {
            let from = (self.written - base) as usize;
            let to = (until.min(there) - base) as usize;
            let bytes = self.window.bytes().get(from..to).unwrap_or_default();
            out.write_all(bytes).map_err(&mut *failed)?;
            self.written = base + to as u64;
        }
        if self.written < until {
            copy_plain(self.window.source(), self.written, until, out, failed)?;
            self.written = until;
        }
        Ok(())
    }

    /// Goes over what is in the window.
    #[expect(
        clippy::indexing_slicing,
        clippy::too_many_lines,
        reason = "the hot loop of a merge: `pos` is below the block's length, after which SLOP \
                  zeros lie; longer reads are checked where they are made"
    )]
    fn block(&mut self, ids: &mut Ids, memo: &mut Memo, texts: &mut Texts) -> Result<Pause, Fault> {
        let base = self.window.base();
        let len = self.window.len();
        if self.offset >= self.to {
            return if self.offset == self.to {
                Ok(Pause::End)
            } else {
                Err(Fault::truncated(self.to))
            };
        }
        if self.offset < base || self.offset >= base + len as u64 {
            return Ok(Pause::Block);
        }
        let at_end = self.window.at_end();
        let safe = if at_end { len } else { len.saturating_sub(SLOP) };
        let buf = self.window.whole_mut();
        let mut pos = (self.offset - base) as usize;
        if pos >= safe {
            return Ok(Pause::Block);
        }
        // Memo operations below are many, and most of them change nothing.
        let low = ids.low.len() as u64;
        while pos < safe {
            let op = buf[pos];
            macro_rules! replace {
                ($next:expr, $bytes:expr) => {{
                    let next: usize = $next;
                    self.offset = base + next as u64;
                    if next > len {
                        return Err(Fault::truncated(base + pos as u64));
                    }
                    return Ok(Pause::Replace(base + pos as u64, self.offset, $bytes));
                }};
            }
            macro_rules! line {
                ($from:expr) => {{
                    let from: usize = $from;
                    match memchr::memchr(b'\n', &buf[from.min(len)..len]) {
                        Some(at) => from + at + 1,
                        None if pos > 0 && !at_end => {
                            self.offset = base + pos as u64;
                            return Ok(Pause::Block);
                        }
                        None => {
                            // Longer than the window, and so no text worth sharing.
                            self.offset = self.window.op(base + pos as u64)?.end;
                            return self.skipped();
                        }
                    }
                }};
            }
            macro_rules! define {
                ($id:expr, $next:expr, $counted:expr) => {{
                    let (id, next): (u64, usize) = ($id, $next);
                    if id < ids.next {
                        return Err(misplaced(base + pos as u64, id));
                    }
                    let new = ids.define(id, memo);
                    if $counted {
                        if memo.gaps {
                            replace!(next, Bytes::put(new));
                        }
                    } else if new != id && !patch(&mut buf[pos..next], new) {
                        replace!(
                            next,
                            if op == PUT { Bytes::text(PUT, new) } else { Bytes::put(new) }
                        );
                    }
                    pos = next;
                    if ids.next >= self.stop {
                        self.offset = base + pos as u64;
                        return Ok(Pause::Stop);
                    }
                }};
            }
            macro_rules! get {
                ($id:expr, $next:expr) => {{
                    let (id, next): (u64, usize) = ($id, $next);
                    match ids.map(id) {
                        Some(new) if new == id => {}
                        Some(CONTAINER) => {
                            return Err(super::external::refers_to_container(base + pos as u64));
                        }
                        Some(IS_NONE) => replace!(next, Bytes::get(IS_NONE)),
                        Some(new) => {
                            if !patch(&mut buf[pos..next], new) {
                                replace!(
                                    next,
                                    if op == GET { Bytes::text(GET, new) } else { Bytes::get(new) }
                                );
                            }
                        }
                        None => return Err(misplaced(base + pos as u64, id)),
                    }
                    pos = next;
                }};
            }
            // A text and, where it is short, what gives it its number.
            macro_rules! text {
                ($next:expr) => {{
                    let next: usize = $next;
                    if next - pos <= SHORT as usize + 5 && (ids.next < low || texts.missing > 0) {
                        if next + SLOP > len && !at_end && pos > 0 {
                            self.offset = base + pos as u64;
                            return Ok(Pause::Block);
                        }
                        let id = match buf.get(next) {
                            Some(&MEMOIZE) => ids.next,
                            Some(&BINPUT) => u64::from(buf[next + 1]),
                            Some(&LONG_BINPUT) => ops::little(&buf[next + 1..next + 5]),
                            Some(&PUT) => put_line(buf, next).map_or(NOWHERE, |(id, _)| id),
                            _ => NOWHERE,
                        };
                        if id >= ids.next && id != NOWHERE && next < len {
                            let there = match ids.instead.get(id as usize) {
                                Some(&there) => there,
                                None if ids.before && id < low => {
                                    texts.before(&buf[pos..next], memo.next)
                                }
                                None => None,
                            };
                            if let Some(new) = there {
                                let width = match buf[next] {
                                    MEMOIZE => 1,
                                    BINPUT => 2,
                                    LONG_BINPUT => 5,
                                    _ => put_line(buf, next).map_or(1, |(_, width)| width),
                                };
                                let text = buf[next] == PUT;
                                if let Some(place) = ids.low.get_mut(id as usize) {
                                    *place = new;
                                }
                                ids.next = id + 1;
                                replace!(
                                    next + width,
                                    if text { Bytes::text(GET, new) } else { Bytes::get(new) }
                                );
                            }
                            if texts.missing > 0
                                && let Some(node) = texts.sought(&buf[pos..next])
                            {
                                // Its number is the next one, or as far from it as the
                                // source's numbers say.
                                let new = match ids.shift {
                                    Some(shift) if id >= low => id.wrapping_add(shift),
                                    _ => memo.next,
                                };
                                texts.learn(node, new);
                            }
                        }
                    }
                    pos = next;
                }};
            }
            match op {
                SHORT_BINUNICODE | SHORT_BINSTRING | SHORT_BINBYTES => {
                    text!(pos + 2 + usize::from(buf[pos + 1]))
                }
                LONG1 => pos += 2 + usize::from(buf[pos + 1]),
                BINGET => get!(u64::from(buf[pos + 1]), pos + 2),
                LONG_BINGET => get!(ops::little(&buf[pos + 1..pos + 5]), pos + 5),
                MEMOIZE => {
                    let next = ids.next;
                    if next >= low && !memo.gaps && ids.shift.is_some() {
                        ids.next += 1;
                        memo.next += 1;
                        pos += 1;
                    } else {
                        define!(next, pos + 1, true);
                    }
                }
                BINPUT => define!(u64::from(buf[pos + 1]), pos + 2, false),
                LONG_BINPUT => define!(ops::little(&buf[pos + 1..pos + 5]), pos + 5, false),
                BINUNICODE | BINBYTES | BINSTRING => {
                    text!(pos + 5 + ops::little(&buf[pos + 1..pos + 5]) as usize)
                }
                LONG4 => pos += 5 + ops::little(&buf[pos + 1..pos + 5]) as usize,
                FRAME => replace!(pos + 9, Bytes::NOTHING),
                STOP => {
                    self.offset = base + pos as u64;
                    return Ok(Pause::End);
                }
                BINUNICODE8 | BINBYTES8 | BYTEARRAY8 => {
                    let count = ops::little(&buf[pos + 1..pos + 9]);
                    if count > self.to {
                        return Err(Fault::truncated(base + pos as u64));
                    }
                    pos += 9 + count as usize;
                }
                GET | PUT => {
                    let next = line!(pos + 1);
                    match text_id(&buf[pos + 1..next]) {
                        Some(id) if op == GET => get!(id, next),
                        Some(id) => define!(id, next, false),
                        None => {
                            return Fault::bad(
                                base + pos as u64,
                                "no memo number on this line: the pickle is damaged",
                            );
                        }
                    }
                }
                STRING | UNICODE => text!(line!(pos + 1)),
                FLOAT | INT | LONG | PERSID => pos = line!(pos + 1),
                GLOBAL | INST => pos = line!(line!(pos + 1)),
                _ => match ops::LENGTHS[usize::from(op)] {
                    Length::Fixed(n) => pos += usize::from(n),
                    _ => return Err(unknown(base + pos as u64, op)),
                },
            }
        }
        self.offset = base + pos as u64;
        Ok(if self.offset == self.to { Pause::End } else { Pause::Block })
    }

    /// After an operation that is longer than the window.
    fn skipped(&mut self) -> Result<Pause, Fault> {
        match self.offset.cmp(&self.to) {
            std::cmp::Ordering::Less => Ok(Pause::Block),
            std::cmp::Ordering::Equal => Ok(Pause::End),
            std::cmp::Ordering::Greater => Err(Fault::truncated(self.to)),
        }
    }
}

/// The number in the PUT line at `at`, and the bytes of the operation.
fn put_line(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let line = bytes.get(at + 1..(at + 24).min(bytes.len()))?;
    let length = memchr::memchr(b'\n', line)? + 1;
    Some((text_id(line.get(..length)?)?, 1 + length))
}

/// Changes the number of a GET or PUT in place, if it fits.
fn patch(operation: &mut [u8], id: u64) -> bool {
    let Some((opcode, place)) = operation.split_first_mut() else { return false };
    match *opcode {
        BINGET | BINPUT | LONG_BINGET | LONG_BINPUT => {
            if id >> (8 * place.len()) != 0 {
                return false;
            }
            for (byte, value) in place.iter_mut().zip(id.to_le_bytes()) {
                *byte = value;
            }
            true
        }
        _ => {
            let digits = place.iter().take_while(|b| b.is_ascii_digit()).count();
            let text = format!("{id:0digits$}");
            if text.len() != digits {
                return false;
            }
            for (byte, value) in place.iter_mut().zip(text.bytes()) {
                *byte = value;
            }
            true
        }
    }
}

#[cold]
pub(crate) fn misplaced(at: u64, id: u64) -> Fault {
    Fault::Bad(
        at,
        format!("memo entry {id} is used where it cannot be; load and dump it anew first"),
    )
}
