//! The writer: frames and a memo around typed emits at any protocol from 0 to 5, with the bytes that CPython's C
//! `_pickle` would choose.
//!
//! For one value each emit picks the opcode that C picks (BININT1 before BININT2 before BININT,
//! SHORT_BINUNICODE from protocol 4 on, text at protocol 0 …) and frames are cut where C cuts
//! them. What to write, in what order and what to memoise, is the caller's; nothing here walks
//! values. The rules are those of `save_*` and `_Pickler_Write` in `Modules/_pickle.c`.

use crate::emit::{Emitter, FIRST_BYTES, Header};
use crate::error::{Error, ErrorKind, Result};
use crate::opcode::Opcode;
use crate::sink::{InMemory, Sink};
use crate::str::PickleStr;

/// A frame is closed at the first object that starts with at least this many bytes in it, and
/// strings and bytes of at least this size stand outside of frames (`FRAME_SIZE_TARGET`).
pub const FRAME_SIZE_TARGET: usize = 64 * 1024;

/// A frame of fewer bytes is written without its header (`FRAME_SIZE_MIN`).
pub const FRAME_SIZE_MIN: usize = 4;

/// Items that one APPENDS, SETITEMS or ADDITEMS takes at most (`BATCHSIZE`).
pub const BATCH_SIZE: usize = 1000;

/// FRAME and its eight bytes of length.
const FRAME_HEADER_SIZE: usize = 9;

/// Writes one pickle (or several, one after another) to `W`.
///
/// Begin each pickle with [`start`](Self::start), call [`boundary`](Self::boundary) before each
/// object, end with [`stop`](Self::stop).
///
/// ```
/// use picklet_codec::{Opcode, Writer};
///
/// let mut writer = Writer::new(Vec::new(), 4)?;
/// writer.start()?;
/// writer.boundary()?;
/// writer.op(Opcode::EmptyList)?;
/// writer.memoize()?;
/// writer.boundary()?;
/// writer.int(7)?;
/// writer.op(Opcode::Append)?;
/// writer.stop()?;
/// assert_eq!(writer.into_inner()?, b"\x80\x04\x95\x06\0\0\0\0\0\0\0]\x94K\x07a.");
/// # Ok::<(), picklet_codec::Error>(())
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    sink: W,
    /// Holds the bytes not handed to the sink yet; the open frame is among them.
    emit: Emitter,
    /// Where in the buffer the bytes begin that are not done with: 0 where the sink takes them.
    base: usize,
    /// Where in the buffer the open frame's header stands.
    frame: Option<usize>,
    /// Whether bytes go into frames: from protocol 4 on, between start and stop.
    framing: bool,
    /// The next byte opens a frame: bytes go into frames, and none is open.
    frame_due: bool,
    frames_wanted: bool,
    memo_len: u64,
    /// Bytes the sink has taken.
    written: u64,
}

impl<W: Sink> Writer<W> {
    /// A writer at a protocol from 0 to 5.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedProtocol`].
    pub fn new(sink: W, protocol: u8) -> Result<Self> {
        Self::with_capacity(sink, protocol, FIRST_BYTES)
    }

    /// The same with room for so many bytes in its buffer, at least; no more than a frame of them
    /// where the sink takes the frames.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedProtocol`].
    pub fn with_capacity(sink: W, protocol: u8, bytes: usize) -> Result<Self> {
        let bytes = if W::TAKES { bytes.min(FRAME_SIZE_TARGET) } else { bytes };
        Ok(Self {
            sink,
            emit: Emitter::with_capacity(protocol, bytes)?,
            base: 0,
            frame: None,
            framing: false,
            frame_due: false,
            frames_wanted: true,
            memo_len: 0,
            written: 0,
        })
    }

    /// The same writer without frames at protocols 4 and 5. Such pickles are valid, but stock
    /// `pickle.load` reads them from files several times slower.
    #[must_use]
    pub fn without_frames(mut self) -> Self {
        self.frames_wanted = false;
        self
    }

    /// The same writer with another cap on the decimal digits of an int at protocols 0 and 1
    /// (default: [`DEFAULT_DECIMAL_DIGITS`](crate::limits::DEFAULT_DECIMAL_DIGITS), what CPython reads back).
    #[must_use]
    pub fn with_decimal_digits(mut self, cap: u64) -> Self {
        self.emit.digit_cap = cap;
        self
    }

