//! What the scanner knows of an object: one word, so that a million of them cost nothing.
//!
//! A [`Sym`] never holds a value. Of a number or a text it says where in the file its opcode
//! stands, so that the value can be read again when somebody asks; of a tuple, where its items
//! lie in the [`Ring`]; of an object, which global made it.

/// What sort of object a [`Sym`] is. Those from `Forgotten` on may be more than plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Sort {
    None,
    True,
    False,
    Int,
    Float,
    Str,
    Bytes,
    ByteArray,
    /// Python 2's str, which arrives as str or bytes.
    OldStr,
    EmptyTuple,
    /// A tuple of plain data.
    Tuple,
    List,
    Dict,
    Set,
    FrozenSet,
    /// An out-of-band buffer.
    Buffer,
    /// In the memo, but what it is was not kept; the payload is its index there.
    Forgotten,
    /// A tuple with more than plain data in it.
    ObjectTuple,
    /// An imported global; the payload is its number.
    Global,
    /// What calling a global gave; the payload is the global's number and `extra`.
    Made,
    /// What a persistent id stands for.
    Persistent,
    /// What an extension code stands for.
    Extension,
    /// Anything at all.
    Unknown,
}

const SORTS: [Sort; 23] = [
    Sort::None,
    Sort::True,
    Sort::False,
    Sort::Int,
    Sort::Float,
    Sort::Str,
    Sort::Bytes,
    Sort::ByteArray,
    Sort::OldStr,
    Sort::EmptyTuple,
    Sort::Tuple,
    Sort::List,
    Sort::Dict,
    Sort::Set,
    Sort::FrozenSet,
    Sort::Buffer,
    Sort::Forgotten,
    Sort::ObjectTuple,
    Sort::Global,
    Sort::Made,
    Sort::Persistent,
    Sort::Extension,
    Sort::Unknown,
];

/// A set of [`Sort`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Sorts(u32);

impl Sorts {
    #[inline(always)]
    fn with(self, sym: Sym) -> Sorts {
        Sorts(self.0 | 1 << (sym.0 >> PAYLOAD_BITS & 31))
    }

    /// The sort, if it is only one.
    fn only(self) -> Option<Sort> {
        let one = self.0.count_ones() == 1;
        one.then(|| SORTS.get(self.0.trailing_zeros() as usize).copied()).flatten()
    }

    /// Whether none lies outside of `others`.
    pub(super) fn within(self, others: Sorts) -> bool {
        self.0 & !others.0 == 0
    }
}

const PAYLOAD_BITS: u32 = 56;
const PAYLOAD: u64 = (1 << PAYLOAD_BITS) - 1;
const MADE_BY_BITS: u32 = 24;

/// Items of a tuple that the word itself can count.
pub(super) const COUNTED_ITEMS: u64 = (1 << 12) - 1;

/// One object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sym(u64);

impl Sym {
    pub(super) const NONE: Sym = Sym::new(Sort::None, 0);
    pub(super) const EMPTY_TUPLE: Sym = Sym::new(Sort::EmptyTuple, 0);
    pub(super) const UNKNOWN: Sym = Sym::new(Sort::Unknown, 0);
    /// No object: an empty place of the memo.
    pub(super) const ABSENT: Sym = Sym(u64::MAX);

    #[inline(always)]
    pub(super) const fn new(sort: Sort, payload: u64) -> Sym {
        Sym((sort as u64) << PAYLOAD_BITS | payload & PAYLOAD)
    }

    /// A tuple whose items begin at `at` in the ring.
    #[inline(always)]
    pub(super) fn tuple(objects: bool, at: u64, len: usize) -> Sym {
        let len = (len as u64).min(COUNTED_ITEMS);
        let sort = if objects { Sort::ObjectTuple } else { Sort::Tuple };
        Sym::new(sort, at << 12 | len)
    }

    /// What calling the global `by` gave.
    pub(super) fn made(by: u32, extra: u32) -> Sym {
        Sym::new(Sort::Made, u64::from(by) << 32 | u64::from(extra))
    }

    #[inline(always)]
    pub(super) fn sort(self) -> Sort {
        SORTS.get((self.0 >> PAYLOAD_BITS) as usize).copied().unwrap_or(Sort::Unknown)
    }

    #[inline(always)]
    pub(super) fn is(self, sort: Sort) -> bool {
        self.0 >> PAYLOAD_BITS == sort as u64
    }

    /// Whether it may be more than plain data.
    #[inline(always)]
    pub(super) fn is_object(self) -> bool {
        self.0 >> PAYLOAD_BITS >= Sort::Forgotten as u64
    }

    #[inline(always)]
    pub(super) fn payload(self) -> u64 {
        self.0 & PAYLOAD
    }

    /// Where the items of a tuple lie in the ring, and how many there are; `None` when there
    /// are too many to be kept.
    pub(super) fn items(self) -> Option<(u64, usize)> {
        match self.sort() {
            Sort::EmptyTuple => Some((0, 0)),
            Sort::Tuple | Sort::ObjectTuple => {
                let len = self.payload() & COUNTED_ITEMS;
                (len < COUNTED_ITEMS).then_some((self.payload() >> 12, len as usize))
            }
            _ => None,
        }
    }

