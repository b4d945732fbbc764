//! The scanner: one `match` over opcodes that keeps the height of the stack,
//! the marks, the memo count, and for every stack slot where its value begins.
//!
//! It makes no object and copies no payload. It is a loop of its own beside the
//! codec's machine because it is the loop that sees every byte of a 100 GB
//! file; `scan_tests.rs` holds it to the codec's reader.
//!
//! The scanner starts at an item's beginning with an empty stack, below which
//! lies the container that it does not see. Whatever reaches below comes back
//! as an [`Event`], and the caller knows what it means: the closer of a batch,
//! an `APPEND` to the container, the closer of a tuple.

use std::collections::VecDeque;

use super::ops::{self, *};
use super::window::{Fault, SLOP, Window, unknown};

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
    /// Too many slots with no mark below them: call [`Scanner::spill`].
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
    fn small_get(&mut self, _id: u8) {}
    /// A LONG_BINGET of `id`.
    fn get(&mut self, _at: u64, _id: u64) {}
    /// A LONG_BINPUT.
    fn put(&mut self, _at: u64) {}
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
const MAX_MARKS: usize = 1 << 20;

/// The scanner's state. See the module's documentation.
pub(crate) struct Scanner<'a> {
    window: Window<'a>,
    /// Offset of the next operation.
    offset: u64,
    slots: Vec<Slot>,
    height: usize,
    marks: Vec<Mark>,
    /// The next memo number.
    memo: u64,
    /// Whether memo numbers were left out; MEMOIZE counts, PUT does not.
    gaps: bool,
    /// Whether MEMOIZE was met.
    counted: bool,
    /// The last opcode that was no memo operation and no FRAME.
    producer: u8,
    /// Frames seen, oldest first, when they are asked for.
    frames: Option<VecDeque<Frame>>,
    /// Whether frames overlap: then they are left out of what is written.
    odd_frames: bool,
    /// Slots forgotten at the root, with no mark below.
    spilled: u64,
    /// Whether the first mark may be that of a batch of items.
    batches: bool,
    /// Where the scanner stops by itself.
    limit: u64,
}

enum Exit {
    More,
    Line,
    Full,
    Event(Event),
    Fault(Fault),
}

