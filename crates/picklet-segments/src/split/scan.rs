//! The scanner: one `match` over opcodes that keeps the height of the stack,
//! the marks, the memo count, and for every stack slot where its value begins.
//!
//! It makes no object and copies no payload. Its loop (`block.rs`) is one of its own beside the
//! codec's machine because it is the loop that sees every byte of a 100 GB
//! file; `scan_tests.rs` holds it to the codec's reader.
//!
//! The scanner starts at an item's beginning with an empty stack, below which
//! lies the container that it does not see. Whatever reaches below comes back
//! as an [`Event`], and the caller knows what it means: the closer of a batch,
//! an `APPEND` to the container, the closer of a tuple.

use std::collections::VecDeque;

use super::block::{descending, mixed, no_number};
use super::ops::{self, *};
use super::window::{Fault, SLOP, Window};

/// Where a value begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Offset of the operation that begins the value.
    pub(crate) start: u64,
    /// Memo entries before it.
    pub(crate) memo: u64,
}

/// A MARK on the stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    /// Height of the stack below it.
    pub(crate) height: usize,
    /// Where it is, and the memo count there.
    pub(crate) slot: Slot,
    /// Slots above it that were forgotten because there were too many.
    pub(crate) spilled: u64,
}

/// A FRAME operation: where it is, and where what it frames ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) at: u64,
    pub(crate) end: u64,
}

/// Why the scanner came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// An operation that reaches below the stack. It was not carried out.
    Op {
        /// Its byte.
        opcode: u8,
        /// Where it begins.
        at: u64,
        /// Where the next one begins.
        end: u64,
    },
    /// STOP. The offset is the one after it.
    Stop(u64),
    /// Too many slots with no mark below them, or one that may be a batch's:
    /// call [`Scanner::spill`] or [`Scanner::forget`].
    Full,
    /// The limit that the caller set is reached.
    Limit,
    /// The trace has seen enough.
    Traced,
}

/// What looks over the scanner's shoulder.
pub(crate) trait Trace {
    /// Whether it looks at operations: [`Trace::define`], [`Trace::after`].
    const ACTIVE: bool;
    /// Whether it looks at memo numbers: the four that follow.
    const REFS: bool = false;
    /// A BINGET of `id`.
    fn small_get(&mut self, _at: u64, _id: u8) {}
    /// A LONG_BINGET of `id`.
    fn get(&mut self, _at: u64, _id: u64) {}
    /// A LONG_BINPUT.
    fn put(&mut self, _at: u64) {}
    /// A BINPUT.
    fn small_put(&mut self) {}
    /// A GET of a number, or a PUT.
    fn text(&mut self, _get: Option<u64>) {}
    /// The value in `slot`, made by `producer`, got the number `id`.
    fn define(&mut self, _id: u64, _slot: usize, _begin: Slot, _producer: u8) {}
    /// After each operation: slots from `low` on were consumed, the stack has
    /// `height`, whose top is a value and no mark if `bare`. True ends the run.
    fn after(&mut self, _after: &After) -> bool {
        false
    }
    /// `count` slots from `base` on are forgotten, those above moved down.
    fn spilled(&mut self, _base: usize, _count: usize) {}
}

/// What [`Trace::after`] is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    pub(crate) opcode: u8,
    pub(crate) at: u64,
    pub(crate) low: usize,
    pub(crate) height: usize,
    pub(crate) bare: bool,
    pub(crate) end: u64,
    pub(crate) memo: u64,
}

/// The trace that looks at nothing.
pub(crate) struct NoTrace;

impl Trace for NoTrace {
    const ACTIVE: bool = false;
}

/// Slots at first.
const SLOTS: usize = 1 << 16;
/// Slots kept when those under one mark are forgotten: a value can be made of
/// so many of the last ones without a mark (tuples nested to the right).
const KEEP: usize = 1 << 14;
/// Slots at most: 64 MiB. Reached only by nesting.
const MAX_SLOTS: usize = 1 << 22;
/// Marks at most.
pub(super) const MAX_MARKS: usize = 1 << 20;

