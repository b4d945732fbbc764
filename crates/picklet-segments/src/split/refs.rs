//! What a stretch of items refers to, gathered while it is scanned: the memo
//! numbers from before it, and the places whose numbers may have to change.
//!
//! Without this a segment would be read three times: to find its items, to
//! find what it refers to, and to write it with other numbers. With it the
//! writing goes straight from place to place.

use super::emit::Plan;
use super::ops::*;
use super::scan::Trace;
use super::walk::Walk;
use super::window::Fault;
use crate::store::ReadAt;

/// Bytes of places that are kept for one segment; those after them are found
/// again when it is written.
const PLACES: usize = 6 << 20;
/// Numbers remembered as seen a moment ago.
const RECENT: usize = 1 << 10;
/// Numbers of a byte are kept as flags.
const SMALL: usize = 256;

/// Ascending offsets, a byte for each that is near the one before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// As many of these as `length` says; those after them are room.
    deltas: Vec<u8>,
    length: usize,
    /// The last offset, or the beginning.
    last: u64,
    begin: u64,
    /// Where places began to be left out.
    until: Option<u64>,
}

/// The byte that a distance of eight bytes follows.
const FAR: u8 = u8::MAX;

impl Places {
    fn new(begin: u64) -> Self {
        Places { deltas: Vec::new(), length: 0, last: begin, begin, until: None }
    }

    /// Forgets all, and begins again.
    fn restart(&mut self, begin: u64) {
        self.length = 0;
        (self.last, self.begin, self.until) = (begin, begin, None);
    }

    fn any(&self) -> bool {
        self.length > 0 || self.until.is_some()
    }

    #[inline]
    fn push(&mut self, at: u64) {
        let delta = at.wrapping_sub(self.last);
        match self.deltas.get_mut(self.length) {
            Some(place) if delta < u64::from(FAR) => {
                *place = delta as u8;
                self.length += 1;
                self.last = at;
            }
            _ => self.push_far(at, delta),
        }
    }

    #[cold]
    fn push_far(&mut self, at: u64, delta: u64) {
        if self.until.is_some() {
            return;
        }
        let (first, far) = match u8::try_from(delta) {
            Ok(near) if near < FAR => (near, 0),
            _ => (FAR, 8),
        };
        let length = self.length + 1 + far;
        if length > PLACES {
            self.until = Some(at);
            // No room, so that nothing is pushed after this.
            self.deltas.truncate(self.length);
            return;
        }
        if length > self.deltas.len() {
            self.deltas.resize((2 * length).clamp(1 << 8, PLACES), 0);
        }
        if let Some([place, after @ ..]) = self.deltas.get_mut(self.length..length) {
            *place = first;
            for (place, byte) in after.iter_mut().zip(delta.to_le_bytes()) {
                *place = byte;
            }
        }
        self.length = length;
        self.last = at;
    }

    /// How far it has come, for [`Places::back_to`].
    fn mark(&self) -> (usize, u64) {
        (self.length, self.last)
    }

    /// Forgets what came after `mark`, at offset `sealed` or later.
    fn back_to(&mut self, (length, last): (usize, u64), sealed: u64) {
        self.length = length;
        self.last = last;
        self.until = self.until.filter(|until| *until < sealed);
    }

    /// The offsets.
    pub(crate) fn iter(&self) -> PlacesIter<'_> {
        PlacesIter { rest: self.deltas.get(..self.length).unwrap_or_default(), at: self.begin }
    }

    /// The first offset that is not before `from`, `u64::MAX` if there is none, and those after it.
    pub(crate) fn after(&self, from: u64) -> (u64, PlacesIter<'_>) {
        let mut places = self.iter();
        let first = places.find(|at| *at >= from);
        (first.unwrap_or(u64::MAX), places)
    }

    /// The offset from which on places are missing.
    pub(crate) fn until(&self) -> Option<u64> {
        self.until
    }
}

/// The offsets of [`Places`], in order.
pub(crate) struct PlacesIter<'p> {
    rest: &'p [u8],
    at: u64,
}

impl Iterator for PlacesIter<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let (&first, mut after) = self.rest.split_first()?;
        let mut delta = u64::from(first);
        if first == FAR {
            let far;
            (far, after) = after.split_first_chunk::<8>()?;
            delta = u64::from_le_bytes(*far);
        }
        self.rest = after;
        self.at = self.at.wrapping_add(delta);
        Some(self.at)
    }
}

/// Distinct memo numbers.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    small: Box<[bool; SMALL]>,
    large: Vec<u64>,
    /// How many of `large` are known to be distinct.
    distinct: usize,
    recent: Box<[u64; RECENT]>,
}

