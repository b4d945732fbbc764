//! Puts stretches of several pickles into one: memo numbers are moved up so
//! that each stretch has its own, and the bytes are framed anew.
//!
//! Objects that cannot change and that stand in what is written already are
//! not written again. Those are what segments of one split share, and the keys
//! of records that were written one segment at a time. They keep their short
//! numbers, so that a merged pickle is as small as the one that was split.

use std::collections::HashSet;
use std::io::{self, Write};

use super::emit::Halt;
use super::join::{Object, Seen};
use super::ops::*;
use super::patch::{Bytewise, Patches};
use super::refs::Places;
use super::splice::{CONTAINER, IS_NONE, Ids, Memo, NOWHERE, Splice, Texts};
use super::symbols::{Entry, Look, Popped, SHORT, look};
use super::walk::copy_plain;
use super::window::{BLOCK, Fault, Window};
use crate::store::ReadAt;

/// Bytes that make a frame worth closing; CPython's own size.
const FRAME_BYTES: usize = 64 * 1024;
/// Bytes kept back for a frame at most; one operation that is larger is
/// written outside of frames, as CPython does.
const FRAME_MOST: usize = 1 << 20;
/// Bytes that are worth a frame of their own, so that they need not be kept back.
const LARGE: usize = 32 * 1024;

/// Frames what is written to it. `flush` is called where an operation ends.
pub(crate) struct Framer<W: Write> {
    out: W,
    framing: bool,
    buffer: Vec<u8>,
    /// Inside an operation too large for a frame.
    through: bool,
}

impl<W: Write> Framer<W> {
    pub(crate) fn new(out: W, framing: bool) -> Self {
        Framer { out, framing, buffer: Vec::new(), through: false }
    }

    /// Writes what is kept back as a frame, where there are frames.
    fn frame(&mut self) -> io::Result<()> {
        if self.framing && self.buffer.len() >= 4 {
            self.out.write_all(&[FRAME])?;
            self.out.write_all(&(self.buffer.len() as u64).to_le_bytes())?;
        }
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes bytes that begin and end where operations do: many of them without a copy.
    pub(crate) fn operations(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.framing || !(LARGE..=FRAME_MOST).contains(&bytes.len()) {
            self.write_all(bytes)?;
            return self.flush();
        }
        self.frame()?;
        self.out.write_all(&[FRAME])?;
        self.out.write_all(&(bytes.len() as u64).to_le_bytes())?;
        self.out.write_all(bytes)
    }

    /// Writes everything and gives back what is written to.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.frame()?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Framer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.through {
            return self.out.write(bytes);
        }
        if self.buffer.len() + bytes.len() > FRAME_MOST {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
            self.through = true;
            return self.out.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.through = false;
        if self.buffer.len() >= FRAME_BYTES { self.frame() } else { Ok(()) }
    }
}

/// Joins stretches.
pub(crate) struct Joiner<W: Write> {
    pub(crate) out: Framer<W>,
    memo: Memo,
    texts: Texts,
    /// Entries of what stands before the first stretch.
    prefix: u64,
    /// Room for what is copied by the block, and for [`Ids::low`].
    block: Vec<u8>,
    low: Vec<u64>,
}

/// A stretch of a pickle to be joined.
pub(crate) struct Stretch<'a> {
    pub(crate) source: &'a dyn ReadAt,
    pub(crate) protocol: u8,
    pub(crate) from: u64,
    /// Where it ends; with STOP before, there.
    pub(crate) to: u64,
    /// Memo numbers defined before it in its pickle.
    pub(crate) before: u64,
    /// Memo numbers defined up to its end, or more.
    pub(crate) memo: u64,
    /// Whether those before it are defined alike in what is written.
    pub(crate) alike: bool,
    /// Which objects are referred to where they are written already.
    pub(crate) sharing: Sharing,
    /// Those that must not be referred to.
    pub(crate) container_ids: &'a [u64],
    /// What a scan has met in it.
    pub(crate) seen: Option<&'a Seen>,
}

/// Which objects that cannot change and are written already are referred to, instead of being
/// written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// None.
    Nothing,
    /// Texts, where they are among the first of a pickle and of one before it. What else is equal
    /// is not looked for, which would cost more than it finds in a stream of small pickles.
    FirstTexts,
    /// All that a look at the stretch's beginning finds.
    Equal,
}

/// Memo entries of a stretch that are looked at on their own, at most.
const MOST_ENTRIES: u64 = 1 << 24;

impl<W: Write> Joiner<W> {
    /// A joiner that writes to `out`, where `memo` numbers are defined.
    pub(crate) fn new(out: Framer<W>, memo: u64, texts: Texts) -> Self {
        let memo_now = Memo { next: memo, gaps: false };
        Joiner { out, memo: memo_now, texts, prefix: memo, block: Vec::new(), low: Vec::new() }
    }