impl<'a> Scanner<'a> {
    /// A scanner that begins at `offset`, with `memo` entries before it.
    pub(crate) fn new(window: Window<'a>, offset: u64, memo: u64, gaps: bool) -> Self {
        Scanner {
            window,
            offset,
            slots: vec![Slot::default(); SLOTS],
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

    /// Makes room for another slot. True when the caller must do it.
    fn make_room<T: Trace>(&mut self, trace: &mut T) -> Result<bool, Fault> {
        let region = self.marks.last().map_or(0, |mark| mark.height);
        let count = (self.height - region).saturating_sub(KEEP);
        if count > KEEP && self.marks.is_empty() {
            return Ok(true);
        }
        // The first mark may be that of a batch, whose slots are items.
        let batch = self.batches && self.marks.len() == 1 && region == 0;
        if count > KEEP && !batch {
            self.slots.copy_within(region + count..self.height, region);
            self.height -= count;
            if let Some(mark) = self.marks.last_mut() {
                mark.spilled += count as u64;
            }
            trace.spilled(region, count);
            return Ok(false);
        }
        let most = if batch { 4 * MAX_SLOTS } else { MAX_SLOTS };
        if self.slots.len() >= most {
            return Fault::bad(
                self.offset,
                format!("more than {most} values are on the stack here; this cannot be split"),
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
            if self.offset >= self.window.end() {
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
            match self.block(trace) {
                Exit::More => {}
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

    /// An operation whose line is longer than the window.
    fn long_line<T: Trace>(&mut self, trace: &mut T) -> Result<Option<Event>, Fault> {
        let op = self.window.op(self.offset)?;
        if matches!(op.opcode, GET | PUT | INST) {
            return Fault::bad(
                op.at,
                "a line of more than 256 KiB where a number or a name belongs",
            );
        }
        while self.height >= self.slots.len() {
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

    /// Scans what is in the window.
    #[expect(
        clippy::indexing_slicing,
        clippy::too_many_lines,
        reason = "the one hot loop: `pos` is below the block's length, after which SLOP zeros lie; \
                  slots are indexed below `height`, which push! keeps below their number"
    )]
    fn block<T: Trace>(&mut self, trace: &mut T) -> Exit {
        let Scanner { window, slots, marks, frames, odd_frames, .. } = self;
        let base = window.base();
        let end_of_source = window.end();
        let len = window.len();
        let safe = if window.at_end() { len } else { len.saturating_sub(SLOP) };
        let safe = safe.min(self.limit.saturating_sub(base).min(usize::MAX as u64) as usize);
        let buf = window.bytes();
        let slots = slots.as_mut_slice();
        let room = slots.len();
        let mut pos = (self.offset - base) as usize;
        let mut h = self.height;
        let mut memo = self.memo;
        let mut gaps = self.gaps;
        let mut producer = self.producer;
        let mut counted = self.counted;
        let mut fence = marks.last().map_or(0, |mark| mark.height);
        let mut start = pos;

        let exit = 'ops: loop {
            if pos >= safe {
                break if base + pos as u64 > end_of_source {
                    Exit::Fault(cut_off(base + start as u64))
                } else {
                    Exit::More
                };
            }
            start = pos;
            let op = buf[pos];
            let mut low = usize::MAX;
            let mut makes = true;

            macro_rules! push {
                ($next:expr) => {{
                    if h >= room {
                        break 'ops Exit::Full;
                    }
                    slots[h] = Slot { start: base + pos as u64, memo };
                    low = h;
                    h += 1;
                    pos = $next;
                }};
            }
            macro_rules! below {
                ($length:expr) => {
                    break 'ops Exit::Event(Event::Op {
                        opcode: op,
                        at: base + pos as u64,
                        end: base + (pos + $length) as u64,
                    })
                };
            }
            macro_rules! need {
                ($count:expr) => {
                    if h < fence + $count {
                        below!(1);
                    }
                };
            }
            macro_rules! fail {
                ($fault:expr) => {
                    break 'ops Exit::Fault($fault)
                };
            }
            macro_rules! line {
                ($from:expr) => {{
                    let from = $from;
                    match memchr::memchr(b'\n', &buf[from.min(len)..len]) {
                        Some(at) => from + at + 1,
                        None => break 'ops Exit::Line,
                    }
                }};
            }
            macro_rules! counted {
                ($width:expr, $signed:expr) => {{
                    let count = ops::little(&buf[pos + 1..pos + 1 + $width]);
                    if $signed && count > i32::MAX as u64 {
                        fail!(Fault::Bad(base + pos as u64, "negative byte count".to_owned()));
                    }
                    if count > end_of_source {
                        fail!(cut_off(base + pos as u64));
                    }
                    pos + 1 + $width + count as usize
                }};
            }
            macro_rules! define {
                ($id:expr, $next:expr) => {{
                    let id: u64 = $id;
                    let next: usize = $next;
                    if h <= fence {
                        below!(next - pos);
                    }
                    if id < memo {
                        fail!(descending(base + pos as u64, id, memo));
                    }
                    gaps |= id > memo;
                    if T::ACTIVE {
                        trace.define(id, h - 1, slots[h - 1], producer);
                    }
                    memo = id + 1;
                    makes = false;
                    pos = next;
                }};
            }
            macro_rules! get {
                ($id:expr, $next:expr) => {{
                    let id: u64 = $id;
                    if id >= memo {
                        fail!(undefined(base + pos as u64, id));
                    }
                    push!($next)
                }};
            }

            match op {
                NONE | NEWTRUE | NEWFALSE | EMPTY_LIST | EMPTY_DICT | EMPTY_TUPLE | EMPTY_SET => {
                    push!(pos + 1)
                }
                BININT1 | EXT1 => push!(pos + 2),
                BININT2 | EXT2 => push!(pos + 3),
                BININT | EXT4 => push!(pos + 5),
                BINFLOAT => push!(pos + 9),
                SHORT_BINUNICODE | SHORT_BINSTRING | SHORT_BINBYTES | LONG1 => {
                    push!(pos + 2 + usize::from(buf[pos + 1]))
                }
                BINUNICODE | BINBYTES => push!(counted!(4, false)),
                BINSTRING | LONG4 => push!(counted!(4, true)),
                BINUNICODE8 | BINBYTES8 | BYTEARRAY8 => push!(counted!(8, false)),
                BINGET => {
                    let id = buf[pos + 1];
                    get!(u64::from(id), pos + 2);
                    if T::REFS {
                        trace.small_get(id);
                    }
                }
                LONG_BINGET => {
                    let id = ops::little(&buf[pos + 1..pos + 5]);
                    get!(id, pos + 5);
                    if T::REFS {
                        trace.get(base + start as u64, id);
                    }
                }
                MEMOIZE => {
                    if gaps {
                        fail!(mixed(base + pos as u64));
                    }
                    counted = true;
                    define!(memo, pos + 1)
                }
                BINPUT => define!(u64::from(buf[pos + 1]), pos + 2),
                LONG_BINPUT => {
                    define!(ops::little(&buf[pos + 1..pos + 5]), pos + 5);
                    if T::REFS {
                        trace.put(base + start as u64);
                    }
                }
                MARK => {
                    if h >= room {
                        break Exit::Full;
                    }
                    if marks.len() >= MAX_MARKS {
                        fail!(Fault::Bad(
                            base + pos as u64,
                            format!(
                                "more than {MAX_MARKS} marks are open here; this cannot be split"
                            ),
                        ));
                    }
                    marks.push(Mark {
                        height: h,
                        slot: Slot { start: base + pos as u64, memo },
                        spilled: 0,
                    });
                    fence = h;
                    pos += 1;
                }
                TUPLE | LIST | DICT | FROZENSET | OBJ => {
                    let Some(mark) = marks.pop() else { below!(1) };
                    h = mark.height;
                    fence = marks.last().map_or(0, |mark| mark.height);
                    slots[h] = mark.slot;
                    low = h;
                    h += 1;
                    pos += 1;
                }
                APPENDS | SETITEMS | ADDITEMS => {
                    let Some(&mark) = marks.last() else { below!(1) };
                    let under = marks.len().checked_sub(2).map_or(0, |at| marks[at].height);
                    if mark.height <= under {
                        below!(1);
                    }
                    marks.pop();
                    h = mark.height;
                    fence = under;
                    low = h;
                    pos += 1;
                }
                TUPLE2 | REDUCE | NEWOBJ | STACK_GLOBAL => {
                    need!(2);
                    h -= 1;
                    low = h - 1;
                    pos += 1;
                }
                APPEND | BUILD => {
                    need!(2);
                    h -= 1;
                    low = h;
                    pos += 1;
                }
                TUPLE1 | BINPERSID => {
                    need!(1);
                    low = h - 1;
                    pos += 1;
                }
                TUPLE3 | NEWOBJ_EX => {
                    need!(3);
                    h -= 2;
                    low = h - 1;
                    pos += 1;
                }
                SETITEM => {
                    need!(3);
                    h -= 2;
                    low = h;
                    pos += 1;
                }
                POP => {
                    if h > fence {
                        h -= 1;
                        low = h;
                    } else if marks.pop().is_some() {
                        fence = marks.last().map_or(0, |mark| mark.height);
                    } else {
                        below!(1);
                    }
                    pos += 1;
                }
                POP_MARK => {
                    let Some(mark) = marks.pop() else { below!(1) };
                    h = mark.height;
                    fence = marks.last().map_or(0, |mark| mark.height);
                    low = h;
                    pos += 1;
                }
                DUP => {
                    need!(1);
                    push!(pos + 1)
                }
                FRAME => {
                    let length = ops::little(&buf[pos + 1..pos + 9]);
                    let at = base + pos as u64;
                    let end = at.saturating_add(9).saturating_add(length);
                    if end > end_of_source {
                        fail!(Fault::Bad(
                            at,
                            "a FRAME here is longer than the file: it was cut off".to_owned()
                        ));
                    }
                    if let Some(frames) = frames.as_mut() {
                        *odd_frames |= frames.back().is_some_and(|last| at < last.end);
                        frames.push_back(Frame { at, end });
                    }
                    makes = false;
                    pos += 9;
                }
                PROTO => {
                    makes = false;
                    pos += 2;
                }
                READONLY_BUFFER => {
                    need!(1);
                    pos += 1;
                }
                STOP => break Exit::Event(Event::Stop(base + pos as u64 + 1)),
                FLOAT | INT | LONG | PERSID | STRING | UNICODE => push!(line!(pos + 1)),
                GLOBAL => push!(line!(line!(pos + 1))),
                INST => {
                    let next = line!(line!(pos + 1));
                    let Some(mark) = marks.pop() else { below!(next - pos) };
                    h = mark.height;
                    fence = marks.last().map_or(0, |mark| mark.height);
                    slots[h] = mark.slot;
                    low = h;
                    h += 1;
                    pos = next;
                }
                GET => {
                    let next = line!(pos + 1);
                    match text_id(&buf[pos + 1..next]) {
                        Some(id) => {
                            if T::REFS {
                                trace.text(Some(id));
                            }
                            get!(id, next)
                        }
                        None => fail!(no_number(base + pos as u64)),
                    }
                }
                PUT => {
                    let next = line!(pos + 1);
                    match text_id(&buf[pos + 1..next]) {
                        Some(id) => {
                            if T::REFS {
                                trace.text(None);
                            }
                            define!(id, next)
                        }
                        None => fail!(no_number(base + pos as u64)),
                    }
                }
                NEXT_BUFFER => fail!(Fault::Bad(
                    base + pos as u64,
                    "this pickle keeps buffers outside the file (buffer_callback=); \
                     write it anew without, then split it"
                        .to_owned()
                )),
                _ => fail!(unknown(base + pos as u64, op)),
            }
            if T::ACTIVE {
                if makes {
                    producer = op;
                }
                let after = After {
                    opcode: op,
                    at: base + start as u64,
                    low,
                    height: h,
                    bare: op != MARK && fence < h,
                    end: base + pos as u64,
                    memo,
                };
                if trace.after(&after) {
                    break Exit::Event(Event::Traced);
                }
            }
        };
        self.offset = base + pos as u64;
        self.height = h;
        self.memo = memo;
        self.gaps = gaps;
        self.producer = producer;
        self.counted = counted;
        match exit {
            Exit::Event(Event::Op { at, end, .. }) if end > end_of_source => {
                Exit::Fault(cut_off(at))
            }
            exit => exit,
        }
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

#[cold]
fn cut_off(at: u64) -> Fault {
    Fault::truncated(at)
}

#[cold]
fn no_number(at: u64) -> Fault {
    Fault::Bad(at, "no memo number on this line: the pickle is damaged".to_owned())
}

#[cold]
fn undefined(at: u64, id: u64) -> Fault {
    Fault::Bad(
        at,
        format!(
            "refers to memo entry {id}, which nothing before it in this pickle defines: it is \
             damaged, or was written by one Pickler over several dump() calls"
        ),
    )
}

#[cold]
fn descending(at: u64, id: u64, memo: u64) -> Fault {
    Fault::Bad(
        at,
        format!(
            "memo entry {id} is defined after entry {}; memo numbers that do not ascend cannot be \
             split: load and dump it anew with pickle first",
            memo.saturating_sub(1)
        ),
    )
}

#[cold]
fn mixed(at: u64) -> Fault {
    Fault::Bad(
        at,
        "counts memo entries with MEMOIZE after numbering them with gaps; this cannot be split: \
         load and dump it anew with pickle first"
            .to_owned(),
    )
}
