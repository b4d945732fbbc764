//! Where to cut: turns the items that a scan meets into segments to be written.

use super::Target;
use super::checkpoint::Checkpoints;
use super::emit::{Cut, Plan};
use super::items::{Items, Piece};
use super::root::Root;
use super::scan::{Slot, Trace};

/// What decides where segments end.
enum Rule {
    Target(Target),
    /// Before the items with these numbers, which ascend.
    Items(Vec<u64>),
}

/// Where a source stands among others that are cut as one, and what the open segment holds of
/// those before it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    /// Bytes and items in the open segment.
    pub(crate) bytes: u64,
    pub(crate) items: u64,
    /// Where the open segment begins, and this source, of the bytes of all.
    pub(crate) begin: u64,
    pub(crate) before: u64,
    /// Bytes that this source counts for, and all together.
    pub(crate) own: u64,
    pub(crate) total: u64,
}

impl Carried {
    /// Whether the open segment is full when it reaches `position` of the bytes of all.
    pub(crate) fn is_full(&self, target: Target, position: u64) -> bool {
        match target {
            Target::Items(most) => self.items >= most,
            Target::Bytes(bytes) => self.bytes >= bytes,
            Target::Parts(parts) => position >= boundary(self.begin, self.total, parts),
        }
    }
}

/// Where the part of `total` bytes that holds `begin` ends: at the next of `parts` even
/// boundaries.
fn boundary(begin: u64, total: u64, parts: u64) -> u64 {
    let (begin, parts, total) = (u128::from(begin), u128::from(parts), u128::from(total.max(1)));
    let part = begin * parts / total + 1;
    u64::try_from((part * total).div_ceil(parts)).unwrap_or(u64::MAX)
}

/// Decides where segments begin and end.
pub(crate) struct Planner {
    rule: Rule,
    stride: usize,
    /// The offset that is `carried.before`, and bytes from there to the end of the source.
    zero: u64,
    length: u64,
    carried: Carried,
    checkpoints: Checkpoints,
    /// Items in earlier pieces.
    items: u64,
    segments: u64,
    from: Option<Cut>,
    first: Cut,
}

impl Planner {
    /// A planner for a source of `size` bytes.
    pub(crate) fn new(target: Target, root: &Root, size: u64) -> Self {
        let end = root.body_end.unwrap_or(size);
        let length = end.saturating_sub(root.body);
        let carried = Carried { own: length, total: length, ..Carried::default() };
        Planner::with(Rule::Target(target), root, root.body, length, carried)
    }

    /// A planner for a source of `size` bytes that others come before.
    pub(crate) fn carrying(target: Target, root: &Root, size: u64, carried: Carried) -> Self {
        Planner::with(Rule::Target(target), root, 0, size, carried)
    }

    /// A planner that cuts before the items with these numbers, which ascend.
    pub(crate) fn at(items: Vec<u64>, root: &Root) -> Self {
        Planner::with(Rule::Items(items), root, root.body, 0, Carried::default())
    }

    fn with(rule: Rule, root: &Root, zero: u64, length: u64, carried: Carried) -> Self {
        Planner {
            rule,
            stride: root.stride(),
            zero,
            length,
            carried,
            checkpoints: Checkpoints::default(),
            items: 0,
            segments: 0,
            from: None,
            first: Cut {
                offset: root.body,
                memo: root.prefix_memo,
                item: 0,
                batch: false,
                frame: root.frame.filter(|frame| frame.at < root.body && root.body < frame.end),
            },
        }
    }

    /// The checkpoints passed since they were taken last.
    pub(crate) fn take_checkpoints(&mut self) -> Checkpoints {
        self.checkpoints.take()
    }

    /// Items met.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// Takes note of the items that `items` shows.
    pub(crate) fn begin_piece(&mut self, items: &Items<'_, impl Trace>) {
        self.checkpoints.note(items.piece().slots, self.stride, self.items);
    }

    /// Is done with them.
    pub(crate) fn end_piece(&mut self, items: &Items<'_, impl Trace>) {
        self.items += (items.piece().slots.len() / self.stride) as u64;
    }

