//! Places where a scan can begin: item beginnings with their memo counts, one
//! in every 16 KB or more. 24 bytes each, so 0.15 % of the file at most.

use super::scan::Slot;

/// Bytes between checkpoints, at least.
const APART: u64 = 16 * 1024;

/// A place where a scan can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Where an item begins, and the memo count there.
    pub(crate) slot: Slot,
    /// Its number.
    pub(crate) item: u64,
}

/// The checkpoints of a source, in order.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    all: Vec<Checkpoint>,
    /// The next one is at or after this offset.
    next: u64,
}

impl Checkpoints {
    /// Takes note of items that follow one another: where each begins,
    /// `stride` slots an item, the first being item number `first`.
    pub(crate) fn note(&mut self, slots: &[Slot], stride: usize, first: u64) {
        let mut next = self.next;
        let mut done = 0;
        while let Some(rest) = slots.get(done..) {
            let skip = rest.partition_point(|slot| slot.start < next);
            let at = (done + skip).next_multiple_of(stride);
            let Some(&slot) = slots.get(at) else { break };
            self.all.push(Checkpoint { slot, item: first + (at / stride) as u64 });
            next = slot.start + APART;
            done = at + stride;
        }
        self.next = next;
    }

    /// Gives away those that were noted, and goes on from there.
    pub(crate) fn take(&mut self) -> Checkpoints {
        Checkpoints { all: std::mem::take(&mut self.all), next: self.next }
    }

    /// Adds those that follow.
    pub(crate) fn append(&mut self, mut later: Checkpoints) {
        self.all.append(&mut later.all);
        self.next = later.next;
    }

    /// The last place from which a scan meets the definition of memo entry
    /// `id`, as an index.
    pub(crate) fn before_memo(&self, id: u64) -> Option<usize> {
        self.all.partition_point(|point| point.slot.memo <= id).checked_sub(1)
    }

    /// The last place from which a scan meets item `item`, as an index.
    pub(crate) fn before_item(&self, item: u64) -> Option<usize> {
        self.all.partition_point(|point| point.item <= item).checked_sub(1)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Adds one that follows the others.
    pub(crate) fn push(&mut self, point: Checkpoint) {
        self.next = point.slot.start + APART;
        self.all.push(point);
    }

    /// The checkpoint at an index.
    pub(crate) fn get(&self, index: usize) -> Option<Checkpoint> {
        self.all.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(step: u64, count: u64) -> Vec<Slot> {
        (0..count).map(|i| Slot { start: 100 + i * step, memo: i * 2 }).collect()
    }

    #[test]
    fn checkpoints_are_no_closer_than_said_and_begin_with_the_first_item() {
        let mut points = Checkpoints::default();
        points.note(&slots(1000, 100), 1, 0);
        assert_eq!(points.all.len(), 6);
        assert_eq!(points.get(0), Some(Checkpoint { slot: Slot { start: 100, memo: 0 }, item: 0 }));
        assert_eq!(points.get(1).map(|p| p.item), Some(17));
        assert!(points.all.windows(2).all(|w| w[1].slot.start - w[0].slot.start >= APART));
    }

    #[test]
    fn a_memo_entry_is_looked_for_from_the_checkpoint_before_it() {
        let mut points = Checkpoints::default();
        points.note(&slots(1000, 100), 1, 0);
        assert_eq!(points.before_memo(0), Some(0));
        assert_eq!(points.before_memo(33), Some(0));
        assert_eq!(points.before_memo(34), Some(1));
        assert_eq!(Checkpoints::default().before_memo(3), None);
    }

    #[test]
    fn a_pairs_checkpoint_is_at_its_key() {
        let mut points = Checkpoints::default();
        points.note(&slots(16 * 1024 - 1, 9), 2, 5);
        assert!(points.all.iter().all(|p| (p.slot.memo / 2) % 2 == 0));
        assert_eq!(points.get(1).map(|p| p.item), Some(6));
    }
}
