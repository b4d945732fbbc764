//! Copies a block of a pickle with its memo numbers changed at places that a
//! scan has met: what is in between is not looked at.

use std::io::{self, Write};

use super::emit::Halt;
use super::external::refers_to_container;
use super::rebase::Framer;
use super::refs::PlacesIter;
use super::splice::{Bytes, CONTAINER, IS_NONE, Ids, NOWHERE, misplaced};
use super::symbols::SHORT;
use super::window::Fault;

/// What becomes of the numbers of a byte that a stretch refers to.
pub(crate) enum Bytewise {
    /// Each stays what it is, as mostly.
    Same,
    /// Each becomes another of a byte, by this table.
    Table(Box<[u8; SHORT as usize]>),
    /// Some need more room, or are gone.
    Other,
}

impl Bytewise {
    pub(crate) fn of(met: &[bool; SHORT as usize], ids: &Ids) -> Self {
        let mut table = Box::new([0; SHORT as usize]);
        let mut same = true;
        for ((id, place), met) in (0..).zip(table.iter_mut()).zip(met) {
            if !met {
                continue;
            }
            let Some(new) = ids.map(id).and_then(|new| u8::try_from(new).ok()) else {
                return Bytewise::Other;
            };
            same &= u64::from(new) == id;
            *place = new;
        }
        if same { Bytewise::Same } else { Bytewise::Table(table) }
    }
}

/// The numbers of a stretch that change.
pub(crate) struct Patches<'p> {
    pub(crate) ids: &'p Ids,
    pub(crate) small: Bytewise,
    /// The next GET of a byte, and those after it.
    pub(crate) small_at: (u64, PlacesIter<'p>),
    /// The next GET or PUT of four bytes, and those after it.
    pub(crate) large_at: (u64, PlacesIter<'p>),
}

impl Patches<'_> {
    /// Copies `bytes`, which lie at `offset`, with their numbers changed; they are `whole` if no
    /// operation goes on before or after them. Returns how many: one number may lie in two blocks.
    pub(crate) fn copy<W: Write>(
        &mut self,
        bytes: &mut [u8],
        (offset, whole): (u64, bool),
        out: &mut Framer<W>,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<u64, Halt> {
        self.in_place(bytes, offset);
        let there = offset + bytes.len() as u64;
        let (mut sent, mut done) = (0, bytes.len());
        loop {
            let short = self.small_at.0 < self.large_at.0;
            let at = self.small_at.0.min(self.large_at.0);
            if at >= there {
                break;
            }
            let begin = (at - offset) as usize;
            let end = begin + if short { 2 } else { 5 };
            let Some(number) = bytes.get_mut(begin + 1..end) else {
                done = begin;
                break;
            };
            let id = match number {
                [id] => u64::from(*id),
                [a, b, c, d] => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
                _ => NOWHERE,
            };
            let new = match self.ids.map(id) {
                Some(CONTAINER) => return Err(refers_to_container(at).into()),
                Some(new) if new <= u64::from(u32::MAX) || new == IS_NONE => new,
                _ => return Err(misplaced(at, id).into()),
            };
            match (number, (new as u32).to_le_bytes()) {
                ([place], [new, 0, 0, 0]) => *place = new,
                (number, wide) if number.len() == wide.len() && new != IS_NONE => {
                    number.copy_from_slice(&wide);
                }
                _ => {
                    let before = bytes.get(sent..begin).unwrap_or_default();
                    out.write_all(before).map_err(&mut *failed)?;
                    let get = Bytes::get(new);
                    out.write_all(get.as_slice()).map_err(&mut *failed)?;
                    sent = end;
                }
            }
            let (next, places) = if short { &mut self.small_at } else { &mut self.large_at };
            *next = places.next().unwrap_or(NOWHERE);
        }
        if done == 0 {
            return Err(Fault::truncated(offset).into());
        }
        let rest = bytes.get(sent..done).unwrap_or_default();
        if whole && sent == 0 && done == bytes.len() {
            out.operations(rest).map_err(failed)?;
        } else {
            out.write_all(rest).map_err(failed)?;
        }
        Ok(done as u64)
    }

    /// Changes those that keep their length, up to the first that does not or that the block has
    /// only a part of.
    fn in_place(&mut self, bytes: &mut [u8], offset: u64) {
        if let Bytewise::Table(table) = &self.small {
            let (next, places) = &mut self.small_at;
            while let Some(number) = bytes.get_mut((*next - offset).saturating_add(1) as usize) {
                *number = table.get(usize::from(*number)).copied().unwrap_or_default();
                *next = places.next().unwrap_or(NOWHERE);
            }
        }
        let (low, Some(shift)) = (self.ids.low.len() as u64, self.ids.shift) else { return };
        let (next, places) = &mut self.large_at;
        while let Some(number) = bytes.get_mut((*next - offset).saturating_add(1) as usize..)
            && let Some(number) = number.first_chunk_mut::<4>()
        {
            let id = u64::from(u32::from_le_bytes(*number));
            let new = id.wrapping_add(shift);
            if id < low || id >= self.ids.next || new > u64::from(u32::MAX) {
                return;
            }
            *number = (new as u32).to_le_bytes();
            *next = places.next().unwrap_or(NOWHERE);
        }
    }
}