    /// The protocol.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.emit.protocol()
    }

    /// Bytes written so far, buffered ones included.
    pub fn position(&self) -> u64 {
        self.written + self.emit.buffer.len() as u64
    }

    /// How many memo entries the pickle has so far: the index that the next
    /// [`memoize`](Self::memoize) will use.
    #[inline]
    pub fn memo_len(&self) -> u64 {
        self.memo_len
    }

    /// Begins a pickle: PROTO from protocol 2 on, frames from protocol 4 on, an empty memo.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn start(&mut self) -> Result<()> {
        self.memo_len = 0;
        let protocol = self.protocol();
        if protocol >= 2 {
            self.emit.buffer.extend_from_slice(&[Opcode::Proto.byte(), protocol]);
        }
        self.framing = protocol >= 4 && self.frames_wanted;
        self.frame_due = self.framing;
        Ok(())
    }

    /// To be called before each object, the smallest too: closes the frame when it is full.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline]
    pub fn boundary(&mut self) -> Result<()> {
        if self.emit.buffer.len() - self.base < FRAME_SIZE_TARGET {
            return Ok(());
        }
        self.full_buffer()
    }

    #[cold]
    #[inline(never)]
    fn full_buffer(&mut self) -> Result<()> {
        match self.frame {
            Some(start)
                if self.emit.buffer.len() - start - FRAME_HEADER_SIZE < FRAME_SIZE_TARGET =>
            {
                Ok(())
            }
            _ => {
                self.commit_frame();
                self.flush_buffer()
            }
        }
    }

    /// Ends the pickle: STOP, the last frame closed, everything handed to the sink.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn stop(&mut self) -> Result<()> {
        self.put(&[Opcode::Stop.byte()]);
        self.commit_frame();
        self.framing = false;
        self.frame_due = false;
        self.flush_buffer()
    }

    /// Hands everything to the sink, closing an open frame, and gives the sink.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn into_inner(mut self) -> Result<W> {
        self.commit_frame();
        self.flush_buffer()?;
        Ok(self.sink)
    }

    /// The sink; what is buffered has not reached it.
    pub fn get_ref(&self) -> &W {
        &self.sink
    }

    /// An opcode without an argument.
    ///
    /// # Errors
    /// [`ErrorKind::Custom`] for an opcode that takes an argument or that the protocol lacks.
    #[inline(always)]
    pub fn op(&mut self, opcode: Opcode) -> Result<()> {
        self.ready().op(opcode)
    }

    /// Opcodes that are encoded already, copied as they are into the current frame. They must
    /// not hold FRAME, PROTO or STOP, and must be whole.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn raw(&mut self, opcodes: &[u8]) -> Result<()> {
        self.put(opcodes);
        self.boundary()
    }

    /// `None`.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline(always)]
    pub fn none(&mut self) -> Result<()> {
        self.ready().none();
        Ok(())
    }

    /// `True` or `False`: opcodes from protocol 2 on, `I01` and `I00` below.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline(always)]
    pub fn bool(&mut self, value: bool) -> Result<()> {
        self.ready().bool(value);
        Ok(())
    }

    /// An int.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline(always)]
    pub fn int(&mut self, value: i64) -> Result<()> {
        self.ready().int(value);
        Ok(())
    }

    /// An int of any size, as two's complement, little-endian; padding does no harm.
    ///
    /// # Errors
    /// Those of the sink; [`ErrorKind::Limit`] at protocols 0 and 1, where it would take more
    /// decimal digits than the cap.
    pub fn big_int(&mut self, bytes: &[u8]) -> Result<()> {
        self.ready().big_int(bytes)
    }

    /// A float: eight bytes, or its `repr` at protocol 0.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline(always)]
    pub fn float(&mut self, value: f64) -> Result<()> {
        self.ready().float(value);
        Ok(())
    }

    /// A str.
    ///
    /// # Errors
    /// Those of the sink; above 4 GiB below protocol 4.
    #[inline(always)]
    pub fn str(&mut self, value: PickleStr<'_>) -> Result<()> {
        let bytes = value.as_bytes();
        if bytes.len() >= FRAME_SIZE_TARGET && self.protocol() > 0 {
            return self.payload(self.emit.str_header(bytes.len())?, bytes);
        }
        self.ready().str(value)
    }

    /// Bytes, from protocol 3 on. (Below it, Python writes a call of `_codecs.encode`.)
    ///
    /// # Errors
    /// Those of the sink; below protocol 3; above 4 GiB at protocol 3.
    #[inline(always)]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= FRAME_SIZE_TARGET {
            return self.payload(self.emit.bytes_header(bytes.len())?, bytes);
        }
        self.ready().bytes(bytes)
    }

    /// A bytearray, at protocol 5. (Below it, Python writes a call of `bytearray`.)
    ///
    /// # Errors
    /// Those of the sink; below protocol 5.
    pub fn byte_array(&mut self, bytes: &[u8]) -> Result<()> {
        self.payload(self.emit.byte_array_header(bytes.len())?, bytes)
    }

    /// A Python 2 str, which Python 3 never writes but an old pickle may hold: STRING at
    /// protocol 0, SHORT_BINSTRING or BINSTRING from protocol 1 on.
    ///
    /// # Errors
    /// Those of the sink; from 2 GiB on.
    pub fn string(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() >= FRAME_SIZE_TARGET && self.protocol() > 0 {
            return self.payload(self.emit.string_header(bytes.len())?, bytes);
        }
        self.ready().string(bytes)
    }

    /// A header and its bytes; large ones stand outside of frames and skip the buffer.
    #[inline(never)]
    fn payload(&mut self, (header, length): Header, bytes: &[u8]) -> Result<()> {
        let header = header.get(..length).unwrap_or_default();
        if bytes.len() < FRAME_SIZE_TARGET {
            self.put(header);
            self.emit.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.commit_frame();
        self.emit.buffer.extend_from_slice(header);
        if W::TAKES {
            self.flush_buffer()?;
            self.sink.take(bytes)?;
            self.written += bytes.len() as u64;
            return Ok(());
        }
        self.emit.buffer.extend_from_slice(bytes);
        self.flush_buffer()
    }

    /// Stores the object on top of the stack in the memo, as PUT, BINPUT, LONG_BINPUT or
    /// MEMOIZE, and gives its index.
    ///
    /// # Errors
    /// Those of the sink; an index beyond 2^32 at protocols 1 to 3.
    #[inline(always)]
    pub fn memoize(&mut self) -> Result<u64> {
        let index = self.memo_len;
        self.ready().memoize(index)?;
        self.memo_len += 1;
        Ok(index)
    }

    /// PUT, BINPUT or LONG_BINPUT with an index of the caller's; [`memo_len`](Self::memo_len)
    /// does not count it.
    ///
    /// # Errors
    /// Those of the sink; an index beyond 2^32 from protocol 1 on.
    pub fn put_index(&mut self, index: u64) -> Result<()> {
        self.ready().put_index(index)
    }

    /// Pushes the memo's entry `index`.
    ///
    /// # Errors
    /// Those of the sink; an index beyond 2^32 from protocol 1 on.
    #[inline(always)]
    pub fn get(&mut self, index: u64) -> Result<()> {
        self.ready().get(index)
    }

    /// An empty list: its opcode, or MARK LIST at protocol 0.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline(always)]
    pub fn empty_list(&mut self) -> Result<()> {
        self.ready().empty_list();
        Ok(())
    }

    /// An empty dict: its opcode, or MARK DICT at protocol 0.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline(always)]
    pub fn empty_dict(&mut self) -> Result<()> {
        self.ready().empty_dict();
        Ok(())
    }

    /// The empty tuple: its opcode, or MARK TUPLE at protocol 0.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline(always)]
    pub fn empty_tuple(&mut self) -> Result<()> {
        self.ready().empty_tuple();
        Ok(())
    }

    /// Whether a tuple of `len` items (at least one) starts with a MARK at this protocol; up to
    /// three items need none from protocol 2 on.
    #[inline(always)]
    pub fn tuple_needs_mark(&self, len: usize) -> bool {
        self.emit.tuple_needs_mark(len)
    }

    /// The opcode that ends a tuple of `len` items (at least one): TUPLE1, TUPLE2, TUPLE3 or
    /// TUPLE.
    ///
    /// # Errors
    /// Those of the sink.
    #[inline(always)]
    pub fn end_tuple(&mut self, len: usize) -> Result<()> {
        self.ready().end_tuple(len);
        Ok(())
    }

    /// GLOBAL: a module and a name, as text.
    ///
    /// # Errors
    /// Those of the sink; a newline in either, or nothing in it.
    pub fn global(&mut self, module: &str, name: &str) -> Result<()> {
        self.ready().global(module, name)
    }

    /// INST: the class that the objects above the topmost mark are given to.
    ///
    /// # Errors
    /// Those of the sink; a newline in either name, or nothing in it, or not ASCII.
    pub fn inst(&mut self, module: &str, name: &str) -> Result<()> {
        if !module.is_ascii() || !name.is_ascii() {
            return Err(Error::unplaced(ErrorKind::NotAscii));
        }
        self.ready().line_pair(Opcode::Inst, module, name)
    }

    /// An extension code of the `copyreg` registry: EXT1, EXT2 or EXT4.
    ///
    /// # Errors
    /// Those of the sink; 0, beyond 2^31, or below protocol 2.
    pub fn extension(&mut self, code: u32) -> Result<()> {
        if self.protocol() < 2 {
            return Err(self.emit.refused(Opcode::Ext4));
        }
        let [a, b, c, d] = code.to_le_bytes();
        match code {
            1..=0xff => self.put(&[Opcode::Ext1.byte(), a]),
            0x100..=0xffff => self.put(&[Opcode::Ext2.byte(), a, b]),
            0x1_0000..=0x7fff_ffff => self.put(&[Opcode::Ext4.byte(), a, b, c, d]),
            _ => return Err(Error::unplaced(ErrorKind::BadExtensionCode(code.into()))),
        }
        Ok(())
    }

    /// PERSID: a persistent id as text (protocol 0; from protocol 1 on Python saves the id as an
    /// object and writes BINPERSID).
    ///
    /// # Errors
    /// Those of the sink; not ASCII, or with a newline.
    pub fn persistent_id(&mut self, id: &str) -> Result<()> {
        if !id.is_ascii() || id.contains('\n') {
            return Err(Error::unplaced(ErrorKind::NotAscii));
        }
        self.ready().line(Opcode::PersId, id.as_bytes());
        Ok(())
    }

    /// The emitter, in a frame where one is due.
    #[inline(always)]
    fn ready(&mut self) -> &mut Emitter {
        if self.frame_due {
            self.open_frame();
        }
        &mut self.emit
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        self.ready().buffer.extend_from_slice(bytes);
    }

    #[cold]
    #[inline(never)]
    fn open_frame(&mut self) {
        self.frame_due = false;
        self.frame = Some(self.emit.buffer.len());
        self.emit.buffer.extend_from_slice(&[0; FRAME_HEADER_SIZE]);
    }

    /// Closes the open frame; a tiny one loses its header.
    fn commit_frame(&mut self) {
        let Some(start) = self.frame.take() else {
            return;
        };
        self.frame_due = self.framing;
        let body = start + FRAME_HEADER_SIZE;
        let length = self.emit.buffer.len().saturating_sub(body);
        if length < FRAME_SIZE_MIN {
            self.emit.buffer.drain(start..body);
            return;
        }
        if let Some((opcode, size)) =
            self.emit.buffer.get_mut(start..body).and_then(<[u8]>::split_first_mut)
        {
            *opcode = Opcode::Frame.byte();
            size.copy_from_slice(&(length as u64).to_le_bytes());
        }
    }

    /// Hands the buffer to the sink. No frame may be open.
    fn flush_buffer(&mut self) -> Result<()> {
        if W::TAKES {
            self.sink.take(&self.emit.buffer)?;
            self.written += self.emit.buffer.len() as u64;
            self.emit.buffer.clear();
        }
        self.base = self.emit.buffer.len();
        Ok(())
    }
}

