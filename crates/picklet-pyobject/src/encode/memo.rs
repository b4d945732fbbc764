//! The encoder's memo: object pointer to memo index.
//!
//! An open-addressing table of 16-byte entries with Fibonacci hashing. Plain `pointer >> 4` with
//! linear probing was measured up to 20 times slower than stock on shuffled strings, because the
//! allocator hands out neighbouring addresses.

use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};

use crate::object::Obj;

/// 2^64 divided by the golden ratio, odd.
const FIBONACCI: u64 = 0x9E37_79B9_7F4A_7C15;

const FIRST_CAPACITY_BITS: u32 = 6;

#[derive(Clone, Copy)]
struct Entry {
    key: *mut ffi::PyObject,
    /// A `u32`, as wide as a pointer: a table is made faster without gaps in it.
    index: usize,
}

const EMPTY: Entry = Entry { key: std::ptr::null_mut(), index: 0 };

/// Whether entries keep their objects alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Python code may run: every memoised object is held by a strong reference.
    Strong,
    /// No Python code runs while this memo is used: containers keep their items alive.
    Borrowed,
}

/// Object pointer → index of its memoised place in the pickle.
pub struct Memo {
    entries: Vec<Entry>,
    used: usize,
    shift: u32,
    hold: Hold,
}

// SAFETY: a memo that outlives a call lives inside a Python object, and whatever uses or drops it
// holds the GIL, on whichever thread.
unsafe impl Send for Memo {}

impl Memo {
    pub(crate) fn new(hold: Hold) -> Memo {
        Memo { entries: Vec::new(), used: 0, shift: 64 - FIRST_CAPACITY_BITS, hold }
    }

    #[inline(always)]
    fn slot(&self, key: *mut ffi::PyObject) -> usize {
        ((key as u64).wrapping_mul(FIBONACCI) >> self.shift) as usize
    }

    #[inline(always)]
    pub(crate) fn get(&self, obj: Obj) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        let mask = self.entries.len() - 1;
        let mut at = self.slot(obj.ptr());
        loop {
            let entry = self.entries.get(at & mask)?;
            if entry.key == obj.ptr() {
                return Some(entry.index as u32);
            }
            if entry.key.is_null() {
                return None;
            }
            at += 1;
        }
    }

    /// Adds an object that is not in the memo yet, or gives it a new index.
    #[inline]
    pub(crate) fn put(&mut self, obj: Obj, index: u32) {
        if (self.used + 1) * 3 > self.entries.len() * 2 {
            self.grow();
        }
        if self.insert(Entry { key: obj.ptr(), index: index as usize }) {
            self.used += 1;
            if self.hold == Hold::Strong {
                std::mem::forget(obj.to_owned());
            }
        }
    }

    /// True when the key is new.
    #[inline(always)]
    fn insert(&mut self, new: Entry) -> bool {
        let mask = self.entries.len() - 1;
        let mut at = self.slot(new.key) & mask;
        loop {
            let Some(entry) = self.entries.get_mut(at) else { return false };
            if entry.key.is_null() {
                *entry = new;
                return true;
            }
            if entry.key == new.key {
                entry.index = new.index;
                return false;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let capacity = (self.entries.len() * 2).max(1 << FIRST_CAPACITY_BITS);
        let old = std::mem::replace(&mut self.entries, vec![EMPTY; capacity]);
        self.shift = 64 - capacity.trailing_zeros();
        for entry in old {
            if !entry.key.is_null() {
                self.insert(entry);
            }
        }
    }

    /// The memoised objects with their indexes, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Obj, u32)> + '_ {
        self.entries.iter().filter(|entry| !entry.key.is_null()).map(|entry| {
            // SAFETY: a strong memo holds its objects; a borrowed one is not asked.
            (unsafe { Obj::new(entry.key) }, entry.index as u32)
        })
    }

    /// For the cyclic collector.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for (obj, _) in self.iter() {
            obj.visit(visit)?;
        }
        Ok(())
    }

    /// Number of memoised objects.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether nothing is memoised.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        let mut old = std::mem::take(&mut self.entries);
        self.used = 0;
        self.shift = 64 - FIRST_CAPACITY_BITS;
        if self.hold == Hold::Strong {
            old.retain(|entry| !entry.key.is_null());
            by_index(&mut old);
            for entry in old.iter().rev() {
                // SAFETY: a strong memo took one reference when the entry was added.
                unsafe { ffi::Py_DECREF(entry.key) };
            }
        }
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Puts entries in the order of their indexes, in place; an index out of their range stays anywhere.
///
/// Objects released in the table's order would give the allocator their places back in the order of
/// their hashes. The next dump's objects would take them in that order, and would crowd into one
/// corner of its table while this is small: the second dump of a list of datetimes took twice as
/// long as the first. Released from the last to the first, the next ones lie as these did.
fn by_index(entries: &mut [Entry]) {
    for at in 0..entries.len() {
        while let Some(&Entry { index, .. }) = entries.get(at) {
            let home = index;
            if home == at || entries.get(home).is_none_or(|there| there.index == index) {
                break;
            }
            entries.swap(at, home);
        }
    }
}
