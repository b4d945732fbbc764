//! Reads items of one pickle by their numbers, by way of an index.

use std::ops::Range;
use std::sync::Mutex;
use std::time::SystemTime;

use hashbrown::HashMap;

use super::checkpoint::{Checkpoint, Checkpoints};
use super::emit::{Cut, Emitter, Halt, Plan};
use super::external::Known;
use super::index::{Index, closes_batch};
use super::items::{Items, Step};
use super::join::object;
use super::kind;
use super::ops::*;
use super::refs::Refs;
use super::root::{Container, Root};
use super::scan::{Event, NoTrace, Scanner, Slot};
use super::told;
use super::window::{BLOCK, Fault, SLOP, Window};
use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::Kind;

/// Slots for the items of one block.
const FEW_SLOTS: usize = 256;
/// Shared objects whose places are remembered, at most.
const MOST_KNOWN: usize = 1 << 18;

/// Items that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extracted {
    /// A pickle of the container's type with only these items.
    Items(Vec<u8>),
    /// The pickle of one object, from a file of several pickles.
    Object(Vec<u8>),
}

/// Reads single items of a pickle: a list's elements, a dict's pairs, or the
/// pickles of a file that holds several.
///
/// The first opening scans the pickle and writes an index, about seven bytes
/// for each 16 KB; later ones read that. An item is then found in some ten
/// microseconds. Nothing is loaded or run. Can be used from several threads.
#[derive(Debug)]
pub struct ItemReader {
    input: Input,
    index: Index,
    /// Its size and time of change when it was opened.
    stamp: (u64, Option<SystemTime>),
    state: Mutex<State>,
}

/// What is handed from one read to the next.
#[derive(Debug, Default)]
struct State {
    points: Checkpoints,
    known: HashMap<u64, Known>,
}

impl ItemReader {
    pub(crate) fn with_index(input: Input, mut index: Index) -> Result<Self> {
        let stamp = stamp(&input)?;
        let points = std::mem::take(&mut index.points);
        let state = Mutex::new(State { points, known: HashMap::new() });
        Ok(ItemReader { input, index, stamp, state })
    }

    /// How many items there are.
    pub fn items(&self) -> u64 {
        self.index.items
    }

    /// What the pickle holds; `None` for a file of several pickles.
    pub fn kind(&self) -> Option<Kind> {
        self.index.root.as_ref().map(|root| kind(root.container))
    }

