//! Walks the memo operations and FRAMEs of a stretch of a pickle, and copies a
//! stretch with some of them changed.
//!
//! A walk keeps no stack: it only knows how long operations are.

use std::io::Write;

use super::ops::{self, *};
use super::scan::text_id;
use super::window::{BLOCK, Fault, SLOP, Window, unknown};
use crate::store::ReadAt;

/// A GET, PUT, MEMOIZE, FRAME or STOP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ref {
    pub(crate) opcode: u8,
    pub(crate) at: u64,
    pub(crate) end: u64,
    /// The memo number, or a FRAME's length.
    pub(crate) id: u64,
}

impl Ref {
    /// Whether it is a GET of any width.
    pub(crate) fn is_get(&self) -> bool {
        matches!(self.opcode, BINGET | LONG_BINGET | GET)
    }
}

enum Step {
    Ref(Ref),
    /// The window has to move to the offset.
    Block,
    End,
}

/// What becomes of a [`Ref`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It stays.
    Keep,
    /// It gets another number.
    Id(u64),
    /// It is left out.
    Drop,
}

/// A walk from one offset to another.
pub(crate) struct Walk<'a> {
    window: Window<'a>,
    offset: u64,
    to: u64,
    memoize: bool,
    /// Whether the window has yet to be moved to this stretch, one of several.
    astray: bool,
}

impl<'a> Walk<'a> {
    /// A walk over several stretches of `source`, which has `size` bytes: none
    /// yet, see [`Walk::again`].
    pub(crate) fn over(source: &'a dyn ReadAt, size: u64) -> Self {
        let window = Window::new(source, size);
        Walk { window, offset: 0, to: 0, memoize: false, astray: false }
    }

    /// A walk over `from..to`; tells of MEMOIZE only if `memoize`.
    pub(crate) fn new(source: &'a dyn ReadAt, from: u64, to: u64, memoize: bool) -> Self {
        let window = Window::new(source, to);
        Walk { window, offset: from, to, memoize, astray: false }
    }

    /// Goes over another stretch. What is in memory of it is not read again.
    pub(crate) fn again(&mut self, from: u64, to: u64) {
        self.offset = from;
        self.to = to;
        let (base, len) = (self.window.base(), self.window.len() as u64);
        self.astray = from < base || from >= base + len;
    }

    /// The byte where the stretch begins.
    pub(crate) fn first_byte(&mut self) -> Result<Option<u8>, Fault> {
        let (base, len) = (self.window.base(), self.window.len() as u64);
        if self.offset < base || self.offset >= base + len {
            self.load()?;
        }
        let at = self.offset.checked_sub(self.window.base()).map(|at| at as usize);
        Ok(at.and_then(|at| self.window.bytes().get(at).copied()))
    }

    /// Moves the window to where the walk is.
    fn load(&mut self) -> Result<(), Fault> {
        if std::mem::take(&mut self.astray) {
            self.window.load_around(self.offset, self.to)?;
        } else {
            self.window.load(self.offset)?;
        }
        Ok(())
    }

