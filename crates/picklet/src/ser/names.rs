//! The names of fields and variants that were written, and their memo indexes.

use rustc_hash::FxHashMap;

/// Names that are looked through one by one; more of them are hashed.
const FEW: usize = 16;

/// Where a name lies in memory, and its length. A name is `'static`: the same place holds the
/// same text for ever.
pub(super) type Place = (usize, usize);

/// A name that was written.
struct Name {
    place: Place,
    memo_index: u64,
    /// The name that came after it the last time.
    next: usize,
}

/// The names that were written. A struct's fields come round in the same order, so each name is
/// looked for where the last one's successor stands; by a hash of its place it took longer, and
/// names whose places collide took longest.
#[derive(Default)]
pub(super) struct Names {
    names: Vec<Name>,
    /// By place, where there are more than [`FEW`].
    places: FxHashMap<Place, usize>,
    /// The name that was written last, and the one expected next.
    last: usize,
    expected: usize,
}

impl Names {
    /// The memo index of the name expected next, where it is this one.
    #[inline(always)]
    pub(super) fn expected(&mut self, place: Place) -> Option<u64> {
        let name = self.names.get(self.expected).filter(|name| name.place == place)?;
        (self.last, self.expected) = (self.expected, name.next);
        Some(name.memo_index)
    }

    /// The memo index of any name that was written.
    pub(super) fn find(&mut self, place: Place) -> Option<u64> {
        let at = if self.names.len() <= FEW {
            self.names.iter().position(|name| name.place == place)?
        } else {
            *self.places.get(&place)?
        };
        self.follow(at)
    }

    pub(super) fn add(&mut self, place: Place, memo_index: u64) {
        let at = self.names.len();
        self.names.push(Name { place, memo_index, next: 0 });
        if at == FEW {
            self.places.extend(self.names.iter().enumerate().map(|(at, name)| (name.place, at)));
        } else if at > FEW {
            self.places.insert(place, at);
        }
        self.follow(at);
    }

    /// Goes on at a name, and expects it here the next time.
    fn follow(&mut self, at: usize) -> Option<u64> {
        if let Some(last) = self.names.get_mut(self.last) {
            last.next = at;
        }
        let name = self.names.get(at)?;
        (self.last, self.expected) = (at, name.next);
        Some(name.memo_index)
    }
}