impl Writer<InMemory> {
    /// What was written; an open frame is closed.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.commit_frame();
        self.emit.buffer
    }
}

/// What a container's items are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// One item (or pair) without a MARK, then APPEND or SETITEM.
    One,
    /// MARK, so many items (or pairs), then APPENDS, SETITEMS or ADDITEMS. C ends some
    /// containers with a batch of none.
    Many(usize),
}

/// Whose batches: C cuts each kind of container in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchStyle {
    /// An exact list: a second batch of one is still a batch.
    List,
    /// An exact dict: a size that is a multiple of 1000 ends with an empty batch.
    Dict,
    /// A set: as a dict, but a single item is a batch too.
    Set,
    /// Items from an iterator (list and dict subclasses, `__reduce__`'s fourth and fifth part):
    /// a batch that turns out to hold one item is APPEND or SETITEM.
    Iterated,
}

/// The batches in which C writes `len` items (or pairs) at this protocol.
///
/// At protocol 0 every item stands alone. The sum of all batches is `len`.
pub fn batches(style: BatchStyle, protocol: u8, len: usize) -> Batches {
    Batches { style, single: protocol == 0, left: len, first: true, trailing: false }
}

/// The iterator of [`batches`].
#[derive(Clone, Copy, Debug)]
pub struct Batches {
    style: BatchStyle,
    single: bool,
    left: usize,
    first: bool,
    /// A full batch went before, and the style looks for more without knowing.
    trailing: bool,
}

impl Iterator for Batches {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.left == 0 {
            return std::mem::take(&mut self.trailing).then_some(Batch::Many(0));
        }
        let first = std::mem::take(&mut self.first);
        let alone = match self.style {
            BatchStyle::List | BatchStyle::Dict => first && self.left == 1,
            BatchStyle::Set => false,
            BatchStyle::Iterated => self.left == 1,
        };
        if self.single || alone {
            self.left -= 1;
            return Some(Batch::One);
        }
        let count = self.left.min(BATCH_SIZE);
        self.left -= count;
        self.trailing =
            count == BATCH_SIZE && matches!(self.style, BatchStyle::Dict | BatchStyle::Set);
        Some(Batch::Many(count))
    }
}
