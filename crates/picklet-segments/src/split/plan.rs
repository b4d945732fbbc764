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

/// Decides where segments begin and end.
pub(crate) struct Planner {
    rule: Rule,
    stride: usize,
    /// Where the items begin, and bytes from there to the end of the source.
    body: u64,
    length: u64,
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
        Planner::with(Rule::Target(target), root, size)
    }

    /// A planner that cuts before the items with these numbers, which ascend.
    pub(crate) fn at(items: Vec<u64>, root: &Root, size: u64) -> Self {
        Planner::with(Rule::Items(items), root, size)
    }

    fn with(rule: Rule, root: &Root, size: u64) -> Self {
        let end = root.body_end.unwrap_or(size);
        Planner {
            rule,
            stride: root.stride(),
            body: root.body,
            length: end.saturating_sub(root.body),
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
        let at = match target {
            Target::Items(most) => {
                usize::try_from((from.item.saturating_add(most)).saturating_sub(self.items)).ok()?
            }
            Target::Bytes(bytes) => self.first_at(piece, least, from.offset.saturating_add(bytes)),
            Target::Parts(parts) => {
                // The part that this segment begins in ends at the next of
                // `parts` even boundaries.
                let done = u128::from(from.offset - self.body);
                let (parts, length) = (u128::from(parts), u128::from(self.length.max(1)));
                let part = done * parts / length + 1;
                let boundary = (part * length).div_ceil(parts);
                let boundary = u64::try_from(boundary).unwrap_or(u64::MAX);
                self.first_at(piece, least, self.body.saturating_add(boundary))
            }
        };
        (at >= least && at < count).then_some(at)
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
