//! The decoder's memo: dense for the indexes that picklers write, sparse for any others.

use std::collections::HashMap;

use crate::object::{Obj, Owned};

/// An index further than this past the end of the dense part goes to the sparse one, so that a
/// declared index never allocates.
const DENSE_GAP: u64 = 1024;

/// Memo index → object.
#[derive(Default)]
pub(super) struct Memo {
    dense: Vec<Option<Owned>>,
    sparse: HashMap<u64, Owned>,
    used: u64,
}

impl Memo {
    #[inline(always)]
    pub(super) fn get(&self, index: u64) -> Option<Obj> {
        match self.dense.get(index as usize) {
            Some(Some(owned)) => Some(owned.obj()),
            _ => self.get_sparse(index),
        }
    }

    #[cold]
    fn get_sparse(&self, index: u64) -> Option<Obj> {
        self.sparse.get(&index).map(Owned::obj)
    }

    /// MEMOIZE: at the index that is the number of memoised objects.
    #[inline(always)]
    pub(super) fn push(&mut self, obj: Obj) -> u64 {
        let index = self.used;
        if self.used == self.dense.len() as u64 && self.sparse.is_empty() {
            self.dense.push(Some(obj.to_owned()));
            self.used += 1;
        } else {
            self.put(index, obj);
        }
        index
    }

    pub(super) fn put(&mut self, index: u64, obj: Obj) {
        let dense = self.dense.len() as u64;
        let old = if index < dense || index - dense < DENSE_GAP {
            let at = index as usize;
            while self.dense.len() <= at {
                self.dense.push(None);
            }
            // What was beyond the dense part may be within it now.
            let sparse = if self.sparse.is_empty() { None } else { self.sparse.remove(&index) };
            self.dense.get_mut(at).and_then(|slot| slot.replace(obj.to_owned())).or(sparse)
        } else {
            self.sparse.insert(index, obj.to_owned())
        };
        if old.is_none() {
            self.used += 1;
        }
    }

    /// The memoised objects with their indexes, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Obj)> + '_ {
        let dense = self.dense.iter().enumerate();
        let dense = dense.filter_map(|(at, slot)| Some((at as u64, slot.as_ref()?.obj())));
        dense.chain(self.sparse.iter().map(|(at, owned)| (*at, owned.obj())))
    }

    /// Puts `new` wherever one of `indexes` still means `old`.
    pub(super) fn replace(&mut self, indexes: &[u64], old: Obj, new: Obj) {
        for index in indexes {
            if self.get(*index) == Some(old) {
                self.put(*index, new);
            }
        }
    }
}