/// The scanner's state. See the module's documentation.
pub(crate) struct Scanner<'a> {
    pub(super) window: Window<'a>,
    /// Offset of the next operation.
    pub(super) offset: u64,
    pub(super) slots: Vec<Slot>,
    pub(super) height: usize,
    pub(super) marks: Vec<Mark>,
    /// The next memo number.
    pub(super) memo: u64,
    /// Whether memo numbers were left out; MEMOIZE counts, PUT does not.
    pub(super) gaps: bool,
    /// Whether MEMOIZE was met.
    pub(super) counted: bool,
    /// The last opcode that was no memo operation and no FRAME.
    pub(super) producer: u8,
    /// Frames seen, oldest first, when they are asked for.
    pub(super) frames: Option<VecDeque<Frame>>,
    /// Whether frames overlap: then they are left out of what is written.
    pub(super) odd_frames: bool,
    /// Slots forgotten at the root, with no mark below.
    spilled: u64,
    /// Whether the first mark may be that of a batch of items.
    pub(super) batches: bool,
    /// Where the scanner stops by itself.
    pub(super) limit: u64,
}

/// Why the loop over a block came back.
pub(super) enum Exit {
    /// The next block is needed.
    More,
    /// So is more of a line.
    Line,
    /// The operation that begins at the offset, or one before it, reaches beyond the source.
    CutOff,
    /// What was pushed last ends beyond the block. The loop itself tells of it otherwise.
    Beyond {
        end: u64,
        traced: bool,
    },
    /// There is no room for another slot.
    Full,
    Event(Event),
    Fault(Fault),
}

impl<'a> Scanner<'a> {
    /// A scanner that begins at `offset`, with `memo` entries before it.
    pub(crate) fn new(window: Window<'a>, offset: u64, memo: u64, gaps: bool) -> Self {
        Scanner::with_slots(window, offset, memo, gaps, SLOTS)
    }

    /// The same for a short stretch, with room for so few `slots` at first.
    pub(crate) fn with_slots(
        window: Window<'a>,
        offset: u64,
        memo: u64,
        gaps: bool,
        slots: usize,
    ) -> Self {
        Scanner {
            window,
            offset,
            slots: vec![Slot::default(); slots],
            height: 0,
            marks: Vec::new(),
            memo,
            gaps,
            counted: false,
            producer: 0,
            frames: None,
            odd_frames: false,
            spilled: 0,
            batches: false,
            limit: u64::MAX,
        }
    }

    /// Stops when the next operation is at `limit`.
    pub(crate) fn stop_at(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Keeps every slot above the first mark: they may be a batch of items.
    pub(crate) fn expect_batches(&mut self) {
        self.batches = true;
    }

    /// Notes frames from now on, beginning with `frames`.
    pub(crate) fn keep_frames(&mut self, frames: VecDeque<Frame>) {
        self.frames = Some(frames);
    }

    /// The frame that `offset` lies in, if any, and no frames before it later.
    pub(crate) fn frame_at(&mut self, offset: u64) -> Option<Frame> {
        let frames = self.frames.as_mut()?;
        while frames.get(1).is_some_and(|next| next.at <= offset) {
            frames.pop_front();
        }
        frames.front().copied().filter(|frame| frame.at < offset && offset < frame.end)
    }

    /// The last FRAME operation at or after `from` and before `to`.
    pub(crate) fn last_frame_between(&self, from: u64, to: u64) -> Option<Frame> {
        let frames = self.frames.as_ref()?;
        frames.iter().rev().find(|frame| frame.at < to).copied().filter(|frame| frame.at >= from)
    }

    /// Takes the first of the frames that are kept.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        self.frames.as_mut()?.pop_front()
    }

    /// All frames that are kept.
    pub(crate) fn frames_seen(&self) -> Vec<Frame> {
        self.frames.iter().flatten().copied().collect()
    }

    /// Whether frames overlap.
    pub(crate) fn odd_frames(&self) -> bool {
        self.odd_frames
    }

