//! The reader's counterpart for `io::Read`: opcodes of one pickle or of many in a stream.
//!
//! It holds one opcode with its argument and, unless told not to read ahead, a block of what
//! follows. Memory grows with the bytes that have really arrived, never with a length that a
//! pickle declares. Opcodes and their checks are those of [`Reader`](crate::Reader), with one
//! difference: a FRAME that reaches past the end of the stream is not an error by itself, since
//! only reading on would tell; what is missing from it is.

use std::io;

use crate::arg::ArgExtent;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::opcode::Opcode;
use crate::reader::{Op, Reader};

/// Bytes asked of the source at a time.
const BLOCK: usize = 64 * 1024;

/// A buffer that an argument has grown beyond this is given back.
const KEPT_CAPACITY: usize = 4 * 1024 * 1024;

/// Reads opcodes from a source of bytes, pickle after pickle.
///
/// ```
/// use picklet_codec::StreamReader;
///
/// let mut stream = StreamReader::new(&b"K\x01.K\x02K\x03\x86."[..]);
/// let mut opcodes_of_each = Vec::new();
/// while stream.next_pickle()? {
///     let mut count = 0;
///     while stream.next_op()?.is_some() {
///         count += 1;
///     }
///     opcodes_of_each.push(count);
/// }
/// assert_eq!(opcodes_of_each, [2, 4]);
/// # Ok::<(), picklet_codec::Error>(())
/// ```
#[derive(Debug)]
pub struct StreamReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// How much of `buffer` has been given out.
    start: usize,
    /// The offset in the stream of `buffer[start]`.
    offset: u64,
    /// How far the open frame reaches.
    frame_end: u64,
    read_ahead: bool,
    ended: bool,
    stopped: bool,
    limits: Limits,
}

impl<R: io::Read> StreamReader<R> {
    /// A reader of `source` from where it stands, with the default [`Limits`].
    pub fn new(source: R) -> Self {
        Self::with_limits(source, Limits::default())
    }

