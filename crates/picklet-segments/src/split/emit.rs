//! Writes one segment: a header, the objects that its items refer to and that
//! were defined before it, the items almost as they stand, and what closes the
//! container.
//!
//! A segment's memo numbers are never larger than the source's, so every GET
//! and PUT is changed in place. Objects with numbers below 256 keep them.
//!
//! ```text
//! PROTO  [FRAME]  prefix   preamble           [MARK] items      [closer] suffix
//!                 ]  \x94  …value… POP …         (   …               e   .
//! ```

use std::io::{self, Write};
use std::ops::Range;

use super::checkpoint::Checkpoints;
use super::cutter::Job;
use super::external::{Class, Resolver, Span, refers_to_container};
use super::ops::*;
use super::refs::{Places, Refs};
use super::root::Root;
use super::scan::Frame;
use super::walk::{Change, Walk, copy_plain};
use super::window::{BLOCK, Fault};
use crate::error::Error;
use crate::manifest::SharedCounts;
use crate::store::ReadAt;

/// Why a segment could not be written.
#[derive(Debug)]
pub(crate) enum Halt {
    /// The source is to blame.
    Fault(Fault),
    /// Something else is.
    Error(Error),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Halt::Fault(fault)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Error(error)
    }
}

/// A place between two items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) offset: u64,
    pub(crate) memo: u64,
    /// The number of the item that begins here.
    pub(crate) item: u64,
    /// Whether a batch is open here.
    pub(crate) batch: bool,
    /// The frame that it lies in.
    pub(crate) frame: Option<Frame>,
}

/// A segment to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) from: Cut,
    pub(crate) to: Cut,
    /// The last FRAME between them.
    pub(crate) last_frame: Option<Frame>,
    /// Whether FRAMEs are left out, because those of the source overlap.
    pub(crate) strip: bool,
    /// Whether MEMOIZE may be used to leave numbers unused.
    pub(crate) pad: bool,
}

/// Preambles up to this many bytes are made in memory and put into the first
/// frame; larger ones are written as they are found, outside of frames.
const PREAMBLE_IN_MEMORY: u64 = 4 << 20;

/// What writes the segments of one source.
pub(crate) struct Emitter<'a> {
    source: &'a dyn ReadAt,
    size: u64,
    root: &'a Root,
    pub(crate) resolver: Resolver<'a>,
    pub(crate) checkpoints: Checkpoints,
    /// Memo numbers that are the container, ascending.
    pub(crate) container_ids: Vec<u64>,
    /// Bytes written in preambles, and how many there may be.
    copied: u64,
    copy_budget: u64,
    block: Vec<u8>,
}

/// Where the objects of the preamble and the items go in the memo.
#[derive(Debug, Default)]
struct Layout {
    /// Each span, the entries left unused before it, its first new number.
    placed: Vec<(Span, u64, u64)>,
    directory: Directory,
    /// Entries left unused after the preamble.
    pad: u64,
    prefix_memo: u64,
    /// The items' first number in the source.
    first: u64,
    /// What is taken off the items' numbers.
    shift: u64,
}

/// Where among the spans those of some numbers begin. A search through all of a hundred thousand
/// spans takes most of a microsecond, for each reference to one.
#[derive(Debug, Default)]
struct Directory {
    /// The first span's first number.
    low: u64,
    /// Numbers that are one after `low` and this shift have the same place.
    shift: u32,
    /// By place, how many spans begin before it. Empty where there are few spans.
    before: Vec<u32>,
}

/// Spans that are searched without a directory.
const FEW_SPANS: usize = 16;

impl Directory {
    fn of(placed: &[(Span, u64, u64)]) -> Self {
        let (Some((first, ..)), Some((last, ..))) = (placed.first(), placed.last()) else {
            return Directory::default();
        };
        if placed.len() <= FEW_SPANS || u32::try_from(placed.len()).is_err() {
            return Directory::default();
        }
        let low = first.first_memo;
        let range = last.first_memo.saturating_sub(low);
        let shift = (range / placed.len() as u64).checked_ilog2().map_or(0, |bits| bits + 1);
        let mut before = Vec::with_capacity((range >> shift) as usize + 2);
        for (at, (span, ..)) in (0..).zip(placed) {
            let place = (span.first_memo.saturating_sub(low) >> shift) as usize;
            while before.len() <= place {
                before.push(at);
            }
        }
        before.push(placed.len() as u32);
        Directory { low, shift, before }
    }

