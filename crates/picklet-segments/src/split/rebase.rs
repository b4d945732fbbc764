//! Puts stretches of several pickles into one: memo numbers are moved up so
//! that each stretch has its own, and the bytes are framed anew.

use std::io::{self, Write};

use super::emit::Halt;
use super::ops::*;
use super::walk::{Change, Ref, Walk};
use super::window::Fault;
use crate::store::ReadAt;

/// Bytes that make a frame worth closing; CPython's own size.
const FRAME_BYTES: usize = 64 * 1024;
/// Bytes kept back for a frame at most; one operation that is larger is
/// written outside of frames, as CPython does.
const FRAME_MOST: usize = 1 << 20;

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
    /// The next memo number.
    memo: u64,
    /// Whether numbers were left out, so that MEMOIZE would count wrongly.
    gaps: bool,
}

/// A stretch of a pickle to be joined.
pub(crate) struct Stretch<'a> {
    pub(crate) source: &'a dyn ReadAt,
    pub(crate) from: u64,
    /// Where it ends; with STOP before, there.
    pub(crate) to: u64,
    /// Memo numbers defined before it in its pickle.
    pub(crate) before: u64,
    /// Whether those before it are defined alike in what is written.
    pub(crate) alike: bool,
    /// Those that must not be referred to.
    pub(crate) container_ids: &'a [u64],
}

impl<W: Write> Joiner<W> {
    /// A joiner that writes to `out`, where `memo` numbers are defined.
    pub(crate) fn new(out: Framer<W>, memo: u64) -> Self {
        Joiner { out, memo, gaps: false }
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

    /// Writes a stretch, without STOP and FRAMEs. Returns where it ended.
    pub(crate) fn add(
        &mut self,
        stretch: &Stretch<'_>,
        failed: &mut dyn FnMut(io::Error) -> Halt,
    ) -> Result<u64, Halt> {
        let base = self.memo;
        let mut next = stretch.before;
        let mut gaps = self.gaps;
        let mut change = |found: &Ref| -> Result<Change, Halt> {
            let moved = |id: u64| id - stretch.before + base;
            match found.opcode {
                FRAME | STOP => Ok(Change::Drop),
                MEMOIZE => {
                    let id = next;
                    next += 1;
                    Ok(if gaps { Change::Put(moved(id)) } else { Change::Keep })
                }
                BINPUT | LONG_BINPUT | PUT => {
                    if found.id < next {
                        return Err(unknown(found).into());
                    }
                    gaps |= found.id > next;
                    next = found.id + 1;
                    Ok(renumber(found.id, moved(found.id)))
                }
                _ if stretch.container_ids.contains(&found.id) => {
                    Err(super::external::refers_to_container(found.at).into())
                }
                _ if found.id < stretch.before && stretch.alike => Ok(Change::Keep),
                _ if found.id < stretch.before || found.id >= next => Err(unknown(found).into()),
                _ => Ok(renumber(found.id, moved(found.id))),
            }
        };
        let mut walk = Walk::new(stretch.source, stretch.from, stretch.to, true);
        let end = walk.copy(&mut self.out, failed, &mut change)?;
        self.memo = next - stretch.before + base;
        self.gaps = gaps;
        self.out.flush().map_err(&mut *failed)?;
        Ok(end)
    }
}

fn renumber(old: u64, new: u64) -> Change {
    if old == new { Change::Keep } else { Change::Id(new) }
}

#[cold]
fn unknown(found: &Ref) -> Fault {
    Fault::Bad(
        found.at,
        format!("memo entry {} is used where it cannot be; load and dump it anew first", found.id),
    )
}