    /// The next [`Ref`]; `None` at the end.
    pub(crate) fn next_ref(&mut self) -> Result<Option<Ref>, Fault> {
        loop {
            match self.step()? {
                Step::Ref(found) => return Ok(Some(found)),
                Step::End => return Ok(None),
                Step::Block => self.load()?,
            }
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "hot loop: `pos` is below the block's length, after which SLOP zeros lie"
    )]
    fn step(&mut self) -> Result<Step, Fault> {
        if self.offset >= self.to {
            return if self.offset == self.to {
                Ok(Step::End)
            } else {
                Err(Fault::truncated(self.to))
            };
        }
        let base = self.window.base();
        let len = self.window.len();
        if self.offset < base || self.offset >= base + len as u64 {
            return Ok(Step::Block);
        }
        let at_end = self.window.at_end();
        let safe = if at_end { len } else { len.saturating_sub(SLOP) };
        let safe = safe.min((self.to - base).min(usize::MAX as u64) as usize);
        let buf = self.window.bytes();
        let mut pos = (self.offset - base) as usize;
        while pos < safe {
            let op = buf[pos];
            macro_rules! found {
                ($id:expr, $next:expr) => {{
                    let next: usize = $next;
                    let at = base + pos as u64;
                    self.offset = base + next as u64;
                    if next > len {
                        return Err(Fault::truncated(at));
                    }
                    return Ok(Step::Ref(Ref { opcode: op, at, end: self.offset, id: $id }));
                }};
            }
            macro_rules! line {
                ($from:expr) => {{
                    let from: usize = $from;
                    match memchr::memchr(b'\n', &buf[from.min(len)..len]) {
                        Some(at) => from + at + 1,
                        None if pos > 0 && !at_end => {
                            self.offset = base + pos as u64;
                            return Ok(Step::Block);
                        }
                        None => {
                            // Longer than the window.
                            let at = base + pos as u64;
                            let end = self.window.op(at)?.end;
                            self.offset = end;
                            return Ok(if end >= self.to { Step::End } else { Step::Block });
                        }
                    }
                }};
            }
            pos = match op {
                SHORT_BINUNICODE | SHORT_BINSTRING | SHORT_BINBYTES | LONG1 => {
                    pos + 2 + usize::from(buf[pos + 1])
                }
                BINGET | BINPUT => found!(u64::from(buf[pos + 1]), pos + 2),
                LONG_BINGET | LONG_BINPUT => found!(ops::little(&buf[pos + 1..pos + 5]), pos + 5),
                MEMOIZE if self.memoize => found!(0, pos + 1),
                FRAME => found!(ops::little(&buf[pos + 1..pos + 9]), pos + 9),
                STOP => found!(0, pos + 1),
                BINUNICODE | BINBYTES | BINSTRING | LONG4 => {
                    pos + 5 + ops::little(&buf[pos + 1..pos + 5]) as usize
                }
                BINUNICODE8 | BINBYTES8 | BYTEARRAY8 => {
                    let count = ops::little(&buf[pos + 1..pos + 9]);
                    if count > self.to {
                        return Err(Fault::truncated(base + pos as u64));
                    }
                    pos + 9 + count as usize
                }
                GET | PUT => {
                    let next = line!(pos + 1);
                    match text_id(&buf[pos + 1..next]) {
                        Some(id) => found!(id, next),
                        None => {
                            return Fault::bad(
                                base + pos as u64,
                                "no memo number on this line: the pickle is damaged",
                            );
                        }
                    }
                }
                FLOAT | INT | LONG | PERSID | STRING | UNICODE => line!(pos + 1),
                GLOBAL | INST => line!(line!(pos + 1)),
                _ => match ops::LENGTHS[usize::from(op)] {
                    Length::Fixed(n) => pos + usize::from(n),
                    _ => return Err(unknown(base + pos as u64, op)),
                },
            };
        }
        self.offset = base + pos as u64;
        match self.offset.cmp(&self.to) {
            std::cmp::Ordering::Less => Ok(Step::Block),
            std::cmp::Ordering::Equal => Ok(Step::End),
            std::cmp::Ordering::Greater => Err(Fault::truncated(self.to)),
        }
    }

    /// Copies what is left of the walk to `out`, asking `change` about every
    /// [`Ref`]. Ends after a STOP, which `change` decides about too. Calls
    /// `out.flush()` only where an operation ends, so that what frames the
    /// bytes can do so there.
    /// Returns the offset where it ended.
    pub(crate) fn copy<E: From<Fault>>(
        &mut self,
        out: &mut dyn Write,
        failed: &mut dyn FnMut(std::io::Error) -> E,
        change: &mut dyn FnMut(&Ref) -> Result<Change, E>,
    ) -> Result<u64, E> {
        // Everything before this offset is written.
        let mut written = self.offset;
        loop {
            let step = self.step()?;
            match step {
                Step::Ref(found) => {
                    let change = change(&found)?;
                    if change != Change::Keep && !self.patch(&found, change) {
                        self.flush(&mut written, found.at, out, failed)?;
                        written = found.end;
                        match change {
                            Change::Id(id) => {
                                write_id(found.opcode, id, out).map_err(&mut *failed)?;
                            }
                            Change::Keep | Change::Drop => {}
                        }
                    }
                    if found.opcode == STOP {
                        if written < found.end {
                            self.flush(&mut written, found.end, out, failed)?;
                        }
                        return Ok(found.end);
                    }
                }
                Step::Block => {
                    self.flush(&mut written, self.offset, out, failed)?;
                    out.flush().map_err(&mut *failed)?;
                    self.load()?;
                }
                Step::End => {
                    self.flush(&mut written, self.to, out, failed)?;
                    return Ok(self.to);
                }
            }
        }
    }