    /// Whether the file is still what it was when it was opened, as far as its
    /// size and time of change tell.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_current(&self) -> Result<bool> {
        Ok(stamp(&self.input)? == self.stamp)
    }

    /// The items `range`, counted from 0, as a pickle. An end beyond the last
    /// item is the last item's. Of a file of several pickles it gives the one
    /// that `range` begins with.
    ///
    /// # Errors
    /// [`Error::Usage`] when the range begins beyond the last item;
    /// [`Error::Input`] when the file was changed or an item refers to the
    /// whole; [`Error::Io`].
    pub fn read(&self, range: Range<u64>) -> Result<Extracted> {
        let items = self.index.items;
        if range.start > items || (range.start == items && !range.is_empty()) {
            return Err(Error::usage(format!(
                "{}: there is no item {}; it has {items}, counted from 0",
                self.input.path().display(),
                range.start,
            )));
        }
        let range = range.start..range.end.clamp(range.start, items);
        let told = |fault: Fault| told(fault.into(), self.input.path());
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &self.index.root {
            Some(root) => self.items_of(root, &range, &mut state).map(Extracted::Items),
            None => self.object(range.start, &state).map(Extracted::Object).map_err(told),
        }
    }

    /// The pairs of a dict whose key may be the text `key`, or the whole number
    /// that it writes, ascending: all that are, and some more where keys are
    /// shared with other items. The whole pickle is scanned. Nothing for what
    /// is no dict.
    ///
    /// # Errors
    /// [`Error::Input`] when the file was changed; [`Error::Io`].
    pub fn find_key(&self, key: &str) -> Result<Vec<u64>> {
        match &self.index.root {
            Some(root) if root.container == Container::Dict => {
                self.keys_like(root, key).map_err(|fault| told(fault, self.input.path()))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn keys_like(&self, root: &Root, key: &str) -> Result<Vec<u64>, Halt> {
        let (data, mut found, mut first) = (self.input.data(), Vec::new(), 0);
        let mut items = Items::new(Window::new(data, self.input.size()), root)?;
        let mut operation = Vec::new();
        loop {
            match items.step()? {
                Step::Piece => {}
                Step::End { .. } => return Ok(found),
                Step::Unfit => {
                    return Err(Fault::Bad(root.body, "is not what its index says".into()).into());
                }
            }
            let slots = items.piece().slots;
            for (item, pair) in (first..).zip(slots.chunks_exact(2)) {
                let [start, value] = [0, 1].map(|at| pair.get(at).map_or(0, |slot| slot.start));
                let length = value.saturating_sub(start);
                // A text's operation, with its length and what gives it a number: at most ten
                // bytes more than the text; in protocol 0 non-ASCII letters are escaped.
                let texts = key.len() as u64..=key.len() as u64 * 6 + 40;
                if !(texts.contains(&length) || length <= 24) {
                    continue;
                }
                operation.resize(length as usize, 0);
                data.read_exact_at(start, &mut operation).map_err(Fault::from)?;
                if may_be(&operation, key) {
                    found.push(item);
                }
            }
            first += (slots.len() / 2) as u64;
        }
    }

    /// One pickle of several.
    fn object(&self, item: u64, state: &State) -> Result<Vec<u8>, Fault> {
        let at = state.points.before_item(item);
        let point = at.and_then(|at| state.points.get(at));
        let (mut start, mut number) = point.map_or((0, 0), |point| (point.slot.start, point.item));
        let window = Window::new(self.input.data(), self.input.size());
        let mut scanner = Scanner::with_slots(window, start, 0, false, FEW_SLOTS);
        loop {
            let end = object(&mut scanner, start)?;
            if number == item {
                let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(usize::MAX)];
                self.input.data().read_exact_at(start, &mut bytes)?;
                return Ok(bytes);
            }
            (start, number) = (end, number + 1);
        }
    }

    fn items_of(&self, root: &Root, range: &Range<u64>, state: &mut State) -> Result<Vec<u8>> {
        let told = |fault: Fault| told(fault.into(), self.input.path());
        let (data, size) = (self.input.data(), self.input.size());
        let plan = self.plan(root, range, &state.points).map_err(told)?;
        let refs = Refs::of(data, &plan, root.prefix_memo).map_err(told)?;
        let mut emitter = Emitter::new(data, size, root, u64::MAX, u64::MAX);
        emitter.checkpoints = std::mem::take(&mut state.points);
        emitter.container_ids.clone_from(&self.index.container_ids);
        if state.known.len() > MOST_KNOWN {
            state.known.clear();
        }
        *emitter.resolver.found_mut() = std::mem::take(&mut state.known);
        let mut bytes = Vec::new();
        let emitted = emitter.emit(&plan, &refs, &mut bytes, &mut |error| {
            Error::io("copy", self.input.path(), error).into()
        });
        state.points = std::mem::take(&mut emitter.checkpoints);
        state.known = std::mem::take(emitter.resolver.found_mut());
        emitted.map_err(|halt| super::told(halt, self.input.path()))?;
        Ok(bytes)
    }

    /// Where the items lie.
    fn plan(&self, root: &Root, range: &Range<u64>, points: &Checkpoints) -> Result<Plan, Fault> {
        let nothing = cut(Slot { start: root.body, memo: root.prefix_memo }, 0, false);
        if range.is_empty() {
            let (from, to, pad) = (nothing, nothing, self.index.counted);
            return Ok(Plan { from, to, last_frame: None, strip: true, pad });
        }
        let stride = root.stride();
        let at = points.before_item(range.start);
        let begin = Checkpoint { slot: Slot { start: root.body, memo: root.prefix_memo }, item: 0 };
        let begin = at.and_then(|at| points.get(at)).unwrap_or(begin);
        let batch = at.and_then(|at| self.index.batches.get(at).copied()).unwrap_or(false);
        // The first checkpoint at which all is passed, or the end.
        let mut past = points.before_item(range.end).map_or(0, |at| at + 1);
        if past > 0 && points.get(past - 1).is_some_and(|point| point.item == range.end) {
            past -= 1;
        }
        let limit = points.get(past).map_or(self.index.body_end, |point| point.slot.start);
        let length = limit.saturating_sub(begin.slot.start).min(BLOCK as u64) as usize;
        let most = length + SLOP + 1;
        let mut window = Window::sized(self.input.data(), self.input.size(), most);
        window.load(begin.slot.start)?;
        let mut scanner =
            Scanner::with_slots(window, begin.slot.start, begin.slot.memo, false, FEW_SLOTS);
        if root.batch_closer != 0 {
            scanner.expect_batches();
        }
        scanner.stop_at(limit);
        let mut finder = Finder { range, root, from: None, to: None, cut_short: false };
        let (mut first, mut open) = (begin.item, batch);
        while finder.to.is_none() {
            let event =
                if scanner.offset() == limit { Event::Limit } else { scanner.run(&mut NoTrace)? };
            let marked = open || !scanner.marks().is_empty();
            let count = (scanner.slots().len() / stride) as u64;
            match event {
                Event::Op { opcode, at, end } => {
                    let Some(batch) = closes_batch(root, opcode) else {
                        scanner.define_at(opcode, at, end)?;
                        scanner.go_on(end);
                        continue;
                    };
                    finder.meet(scanner.slots(), stride, first, batch);
                    first += count;
                    finder.end_at(first, Slot { start: end, memo: scanner.memo() }, false);
                    scanner.clear();
                    scanner.go_on(end);
                    open = false;
                    finder.cut_short = false;
                }
                Event::Full => {
                    let gone = scanner.spillable(stride);
                    let slots = scanner.slots().get(..gone).unwrap_or_default();
                    finder.meet(slots, stride, first, marked && root.batch_closer != 0);
                    scanner.spill(gone);
                    first += (gone / stride) as u64;
                    finder.cut_short = true;
                }
                Event::Limit => {
                    let batch = marked && root.batch_closer != 0;
                    finder.meet(scanner.slots(), stride, first, batch);
                    let here = Slot { start: limit, memo: scanner.memo() };
                    finder.end_at(first + count, here, batch && count > 0);
                    break;
                }
                Event::Stop(_) | Event::Traced => break,
            }
        }
        match (finder.from, finder.to) {
            (Some(from), Some(to)) => {
                Ok(Plan { from, to, last_frame: None, strip: true, pad: self.index.counted })
            }
            _ => Fault::bad(begin.slot.start, "is not what it was when its index was made"),
        }
    }
}

/// Looks for the ends of a range among items.
struct Finder<'f> {
    range: &'f Range<u64>,
    root: &'f Root,
    from: Option<Cut>,
    to: Option<Cut>,
    /// Whether the items go on that were met last.
    cut_short: bool,
}