impl Numbers {
    fn new() -> Self {
        Numbers {
            small: Box::new([false; SMALL]),
            large: Vec::new(),
            distinct: 0,
            recent: Box::new([0; RECENT]),
        }
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
    fn add_small(&mut self, id: u8) {
        self.small[usize::from(id)] = true;
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a remainder is below the length")]
    fn add(&mut self, id: u64) {
        if let Ok(id) = u8::try_from(id) {
            return self.add_small(id);
        }
        let recent = &mut self.recent[id as usize % RECENT];
        if *recent != id {
            *recent = id;
            self.large.push(id);
            if self.large.len() >= 2 * self.distinct + (1 << 16) {
                self.compact();
            }
        }
    }

    #[cold]
    fn compact(&mut self) {
        self.large.sort_unstable();
        self.large.dedup();
        self.distinct = self.large.len();
    }

    fn clear(&mut self) {
        self.small.fill(false);
        if !self.large.is_empty() {
            self.large.clear();
            self.distinct = 0;
            self.recent.fill(0);
        }
    }

    /// Takes over those of `other`, which is empty then.
    fn take(&mut self, other: &mut Numbers) {
        for (mine, theirs) in self.small.iter_mut().zip(other.small.iter()) {
            *mine |= theirs;
        }
        for &id in &other.large {
            self.add(id);
        }
        other.clear();
    }

    /// Those below `to`, ascending. None are left.
    fn below(&mut self, to: u64) -> Vec<u64> {
        self.compact();
        let small = (0..).zip(self.small.iter()).filter_map(|(id, seen)| seen.then_some(id));
        let mut ids: Vec<u64> = small.filter(|id| *id < to).collect();
        ids.extend(self.large.iter().copied().take_while(|id| *id < to));
        self.clear();
        ids
    }
}

/// What the items of one segment refer to.
#[derive(Debug, Clone)]
pub(crate) struct Refs {
    /// Memo numbers from before its first item, those of the container and
    /// what stands before it excepted; ascending.
    pub(crate) externals: Vec<u64>,
    /// Numbers of what stands before the items: the container's own, above all.
    pub(crate) prefix: Vec<u64>,
    /// The GETs and PUTs that are longer than a byte's number.
    pub(crate) places: Places,
    /// Whether `places` is of no use: numbers are written as text.
    pub(crate) text: bool,
    /// The numbers of a byte that are referred to, those from inside the segment among them.
    pub(crate) small: Box<[bool; SMALL]>,
    /// The GETs of these, where they were asked for.
    pub(crate) small_places: Option<Places>,
}

impl Refs {
    /// Those of the segment `plan`, which is read for them.
    pub(crate) fn of(source: &dyn ReadAt, plan: &Plan, prefix_memo: u64) -> Result<Refs, Fault> {
        let mut collector = Collector::<false>::new(plan.from.offset, plan.from.memo);
        collector.walk(source, plan.from.offset, plan.to.offset)?;
        Ok(collector.finish(prefix_memo))
    }
}

/// Gathers [`Refs`] during a scan, segment after segment; the places of GETs of a byte if
/// `SMALL_PLACES`: only what joins pickles needs them.
pub(crate) struct Collector<const SMALL_PLACES: bool> {
    /// Where the open segment begins, and its first memo number.
    begin: u64,
    first: u64,
    /// Of the open segment up to `sealed`.
    numbers: Numbers,
    sealed: u64,
    mark: (usize, u64),
    /// Since then.
    piece: Numbers,
    places: Places,
    small_places: Places,
    text: bool,
    /// Whether a BINPUT was met.
    short: bool,
    /// Whether what was scanned since `sealed` is not looked through yet.
    behind: bool,
}

impl<const SMALL_PLACES: bool> Trace for Collector<SMALL_PLACES> {
    const ACTIVE: bool = false;
    const REFS: bool = true;

    #[inline]
    fn small_get(&mut self, at: u64, id: u8) {
        self.piece.add_small(id);
        if SMALL_PLACES {
            self.small_places.push(at);
        }
    }

    #[inline]
    fn get(&mut self, at: u64, id: u64) {
        if id < self.first {
            self.piece.add(id);
        }
        self.places.push(at);
    }

    #[inline]
    fn put(&mut self, at: u64) {
        self.places.push(at);
    }

    #[inline]
    fn small_put(&mut self) {
        self.short = true;
    }

    #[cold]
    fn text(&mut self, get: Option<u64>) {
        self.text = true;
        if let Some(id) = get.filter(|id| *id < self.first) {
            self.piece.add(id);
        }
    }
}

impl<const SMALL_PLACES: bool> Collector<SMALL_PLACES> {
    /// A collector for a segment that begins at `begin`, where the next memo
    /// number is `first`.
    pub(crate) fn new(begin: u64, first: u64) -> Self {
        Collector {
            begin,
            first,
            numbers: Numbers::new(),
            sealed: begin,
            mark: (0, begin),
            piece: Numbers::new(),
            places: Places::new(begin),
            small_places: Places::new(begin),
            text: false,
            short: false,
            behind: false,
        }
    }

    /// Begins another pickle at `begin`.
    pub(crate) fn restart(&mut self, begin: u64) {
        self.piece.clear();
        self.numbers.clear();
        self.places.restart(begin);
        self.small_places.restart(begin);
        (self.begin, self.sealed, self.first) = (begin, begin, 0);
        self.mark = self.places.mark();
        self.text = false;
        self.short = false;
    }

    /// Whether memo numbers were met: MEMOIZE has none.
    pub(crate) fn refers(&self) -> bool {
        self.text || self.short || self.small_places.any() || self.places.any()
    }

    /// What was scanned up to `offset` belongs to the open segment.
    pub(crate) fn seal(&mut self, source: &dyn ReadAt, offset: u64) -> Result<(), Fault> {
        if std::mem::take(&mut self.behind) {
            self.walk(source, self.sealed, offset)?;
        }
        self.numbers.take(&mut self.piece);
        self.sealed = offset;
        self.mark = self.places.mark();
        Ok(())
    }

    /// Ends the open segment at `cut` and begins the next there, with the memo
    /// number `first`. The scan has come further already, so what it met since
    /// the last seal is of both: it is looked through again, for this one up to
    /// `cut`, and for the next one when that is cut or sealed. There may be many
    /// cuts before a seal.
    pub(crate) fn cut(
        &mut self,
        source: &dyn ReadAt,
        prefix_memo: u64,
        cut: u64,
        first: u64,
    ) -> Result<Refs, Fault> {
        self.piece.clear();
        if cut < self.sealed {
            self.numbers.clear();
            self.sealed = self.begin;
            self.mark = (0, self.begin);
        }
        self.places.back_to(self.mark, self.sealed);
        self.walk(source, self.sealed, cut)?;
        let refs = self.finish(prefix_memo);
        self.places = Places::new(cut);
        (self.begin, self.sealed, self.first) = (cut, cut, first);
        self.mark = self.places.mark();
        self.behind = true;
        Ok(refs)
    }

    /// Ends the last segment.
    pub(crate) fn finish(&mut self, prefix_memo: u64) -> Refs {
        self.numbers.take(&mut self.piece);
        let small = self.numbers.small.clone();
        let mut prefix = self.numbers.below(self.first);
        let externals = prefix.split_off(prefix.partition_point(|id| *id < prefix_memo));
        let taken = |places| std::mem::replace(places, Places::new(self.begin));
        let places = taken(&mut self.places);
        let small_places = SMALL_PLACES.then(|| taken(&mut self.small_places));
        Refs { externals, prefix, places, text: self.text, small, small_places }
    }

    fn walk(&mut self, source: &dyn ReadAt, from: u64, to: u64) -> Result<(), Fault> {
        if from >= to {
            return Ok(());
        }
        let mut walk = Walk::new(source, from, to, false);
        while let Some(found) = walk.next_ref()? {
            match found.opcode {
                BINGET => self.small_get(found.at, found.id as u8),
                LONG_BINGET => self.get(found.at, found.id),
                LONG_BINPUT => self.put(found.at),
                GET => self.text(Some(found.id)),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_as_they_were_noted_near_and_far() {
        let at: Vec<u64> =
            [5, 6, 7, 260, 261, 516, 771, 772 + 254, 1 << 33, (1 << 33) + 255].to_vec();
        let mut places = Places::new(5);
        at.iter().for_each(|at| places.push(*at));
        assert_eq!(places.iter().collect::<Vec<_>>(), at);
        let mark = places.mark();
        places.push(1 << 40);
        places.back_to(mark, 1 << 39);
        assert_eq!(places.iter().collect::<Vec<_>>(), at);
    }

    #[test]
    fn places_beyond_the_most_that_are_kept_are_said_to_be_missing() {
        let mut places = Places::new(0);
        (0..PLACES as u64 + 100).for_each(|at| places.push(at));
        assert_eq!(places.until(), Some(PLACES as u64));
        assert_eq!(places.iter().count(), PLACES);
        places.back_to((0, 0), 0);
        assert_eq!((places.until(), places.iter().count()), (None, 0));
    }

    #[test]
    fn numbers_are_told_once_and_in_order() {
        let mut numbers = Numbers::new();
        for round in 0..3 {
            (0..200_000u64).rev().step_by(7).for_each(|id| numbers.add(id + round % 2));
        }
        let mut more = Numbers::new();
        more.add_small(3);
        more.add(1 << 40);
        numbers.take(&mut more);
        let below = numbers.below(1 << 41);
        assert!(below.is_sorted_by(|a, b| a < b));
        assert_eq!(below.len(), 2 * 28572 + 1);
        assert_eq!((below.first(), below.last()), (Some(&2), Some(&(1 << 40))));
        assert!(numbers.below(u64::MAX).is_empty());
    }
}
