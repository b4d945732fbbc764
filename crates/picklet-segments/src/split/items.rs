//! Walks the items of a container: batches of item beginnings, in order.

use super::ops::*;
use super::root::Root;
use super::scan::{Event, NoTrace, Scanner, Slot, Trace};
use super::window::{Fault, Window};

/// Some items that follow one another.
#[derive(Debug)]
pub(crate) struct Piece<'s> {
    /// Where the batch begins, if these are its first items: its mark.
    pub(crate) mark: Option<Slot>,
    /// Whether a mark is open before the items, so that a cut between them
    /// closes and reopens the batch.
    pub(crate) batch: bool,
    /// Where each item begins, `stride` slots an item.
    pub(crate) slots: &'s [Slot],
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step {
    /// There are items in [`Items::piece`].
    Piece,
    /// There are no more. The body ends at `body_end`, the pickle at `end`.
    End {
        /// Where the last item ends, its closer included.
        body_end: u64,
        /// Where the pickle ends, after STOP.
        end: u64,
    },
    /// The container turned out not to be what is at the top.
    Unfit,
}

/// The items of a container.
pub(crate) struct Items<'a, T: Trace = NoTrace> {
    pub(crate) scanner: Scanner<'a>,
    /// What looks over the scanner's shoulder.
    pub(crate) trace: T,
    batch_closer: u8,
    single_closer: u8,
    stride: usize,
    suffix: Vec<u8>,
    on_stack: Option<(u64, u64)>,
    /// Where the pickle ends, when a state follows the items.
    stated: Option<u64>,
    /// Set while a piece is out: what to do before the scanner goes on.
    pending: Pending,
    mark: Option<Slot>,
    batch: bool,
    shown: usize,
    /// Whether the first items of the open batch were shown already.
    begun: bool,
    /// The last mark that [`Items::is_batch`] looked at, and what it found.
    looked: (Option<u64>, bool),
    /// Memo numbers that are the container itself.
    pub(crate) container_ids: Vec<u64>,
    last_end: u64,
    /// Memo entries at `last_end`.
    last_memo: u64,
}

#[derive(Clone, Copy)]
enum Pending {
    Nothing,
    /// The container took everything; go on at the offset.
    Clear(u64),
    /// Forget so many slots.
    Spill(usize),
    /// All is done.
    End(u64, u64),
}

impl<'a> Items<'a> {
    /// The items of `root`, seen through `window`.
    pub(crate) fn new(window: Window<'a>, root: &Root) -> Result<Self, Fault> {
        Items::traced(window, root, NoTrace)
    }
}

impl<'a, T: Trace> Items<'a, T> {
    /// The same, with a trace.
    pub(crate) fn traced(mut window: Window<'a>, root: &Root, trace: T) -> Result<Self, Fault> {
        window.load(root.body)?;
        let mut scanner = Scanner::new(window, root.body, root.prefix_memo, false);
        scanner.keep_frames(root.frame.into_iter().collect());
        if root.batch_closer != 0 {
            scanner.expect_batches();
        }
        if let Some(body_end) = root.body_end {
            scanner.stop_at(body_end);
        }
        let on_stack = (root.batch_closer == 0)
            .then_some((root.body_end.unwrap_or(root.body), root.end.unwrap_or(root.body)));
        Ok(Items {
            scanner,
            trace,
            batch_closer: root.batch_closer,
            single_closer: root.single_closer,
            stride: root.stride(),
            suffix: root.suffix.clone(),
            on_stack,
            stated: root.state.as_ref().and(root.end),
            pending: Pending::Nothing,
            mark: None,
            batch: false,
            shown: 0,
            begun: false,
            looked: (None, false),
            container_ids: root.container_ids.clone(),
            last_end: root.body,
            last_memo: root.prefix_memo,
        })
    }