    /// Begins another pickle, at `offset`.
    pub(crate) fn restart(&mut self, offset: u64) {
        self.clear();
        self.offset = offset;
        self.memo = 0;
        self.gaps = false;
        self.counted = false;
        self.frames.iter_mut().for_each(VecDeque::clear);
        self.odd_frames = false;
    }

    /// Empties the stack: the container took everything.
    pub(crate) fn clear(&mut self) {
        self.height = 0;
        self.marks.clear();
        self.spilled = 0;
    }

    /// Goes on after an operation that the caller has carried out.
    pub(crate) fn go_on(&mut self, offset: u64) {
        self.offset = offset;
    }

    /// The next memo number.
    pub(crate) fn memo(&self) -> u64 {
        self.memo
    }

    /// Whether MEMOIZE, which counts entries, was met.
    pub(crate) fn counted(&self) -> bool {
        self.counted
    }

    /// Counts a memo entry that the caller has seen to.
    fn define(&mut self, at: u64, id: Option<u64>) -> Result<u64, Fault> {
        let id = match id {
            Some(id) if id < self.memo => return Err(descending(at, id, self.memo)),
            Some(id) => {
                self.gaps |= id > self.memo;
                id
            }
            None if self.gaps => return Err(mixed(at)),
            None => {
                self.counted = true;
                self.memo
            }
        };
        self.memo = id + 1;
        Ok(id)
    }

    /// Carries out a memo operation on the container, which is not on the
    /// stack; gives its number.
    pub(crate) fn define_at(&mut self, opcode: u8, at: u64, end: u64) -> Result<u64, Fault> {
        let argument = self.window.copy(at + 1, end.min(at + 64))?;
        let id = match opcode {
            MEMOIZE => None,
            PUT => match text_id(&argument) {
                Some(id) => Some(id),
                None => return Err(no_number(at)),
            },
            _ => Some(ops::little(&argument)),
        };
        self.define(at, id)
    }

    /// Offset of the next operation.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Values on the stack.
    pub(crate) fn slots(&self) -> &[Slot] {
        self.slots.get(..self.height).unwrap_or_default()
    }