impl Finder<'_> {
    /// Items from number `first` on begin in `slots`.
    fn meet(&mut self, slots: &[Slot], stride: usize, first: u64, batch: bool) {
        let slot = |item: u64| {
            let at = usize::try_from(item.checked_sub(first)?).ok()?;
            slots.get(at.checked_mul(stride)?).copied()
        };
        if self.from.is_none()
            && let Some(slot) = slot(self.range.start)
        {
            self.from = Some(cut(slot, self.range.start, batch));
        }
        if self.to.is_none()
            && self.from.is_some()
            && (self.range.end > first || self.cut_short)
            && let Some(slot) = slot(self.range.end)
        {
            self.to = Some(cut(slot, self.range.end, batch));
        }
    }

    /// All items up to number `next` end at `slot`.
    fn end_at(&mut self, next: u64, slot: Slot, batch: bool) {
        if self.to.is_none() && self.from.is_some() && self.range.end == next {
            self.to = Some(cut(slot, next, batch && self.root.batch_closer != 0));
        }
    }
}

/// Whether the operations of a key may make this text.
fn may_be(operation: &[u8], key: &str) -> bool {
    match operation.first() {
        Some(&(SHORT_BINUNICODE | SHORT_BINSTRING)) => {
            operation.get(2..).is_some_and(|rest| rest.starts_with(key.as_bytes()))
        }
        Some(&(BINUNICODE | BINSTRING)) => {
            operation.get(5..).is_some_and(|rest| rest.starts_with(key.as_bytes()))
        }
        Some(&(UNICODE | STRING | BINUNICODE8 | BINGET | LONG_BINGET | GET)) => true,
        Some(&(BININT1 | BININT2 | BININT)) => {
            let digits = operation.get(1..).unwrap_or_default();
            let width = match operation.first() {
                Some(&BININT1) => 1,
                Some(&BININT2) => 2,
                _ => 4,
            };
            let number = little(digits.get(..width).unwrap_or_default());
            let number = if width == 4 { i64::from(number as u32 as i32) } else { number as i64 };
            key.parse() == Ok(number)
        }
        Some(&(INT | LONG | LONG1 | LONG4)) => key.parse::<i128>().is_ok(),
        // A FRAME may come first.
        Some(&FRAME) => true,
        _ => false,
    }
}

fn cut(slot: Slot, item: u64, batch: bool) -> Cut {
    Cut { offset: slot.start, memo: slot.memo, item, batch, frame: None }
}

fn stamp(input: &Input) -> Result<(u64, Option<SystemTime>)> {
    let read = |e| Error::io("read", input.path(), e);
    Ok((input.data().size().map_err(read)?, input.data().modified().map_err(read)?))
}