    /// The global that made it.
    pub(super) fn maker(self) -> Option<u32> {
        self.is(Sort::Made).then_some((self.payload() >> 32) as u32 & ((1 << MADE_BY_BITS) - 1))
    }

    /// What is known of an object beside its maker.
    pub(super) fn extra(self) -> u32 {
        self.payload() as u32
    }

    /// The global that it is.
    pub(super) fn global(self) -> Option<u32> {
        self.is(Sort::Global).then_some(self.payload() as u32)
    }

    pub(super) fn is_tuple(self) -> bool {
        matches!(self.sort(), Sort::EmptyTuple | Sort::Tuple | Sort::ObjectTuple)
    }
}

/// Globals that can be told apart: [`Sym::made`] has so many bits for them.
pub(super) const MAX_GLOBALS: u32 = 1 << 16;

/// Items of the tuples, lists and dicts made last. It does not grow: what was made long ago is
/// written over, and asking for it gives nothing.
pub(super) struct Ring {
    items: Vec<Sym>,
    /// How many were ever written.
    end: u64,
}

const RING: usize = 1 << 15;

impl Ring {
    pub(super) fn new() -> Ring {
        Ring { items: vec![Sym::ABSENT; RING], end: 0 }
    }

    /// Where the next item goes.
    #[inline(always)]
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    #[inline(always)]
    pub(super) fn push(&mut self, sym: Sym) {
        if let Some(place) = self.items.get_mut(self.end as usize & (RING - 1)) {
            *place = sym;
        }
        self.end += 1;
    }

    /// The item at `at`, unless it was written over.
    pub(super) fn one(&self, at: u64) -> Option<Sym> {
        if self.end.saturating_sub(at) > RING as u64 || at >= self.end {
            return None;
        }
        self.items.get(at as usize & (RING - 1)).copied()
    }

    /// The `len` items from `at`, unless they were written over.
    pub(super) fn get(&self, at: u64, len: usize) -> Option<Vec<Sym>> {
        if self.end.saturating_sub(at) > RING as u64 || at + len as u64 > self.end {
            return None;
        }
        (at..at + len as u64).map(|at| self.items.get(at as usize & (RING - 1)).copied()).collect()
    }
}

/// What is known of the items of a list, a dict or a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    /// The container's payload.
    owner: u64,
    at: u64,
    kept: u32,
    /// All items are kept.
    pub(super) whole: bool,
    /// How many items it has; a pair counts as two.
    pub(super) count: u64,
    /// The sorts of all its items, kept or not.
    pub(super) sorts: Sorts,
}

impl Content {
    const NOBODYS: Content =
        Content { owner: u64::MAX, at: 0, kept: 0, whole: false, count: 0, sorts: Sorts(0) };
}

/// Items of one container that are kept when they are plain data, and when they are not.
const KEPT_PLAIN: usize = 64;
const KEPT_OBJECTS: usize = 4096;

/// Contents of containers, in a fixed number of places: one for each height of the stack at
/// which a container was made, so that a list that is being filled keeps its place whatever is
/// made above it.
///
/// Protocol 0 adds each item as soon as it is made, so that all values of a dict stand at one
/// height: there, what loses its place to another is kept for a while.
#[derive(Clone)]
pub(super) struct Contents {
    places: Vec<Content>,
    /// What lost its place, by the offset of its opcode.
    old: Vec<Content>,
    /// Whether that is kept.
    pub(super) keep_old: bool,
}

const PLACE_BITS: u32 = 12;
const PLACES: usize = 1 << PLACE_BITS;
const OLD: usize = 1 << 14;

impl Contents {
    pub(super) fn new() -> Contents {
        Contents { places: vec![Content::NOBODYS; PLACES], old: Vec::new(), keep_old: false }
    }

    /// Entries that a copy holds.
    pub(super) fn size(&self) -> u64 {
        (self.places.len() + self.old.len()) as u64
    }

    /// Forgets what lost its place: another pickle has other objects at the same offsets.
    pub(super) fn forget_old(&mut self) {
        self.old.clear();
    }

    #[cold]
    #[inline(never)]
    fn retire(&mut self, place: usize) {
        let Some(content) = self.places.get(place).filter(|one| one.owner != u64::MAX) else {
            return;
        };
        if self.old.is_empty() {
            self.old = vec![Content::NOBODYS; OLD];
        }
        if let Some(old) = self.old.get_mut((content.owner >> PLACE_BITS) as usize & (OLD - 1)) {
            *old = *content;
        }
    }

    /// An empty container, made by the opcode at `offset` at this height of the stack.
    #[inline(always)]
    pub(super) fn made(&mut self, sort: Sort, offset: u64, height: usize) -> Sym {
        let place = height & (PLACES - 1);
        let sym = Sym::new(sort, offset << PLACE_BITS | place as u64);
        if self.keep_old {
            self.retire(place);
        }
        if let Some(content) = self.places.get_mut(place) {
            let owner = sym.payload();
            let sorts = Sorts::default();
            *content = Content { owner, at: 0, kept: 0, whole: true, count: 0, sorts };
        }
        sym
    }