    /// The items that the last [`Step::Piece`] announced.
    pub(crate) fn piece(&self) -> Piece<'_> {
        Piece {
            mark: self.mark,
            batch: self.batch,
            slots: self.scanner.slots().get(..self.shown).unwrap_or_default(),
        }
    }

    /// Where the last item met ends, its closer included, and the memo entries there.
    pub(crate) fn last(&self) -> Slot {
        Slot { start: self.last_end, memo: self.last_memo }
    }

    /// Goes on to the next items.
    pub(crate) fn step(&mut self) -> Result<Step, Fault> {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => {}
            Pending::Clear(offset) => {
                self.scanner.clear();
                self.scanner.go_on(offset);
            }
            Pending::Spill(count) => self.scanner.spill(count),
            Pending::End(body_end, end) => {
                self.pending = Pending::End(body_end, end);
                return Ok(Step::End { body_end, end });
            }
        }
        if let Some((body_end, end)) = self.on_stack {
            return self.step_on_stack(body_end, end);
        }
        loop {
            match self.scanner.run(&mut self.trace)? {
                Event::Stop(end) => {
                    return if self.scanner.slots().is_empty()
                        && self.scanner.marks().is_empty()
                        && self.suffix == [STOP]
                    {
                        let body_end = self.last_end;
                        self.pending = Pending::End(body_end, end);
                        Ok(Step::End { body_end, end })
                    } else {
                        Ok(Step::Unfit)
                    };
                }
                Event::Full if self.scanner.marks().len() == 1 => {
                    if self.is_batch()? {
                        return Ok(self.part_of_batch());
                    }
                    let count = self.scanner.spillable(1);
                    self.scanner.forget(count);
                }
                Event::Limit => {
                    let Some(end) = self.stated else { return Ok(Step::Unfit) };
                    let body_end = self.last_end;
                    self.pending = Pending::End(body_end, end);
                    return Ok(Step::End { body_end, end });
                }
                Event::Full | Event::Traced => return Ok(Step::Unfit),
                Event::Op { opcode, at, end } => {
                    let marks = self.scanner.marks().len();
                    if opcode == self.batch_closer && marks == 1 {
                        return self.batch(at, end);
                    }
                    if marks == 0 && opcode == self.single_closer && opcode != 0 {
                        return self.single(at, end);
                    }
                    let empty = marks == 0 && self.scanner.slots().is_empty();
                    match opcode {
                        MEMOIZE | BINPUT | LONG_BINPUT | PUT if empty => {
                            self.container_memo(opcode, at, end)?;
                        }
                        TUPLE1 | TUPLE if empty && self.suffix.len() == 3 => {
                            return self.suffix(at);
                        }
                        _ => return Ok(Step::Unfit),
                    }
                }
            }
        }
    }

    /// The container itself gets another memo number, between its items.
    fn container_memo(&mut self, opcode: u8, at: u64, end: u64) -> Result<(), Fault> {
        let id = self.scanner.define_at(opcode, at, end)?;
        self.container_ids.push(id);
        match opcode {
            LONG_BINPUT => self.trace.put(at),
            PUT => self.trace.text(None),
            _ => {}
        }
        self.scanner.go_on(end);
        (self.last_end, self.last_memo) = (end, self.scanner.memo());
        Ok(())
    }

    /// Whether the open mark, which has many values above it, is a batch's and
    /// not an item's own.
    fn is_batch(&mut self) -> Result<bool, Fault> {
        let mark = self.scanner.marks().first().map(|mark| mark.slot.start);
        if self.looked.0 != mark {
            self.looked = (mark, self.scanner.closer()? == self.batch_closer);
        }
        Ok(self.looked.1)
    }

    /// The oldest items of a batch that is too long to wait for its end.
    fn part_of_batch(&mut self) -> Step {
        let mark = self.scanner.marks().first().map(|mark| mark.slot);
        self.mark = mark.filter(|_| !self.begun);
        self.batch = true;
        self.begun = true;
        self.shown = self.scanner.spillable(self.stride);
        self.pending = Pending::Spill(self.shown);
        Step::Piece
    }

    fn batch(&mut self, at: u64, end: u64) -> Result<Step, Fault> {
        let mark = self.scanner.marks().first().map(|mark| mark.slot);
        self.mark = mark.filter(|_| !std::mem::take(&mut self.begun));
        self.batch = true;
        self.found(at, end)
    }

    fn single(&mut self, at: u64, end: u64) -> Result<Step, Fault> {
        if self.scanner.slots().len() != self.stride {
            return Ok(Step::Unfit);
        }
        self.mark = None;
        self.batch = false;
        self.found(at, end)
    }

    fn found(&mut self, at: u64, end: u64) -> Result<Step, Fault> {
        self.shown = self.scanner.slots().len();
        if !self.shown.is_multiple_of(self.stride) {
            return Fault::bad(at, "a dict's batch ends between a key and its value");
        }
        (self.last_end, self.last_memo) = (end, self.scanner.memo());
        self.pending = Pending::Clear(end);
        Ok(Step::Piece)
    }

    fn step_on_stack(&mut self, body_end: u64, end: u64) -> Result<Step, Fault> {
        self.mark = None;
        self.batch = false;
        match self.scanner.run(&mut self.trace)? {
            Event::Limit => {}
            Event::Full => {
                let count = self.scanner.spillable(self.stride);
                let slots = self.scanner.slots();
                let next = slots.get(count).copied().unwrap_or_default();
                self.shown = count;
                self.last_end = next.start;
                self.pending = Pending::Spill(count);
                return Ok(Step::Piece);
            }
            Event::Op { at, .. } | Event::Stop(at) => {
                return Fault::bad(
                    at,
                    "takes more from the stack than is on it: this is not a pickle, or it is \
                     damaged",
                );
            }
            Event::Traced => return Ok(Step::Unfit),
        }
        self.shown = self.scanner.slots().len();
        if !self.shown.is_multiple_of(self.stride) {
            return Fault::bad(body_end, "a dict ends between a key and its value");
        }
        self.last_end = body_end;
        self.pending = Pending::End(body_end, end);
        Ok(Step::Piece)
    }

    /// What follows the items of a set or Counter that is made by a call.
    fn suffix(&mut self, at: u64) -> Result<Step, Fault> {
        let (mut offset, mut expected) = (at, self.suffix.clone());
        expected.reverse();
        while let Some(&want) = expected.last() {
            let op = self.scanner.window().op(offset)?;
            offset = op.end;
            if op.opcode == want {
                expected.pop();
            } else if !matches!(op.opcode, MEMOIZE | BINPUT | LONG_BINPUT | PUT | FRAME) {
                return Ok(Step::Unfit);
            }
        }
        let body_end = self.last_end;
        self.pending = Pending::End(body_end, offset);
        Ok(Step::End { body_end, end: offset })
    }
}
