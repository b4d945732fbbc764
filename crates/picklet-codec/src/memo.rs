//! The memo: what a pickle stored under which index.
//!
//! Indexes normally run 0, 1, 2 …, and live in an array. A hostile pickle may name any index up
//! to 2^63 - 1; those far beyond the number of entries go to a hash map, so that memory follows
//! the number of entries and never the size of an index.

use std::collections::HashMap;

use crate::error::ErrorKind;
use crate::limits::MEMO_DENSE_SLACK;

/// Values by memo index.
#[derive(Clone, Debug)]
pub struct Memo<V> {
    dense: Vec<Option<V>>,
    /// Hashed with std's keyed hash: the indexes are the attacker's to choose.
    sparse: HashMap<u64, V>,
    entries: u64,
    cap: u64,
}

impl<V> Memo<V> {
    /// An empty memo that takes up to `cap` entries.
    pub fn new(cap: u64) -> Self {
        Self { dense: Vec::new(), sparse: HashMap::new(), entries: 0, cap }
    }

    /// How many entries there are; MEMOIZE stores under this index.
    #[inline]
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.dense.clear();
        self.sparse.clear();
        self.entries = 0;
    }

    /// What is stored under `index`.
    #[inline]
    pub fn get(&self, index: u64) -> Option<&V> {
        let dense = usize::try_from(index).ok().and_then(|index| self.dense.get(index));
        match dense {
            Some(Some(value)) => Some(value),
            _ => self.get_sparse(index),
        }
    }

    #[cold]
    fn get_sparse(&self, index: u64) -> Option<&V> {
        self.sparse.get(&index)
    }

    /// Stores `value` under `index`, in place of what was there.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] when a new entry would pass the cap.
    #[inline]
    pub fn put(&mut self, index: u64, value: V) -> Result<(), ErrorKind> {
        if index == self.dense.len() as u64 && self.sparse.is_empty() && self.entries < self.cap {
            self.dense.push(Some(value));
            self.entries += 1;
            return Ok(());
        }
        self.put_slow(index, value)
    }

    #[inline(never)]
    fn put_slow(&mut self, index: u64, value: V) -> Result<(), ErrorKind> {
        if let Some(slot) = self.slot(index) {
            *slot = value;
            return Ok(());
        }
        if self.entries >= self.cap {
            return Err(ErrorKind::Limit { limit: "memo_entries", cap: self.cap });
        }
        self.entries += 1;
        let dense_end = self.entries.saturating_mul(2) + MEMO_DENSE_SLACK;
        match usize::try_from(index) {
            Ok(position) if index < dense_end => {
                if self.dense.len() <= position {
                    self.dense.resize_with(position + 1, || None);
                }
                if let Some(slot) = self.dense.get_mut(position) {
                    *slot = Some(value);
                }
            }
            _ => {
                self.sparse.insert(index, value);
            }
        }
        Ok(())
    }

    fn slot(&mut self, index: u64) -> Option<&mut V> {
        let dense = usize::try_from(index).ok().and_then(|index| self.dense.get_mut(index));
        match dense {
            Some(Some(value)) => Some(value),
            _ => self.sparse.get_mut(&index),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_index_costs_one_entry() {
        let mut memo = Memo::new(u64::MAX);
        memo.put(u64::MAX, 'a').unwrap();
        memo.put(u64::from(u32::MAX), 'b').unwrap();
        assert!(memo.dense.is_empty());
        assert_eq!((memo.get(u64::MAX), memo.len()), (Some(&'a'), 2));
    }

    #[test]
    fn an_entry_stored_again_is_replaced_wherever_it_lives() {
        let mut memo = Memo::new(u64::MAX);
        memo.put(5000, 0).unwrap();
        for index in 0..6000 {
            memo.put(index, index + 1).unwrap();
        }
        assert_eq!(memo.len(), 6000);
        for index in 0..6000 {
            assert_eq!(memo.get(index), Some(&(index + 1)));
        }
        assert_eq!(memo.get(6000), None);
    }

    #[test]
    fn the_cap_counts_new_entries_only() {
        let mut memo = Memo::new(2);
        memo.put(0, 'a').unwrap();
        memo.put(9, 'b').unwrap();
        memo.put(9, 'c').unwrap();
        assert!(matches!(memo.put(1, 'd'), Err(ErrorKind::Limit { cap: 2, .. })));
    }

    #[test]
    fn widely_spread_indexes_stay_in_proportion_to_their_number() {
        let mut memo = Memo::new(u64::MAX);
        for step in 0..1000u64 {
            memo.put(step * 1_000_003, step).unwrap();
        }
        assert!(memo.dense.len() as u64 <= 2 * memo.len() + MEMO_DENSE_SLACK);
    }
}