    /// The same with limits of the caller's.
    pub fn with_limits(source: R, limits: Limits) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            frame_end: 0,
            read_ahead: true,
            ended: false,
            stopped: false,
            limits,
        }
    }

    /// The same reader, but one that takes no byte beyond a pickle's STOP from the source (a
    /// frame's bytes are the pickle's own). It asks for a few bytes at a time: give it a
    /// buffered source.
    #[must_use]
    pub fn without_read_ahead(mut self) -> Self {
        self.read_ahead = false;
        self
    }

    /// The offset of the next byte to be given out, from where the source stood at first.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The limits it keeps to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether STOP has been read.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Turns to the next pickle, or to the first. False at the end of the stream.
    ///
    /// # Errors
    /// Those of the source. Without read-ahead the first byte of the next pickle is taken.
    pub fn next_pickle(&mut self) -> Result<bool> {
        if self.available() == 0 && !self.fill(1)? {
            return Ok(false);
        }
        self.stopped = false;
        self.frame_end = 0;
        Ok(true)
    }

    /// The next opcode; `None` once STOP has been given.
    ///
    /// # Errors
    /// Those of [`Reader::next_op`](crate::Reader::next_op) and those of the source.
    pub fn next_op(&mut self) -> Result<Option<Op<'_>>> {
        if self.stopped {
            return Ok(None);
        }
        let length = self.whole_op()?;
        let from = self.start;
        let offset = self.offset;
        self.start += length;
        self.offset += length as u64;
        let bytes = self.buffer.get(from..self.start).unwrap_or_default();
        let op = Reader::with_limits(bytes, self.limits).part_of_a_stream(offset).next_op()?;
        match op {
            Some(op) if op.opcode == Opcode::Stop => self.stopped = true,
            Some(Op { opcode: Opcode::Frame, arg: crate::Arg::UInt(length), end, .. }) => {
                self.frame_end = self.frame_end.max(end.saturating_add(length))
            }
            _ => {}
        }
        Ok(op)
    }

    /// The source, and the bytes taken from it that were not given out.
    pub fn into_inner(self) -> (R, Vec<u8>) {
        let mut rest = self.buffer;
        rest.drain(..self.start.min(rest.len()));
        (self.source, rest)
    }

    fn available(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Brings one opcode with its argument into the buffer and gives its length; where the
    /// source ends before that, the length of what there is.
    fn whole_op(&mut self) -> Result<usize> {
        if !self.fill(1)? {
            return Ok(0);
        }
        let Some(opcode) = self.byte(0).and_then(Opcode::from_byte) else {
            return Ok(1);
        };
        let needed = match opcode.info().arg.extent() {
            ArgExtent::Bytes(count) => 1 + usize::from(count),
            ArgExtent::Lines(count) => return self.whole_lines(count, opcode),
            ArgExtent::Counted(field) => {
                let header = 1 + usize::from(field);
                if !self.fill(header)? {
                    return Ok(self.available());
                }
                match self.counted(opcode, header)? {
                    Some(needed) => needed,
                    None => return Ok(header),
                }
            }
        };
        self.fill(needed)?;
        Ok(needed.min(self.available()))
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.buffer.get(self.start + at).copied()
    }

    /// The length of an opcode whose length field is in the buffer; `None` where the field
    /// itself is at fault, which the reader will say.
    fn counted(&self, opcode: Opcode, header: usize) -> Result<Option<usize>> {
        let field = self.buffer.get(self.start + 1..self.start + header);
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(field.unwrap_or_default()) {
            *to = *from;
        }
        let length = u64::from_le_bytes(word);
        let signed = matches!(opcode, Opcode::Long4 | Opcode::BinString);
        if signed && length > i32::MAX as u64 {
            return Ok(None);
        }
        self.check_argument(length, opcode)?;
        // Beyond the address space it is beyond the stream as well: read to the end and fail.
        Ok(Some(usize::try_from(length).map_or(usize::MAX, |length| length.saturating_add(header))))
    }

    fn check_argument(&self, length: u64, opcode: Opcode) -> Result<()> {
        if length <= self.limits.argument_bytes {
            return Ok(());
        }
        let kind = ErrorKind::Limit { limit: "argument_bytes", cap: self.limits.argument_bytes };
        Err(Error::new(kind, self.offset, Some(opcode)))
    }

    /// Reads until so many newlines stand after the opcode.
    fn whole_lines(&mut self, lines: u8, opcode: Opcode) -> Result<usize> {
        let mut scanned = 1;
        let mut line_start = 1;
        let mut left = lines;
        loop {
            let fresh = self.buffer.get(self.start + scanned..).unwrap_or_default();
            match memchr::memchr(b'\n', fresh) {
                Some(at) => {
                    scanned += at + 1;
                    line_start = scanned;
                    left -= 1;
                    if left == 0 {
                        return Ok(scanned);
                    }
                }
                None => {
                    scanned = self.available();
                    self.check_argument((scanned - line_start) as u64, opcode)?;
                    if !self.fill(scanned + 1)? {
                        return Ok(self.available());
                    }
                }
            }
        }
    }

    /// Reads until `needed` bytes are there to give out; false where the source ends first.
    fn fill(&mut self, needed: usize) -> Result<bool> {
        while self.available() < needed {
            if self.ended || !self.read_some(needed)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// One read of the source; false at its end.
    fn read_some(&mut self, needed: usize) -> Result<bool> {
        self.make_room();
        let have = self.buffer.len();
        let missing = needed.saturating_sub(self.available());
        let in_frame =
            self.frame_end.saturating_sub(self.offset.saturating_add(self.available() as u64));
        let wanted = if self.read_ahead {
            missing.max(BLOCK)
        } else {
            missing.max(usize::try_from(in_frame).unwrap_or(usize::MAX).min(BLOCK))
        };
        // At most as much again as has arrived: a declared length costs nothing by itself.
        let block = wanted.min(BLOCK.max(have));
        if self.buffer.try_reserve(block).is_err() {
            let bytes = have.saturating_add(block) as u64;
            let kind = ErrorKind::OutOfMemory { bytes };
            return Err(Error::new(kind, self.offset, None));
        }
        self.buffer.resize(have + block, 0);
        let read = loop {
            let space = self.buffer.get_mut(have..).unwrap_or_default();
            match self.source.read(space) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match read {
            Ok(read) => {
                self.buffer.truncate(have + read);
                self.ended = read == 0;
                Ok(read != 0)
            }
            Err(error) => {
                self.buffer.truncate(have);
                Err(Error::new(ErrorKind::Io(error), self.offset, None))
            }
        }
    }

    /// Forgets what was given out, where that is cheap: when nothing is left to move, or less
    /// than was given out.
    fn make_room(&mut self) {
        if self.start == 0 || self.available() > self.start {
            return;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.capacity() > KEPT_CAPACITY && self.buffer.len() < BLOCK {
            self.buffer.shrink_to(BLOCK);
        }
    }
}
