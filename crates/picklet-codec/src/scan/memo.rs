//! The scanner's memo: exact for the first hundred thousand entries, bounded for ever.
//!
//! Python memoises nearly everything, so that a memo that keeps its entries grows with the file.
//! This one keeps the first [`KEPT`] of them, the last [`RECENT`], and any that are globals; of
//! the others it only knows that they are there. Where one of those turns out to matter, it is
//! *wanted*: the pickle is scanned once more, and then it is kept.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::sym::{Sort, Sym};

/// Entries of the lowest indexes that are kept: 1 MiB of them.
const KEPT: u64 = 1 << 17;
/// Entries stored last that are kept beside those.
const RECENT: usize = 1 << 15;
/// Entries that are kept for what they are, or because they were wanted.
const SPECIAL: usize = 1 << 18;
/// Stretches of indexes beyond [`KEPT`]; Python's picklers leave one.
const STRETCHES: usize = 1 << 18;

/// A cap was met: more stretches of indexes than anything honest has.
#[derive(Debug)]
pub(super) struct TooScattered;

/// Objects by memo index.
#[derive(Clone)]
pub(super) struct Memo {
    first: Vec<Sym>,
    recent: Vec<(u64, Sym)>,
    special: HashMap<u64, Sym>,
    /// Indexes from [`KEPT`] on that are there: where each stretch begins and ends.
    stretches: BTreeMap<u64, u64>,
    /// The stretch that grew last, which is the one that grows next; it is not among the others.
    last: (u64, u64),
    entries: u64,
    /// What an earlier scan of the same pickle missed.
    wanted: HashSet<u64>,
    /// What this one missed.
    pub(super) missed: HashSet<u64>,
}

impl Memo {
    pub(super) fn new() -> Memo {
        Memo {
            first: Vec::new(),
            recent: Vec::new(),
            special: HashMap::new(),
            stretches: BTreeMap::new(),
            last: (0, 0),
            entries: 0,
            wanted: HashSet::new(),
            missed: HashSet::new(),
        }
    }

    /// How many entries there are.
    #[inline(always)]
    pub(super) fn len(&self) -> u64 {
        self.entries
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        self.first.clear();
        self.recent.clear();
        self.special.clear();
        self.stretches.clear();
        self.last = (0, 0);
        self.entries = 0;
    }

    /// Makes ready for the same pickle once more, now keeping what was missed. False when
    /// nothing was.
    pub(super) fn again(&mut self) -> bool {
        self.clear();
        let missed = std::mem::take(&mut self.missed);
        let before = self.wanted.len();
        self.wanted.extend(missed);
        self.wanted.len() > before
    }

    /// Forgets what was wanted in the pickle before.
    pub(super) fn forget_wanted(&mut self) {
        self.wanted.clear();
        self.missed.clear();
    }

    /// Notes that the entry `index` matters.
    pub(super) fn want(&mut self, index: u64) {
        if self.missed.len() + self.wanted.len() < SPECIAL {
            self.missed.insert(index);
        }
    }

    /// Stores `sym` under `index`.
    #[inline(always)]
    pub(super) fn put(&mut self, index: u64, sym: Sym) -> Result<(), TooScattered> {
        if index == self.first.len() as u64 && index < KEPT {
            self.first.push(sym);
            self.entries += 1;
            return Ok(());
        }
        self.put_slowly(index, sym)
    }

    #[inline(never)]
    fn put_slowly(&mut self, index: u64, sym: Sym) -> Result<(), TooScattered> {
        if index < KEPT {
            let at = index as usize;
            if self.first.len() <= at {
                self.first.resize(at + 1, Sym::ABSENT);
            }
            if let Some(place) = self.first.get_mut(at) {
                self.entries += u64::from(*place == Sym::ABSENT);
                *place = sym;
            }
            return Ok(());
        }
        let fresh = self.mark(index)?;
        if self.recent.is_empty() {
            self.recent = vec![(u64::MAX, Sym::ABSENT); RECENT];
        }
        if let Some(place) = self.recent.get_mut(index as usize & (RECENT - 1)) {
            *place = (index, sym);
        }
        let keep = sym.is(Sort::Global) || !self.wanted.is_empty() && self.wanted.contains(&index);
        if keep && self.special.len() < SPECIAL {
            self.special.insert(index, sym);
        } else if !fresh {
            // What is stored anew is no longer what was kept.
            self.special.remove(&index);
        }
        Ok(())
    }

    /// Notes that `index` is there; whether it was not before.
    #[inline(always)]
    fn mark(&mut self, index: u64) -> Result<bool, TooScattered> {
        if index == self.last.1 && self.stretches.is_empty() {
            if self.last.0 == self.last.1 {
                self.last.0 = index;
            }
            self.last.1 = index + 1;
            self.entries += 1;
            return Ok(true);
        }
        self.mark_slowly(index)
    }

