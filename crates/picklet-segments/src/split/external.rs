//! Finds the bytes of objects that a segment refers to and that were defined
//! before it.
//!
//! The blocks between checkpoints that define them are scanned again; what was
//! found is kept. An object's bytes, its span, are complete when something
//! takes it off the stack. What a span refers to in turn is looked for too, and
//! of spans inside one another only the outermost is used.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};

use super::checkpoint::Checkpoints;
use super::ops::*;
use super::root::Root;
use super::scan::{After, Event, Scanner, Slot, Trace, text_id};
use super::symbols::IMMUTABLE;
use super::walk::Walk;
use super::window::{Fault, RawOp, Window};
use crate::store::ReadAt;

/// How much an object minds being copied into several segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// Text, bytes, numbers, globals: identity means nothing.
    Atom,
    /// Tuples and frozensets: equal copies behave alike.
    Immutable,
    /// Everything else: a change of one copy is not seen in the others.
    Mutable,
}

/// The class of what `producer` makes.
fn class(producer: u8) -> Class {
    match producer {
        INT | BININT | BININT1 | BININT2 | LONG | LONG1 | LONG4 | FLOAT | BINFLOAT | STRING
        | BINSTRING | SHORT_BINSTRING | UNICODE | BINUNICODE | SHORT_BINUNICODE | BINUNICODE8
        | BINBYTES | SHORT_BINBYTES | BINBYTES8 | NONE | NEWTRUE | NEWFALSE | GLOBAL
        | STACK_GLOBAL | EXT1 | EXT2 | EXT4 | PERSID | BINPERSID => Class::Atom,
        TUPLE | TUPLE1 | TUPLE2 | TUPLE3 | EMPTY_TUPLE | FROZENSET => Class::Immutable,
        _ => Class::Mutable,
    }
}

/// The bytes of one object, and the memo entries among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) first_memo: u64,
    pub(crate) end_memo: u64,
}

/// What is known of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    span: Span,
    class: Class,
    /// Whether a call made it, and nobody has looked yet what was called.
    called: bool,
}

/// Operations looked at for what a call calls.
const CALLABLE: usize = 16;
/// Bytes of a name worth reading.
const NAME: u64 = 256;
/// What makes instances in protocols 0 and 1.
const RECONSTRUCTOR: &str = " _reconstructor";

/// Times a block is searched before all that it defines is noted.
const SEARCHES: u8 = 3;
/// Memo entries of a block that are noted at once, at most.
const NOTED: u64 = 1 << 18;

/// Bytes of a block that are read at once: about as far apart as checkpoints.
const SEARCHED: usize = 32 << 10;

/// Finds objects and remembers them.
pub(crate) struct Resolver<'a> {
    source: &'a dyn ReadAt,
    end: u64,
    known: HashMap<u64, Known>,
    /// How often the block after a checkpoint was searched.
    searched: HashMap<usize, u8>,
    /// Bytes that were scanned again.
    rescanned: u64,
    /// Bytes that may be scanned again before the resolver gives up.
    budget: u64,
}

impl<'a> Resolver<'a> {
    /// A resolver for `source`, which ends at `end`.
    pub(crate) fn new(source: &'a dyn ReadAt, end: u64, budget: u64) -> Self {
        let (known, searched) = (HashMap::default(), HashMap::default());
        Resolver { source, end, known, searched, rescanned: 0, budget }
    }

    /// What was found so far, to be handed to another resolver of the same
    /// source; and back.
    pub(crate) fn found_mut(&mut self) -> &mut HashMap<u64, Known> {
        &mut self.known
    }

    /// Distinct objects found so far.
    pub(crate) fn found(&self) -> usize {
        self.known.len()
    }

    /// The class of an object that [`Resolver::spans`] was asked for.
    pub(crate) fn class(&mut self, id: u64) -> Result<Class, Fault> {
        let Some(known) = self.known.get(&id).copied() else { return Ok(Class::Mutable) };
        if !known.called {
            return Ok(known.class);
        }
        let name = self.called_by(known.span)?;
        let class = match name.is_some_and(|name| makes_immutable(&name)) {
            true => Class::Immutable,
            false => known.class,
        };
        self.known.insert(id, Known { class, called: false, ..known });
        Ok(class)
    }