    /// Which spans may have the entry `id`: the last that begins at or before it is among them, or
    /// right before them.
    fn range(&self, id: u64, count: usize) -> Range<usize> {
        let place = (id.saturating_sub(self.low) >> self.shift) as usize;
        match (self.before.get(place), self.before.get(place + 1)) {
            (Some(&from), Some(&to)) => from as usize..to as usize,
            _ if self.before.is_empty() => 0..count,
            _ => count..count,
        }
    }
}

impl Layout {
    fn new(spans: Vec<Span>, prefix_memo: u64, first: u64) -> Self {
        let mut layout = Layout { prefix_memo, first, ..Layout::default() };
        let mut next = prefix_memo;
        for span in spans {
            let new = if span.first_memo < 256 { span.first_memo.max(next) } else { next };
            layout.placed.push((span, new - next, new));
            next = new + (span.end_memo - span.first_memo);
        }
        let gap = first.saturating_sub(next);
        layout.pad = if first <= 256 || gap <= 64 { gap } else { 0 };
        layout.shift = gap - layout.pad;
        layout.directory = Directory::of(&layout.placed);
        layout
    }

    /// Whether every number stays what it is.
    fn is_identity(&self) -> bool {
        self.shift == 0 && self.placed.iter().all(|(span, _, new)| span.first_memo == *new)
    }

    /// The new number of an entry.
    fn map(&self, id: u64) -> Option<u64> {
        if id >= self.first {
            return Some(id - self.shift);
        }
        if id < self.prefix_memo {
            return Some(id);
        }
        let near = self.directory.range(id, self.placed.len());
        let spans = self.placed.get(near.clone())?;
        let after = near.start + spans.partition_point(|(span, ..)| span.first_memo <= id);
        let (span, _, new) = self.placed.get(after.checked_sub(1)?)?;
        (id < span.end_memo).then(|| id - span.first_memo + new)
    }
}

impl<'a> Emitter<'a> {
    /// What writes the segments of `source`, which has `size` bytes. Segments
    /// may repeat `copy_budget` bytes, and `read_budget` may be read again.
    pub(crate) fn new(
        source: &'a dyn ReadAt,
        size: u64,
        root: &'a Root,
        copy_budget: u64,
        read_budget: u64,
    ) -> Self {
        Emitter {
            source,
            size,
            root,
            resolver: Resolver::new(source, size, read_budget),
            checkpoints: Checkpoints::default(),
            container_ids: Vec::new(),
            copied: 0,
            copy_budget,
            block: Vec::new(),
        }
    }

    /// Learns what the cutter passed before `job`. For every job, written or
    /// not, in order.
    pub(crate) fn learn(&mut self, job: &mut Job) {
        self.checkpoints.append(std::mem::take(&mut job.checkpoints));
        self.container_ids.append(&mut job.container_ids);
    }

