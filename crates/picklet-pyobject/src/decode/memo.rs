//! The decoder's memo: dense for the indexes that picklers write, sparse for any others.
//!
//! It begins *borrowed*: while nothing but built-in values is made, whatever is memoised lives on
//! the stack or in a container that does, and the decoder keeps what it throws away
//! ([`Decoder::bury`](super::Decoder::bury)). Before anything else happens the memo is made
//! *strong*: it takes a reference to each of its objects. For pickles of data this saves touching
//! every object once more at the end, when most of them have left the processor's caches.

use std::collections::BTreeMap;

use pyo3::ffi;

use crate::object::Obj;

/// An index further than this past the end of the dense part goes to the sparse one, so that a
/// declared index never allocates.
const DENSE_GAP: u64 = 1024;

/// Memo index → object.
#[derive(Default)]
pub(super) struct Memo {
    /// Null where there is none.
    dense: Vec<*mut ffi::PyObject>,
    sparse: BTreeMap<u64, *mut ffi::PyObject>,
    used: u64,
    strong: bool,
}

impl Memo {
    /// A memo that holds its objects from the beginning.
    pub(super) fn strong() -> Memo {
        Memo { dense: Vec::new(), sparse: BTreeMap::new(), used: 0, strong: true }
    }

    pub(super) fn is_strong(&self) -> bool {
        self.strong
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Takes a reference to each object, from here on. All of them are alive.
    #[cold]
    pub(super) fn strengthen(&mut self) {
        if !self.strong {
            self.strong = true;
            for (_, obj) in self.iter() {
                std::mem::forget(obj.to_owned());
            }
        }
    }

    #[inline(always)]
    pub(super) fn get(&self, index: u64) -> Option<Obj> {
        match self.dense.get(index as usize) {
            // SAFETY: a strong memo holds its objects; for a borrowed one see above.
            Some(ptr) if !ptr.is_null() => Some(unsafe { Obj::new(*ptr) }),
            _ => self.get_sparse(index),
        }
    }

    #[cold]
    fn get_sparse(&self, index: u64) -> Option<Obj> {
        // SAFETY: as above.
        self.sparse.get(&index).map(|ptr| unsafe { Obj::new(*ptr) })
    }

    /// MEMOIZE: at the index that is the number of memoised objects.
    #[inline(always)]
    pub(super) fn push(&mut self, obj: Obj) -> u64 {
        let index = self.used;
        if index == self.dense.len() as u64 && self.sparse.is_empty() {
            self.hold(obj);
            self.dense.push(obj.ptr());
            self.used += 1;
        } else {
            self.put(index, obj);
        }
        index
    }

    #[inline(always)]
    fn hold(&self, obj: Obj) {
        if self.strong {
            std::mem::forget(obj.to_owned());
        }
    }

    #[inline]
    pub(super) fn put(&mut self, index: u64, obj: Obj) {
        self.hold(obj);
        let dense = self.dense.len() as u64;
        let old = if index < dense || index - dense < DENSE_GAP {
            let at = index as usize;
            if self.dense.len() <= at {
                self.dense.resize(at + 1, std::ptr::null_mut());
            }
            // What was beyond the dense part may be within it now.
            let sparse = if self.sparse.is_empty() { None } else { self.sparse.remove(&index) };
            let old = self.dense.get_mut(at).map(|slot| std::mem::replace(slot, obj.ptr()));
            old.filter(|old| !old.is_null()).or(sparse)
        } else {
            self.sparse.insert(index, obj.ptr())
        };
        match old {
            None => self.used += 1,
            // SAFETY: the reference that a strong memo took when the entry was made.
            Some(old) if self.strong => unsafe { ffi::Py_DECREF(old) },
            Some(_) => {}
        }
    }

    /// The memoised objects with their indexes, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Obj)> + '_ {
        let dense = self.dense.iter().enumerate().map(|(at, ptr)| (at as u64, *ptr));
        let all = dense.chain(self.sparse.iter().map(|(at, ptr)| (*at, *ptr)));
        // SAFETY: as for `get`.
        all.filter(|(_, ptr)| !ptr.is_null()).map(|(at, ptr)| (at, unsafe { Obj::new(ptr) }))
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

impl Drop for Memo {
    fn drop(&mut self) {
        if self.strong {
            let dense = std::mem::take(&mut self.dense);
            let sparse = std::mem::take(&mut self.sparse);
            for ptr in dense.into_iter().chain(sparse.into_values()) {
                // SAFETY: null, or the reference that a strong memo took.
                unsafe { ffi::Py_XDECREF(ptr) };
            }
        }
    }
}