    /// All slots, those of values that are gone too.
    pub(crate) fn all_slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Marks on the stack.
    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The window.
    pub(crate) fn window(&mut self) -> &mut Window<'a> {
        &mut self.window
    }

    /// How many slots [`Scanner::spill`] would forget: a multiple of `stride`.
    pub(crate) fn spillable(&self, stride: usize) -> usize {
        let count = self.height.saturating_sub(KEEP);
        count - count % stride.max(1)
    }

    /// Forgets the oldest `count` slots of the root.
    pub(crate) fn spill(&mut self, count: usize) {
        self.slots.copy_within(count..self.height, 0);
        self.height -= count;
        self.spilled += count as u64;
    }

    /// Forgets the oldest `count` slots above the last mark: they are no items.
    pub(crate) fn forget(&mut self, count: usize) {
        let region = self.marks.last().map_or(0, |mark| mark.height);
        self.slots.copy_within(region + count..self.height, region);
        self.height -= count;
        if let Some(mark) = self.marks.last_mut() {
            mark.spilled += count as u64;
        }
    }

    /// What takes off the last mark, which has many values above it: scans
    /// ahead to that operation.
    pub(crate) fn closer(&self) -> Result<u8, Fault> {
        let window = Window::new(self.window.source(), self.window.end());
        let mut ahead = Scanner::new(window, self.offset, self.memo, self.gaps);
        ahead.height = KEEP;
        loop {
            match ahead.run(&mut NoTrace)? {
                Event::Op { opcode, .. } => return Ok(opcode),
                Event::Full => ahead.spill(ahead.spillable(1)),
                Event::Stop(_) | Event::Limit | Event::Traced => return Ok(STOP),
            }
        }
    }

    /// Makes room for another slot. True when the caller must do it.
    fn make_room<T: Trace>(&mut self, trace: &mut T) -> Result<bool, Fault> {
        let region = self.marks.last().map_or(0, |mark| mark.height);
        let count = (self.height - region).saturating_sub(KEEP);
        if count > KEEP {
            // The first mark may be that of a batch, whose slots are items.
            let batch = self.batches && self.marks.len() == 1 && region == 0;
            if self.marks.is_empty() || batch {
                return Ok(true);
            }
            self.forget(count);
            trace.spilled(region, count);
            return Ok(false);
        }
        if self.slots.len() >= MAX_SLOTS {
            return Fault::bad(
                self.offset,
                format!("more than {MAX_SLOTS} values are on the stack here; this cannot be split"),
            );
        }
        self.slots.resize(self.slots.len() * 2, Slot::default());
        Ok(false)
    }

    /// Scans until something happens that is not the scanner's to decide.
    pub(crate) fn run<T: Trace>(&mut self, trace: &mut T) -> Result<Event, Fault> {
        loop {
            if self.offset == self.limit {
                return Ok(Event::Limit);
            }
            if self.offset >= self.window.end().min(self.limit) {
                return Err(Fault::truncated(self.offset));
            }
            let base = self.window.base();
            // Strictly: `block` leaves the last SLOP bytes to the next window, so that a place
            // right before them must move the window or nothing ever moves again.
            let ready = self.offset >= base
                && (self.offset + (SLOP as u64) < base + self.window.len() as u64
                    || self.window.at_end() && self.offset < base + self.window.len() as u64);
            if !ready {
                self.window.load(self.offset)?;
                if self.window.len() == 0 {
                    return Err(Fault::truncated(self.offset));
                }
            }
            let begun = self.offset;
            match self.block(trace) {
                Exit::More | Exit::Beyond { .. } => {}
                Exit::CutOff => return Err(self.cut_off(begun)),
                Exit::Event(event) => return Ok(event),
                Exit::Fault(fault) => {
                    // What is cut off looks like something else now and then.
                    self.window.op(self.offset)?;
                    return Err(fault);
                }
                Exit::Full => {
                    if self.make_room(trace)? {
                        return Ok(Event::Full);
                    }
                }
                Exit::Line => {
                    if self.window.base() < self.offset && !self.window.at_end() {
                        self.window.load(self.offset)?;
                    } else if let Some(event) = self.long_line(trace)? {
                        return Ok(event);
                    }
                }
            }
        }
    }

    /// The fault of the first operation from `offset` on that reaches beyond the source.
    #[cold]
    fn cut_off(&mut self, mut offset: u64) -> Fault {
        loop {
            match self.window.op(offset) {
                Ok(op) => offset = op.end,
                Err(fault) => return fault,
            }
        }
    }

    /// An operation whose line is longer than the window.
    fn long_line<T: Trace>(&mut self, trace: &mut T) -> Result<Option<Event>, Fault> {
        let op = self.window.op(self.offset)?;
        if matches!(op.opcode, GET | PUT | INST) {
            return Fault::bad(
                op.at,
                "a line of more than 256 KiB where a number or a name belongs",
            );
        }
        let nested = !T::ACTIVE && self.marks.len() > usize::from(self.batches);
        while !nested && self.height >= self.slots.len() {
            if self.make_room(trace)? {
                return Ok(Some(Event::Full));
            }
        }
        if let Some(slot) = self.slots.get_mut(self.height) {
            *slot = Slot { start: self.offset, memo: self.memo };
        }
        self.height += 1;
        self.offset = op.end;
        self.producer = op.opcode;
        let after = After {
            opcode: op.opcode,
            at: op.at,
            low: self.height - 1,
            height: self.height,
            bare: true,
            end: op.end,
            memo: self.memo,
        };
        Ok((T::ACTIVE && trace.after(&after)).then_some(Event::Traced))
    }
}

/// The number in the line of a GET or PUT, its line feed included.
pub(crate) fn text_id(line: &[u8]) -> Option<u64> {
    let digits = line.trim_ascii();
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits
        .iter()
        .try_fold(0u64, |n, digit| digit.is_ascii_digit().then(|| n * 10 + u64::from(digit - b'0')))
}
