//! Finding out that a pickle is one `numpy.ndarray`, and where its payload lies.
//!
//! The opcodes before and after the payload are run on symbols (see `symbols`), the payload's own
//! bytes are passed over: an array of any size costs one read of a few kilobytes, and one more
//! behind the payload. A pickle that is something else is given up at the first opcode that no
//! array's pickle has.

use std::ops::Range;
use std::path::Path;

use picklet_codec::{Arg, ArgExtent, Driver, Limits, Op, Opcode, PickleStr, Reader};

use super::dtype::Dtype;
use super::symbols::Symbols;
use crate::error::{Error, Result};
use crate::store::ReadAt;

/// How a pickle holds a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is: protocols 3 to 5, and Python 2's protocols 1 and 2.
    Raw,
    /// As text in UTF-8 whose characters are the bytes (Latin-1): Python 3's protocols 1 and 2.
    Utf8,
    /// As a line of text whose characters are the bytes, with `\u` escapes: protocol 0.
    Escaped,
}

/// A pickled array.
#[derive(Debug, Clone, PartialEq)]
pub struct PickledArray {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its axes from the one whose steps are longest in memory to the shortest: `0, 1, 2` is C
    /// order, `2, 1, 0` Fortran's.
    pub axes: Vec<usize>,
    /// Where the payload lies in the pickle, in bytes.
    pub payload: Range<u64>,
    /// How the payload is held there. Unless [`Encoding::Raw`] the range has more bytes than the
    /// array.
    pub encoding: Encoding,
    /// Where the pickle ends.
    pub end: u64,
}

impl PickledArray {
    /// Bytes of the elements.
    pub fn bytes(&self) -> u64 {
        super::envelope::payload_bytes(&self.dtype, &self.shape).unwrap_or(u64::MAX)
    }

    /// Whether the payload stands in C order.
    pub fn is_c_order(&self) -> bool {
        self.axes.iter().enumerate().all(|(place, axis)| place == *axis)
    }
}

/// What a pickle turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// One array.
    Array(PickledArray),
    /// An array or nearly one, with what this cannot read of it, as the rest of a sentence that
    /// begins with the file's name.
    Unfit(String),
    /// Something else, or no pickle: whoever reads those says what is wrong with it.
    Other,
}

/// Opcodes before something is given up as no array: a type with thousands of fields has fewer.
const OPCODES: usize = 200_000;

/// Bytes read at once around the payload.
const WINDOW: usize = 16 << 10;

/// Bytes of one argument that is not passed over; names of fields are shorter.
const LONGEST: usize = 16 << 20;

/// Looks at the pickle at the beginning of `data`. `path` is for messages.
///
/// # Errors
/// [`Error::Io`].
pub fn recognise(data: &dyn ReadAt, path: &Path) -> Result<Found> {
    let size = data.size().map_err(|e| Error::io("read", path, e))?;
    let mut walk = Walk { data, size, path, at: 0, window: Vec::new(), used: 0 };
    let mut symbols = Symbols::default();
    let limits = Limits {
        stack_items: OPCODES as u64,
        open_marks: OPCODES as u64,
        memo_entries: OPCODES as u64,
        ..Limits::default()
    };
    let mut driver = Driver::new(limits);
    for _ in 0..OPCODES {
        match walk.step(&mut driver, &mut symbols)? {
            Step::On => {}
            Step::Over(value) => return Ok(symbols.array(value, walk.offset())),
            Step::No => {
                return Ok(symbols.unfit.take().map_or(Found::Other, Found::Unfit));
            }
        }
    }
    Ok(Found::Other)
}

enum Step {
    On,
    Over(super::symbols::Id),
    No,
}

/// A walk over opcodes through a window of the input.
struct Walk<'i> {
    data: &'i dyn ReadAt,
    size: u64,
    path: &'i Path,
    /// Where the window begins.
    at: u64,
    window: Vec<u8>,
    /// Bytes of the window that are done with.
    used: usize,
}