    /// Writes bytes that define nothing.
    pub(crate) fn plain(
        &mut self,
        bytes: &[u8],
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<(), Halt> {
        self.out.write_all(bytes).map_err(&mut *failed)?;
        self.out.flush().map_err(&mut *failed)
    }

    /// Whether numbers were left out, so that MEMOIZE counts wrongly.
    pub(crate) fn leaves_numbers_out(&self) -> bool {
        self.memo.gaps
    }

    /// Writes the operations of `object` in `from..to`, which have no memo numbers, as they are but
    /// for FRAMEs. `window` may have them in memory.
    pub(crate) fn add_as_it_is(
        &mut self,
        window: &mut Window<'_>,
        (mut from, to): (u64, u64),
        object: &Object,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<(), Halt> {
        for frame in object.frames() {
            copy_window(window, (from, frame.at), &mut self.out, failed)?;
            from = frame.at + 9;
        }
        copy_window(window, (from, to), &mut self.out, failed)?;
        self.memo.next += object.memo;
        Ok(())
    }

    /// Writes a stretch, without STOP and FRAMEs.
    pub(crate) fn add(
        &mut self,
        stretch: &Stretch<'_>,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<(), Halt> {
        let mut splice = Splice::new(Window::new(stretch.source, stretch.to));
        self.add_by(&mut splice, stretch, failed)
    }

    /// The same with what copies from the stretch's source, and may have some of it in memory.
    pub(crate) fn add_by(
        &mut self,
        splice: &mut Splice<'_>,
        stretch: &Stretch<'_>,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<(), Halt> {
        let Stretch { source, from, to, before, protocol, .. } = *stretch;
        let share = stretch.sharing == Sharing::Equal;
        let look = if share {
            look(source, from, to, before, protocol, &mut self.texts.nodes)?
        } else {
            Look { body: from, first: before, ..Look::default() }
        };
        let mut ids = self.ids(stretch, &look);
        if stretch.sharing == Sharing::FirstTexts {
            ids.before = true;
            self.texts.next_pickle();
        }
        let learns = share && self.memo.next < SHORT;
        if share {
            self.replace(stretch, &look, &mut ids);
            if !learns {
                self.texts.truncate(look.nodes);
            }
        }
        for popped in &look.popped {
            if popped.immutable && self.is_there(popped, &look, &mut ids) {
                ids.next = popped.after;
                continue;
            }
            let (memo, texts) = (&mut self.memo, &mut self.texts);
            splice.copy(
                (popped.start, popped.end),
                &mut ids,
                memo,
                texts,
                &mut self.out,
                failed,
            )?;
            if popped.immutable {
                self.learn(&look, &ids, popped.first..popped.after);
            }
        }
        let mut body = look.body;
        if let Some(seen) = stretch.seen {
            // Numbers of a byte are dealt with one by one, and after them what can be is copied.
            let low = ids.low.len() as u64;
            if ids.next < low {
                splice.stop_before(low);
                let (memo, texts) = (&mut self.memo, &mut self.texts);
                body = splice.copy((body, to), &mut ids, memo, texts, &mut self.out, failed)?;
                splice.stop_before(u64::MAX);
            }
            if body < to && self.fits(seen, &ids) {
                body = self.patched(stretch, (seen, splice.window()), &mut ids, body, failed)?;
            }
        }
        if body < to {
            let (memo, texts) = (&mut self.memo, &mut self.texts);
            splice.copy((body, to), &mut ids, memo, texts, &mut self.out, failed)?;
        }
        if learns {
            self.learn(&look, &ids, before..SHORT);
        }
        self.low = ids.low;
        Ok(())
    }

    /// Whether what is left of a stretch can be copied as it is, but for the numbers at the places
    /// that a scan has met, and no text is looked for.
    fn fits(&self, seen: &Seen, ids: &Ids) -> bool {
        let refs = &seen.refs;
        let shift = ids.shift.unwrap_or(self.memo.next.wrapping_sub(ids.next));
        !refs.text
            && !(seen.counted && (self.memo.gaps || seen.gaps))
            && self.texts.missing() == 0
            && ids.next >= ids.low.len() as u64
            && seen.memo.wrapping_add(shift) <= u64::from(u32::MAX)
    }

    /// Copies the stretch from `from` on, and changes the numbers at the places that a scan has
    /// met. What `window` has in memory is not read again. Returns how far it came: places beyond
    /// some number are not known.
    fn patched(
        &mut self,
        stretch: &Stretch<'_>,
        (seen, window): (&Seen, &mut Window<'_>),
        ids: &mut Ids,
        from: u64,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<u64, Halt> {
        let refs = &seen.refs;
        let small = Bytewise::of(&refs.small, ids);
        let small_places = match (&small, &refs.small_places) {
            (Bytewise::Same, _) => None,
            (_, Some(places)) => Some(places),
            (_, None) => return Ok(from),
        };
        let mut kept = small_places.into_iter().chain([&refs.places]);
        if kept.any(|places| places.until().is_some()) {
            return Ok(from);
        }
        let first = ids.next;
        let shift = *ids.shift.get_or_insert(self.memo.next.wrapping_sub(first));
        // Every entry of the stretch may be referred to from now on.
        ids.next = seen.memo;
        let none = Places::default();
        let mut patches = Patches {
            ids,
            small,
            small_at: small_places.unwrap_or(&none).after(from),
            large_at: refs.places.after(from),
        };
        let frames = seen.frames.iter().map(|frame| frame.at);
        let frames = frames.skip_while(|at| *at < from).take_while(|at| *at < stretch.to);
        let mut offset = from;
        let mut block = std::mem::take(&mut self.block);
        for end in frames.chain([stretch.to]) {
            let begin = offset;
            while offset < end {
                let bytes = match window.held_mut(offset, end) {
                    Some(bytes) => bytes,
                    None => {
                        let want = (end - offset).min(BLOCK as u64) as usize;
                        block.resize(BLOCK, 0);
                        let bytes = block.get_mut(..want).unwrap_or_default();
                        stretch.source.read_exact_at(offset, bytes).map_err(Fault::from)?;
                        bytes
                    }
                };
                let whole = offset == begin && offset + bytes.len() as u64 == end;
                offset += patches.copy(bytes, (offset, whole), &mut self.out, failed)?;
            }
            self.out.flush().map_err(&mut *failed)?;
            offset = end + if end < stretch.to { 9 } else { 0 };
        }
        self.block = block;
        self.memo.gaps |= seen.gaps;
        self.memo.next = seen.memo.wrapping_add(shift);
        Ok(stretch.to)
    }

    /// Where the entries are that are defined before the stretch.
    fn ids(&mut self, stretch: &Stretch<'_>, look: &Look) -> Ids {
        let count = SHORT.min(stretch.memo).max(look.first).min(MOST_ENTRIES) as usize;
        let mut low = std::mem::take(&mut self.low);
        low.clear();
        low.resize(count, NOWHERE);
        let mut ids = Ids { low, next: stretch.before, ..Ids::default() };
        if stretch.alike {
            for (id, place) in (0..stretch.before.min(self.prefix)).zip(&mut ids.low) {
                *place = id;
            }
        }
        for id in stretch.container_ids {
            let place = usize::try_from(*id).ok().and_then(|id| ids.low.get_mut(id));
            if let Some(place) = place.filter(|_| *id < stretch.before) {
                *place = CONTAINER;
            }
        }
        ids
    }

    /// Finds the texts and globals with short numbers that are written already.
    fn replace(&self, stretch: &Stretch<'_>, look: &Look, ids: &mut Ids) {
        ids.instead = vec![None; SHORT as usize];
        ids.alias = vec![None; SHORT as usize];
        let mut met = HashSet::new();
        for id in stretch.before..SHORT {
            let Some(node) = look.node(id).filter(|node| met.insert(*node)) else { continue };
            let Some(there) = self.texts.known(node).filter(|there| *there < SHORT) else {
                continue;
            };
            let table = if self.texts.nodes.is_text(node) {
                &mut ids.instead
            } else if self.texts.nodes.is_global(node) {
                &mut ids.alias
            } else {
                continue;
            };
            if let Some(place) = table.get_mut(id as usize) {
                *place = Some(there);
            }
        }
    }

    /// Whether all that an object has in the memo is written already; then
    /// its entries are those.
    fn is_there(&self, popped: &Popped, look: &Look, ids: &mut Ids) -> bool {
        let there = |id| -> Option<u64> {
            let node = match look.entry(id) {
                Entry::Node(node) => node,
                Entry::Gap => return Some(NOWHERE),
                Entry::Unknown => return None,
            };
            match self.texts.known(node) {
                None if self.texts.nodes.operation(node) == [NONE] => Some(IS_NONE),
                known => known,
            }
        };
        let all: Option<Vec<u64>> = (popped.first..popped.after).map(there).collect();
        let from = usize::try_from(popped.first).unwrap_or(usize::MAX);
        match all.as_ref().and_then(|all| ids.low.get_mut(from..)?.get_mut(..all.len())) {
            Some(places) => {
                places.copy_from_slice(&all.unwrap_or_default());
                true
            }
            None => false,
        }
    }

    /// Takes note of where objects are now.
    fn learn(&mut self, look: &Look, ids: &Ids, range: std::ops::Range<u64>) {
        for id in range {
            let place = usize::try_from(id).ok().and_then(|id| ids.low.get(id)).copied();
            if let (Some(node), Some(place)) = (look.node(id), place)
                && place < CONTAINER
            {
                self.texts.learn(node, place);
            }
        }
    }
}

/// Copies the operations in `from..to`, from memory where they are there.
fn copy_window<W: Write>(
    window: &mut Window<'_>,
    (from, to): (u64, u64),
    out: &mut Framer<W>,
    failed: &mut dyn FnMut(io::Error) -> Halt,
) -> Result<(), Halt> {
    match window.held_mut(from, to) {
        Some(bytes) => out.operations(bytes).map_err(failed),
        None => {
            copy_plain(window.source(), from, to, out, failed)?;
            out.flush().map_err(failed)
        }
    }
}