    /// The name of the global that makes the object of a span: `datetime date`.
    fn called_by(&self, span: Span) -> Result<Option<String>, Fault> {
        let mut window = Window::sized(self.source, self.end, NAME as usize);
        let (mut offset, mut texts) = (span.start, Vec::new());
        for _ in 0..CALLABLE {
            if offset >= span.end {
                break;
            }
            let op = window.op(offset)?;
            offset = op.end;
            match op.opcode {
                GLOBAL => {
                    // The class of an instance that protocols 0 and 1 make comes next.
                    let name = global_name(&text_of(&window, op)?);
                    if !name.ends_with(RECONSTRUCTOR) {
                        return Ok(Some(name));
                    }
                }
                STACK_GLOBAL => return Ok(two_last(&texts)),
                BINUNICODE | SHORT_BINUNICODE => texts.push(text_of(&window, op)?),
                BINGET | LONG_BINGET | GET => {
                    let argument = window.copy(op.payload, op.end.min(op.payload + NAME))?;
                    let id =
                        if op.opcode == GET { text_id(&argument) } else { Some(little(&argument)) };
                    // What a span refers to is known too.
                    let known = id.and_then(|id| self.known.get(&id));
                    match known.map(|known| self.named(known.span)).transpose()?.flatten() {
                        Some(Named::Global(name)) if name.ends_with(RECONSTRUCTOR) => {}
                        Some(Named::Global(name)) => return Ok(Some(name)),
                        Some(Named::Text(text)) => texts.push(text),
                        None => return Ok(None),
                    }
                }
                MARK | MEMOIZE | BINPUT | LONG_BINPUT | PUT | FRAME => {}
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What a span of a text or of a global says.
    fn named(&self, span: Span) -> Result<Option<Named>, Fault> {
        let mut window = Window::sized(self.source, self.end, NAME as usize);
        let (mut offset, mut texts) = (span.start, Vec::new());
        while offset < span.end {
            let op = window.op(offset)?;
            offset = op.end;
            match op.opcode {
                GLOBAL => return Ok(Some(Named::Global(global_name(&text_of(&window, op)?)))),
                STACK_GLOBAL => return Ok(two_last(&texts).map(Named::Global)),
                BINUNICODE | SHORT_BINUNICODE => texts.push(text_of(&window, op)?),
                BINGET | LONG_BINGET => {
                    let id = little(&window.copy(op.payload, op.end)?);
                    let known = self.known.get(&id).filter(|known| known.class == Class::Atom);
                    let Some(known) = known else { return Ok(None) };
                    let first = window.op(known.span.start)?;
                    match first.opcode {
                        BINUNICODE | SHORT_BINUNICODE => texts.push(text_of(&window, first)?),
                        _ => return Ok(None),
                    }
                }
                MEMOIZE | BINPUT | LONG_BINPUT | PUT | FRAME => {}
                _ => return Ok(None),
            }
        }
        Ok(texts.pop().map(Named::Text))
    }

    /// The spans that define the memo entries `ids` and everything they refer
    /// to, none inside another, in the order of the source. `most` is how many
    /// bytes they may have in all.
    pub(crate) fn spans(
        &mut self,
        ids: &[u64],
        checkpoints: &Checkpoints,
        root: &Root,
        container_ids: &[u64],
        most: u64,
    ) -> Result<Vec<Span>, Fault> {
        let mut seen: HashSet<u64> = ids.iter().copied().collect();
        let mut layer: Vec<u64> = ids.to_vec();
        let mut outer = Outermost::default();
        let mut walk = Walk::over(self.source, self.end);
        while !layer.is_empty() {
            let mut missing: Vec<u64> =
                layer.iter().copied().filter(|id| !self.known.contains_key(id)).collect();
            missing.sort_unstable();
            self.scan(&missing, checkpoints, root)?;
            let mut next = Vec::new();
            for id in &layer {
                let Some(Known { span, .. }) = self.known.get(id) else { continue };
                // What lies in spans met before was looked through already.
                for (from, to) in outer.insert(*span) {
                    walk.again(from, to);
                    while let Some(found) = walk.next_ref()? {
                        if !found.is_get() || found.id >= span.first_memo {
                            continue;
                        }
                        if container_ids.binary_search(&found.id).is_ok() {
                            return Err(refers_to_container(found.at));
                        }
                        if found.id >= root.prefix_memo && seen.insert(found.id) {
                            next.push(found.id);
                        }
                    }
                }
            }
            if outer.bytes > most {
                break;
            }
            layer = next;
        }
        Ok(outer.spans.into_values().collect())
    }

    /// Scans the blocks that define `wanted`, which ascend.
    fn scan(
        &mut self,
        wanted: &[u64],
        checkpoints: &Checkpoints,
        root: &Root,
    ) -> Result<(), Fault> {
        let mut rest = wanted;
        while let Some(&first) = rest.first() {
            if self.known.contains_key(&first) {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let index = checkpoints.before_memo(first);
            let begin = index
                .and_then(|index| checkpoints.get(index))
                .map_or(Slot { start: root.body, memo: root.prefix_memo }, |point| point.slot);
            let all = self.whole_block(index, checkpoints);
            let seeker = Seeker {
                wanted: all.as_deref().unwrap_or(rest),
                checkpoints,
                pending: Vec::new(),
                done: Vec::new(),
            };
            let (seeker, reached) = self.search(begin, root, seeker)?;
            self.rescanned += reached.saturating_sub(begin.start);
            let left = seeker.wanted.len();
            for (id, known) in seeker.done {
                self.known.insert(id, known);
            }
            if all.is_none() {
                rest = rest.get(rest.len() - left..).unwrap_or_default();
            }
            if !self.known.contains_key(&first) {
                return Fault::bad(
                    begin.start,
                    format!("memo entry {first} is not defined where it should be"),
                );
            }
            if self.rescanned > self.budget {
                return Fault::bad(
                    begin.start,
                    format!(
                        "the items share too much with one another: {} shared objects found so \
                         far, {} bytes of the source read again for them; make fewer, larger \
                         segments",
                        self.known.len(),
                        self.rescanned
                    ),
                );
            }
        }
        Ok(())
    }

    /// All memo entries of a block that was searched often: then it is
    /// cheaper to note them all at once than to come back for each.
    fn whole_block(&mut self, index: Option<usize>, checkpoints: &Checkpoints) -> Option<Vec<u64>> {
        let index = index?;
        let times = self.searched.entry(index).or_insert(0);
        *times = times.saturating_add(1);
        if *times != SEARCHES {
            return None;
        }
        let from = checkpoints.get(index)?.slot.memo;
        let to = checkpoints.get(index + 1)?.slot.memo;
        (to - from <= NOTED).then(|| (from..to).collect())
    }

    /// Scans from `begin` until `seeker` has what it wants of the blocks that
    /// follow one another from there.
    fn search<'s>(
        &self,
        begin: Slot,
        root: &Root,
        mut seeker: Seeker<'s>,
    ) -> Result<(Seeker<'s>, u64), Fault> {
        let window = Window::sized(self.source, self.end, SEARCHED);
        let mut scanner = Scanner::new(window, begin.start, begin.memo, false);
        if let Some(body_end) = root.body_end {
            scanner.stop_at(body_end);
        }
        loop {
            match scanner.run(&mut seeker)? {
                Event::Op { opcode, at, end } => {
                    if matches!(opcode, MEMOIZE | BINPUT | LONG_BINPUT | PUT) {
                        scanner.define_at(opcode, at, end)?;
                    } else {
                        seeker.finish(0);
                        scanner.clear();
                    }
                    scanner.go_on(end);
                    if seeker.satisfied(end) {
                        return Ok((seeker, end));
                    }
                }
                Event::Full => {
                    let count = scanner.spillable(1);
                    seeker.spilled(0, count);
                    scanner.spill(count);
                }
                Event::Stop(at) => {
                    seeker.finish(0);
                    return Ok((seeker, at));
                }
                Event::Limit => {
                    seeker.finish(0);
                    return Ok((seeker, scanner.offset()));
                }
                Event::Traced => return Ok((seeker, scanner.offset())),
            }
        }
    }
}

/// What a name says.
enum Named {
    Text(String),
    /// Module and name, with a space between.
    Global(String),
}

fn text_of(window: &Window<'_>, op: RawOp) -> Result<String, Fault> {
    let bytes = window.copy(op.payload, op.end.min(op.payload + NAME))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Module and name of a GLOBAL's two lines.
fn global_name(lines: &str) -> String {
    lines.trim_end().replace('\n', " ")
}

/// Module and name of a STACK_GLOBAL.
fn two_last(texts: &[String]) -> Option<String> {
    let [.., module, name] = texts else { return None };
    Some(format!("{module} {name}"))
}

/// Whether calling a global makes what cannot change, or what is the same object wherever it is
/// made. numpy's dtypes are given a state that says the same again.
fn makes_immutable(name: &str) -> bool {
    IMMUTABLE.contains(&name)
        || matches!(
            name,
            "__builtin__ frozenset"
                | "builtins frozenset"
                | "__builtin__ bytes"
                | "builtins bytes"
                | "builtins getattr"
                | "__builtin__ getattr"
                | "ipaddress IPv4Address"
                | "ipaddress IPv6Address"
                | "pathlib PurePosixPath"
                | "pathlib PureWindowsPath"
                | "pathlib PosixPath"
                | "pathlib WindowsPath"
                | "re _compile"
                | "uuid UUID"
                | "zoneinfo ZoneInfo._unpickle"
        )
}

/// Spans of which none lies in another.
#[derive(Debug, Default)]
struct Outermost {
    /// By where they begin.
    spans: BTreeMap<u64, Span>,
    bytes: u64,
}

impl Outermost {
    /// Adds a span unless it lies in one that is there. Returns the stretches
    /// of it that lie in none of those that it replaces.
    fn insert(&mut self, span: Span) -> Vec<(u64, u64)> {
        let before = self.spans.range(..=span.start).next_back();
        if before.is_some_and(|(_, before)| before.end >= span.end) {
            return Vec::new();
        }
        let inside: Vec<u64> =
            self.spans.range(span.start..span.end).map(|(&start, _)| start).collect();
        let mut gaps = Vec::new();
        let mut at = span.start;
        for start in inside {
            if let Some(inner) = self.spans.remove(&start) {
                gaps.push((at, inner.start));
                at = inner.end;
                self.bytes -= inner.end - inner.start;
            }
        }
        gaps.push((at, span.end));
        self.spans.insert(span.start, span);
        self.bytes += span.end - span.start;
        gaps.retain(|(from, to)| from < to);
        gaps
    }
}

/// The fault of an item that refers to what is being split.
pub(crate) fn refers_to_container(at: u64) -> Fault {
    Fault::Bad(
        at,
        "an item here refers to the whole container that it is in; no segment can hold that: \
         remove the reference, or keep the pickle in one piece"
            .to_owned(),
    )
}

/// An object whose span is not complete yet.
struct Pending {
    id: u64,
    slot: usize,
    known: Known,
}

/// Watches a scan for the definitions of `wanted`.
struct Seeker<'s> {
    /// Not met yet, ascending.
    wanted: &'s [u64],
    checkpoints: &'s Checkpoints,
    /// Lowest slot first.
    pending: Vec<Pending>,
    done: Vec<(u64, Known)>,
}

impl Seeker<'_> {
    /// Completes what lies in slots from `low` on.
    fn finish(&mut self, low: usize) {
        while let Some(last) = self.pending.pop_if(|last| last.slot >= low) {
            self.done.push((last.id, last.known));
        }
    }

    /// Whether nothing wanted is in what follows `offset` up to the next
    /// checkpoint.
    fn satisfied(&self, offset: u64) -> bool {
        if !self.pending.is_empty() {
            return false;
        }
        let Some(&next) = self.wanted.first() else { return true };
        let point = self.checkpoints.before_memo(next).and_then(|at| self.checkpoints.get(at));
        point.is_some_and(|point| point.slot.start > offset)
    }
}

impl Trace for Seeker<'_> {
    const ACTIVE: bool = true;

    fn define(&mut self, id: u64, slot: usize, begin: Slot, producer: u8) {
        // Numbers ascend: what is smaller and was not met is not there.
        while let [first, rest @ ..] = self.wanted {
            match (*first).cmp(&id) {
                Ordering::Greater => return,
                Ordering::Less => self.wanted = rest,
                Ordering::Equal => break,
            }
        }
        let [_, rest @ ..] = self.wanted else { return };
        self.wanted = rest;
        let span = Span {
            start: begin.start,
            end: begin.start,
            first_memo: begin.memo,
            end_memo: begin.memo,
        };
        let called = matches!(producer, REDUCE | NEWOBJ);
        let known = Known { span, class: class(producer), called };
        self.pending.push(Pending { id, slot, known });
    }

    fn after(&mut self, after: &After) -> bool {
        if self.pending.last().is_some_and(|last| last.slot >= after.low) {
            self.finish(after.low);
            if self.satisfied(after.end) {
                return true;
            }
        }
        if after.bare {
            // The same value may have several numbers.
            for last in self.pending.iter_mut().rev() {
                if last.slot + 1 != after.height {
                    break;
                }
                last.known.span.end = after.end;
                last.known.span.end_memo = after.memo;
            }
        }
        false
    }

    fn spilled(&mut self, base: usize, count: usize) {
        let mut kept = Vec::new();
        for mut pending in std::mem::take(&mut self.pending) {
            if pending.slot < base {
                kept.push(pending);
            } else if pending.slot >= base + count {
                pending.slot -= count;
                kept.push(pending);
            } else {
                self.done.push((pending.id, pending.known));
            }
        }
        self.pending = kept;
    }
}