impl Walk<'_> {
    fn offset(&self) -> u64 {
        self.at + self.used as u64
    }

    /// Whether the window reaches to the input's end.
    fn is_last(&self) -> bool {
        self.at + self.window.len() as u64 >= self.size
    }

    fn rest(&self) -> &[u8] {
        self.window.get(self.used..).unwrap_or_default()
    }

    /// Moves the window to `offset`, with `bytes` bytes as far as there are so many.
    fn load(&mut self, offset: u64, bytes: usize) -> Result<()> {
        let there = self.size.saturating_sub(offset);
        let bytes = usize::try_from(there).unwrap_or(usize::MAX).min(bytes);
        self.window.resize(bytes, 0);
        (self.at, self.used) = (offset, 0);
        let read = self.data.read_exact_at(offset, &mut self.window);
        read.map_err(|e| Error::io("read", self.path, e))
    }

    fn step(
        &mut self,
        driver: &mut Driver<super::symbols::Id>,
        symbols: &mut Symbols,
    ) -> Result<Step> {
        let mut bytes = WINDOW;
        if self.rest().is_empty() {
            self.load(self.offset(), bytes)?;
        }
        loop {
            if self.rest().first() == Some(&Opcode::Frame.byte()) && self.rest().len() > 8 {
                // The frame goes on behind the window, which a reader would refuse.
                self.used += 9;
                return Ok(Step::On);
            }
            let offset = self.offset();
            let mut reader = Reader::new(self.rest()).at_offset(offset);
            match reader.next_op() {
                Ok(Some(op)) => {
                    symbols.extent = Some(op.offset..op.end);
                    symbols.passed_over = false;
                    let done = driver.step(symbols, op);
                    self.used += usize::try_from(op.end - offset).unwrap_or(usize::MAX);
                    return Ok(outcome(done));
                }
                Ok(None) => return Ok(Step::No),
                Err(error) if error.is_truncation() && !self.is_last() => {
                    if self.used > 0 {
                        self.load(offset, bytes)?;
                        continue;
                    }
                    if let Some((op, data)) = self.long_argument()? {
                        symbols.extent = Some(op.offset..data.end);
                        symbols.passed_over = true;
                        symbols.data = data.clone();
                        let done = driver.step(symbols, op);
                        self.load(op.end, WINDOW)?;
                        return Ok(outcome(done));
                    }
                    bytes *= 4;
                    if bytes > LONGEST {
                        return Ok(Step::No);
                    }
                    self.load(offset, bytes)?;
                }
                Err(_) => return Ok(Step::No),
            }
        }
    }

    /// The opcode at the window's beginning, whose argument reaches out of it, without that
    /// argument; and where the argument's bytes lie.
    fn long_argument(&self) -> Result<Option<(Op<'static>, Range<u64>)>> {
        let Some(opcode) = self.window.first().and_then(|byte| Opcode::from_byte(*byte)) else {
            return Ok(None);
        };
        let arg = match opcode {
            Opcode::BinBytes | Opcode::BinBytes8 | Opcode::ByteArray8 | Opcode::BinString => {
                Arg::Bytes(&[])
            }
            Opcode::BinUnicode | Opcode::BinUnicode8 => Arg::Str(PickleStr::from("")),
            Opcode::Unicode => Arg::EscapedStr(&[]),
            _ => return Ok(None),
        };
        let (data, end) = match opcode.info().arg.extent() {
            ArgExtent::Counted(width) => {
                let mut length = [0u8; 8];
                let field = self.window.get(1..=usize::from(width));
                match (field, length.get_mut(..usize::from(width))) {
                    (Some(field), Some(place)) => place.copy_from_slice(field),
                    _ => return Ok(None),
                }
                let start = self.at + 1 + u64::from(width);
                let Some(end) = start.checked_add(u64::from_le_bytes(length)) else {
                    return Ok(None);
                };
                (start..end, end)
            }
            _ => match self.line_end()? {
                Some(end) => (self.at + 1..end, end + 1),
                None => return Ok(None),
            },
        };
        // STOP at least has to follow.
        if end >= self.size {
            return Ok(None);
        }
        Ok(Some((Op { offset: self.at, end, opcode, arg }, data)))
    }

    /// Where the line at the window's beginning ends: the offset of its line feed.
    fn line_end(&self) -> Result<Option<u64>> {
        let mut block = vec![0; 1 << 20];
        let mut offset = self.at;
        loop {
            let read = self.data.read_at(offset, &mut block);
            let read = read.map_err(|e| Error::io("read", self.path, e))?;
            let part = block.get(..read).unwrap_or_default();
            if let Some(place) = memchr::memchr(b'\n', part) {
                return Ok(Some(offset + place as u64));
            }
            if read == 0 {
                return Ok(None);
            }
            offset += read as u64;
        }
    }
}

fn outcome(done: picklet_codec::Result<Option<super::symbols::Id>>) -> Step {
    match done {
        Ok(None) => Step::On,
        Ok(Some(value)) => Step::Over(value),
        Err(_) => Step::No,
    }
}