    #[inline(never)]
    fn mark_slowly(&mut self, index: u64) -> Result<bool, TooScattered> {
        if self.holds(index) {
            return Ok(false);
        }
        let (begin, end) = self.last;
        if end > begin {
            if self.stretches.len() >= STRETCHES {
                return Err(TooScattered);
            }
            self.stretches.insert(begin, end);
        }
        let (mut begin, mut end) = (index, index + 1);
        if let Some((&before, &until)) = self.stretches.range(..=index).next_back()
            && until == index
        {
            self.stretches.remove(&before);
            begin = before;
        }
        if let Some(until) = self.stretches.remove(&end) {
            end = until;
        }
        self.last = (begin, end);
        self.entries += 1;
        Ok(true)
    }

    fn holds(&self, index: u64) -> bool {
        if (self.last.0..self.last.1).contains(&index) {
            return true;
        }
        let before = self.stretches.range(..=index).next_back();
        before.is_some_and(|(_, &end)| index < end)
    }

    /// What is stored under `index`: `None` when nothing is, [`Sort::Forgotten`] when it is not
    /// known any more.
    #[inline(always)]
    pub(super) fn get(&self, index: u64) -> Option<Sym> {
        match self.first.get(usize::try_from(index).ok()?) {
            Some(sym) => (*sym != Sym::ABSENT).then_some(*sym),
            None => self.get_slowly(index),
        }
    }

    #[inline(never)]
    fn get_slowly(&self, index: u64) -> Option<Sym> {
        if let Some((_, sym)) =
            self.recent.get(index as usize & (RECENT - 1)).filter(|e| e.0 == index)
        {
            return Some(*sym);
        }
        if let Some(sym) = self.special.get(&index) {
            return Some(*sym);
        }
        self.holds(index).then(|| Sym::new(Sort::Forgotten, index))
    }

    /// Everything that an index leads to, for the pickles after this one.
    pub(super) fn add_all_to(&self, other: &mut Memo) -> Result<(), TooScattered> {
        for (index, sym) in self.first.iter().enumerate() {
            if *sym != Sym::ABSENT {
                other.put(index as u64, *sym)?;
            }
        }
        for (&begin, &end) in self.stretches.iter().chain([(&self.last.0, &self.last.1)]) {
            if end > begin && other.stretches.len() < STRETCHES {
                other.stretches.insert(begin, end);
            }
        }
        for (&index, &sym) in &self.special {
            other.special.insert(index, sym);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(at: u64) -> Sym {
        Sym::new(Sort::Int, at)
    }

    #[test]
    fn low_indexes_are_exact_whatever_the_order() {
        let mut memo = Memo::new();
        for index in [5, 0, 3, 5] {
            memo.put(index, int(index + 100)).unwrap();
        }
        assert_eq!(memo.len(), 3);
        assert_eq!(memo.get(5), Some(int(105)));
        assert_eq!(memo.get(4), None);
        assert_eq!(memo.get(1 << 40), None);
    }

    #[test]
    fn what_is_far_back_is_forgotten_until_it_is_wanted() {
        let mut memo = Memo::new();
        let fill = |memo: &mut Memo| {
            for index in 0..KEPT + 3 * RECENT as u64 {
                memo.put(index, int(index)).unwrap();
            }
        };
        fill(&mut memo);
        assert_eq!(memo.len(), KEPT + 3 * RECENT as u64);
        assert!(memo.stretches.is_empty());
        let old = KEPT + 7;
        assert_eq!(memo.get(old), Some(Sym::new(Sort::Forgotten, old)));
        assert_eq!(memo.get(memo.len() - 1), Some(int(memo.len() - 1)));
        assert_eq!(memo.get(memo.len()), None);
        memo.want(old);
        assert!(memo.again());
        fill(&mut memo);
        assert_eq!(memo.get(old), Some(int(old)));
        assert!(!memo.again());
    }

    #[test]
    fn high_indexes_out_of_order_join_into_stretches() {
        let mut memo = Memo::new();
        let base = 1u64 << 33;
        for index in [3, 1, 2, 9, 2, 0] {
            memo.put(base + index, int(index)).unwrap();
        }
        assert_eq!(memo.len(), 5);
        assert_eq!(
            (memo.last, memo.stretches.into_iter().collect::<Vec<_>>()),
            ((base, base + 4), vec![(base + 9, base + 10)])
        );
    }

    #[test]
    fn scattered_indexes_meet_a_cap() {
        let mut memo = Memo::new();
        let all =
            (0..STRETCHES as u64 + 5).try_for_each(|step| memo.put(KEPT + step * 1000, Sym::NONE));
        assert!(all.is_err());
    }
}