    /// Writes the segment `plan` to `out`; counts what it shares with others.
    pub(crate) fn emit(
        &mut self,
        plan: &Plan,
        refs: &Refs,
        out: &mut dyn Write,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<SharedCounts, Halt> {
        self.check_container(plan, refs)?;
        let ids = refs.externals.as_slice();
        let spans = if ids.is_empty() {
            Vec::new()
        } else {
            let most = self.copy_budget.saturating_sub(self.copied);
            let (points, own) = (&self.checkpoints, self.container_ids.as_slice());
            self.resolver.spans(ids, points, self.root, own, most)?
        };
        let mut shared = SharedCounts::default();
        for &id in ids {
            match self.resolver.class(id)? {
                Class::Atom => shared.atoms += 1,
                Class::Immutable => shared.immutable += 1,
                Class::Mutable => shared.mutable += 1,
            }
        }
        let layout = Layout::new(spans, self.root.prefix_memo, plan.from.memo);
        let size: u64 = layout.placed.iter().map(|(span, ..)| span.end - span.start).sum();
        let tail = self.tail(plan, &layout)?;
        let state = if self.root.state.is_some() { tail.len() as u64 } else { 0 };
        self.charge(size + state, plan, ids.len())?;

        let mut head = Vec::new();
        if self.root.protocol >= 2 {
            head.extend_from_slice(&[PROTO, self.root.protocol]);
        }
        let mut inner = self.root.prefix.clone();
        if size <= PREAMBLE_IN_MEMORY {
            let no_failure: &mut dyn FnMut(io::Error) -> Halt =
                &mut |error| Halt::Fault(Fault::Io(error));
            self.preamble(&layout, plan.pad, &mut inner, no_failure)?;
        } else {
            out.write_all(&head).map_err(&mut *failed)?;
            out.write_all(&inner).map_err(&mut *failed)?;
            self.preamble(&layout, plan.pad, out, failed)?;
            head.clear();
            inner.clear();
        }
        if plan.from.batch {
            inner.push(MARK);
        }
        if let Some(frame) = plan.from.frame.filter(|_| !plan.strip) {
            let mut length = inner.len() as u64 + frame.end.min(plan.to.offset) - plan.from.offset;
            if frame.end >= plan.to.offset {
                length += tail.len() as u64;
            }
            head.push(FRAME);
            head.extend_from_slice(&length.to_le_bytes());
        }
        head.extend_from_slice(&inner);
        out.write_all(&head).map_err(&mut *failed)?;
        self.items(plan, &layout, refs, tail.len() as u64, out, failed)?;
        out.write_all(&tail).map_err(&mut *failed)?;
        Ok(shared)
    }

    /// What closes the container. An instance is given its state there, after what of that the
    /// segment does not have.
    fn tail(&mut self, plan: &Plan, layout: &Layout) -> Result<Vec<u8>, Halt> {
        let mut tail = Vec::new();
        if plan.to.batch {
            tail.push(self.root.batch_closer);
        }
        let Some(state) = &self.root.state else {
            tail.extend_from_slice(&self.root.suffix);
            return Ok(tail);
        };
        tail.extend(self.root.suffix.iter().take_while(|opcode| **opcode != STOP));
        let inside = |id: u64| (plan.from.memo..plan.to.memo).contains(&id);
        // What is before the items is where it was, but for what stands in no segment.
        let there = |id: u64| match id {
            id if inside(id) || id < layout.prefix_memo => true,
            id => id < plan.from.memo && layout.map(id).is_some(),
        };
        let missing: Vec<u64> = state.refs.iter().copied().filter(|id| !there(*id)).collect();
        let own = self.container_ids.as_slice();
        if missing.iter().any(|id| own.binary_search(id).is_ok()) {
            return Err(refers_to_container(state.from).into());
        }
        let spans = if missing.is_empty() {
            Vec::new()
        } else {
            let most = self.copy_budget.saturating_sub(self.copied);
            self.resolver.spans(&missing, &self.checkpoints, self.root, own, most)?
        };
        let mut next = plan.to.memo - layout.shift;
        let mut moved: Vec<(Span, u64)> = Vec::new();
        for span in spans {
            moved.push((span, next));
            next += span.end_memo - span.first_memo;
        }
        let map = |id: u64| {
            if id >= state.memo {
                return Some(id - state.memo + next);
            }
            let after = moved.partition_point(|(span, _)| span.first_memo <= id);
            let span = after.checked_sub(1).and_then(|at| moved.get(at));
            match span.filter(|(span, _)| id < span.end_memo) {
                Some((span, new)) => Some(id - span.first_memo + new),
                None if there(id) => layout.map(id),
                None => None,
            }
        };
        let mut walk = Walk::over(self.source, self.size);
        let stretches = moved.iter().map(|(span, _)| (span.start, span.end, true));
        for (from, to, popped) in stretches.chain([(state.from, state.to, false)]) {
            walk.again(from, to);
            if walk.first_byte()? == Some(DUP) {
                return Err(duplicate(from).into());
            }
            let mut failed = |error| Halt::Fault(Fault::Io(error));
            walk.copy(&mut tail, &mut failed, &mut |found| {
                Ok(match (found.opcode, map(found.id)) {
                    (FRAME, _) => Change::Drop,
                    (STOP, _) => Change::Keep,
                    (_, Some(id)) if id == found.id => Change::Keep,
                    (_, Some(id)) => Change::Id(id),
                    (_, None) => return Err(lost(found.at, found.id).into()),
                })
            })?;
            if popped {
                tail.push(POP);
            }
        }
        tail.push(STOP);
        Ok(tail)
    }

    /// Counts what preambles cost, and gives up when it is too much.
    fn charge(&mut self, size: u64, plan: &Plan, ids: usize) -> Result<(), Fault> {
        self.copied = self.copied.saturating_add(size);
        if self.copied <= self.copy_budget {
            return Ok(());
        }
        Fault::bad(
            plan.from.offset,
            format!(
                "the items share so much that segments would repeat {} bytes of it so far ({ids} \
                 objects in the segment that begins here, {} distinct in all): make fewer, larger \
                 segments, or allow more copied bytes (--copy-limit)",
                self.copied,
                self.resolver.found()
            ),
        )
    }

    /// Makes sure that no item refers to the container.
    fn check_container(&self, plan: &Plan, refs: &Refs) -> Result<(), Fault> {
        let own = self.container_ids.as_slice();
        let refers = |id: &u64| own.binary_search(id).is_ok();
        // Numbers that the container got between the items are not told apart by the scan.
        let inside = own.last().is_some_and(|id| *id >= plan.from.memo);
        if !inside && !refs.prefix.iter().chain(&refs.externals).any(refers) {
            return Ok(());
        }
        let mut walk = Walk::new(self.source, plan.from.offset, plan.to.offset, false);
        while let Some(found) = walk.next_ref()? {
            if found.is_get() && refers(&found.id) {
                return Err(refers_to_container(found.at));
            }
        }
        Ok(())
    }

    /// Writes the objects that come before the items, each pushed and popped.
    fn preamble(
        &self,
        layout: &Layout,
        pad: bool,
        out: &mut dyn Write,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<(), Halt> {
        let leave_out = |count: u64, out: &mut dyn Write| -> io::Result<()> {
            if count == 0 || !pad {
                return Ok(());
            }
            out.write_all(&[NONE])?;
            out.write_all(&vec![MEMOIZE; usize::try_from(count).unwrap_or(0)])?;
            out.write_all(&[POP])
        };
        let mut walk = Walk::over(self.source, self.size);
        for (span, before, new) in &layout.placed {
            leave_out(*before, out).map_err(&mut *failed)?;
            walk.again(span.start, span.end);
            let mut change = |found: &super::walk::Ref| -> Result<Change, Halt> {
                if found.opcode == FRAME {
                    return Ok(Change::Drop);
                }
                let id = if found.id >= span.first_memo {
                    Some(found.id - span.first_memo + new)
                } else {
                    layout.map(found.id)
                };
                match id {
                    Some(id) if id == found.id => Ok(Change::Keep),
                    Some(id) => Ok(Change::Id(id)),
                    None => Err(lost(found.at, found.id).into()),
                }
            };
            if walk.first_byte()? == Some(DUP) {
                return Err(duplicate(span.start).into());
            }
            walk.copy(out, failed, &mut change)?;
            out.write_all(&[POP]).map_err(&mut *failed)?;
        }
        leave_out(layout.pad, out).map_err(&mut *failed)
    }

    fn first_byte(&self, offset: u64) -> Result<u8, Fault> {
        let mut byte = [0];
        self.source.read_exact_at(offset, &mut byte)?;
        Ok(byte[0])
    }

    /// Writes the items.
    fn items(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        refs: &Refs,
        tail: u64,
        out: &mut dyn Write,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<(), Halt> {
        let (from, to) = (plan.from.offset, plan.to.offset);
        if from < to && self.first_byte(from)? == DUP {
            return Err(duplicate(from).into());
        }
        let frame = plan.last_frame.filter(|frame| frame.end >= to && !plan.strip);
        let new_length = frame.map(|frame| to - (frame.at + 9) + tail);
        if layout.is_identity() && !plan.strip {
            let Some((frame, length)) = frame.zip(new_length) else {
                return copy_plain(self.source, from, to, out, failed);
            };
            copy_plain(self.source, from, frame.at + 1, out, failed)?;
            out.write_all(&length.to_le_bytes()).map_err(&mut *failed)?;
            return copy_plain(self.source, frame.at + 9, to, out, failed);
        }
        let mut from = from;
        if !refs.text && !plan.strip {
            let patches = Patches { layout, places: &refs.places, frame: frame.zip(new_length) };
            let until = refs.places.until().unwrap_or(to).min(to);
            self.patched(from, until, &patches, out, failed)?;
            from = until;
        }
        let last = frame.map_or(u64::MAX, |frame| frame.at);
        let mut walk = Walk::new(self.source, from, to, false);
        let mut change = |found: &super::walk::Ref| -> Result<Change, Halt> {
            if found.opcode == FRAME {
                return Ok(match new_length {
                    _ if plan.strip => Change::Drop,
                    Some(length) if found.at == last => Change::Id(length),
                    _ => Change::Keep,
                });
            }
            match layout.map(found.id) {
                Some(id) if id == found.id => Ok(Change::Keep),
                Some(id) => Ok(Change::Id(id)),
                None => Err(lost(found.at, found.id).into()),
            }
        };
        walk.copy(out, failed, &mut change)?;
        Ok(())
    }

    /// Copies `from..to` with the numbers at the places of `patches` changed.
    fn patched(
        &mut self,
        from: u64,
        to: u64,
        patches: &Patches<'_>,
        out: &mut dyn Write,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<(), Halt> {
        let mut places = patches.places.iter();
        let mut next = places.next();
        let mut offset = from;
        self.block.resize(BLOCK, 0);
        while offset < to {
            let want = (to - offset).min(BLOCK as u64) as usize;
            let block = self.block.get_mut(..want).unwrap_or_default();
            self.source.read_exact_at(offset, block).map_err(|error| read_fault(error, offset))?;
            let mut end = want;
            while let Some(at) = next.filter(|at| *at < offset + want as u64) {
                let begin = (at - offset) as usize;
                let Some(number) = block.get_mut(begin + 1..begin + 5) else {
                    // It is in two blocks: the next one begins with it.
                    end = begin;
                    break;
                };
                let mut bytes = [0; 4];
                bytes.copy_from_slice(number);
                let old = u64::from(u32::from_le_bytes(bytes));
                let new = patches.layout.map(old).ok_or_else(|| lost(at, old))?;
                number.copy_from_slice(&(new as u32).to_le_bytes());
                next = places.next();
            }
            if end == 0 {
                return Err(Fault::truncated(offset).into());
            }
            if let Some((frame, length)) = patches.frame {
                let field = frame.at + 1;
                for (at, byte) in (field..).zip(length.to_le_bytes()) {
                    let at = at.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
                    if let Some(place) = at.and_then(|at| block.get_mut(..end)?.get_mut(at)) {
                        *place = byte;
                    }
                }
            }
            out.write_all(block.get(..end).unwrap_or_default()).map_err(&mut *failed)?;
            offset += end as u64;
        }
        Ok(())
    }
}

/// What is to be changed in the items' bytes.
struct Patches<'p> {
    layout: &'p Layout,
    places: &'p Places,
    /// A frame and its new length.
    frame: Option<(Frame, u64)>,
}

/// The fault of a source that cannot be read at `offset`, or has become shorter.
#[cold]
fn read_fault(error: io::Error, offset: u64) -> Fault {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Fault::truncated(offset)
    } else {
        Fault::Io(error)
    }
}

#[cold]
fn lost(at: u64, id: u64) -> Fault {
    Fault::Bad(at, format!("refers to memo entry {id}, whose object could not be found"))
}

#[cold]
fn duplicate(at: u64) -> Fault {
    Fault::Bad(
        at,
        "copies what is below it on the stack (DUP), which no segment can hold: load and dump \
         the pickle anew with pickle first"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_finds_what_a_search_through_all_spans_finds() {
        // Few and many spans, dense and far apart, of one entry and of several.
        for (count, step, length) in
            [(0, 1, 1), (3, 9, 2), (17, 1, 1), (1000, 1, 1), (1000, 7, 3), (500, 1 << 40, 5)]
        {
            let spans: Vec<Span> = (0..count)
                .map(|at| {
                    let first_memo = 300 + at * step + at % 5 * (step - length);
                    Span { start: at, end: at + 1, first_memo, end_memo: first_memo + length }
                })
                .filter({
                    let mut after = 0;
                    move |span| {
                        let apart = span.first_memo >= after;
                        after = after.max(span.end_memo);
                        apart
                    }
                })
                .collect();
            let first = spans.last().map_or(400, |span| span.end_memo + 10);
            let layout = Layout::new(spans.clone(), 2, first);
            let near = spans.iter().flat_map(|span| span.first_memo - 2..span.end_memo + 2);
            for id in near.chain(2..320).filter(|id| (2..first).contains(id)) {
                let found = layout
                    .placed
                    .iter()
                    .find(|(span, ..)| (span.first_memo..span.end_memo).contains(&id));
                let want = found.map(|(span, _, new)| id - span.first_memo + new);
                assert_eq!(layout.map(id), want, "{id} of {count} by {step}");
            }
        }
    }
}