    /// What is known of `container`, if it is still known.
    pub(super) fn get(&self, container: Sym) -> Option<&Content> {
        let owner = container.payload();
        let content = self.places.get(owner as usize & (PLACES - 1));
        content.filter(|content| content.owner == owner).or_else(|| {
            let old = self.old.get((owner >> PLACE_BITS) as usize & (OLD - 1));
            old.filter(|content| content.owner == owner)
        })
    }

    /// Adds `items` to `container`.
    #[inline(always)]
    pub(super) fn add(&mut self, ring: &mut Ring, container: Sym, items: &[Sym]) {
        let owner = container.payload();
        let Some(content) = self.places.get_mut(owner as usize & (PLACES - 1)) else { return };
        if content.owner != owner {
            self.add_to_old(owner);
            return;
        }
        let mut sorts = content.sorts;
        for item in items {
            sorts = sorts.with(*item);
        }
        content.sorts = sorts;
        content.count += items.len() as u64;
        if !content.whole {
            return;
        }
        let cap = if sorts.within(PLAIN) { KEPT_PLAIN } else { KEPT_OBJECTS };
        let kept = content.kept as usize;
        if kept + items.len() > cap {
            content.whole = false;
            return;
        }
        if kept == 0 {
            content.at = ring.end();
        } else if content.at + u64::from(content.kept) != ring.end() {
            // Only a few are moved, or many lists that grow in turns would cost their square.
            let few = (kept <= KEPT_PLAIN).then_some(kept);
            let Some(old) = few.and_then(|len| ring.get(content.at, len)) else {
                content.whole = false;
                return;
            };
            content.at = ring.end();
            old.into_iter().for_each(|item| ring.push(item));
        }
        items.iter().for_each(|item| ring.push(*item));
        content.kept += items.len() as u32;
    }

    /// Something was added to what lost its place: what is in it is not known any more.
    #[cold]
    #[inline(never)]
    fn add_to_old(&mut self, owner: u64) {
        let old = self.old.get_mut((owner >> PLACE_BITS) as usize & (OLD - 1));
        if let Some(content) = old.filter(|content| content.owner == owner) {
            *content = Content::NOBODYS;
        }
    }

    /// Item `at` of `container`: itself if it is kept, and at least its sort if all items share
    /// one.
    pub(super) fn item(&self, ring: &Ring, container: Sym, at: u64) -> Option<Sym> {
        let content = self.get(container).filter(|content| at < content.count)?;
        if content.whole {
            return ring.one(content.at + at);
        }
        content.sorts.only().map(|sort| Sym::new(sort, UNREADABLE))
    }

    /// All items of `container`, if they are kept.
    pub(super) fn items(&self, ring: &Ring, container: Sym) -> Option<Vec<Sym>> {
        let content = self.get(container).filter(|content| content.whole)?;
        ring.get(content.at, content.kept as usize)
    }
}

/// The payload of something of which only the sort is known.
pub(super) const UNREADABLE: u64 = PAYLOAD;

/// All that is plain data.
const PLAIN: Sorts = Sorts((1 << Sort::Forgotten as u32) - 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_comes_back_from_its_word() {
        for (number, sort) in SORTS.into_iter().enumerate() {
            assert_eq!(sort as usize, number);
            assert_eq!(Sym::new(sort, 7).sort(), sort);
        }
        assert_eq!(Sym::made(MAX_GLOBALS, 5).maker(), Some(MAX_GLOBALS));
        assert_eq!(Sym::made(3, u32::MAX).extra(), u32::MAX);
    }

    #[test]
    fn a_ring_gives_what_is_whole_and_never_what_was_written_over() {
        let mut ring = Ring::new();
        let at = ring.end();
        ring.push(Sym::NONE);
        assert_eq!(ring.get(at, 1), Some(vec![Sym::NONE]));
        for _ in 0..RING {
            ring.push(Sym::UNKNOWN);
        }
        assert_eq!(ring.get(at, 1), None);
        assert_eq!(ring.get(at, RING + 2), None);
    }

    #[test]
    fn contents_follow_a_list_that_grows_between_others() {
        let (mut ring, mut contents) = (Ring::new(), Contents::new());
        let one = contents.made(Sort::List, 10, 0);
        let other = contents.made(Sort::List, 11, 1);
        contents.add(&mut ring, one, &[Sym::NONE]);
        contents.add(&mut ring, other, &[Sym::UNKNOWN]);
        contents.add(&mut ring, one, &[Sym::EMPTY_TUPLE]);
        assert_eq!(contents.items(&ring, one), Some(vec![Sym::NONE, Sym::EMPTY_TUPLE]));
        assert_eq!(contents.get(one).unwrap().count, 2);
        assert_eq!(contents.item(&ring, one, 1), Some(Sym::EMPTY_TUPLE));
        assert_eq!(contents.items(&ring, other), Some(vec![Sym::UNKNOWN]));
    }
}