    /// The next segment that ends among them.
    pub(crate) fn next_cut(&mut self, items: &mut Items<'_, impl Trace>) -> Option<Plan> {
        let piece = items.piece();
        let from = self.from.unwrap_or(self.first);
        let at = self.cut_index(&piece, &from)?;
        let slot = *piece.slots.get(at * self.stride)?;
        let (slot, batch) = match piece.mark {
            Some(mark) if at == 0 => (mark, false),
            _ => (slot, piece.batch),
        };
        let item = self.items + at as u64;
        Some(self.close(items, from, slot, item, batch))
    }

    /// The segment of all items that are left; of none, if there are none.
    pub(crate) fn last_cut(
        &mut self,
        items: &mut Items<'_, impl Trace>,
        body_end: u64,
    ) -> Option<Plan> {
        let from = self.from.unwrap_or(self.first);
        if from.item == self.items && self.segments > 0 {
            return None;
        }
        let slot = Slot { start: body_end, memo: items.scanner.memo() };
        Some(self.close(items, from, slot, self.items, false))
    }

    fn close(
        &mut self,
        items: &mut Items<'_, impl Trace>,
        from: Cut,
        slot: Slot,
        item: u64,
        batch: bool,
    ) -> Plan {
        let last_frame = items.scanner.last_frame_between(from.offset, slot.start);
        let frame = items.scanner.frame_at(slot.start);
        let to = Cut { offset: slot.start, memo: slot.memo, item, batch, frame };
        self.from = Some(to);
        self.segments += 1;
        Plan {
            from,
            to,
            last_frame,
            strip: items.scanner.odd_frames(),
            pad: items.scanner.counted(),
        }
    }

    /// The first item of `piece` that begins a new segment.
    fn cut_index(&self, piece: &Piece<'_>, from: &Cut) -> Option<usize> {
        let count = piece.slots.len() / self.stride;
        let least = usize::try_from((from.item + 1).saturating_sub(self.items)).ok()?;
        if least >= count {
            return None;
        }
        let target = match &self.rule {
            Rule::Target(target) => *target,
            Rule::Items(items) => {
                let next = *items.iter().find(|item| **item > from.item)?;
                let at = usize::try_from(next.checked_sub(self.items)?).ok()?;
                return (at < count).then_some(at);
            }
        };
        // What came before this source is only in the segment that was open then.
        let carried = Some(self.carried).filter(|_| self.from.is_none()).unwrap_or_default();
        let at = match target {
            Target::Items(most) => {
                let most = most.saturating_sub(carried.items);
                usize::try_from((from.item.saturating_add(most)).saturating_sub(self.items)).ok()?
            }
            Target::Bytes(bytes) => {
                let bytes = bytes.saturating_sub(carried.bytes);
                self.first_at(piece, least, from.offset.saturating_add(bytes))
            }
            Target::Parts(parts) => {
                let begin = if carried.items > 0 { carried.begin } else { self.position(from) };
                let end = boundary(begin, self.carried.total, parts);
                self.first_at(piece, least, self.offset(end))
            }
        };
        (at >= least && at < count).then_some(at)
    }

    /// Where a cut lies of the bytes of all sources.
    fn position(&self, cut: &Cut) -> u64 {
        let (own, length) = (u128::from(self.carried.own), u128::from(self.length.max(1)));
        let inside = u128::from(cut.offset.saturating_sub(self.zero)) * own / length;
        self.carried.before.saturating_add(u64::try_from(inside).unwrap_or(u64::MAX))
    }

    /// The offset at a position of the bytes of all sources.
    fn offset(&self, position: u64) -> u64 {
        let (own, length) = (u128::from(self.carried.own.max(1)), u128::from(self.length));
        let inside = u128::from(position.saturating_sub(self.carried.before)) * length;
        self.zero.saturating_add(u64::try_from(inside.div_ceil(own)).unwrap_or(u64::MAX))
    }

    /// The first item from `least` on that begins at `offset` or later.
    fn first_at(&self, piece: &Piece<'_>, least: usize, offset: u64) -> usize {
        let (mut low, mut high) = (least, piece.slots.len() / self.stride);
        while low < high {
            let middle = low + (high - low) / 2;
            let start = piece.slots.get(middle * self.stride).map_or(u64::MAX, |slot| slot.start);
            if start < offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}