    /// Writes what is between `written` and `until`.
    fn flush<E: From<Fault>>(
        &mut self,
        written: &mut u64,
        until: u64,
        out: &mut dyn Write,
        failed: &mut dyn FnMut(std::io::Error) -> E,
    ) -> Result<(), E> {
        let base = self.window.base();
        let there = base + self.window.len() as u64;
        if *written >= base && *written < there {
            let from = (*written - base) as usize;
            let to = (until.min(there) - base) as usize;
            let bytes = self.window.bytes().get(from..to).unwrap_or_default();
            out.write_all(bytes).map_err(&mut *failed)?;
            *written = base + to as u64;
        }
        if *written < until {
            copy_plain(self.window.source(), *written, until, out, failed)?;
            *written = until;
        }
        Ok(())
    }

    /// Changes the number in place, if it fits.
    fn patch(&mut self, found: &Ref, change: Change) -> bool {
        let Change::Id(id) = change else { return false };
        let from = (found.at - self.window.base()) as usize;
        let to = (found.end - self.window.base()) as usize;
        let Some(bytes) = self.window.bytes_mut().get_mut(from + 1..to) else {
            return false;
        };
        match found.opcode {
            BINGET | BINPUT | LONG_BINGET | LONG_BINPUT | FRAME => {
                let width = bytes.len();
                if width < 8 && id >> (8 * width) != 0 {
                    return false;
                }
                for (byte, value) in bytes.iter_mut().zip(id.to_le_bytes()) {
                    *byte = value;
                }
                true
            }
            GET | PUT => {
                let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).count();
                let text = format!("{id:0digits$}");
                if text.len() != digits {
                    return false;
                }
                for (byte, value) in bytes.iter_mut().zip(text.bytes()) {
                    *byte = value;
                }
                true
            }
            _ => false,
        }
    }
}

/// Writes a GET or PUT like `opcode` with a number that does not fit it.
fn write_id(opcode: u8, id: u64, out: &mut dyn Write) -> std::io::Result<()> {
    match (opcode, u32::try_from(id)) {
        (BINGET | LONG_BINGET, Ok(id)) => {
            if let Ok(id) = u8::try_from(id) {
                return out.write_all(&[BINGET, id]);
            }
            out.write_all(&[LONG_BINGET])?;
            out.write_all(&id.to_le_bytes())
        }
        (BINPUT | LONG_BINPUT, Ok(id)) => {
            if let Ok(id) = u8::try_from(id) {
                return out.write_all(&[BINPUT, id]);
            }
            out.write_all(&[LONG_BINPUT])?;
            out.write_all(&id.to_le_bytes())
        }
        (BINGET | LONG_BINGET | GET, _) => writeln!(out, "g{id}"),
        (FRAME, _) => {
            out.write_all(&[FRAME])?;
            out.write_all(&id.to_le_bytes())
        }
        _ => writeln!(out, "p{id}"),
    }
}

/// Copies `from..to` as it is.
pub(crate) fn copy_plain<E: From<Fault>>(
    source: &dyn ReadAt,
    mut from: u64,
    to: u64,
    out: &mut dyn Write,
    failed: &mut dyn FnMut(std::io::Error) -> E,
) -> Result<(), E> {
    let mut block = vec![0; BLOCK.min(usize::try_from(to.saturating_sub(from)).unwrap_or(BLOCK))];
    while from < to {
        let want = (to - from).min(BLOCK as u64) as usize;
        let room = block.get_mut(..want).unwrap_or_default();
        let read = match source.read_at(from, room) {
            Ok(0) => return Err(Fault::truncated(from).into()),
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Fault::from(e).into()),
        };
        out.write_all(room.get(..read).unwrap_or_default()).map_err(&mut *failed)?;
        from += read as u64;
    }
    Ok(())
}
