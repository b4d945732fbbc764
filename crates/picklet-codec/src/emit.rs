//! One opcode at the end of a buffer: which of several says a value at a protocol, and its bytes.
//!
//! The choices are C's (`save_*` in `Modules/_pickle.c`). Nothing here cuts frames, counts a memo
//! or knows a sink: that is [`Writer`](crate::Writer)'s part, and that of serde's serializer,
//! which has other rules for frames. Everything that is emitted per value is inlined and ends in
//! the copy of an array whose length is known, which is a store or two.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::DEFAULT_DECIMAL_DIGITS;
use crate::opcode::{HIGHEST_PROTOCOL, Opcode};
use crate::str::PickleStr;
use crate::text;

/// Room at the start: a small pickle grows its buffer once or twice rather than eight times.
pub(crate) const FIRST_BYTES: usize = 256;

/// A buffer of opcodes, at one protocol.
///
/// ```
/// use picklet_codec::emit::Emitter;
///
/// let mut emit = Emitter::new(2)?;
/// emit.int(-1);
/// emit.int(1 << 40);
/// assert_eq!(emit.buffer, b"J\xff\xff\xff\xff\x8a\x06\0\0\0\0\0\x01");
/// # Ok::<(), picklet_codec::Error>(())
/// ```
#[derive(Debug)]
pub struct Emitter {
    /// What was emitted, and what the caller did not take away.
    pub buffer: Vec<u8>,
    protocol: u8,
    pub(crate) digit_cap: u64,
}

/// An opcode with a length, and how many of the nine bytes it takes.
pub type Header = ([u8; 9], usize);

impl Emitter {
    /// An empty buffer, at a protocol from 0 to 5.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedProtocol`].
    pub fn new(protocol: u8) -> Result<Self> {
        Self::with_capacity(protocol, FIRST_BYTES)
    }

    /// The same with room for so many bytes.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedProtocol`].
    pub fn with_capacity(protocol: u8, bytes: usize) -> Result<Self> {
        if protocol > HIGHEST_PROTOCOL {
            return Err(Error::unplaced(ErrorKind::UnsupportedProtocol(protocol)));
        }
        Ok(Self { buffer: Vec::with_capacity(bytes), protocol, digit_cap: DEFAULT_DECIMAL_DIGITS })
    }

    /// The protocol.
    #[inline(always)]
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.buffer.extend_from_slice(&bytes);
    }

    pub(crate) fn line(&mut self, opcode: Opcode, line: &[u8]) {
        self.buffer.push(opcode.byte());
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
    }

    /// An opcode without an argument.
    ///
    /// # Errors
    /// [`ErrorKind::Custom`] for an opcode that takes an argument or that the protocol lacks.
    #[inline(always)]
    pub fn op(&mut self, opcode: Opcode) -> Result<()> {
        let info = opcode.info();
        if info.arg != crate::ArgKind::None || info.protocol > self.protocol {
            return Err(self.refused(opcode));
        }
        self.put([opcode.byte()]);
        Ok(())
    }

    /// MARK, which every protocol has.
    #[inline(always)]
    pub fn mark(&mut self) {
        self.put([Opcode::Mark.byte()]);
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn refused(&self, opcode: Opcode) -> Error {
        let reason = if opcode.info().arg == crate::ArgKind::None {
            format!("{opcode} does not exist at protocol {}", self.protocol)
        } else {
            format!("{opcode} takes an argument")
        };
        Error::custom(reason)
    }

    /// `None`.
    #[inline(always)]
    pub fn none(&mut self) {
        self.put([Opcode::None.byte()]);
    }

    /// `True` or `False`: opcodes from protocol 2 on, `I01` and `I00` below.
    #[inline(always)]
    pub fn bool(&mut self, value: bool) {
        if self.protocol >= 2 {
            // NEWFALSE follows NEWTRUE.
            return self.put([Opcode::NewFalse.byte() - u8::from(value)]);
        }
        self.put([Opcode::Int.byte(), b'0', b'0' + u8::from(value), b'\n']);
    }

    /// An int.
    #[inline(always)]
    pub fn int(&mut self, value: i64) {
        if self.protocol == 0 {
            return self.int_line(value);
        }
        let (opcode, length) = if value.cast_unsigned() <= 0xff {
            (Opcode::BinInt1, 2)
        } else if value.cast_unsigned() <= 0xffff {
            (Opcode::BinInt2, 3)
        } else if i64::from(value as i32) == value {
            (Opcode::BinInt, 5)
        } else {
            return self.long_int(value);
        };
        // One store of all that it may take, and what it does not take is cut off again: less
        // than a check of the room for each length.
        let end = self.buffer.len() + length;
        self.put((value << 8 | i64::from(opcode.byte())).to_le_bytes());
        self.buffer.truncate(end);
    }

    /// LONG1 of an int outside 32 bits.
    #[inline(always)]
    fn long_int(&mut self, value: i64) {
        if self.protocol < 2 {
            return self.int_line(value);
        }
        // Its bits and one for the sign, in whole bytes: 5 to 8.
        let length = (72 - (value ^ value >> 63).leading_zeros()) / 8;
        let end = self.buffer.len() + 2 + length as usize;
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.put([Opcode::Long1.byte(), length as u8, a, b, c, d, e, f, g, h]);
        self.buffer.truncate(end);
    }

    /// INT, or LONG where it takes more than 32 bits.
    #[cold]
    #[inline(never)]
    fn int_line(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value);
        if i32::try_from(value).is_ok() {
            return self.line(Opcode::Int, digits.as_bytes());
        }
        self.line(Opcode::Long, format!("{digits}L").as_bytes());
    }

    /// An int of any size, as two's complement, little-endian; padding does no harm.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] at protocols 0 and 1, where it would take more decimal digits than
    /// the cap; an int of 2 GiB or more.
    pub fn big_int(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(value) = text::le_bytes_to_i64(bytes) {
            self.int(value);
            return Ok(());
        }
        let bytes = text::trim_le_bytes(bytes);
        if self.protocol < 2 {
            if text::decimal_digits_of(bytes.len()) > self.digit_cap.saturating_add(2) {
                let (limit, cap) = ("decimal_digits", self.digit_cap);
                return Err(Error::unplaced(ErrorKind::Limit { limit, cap }));
            }
            let mut digits = text::le_bytes_to_decimal(bytes);
            digits.push('L');
            self.line(Opcode::Long, digits.as_bytes());
            return Ok(());
        }
        if let Ok(length) = u8::try_from(bytes.len()) {
            self.put([Opcode::Long1.byte(), length]);
        } else if let Ok(length) = i32::try_from(bytes.len()) {
            let [a, b, c, d] = length.to_le_bytes();
            self.put([Opcode::Long4.byte(), a, b, c, d]);
        } else {
            return Err(Error::custom("int too large to pickle"));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// A float: eight bytes, or its `repr` at protocol 0.
    #[inline(always)]
    pub fn float(&mut self, value: f64) {
        if self.protocol == 0 {
            return self.float_line(value);
        }
        let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
        self.put([Opcode::BinFloat.byte(), a, b, c, d, e, f, g, h]);
    }

    #[cold]
    #[inline(never)]
    fn float_line(&mut self, value: f64) {
        self.line(Opcode::Float, text::float_repr(value).as_bytes());
    }

    /// A str.
    ///
    /// # Errors
    /// 4 GiB or more below protocol 4.
    #[inline(always)]
    pub fn str(&mut self, value: PickleStr<'_>) -> Result<()> {
        let bytes = value.as_bytes();
        if self.protocol >= 4
            && let Ok(length) = u8::try_from(bytes.len())
        {
            self.short(Opcode::ShortBinUnicode, length, bytes);
            return Ok(());
        }
        self.long_str(value)
    }

    #[inline(never)]
    fn long_str(&mut self, value: PickleStr<'_>) -> Result<()> {
        if self.protocol == 0 {
            self.line(Opcode::Unicode, &text::escape_unicode(value));
            return Ok(());
        }
        self.headed(self.str_header(value.as_bytes().len())?, value.as_bytes());
        Ok(())
    }

    /// Bytes, from protocol 3 on. (Below it, Python writes a call of `_codecs.encode`.)
    ///
    /// # Errors
    /// Below protocol 3; 4 GiB or more at protocol 3.
    #[inline(always)]
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if self.protocol >= 3
            && let Ok(length) = u8::try_from(bytes.len())
        {
            self.short(Opcode::ShortBinBytes, length, bytes);
            return Ok(());
        }
        self.headed(self.bytes_header(bytes.len())?, bytes);
        Ok(())
    }

    /// A Python 2 str: STRING at protocol 0, SHORT_BINSTRING or BINSTRING from protocol 1 on.
    ///
    /// # Errors
    /// 2 GiB or more.
    pub fn string(&mut self, bytes: &[u8]) -> Result<()> {
        if self.protocol == 0 {
            self.line(Opcode::String, &text::quote_string(bytes));
            return Ok(());
        }
        self.headed(self.string_header(bytes.len())?, bytes);
        Ok(())
    }

    /// Up to 255 bytes under an opcode with a length of one byte.
    #[inline(always)]
    fn short(&mut self, opcode: Opcode, length: u8, bytes: &[u8]) {
        self.put([opcode.byte(), length]);
        self.buffer.extend_from_slice(bytes);
    }

    fn headed(&mut self, (header, length): Header, bytes: &[u8]) {
        self.buffer.extend_from_slice(header.get(..length).unwrap_or_default());
        self.buffer.extend_from_slice(bytes);
    }

    /// What stands before a str's bytes, from protocol 1 on.
    ///
    /// # Errors
    /// 4 GiB or more below protocol 4.
    pub fn str_header(&self, length: usize) -> Result<Header> {
        let modern = self.protocol >= 4;
        let (one, eight) = (Opcode::ShortBinUnicode, Opcode::BinUnicode8);
        header(modern.then_some(one), Opcode::BinUnicode, modern.then_some(eight), length)
    }

    /// What stands before bytes.
    ///
    /// # Errors
    /// Below protocol 3; 4 GiB or more at protocol 3.
    pub fn bytes_header(&self, length: usize) -> Result<Header> {
        if self.protocol < 3 {
            return Err(self.refused(Opcode::BinBytes));
        }
        let eight = (self.protocol >= 4).then_some(Opcode::BinBytes8);
        header(Some(Opcode::ShortBinBytes), Opcode::BinBytes, eight, length)
    }

    /// What stands before a bytearray's bytes, at protocol 5.
    pub(crate) fn byte_array_header(&self, length: usize) -> Result<Header> {
        if self.protocol < 5 {
            return Err(self.refused(Opcode::ByteArray8));
        }
        let [a, b, c, d, e, f, g, h] = (length as u64).to_le_bytes();
        Ok(([Opcode::ByteArray8.byte(), a, b, c, d, e, f, g, h], 9))
    }

    /// What stands before the bytes of a Python 2 str, from protocol 1 on.
    pub(crate) fn string_header(&self, length: usize) -> Result<Header> {
        if i32::try_from(length).is_err() {
            return Err(Error::custom("a Python 2 str of 2 GiB or more has no opcode"));
        }
        header(Some(Opcode::ShortBinString), Opcode::BinString, None, length)
    }

    /// The top of the stack to the memo: MEMOIZE from protocol 4 on, below it a PUT of `index`.
    ///
    /// # Errors
    /// An index beyond 2^32 at protocols 1 to 3.
    #[inline(always)]
    pub fn memoize(&mut self, index: u64) -> Result<()> {
        if self.protocol >= 4 {
            self.put([Opcode::Memoize.byte()]);
            return Ok(());
        }
        self.put_index(index)
    }

    /// PUT, BINPUT or LONG_BINPUT.
    ///
    /// # Errors
    /// An index beyond 2^32 from protocol 1 on.
    pub fn put_index(&mut self, index: u64) -> Result<()> {
        self.indexed(Opcode::Put, Opcode::BinPut, Opcode::LongBinPut, index)
    }

    /// Pushes the memo's entry `index`: GET, BINGET or LONG_BINGET.
    ///
    /// # Errors
    /// An index beyond 2^32 from protocol 1 on.
    #[inline(always)]
    pub fn get(&mut self, index: u64) -> Result<()> {
        self.indexed(Opcode::Get, Opcode::BinGet, Opcode::LongBinGet, index)
    }

    #[inline(always)]
    fn indexed(&mut self, line: Opcode, one: Opcode, four: Opcode, index: u64) -> Result<()> {
        if self.protocol == 0 {
            let mut digits = itoa::Buffer::new();
            self.line(line, digits.format(index).as_bytes());
        } else if let Ok(index) = u8::try_from(index) {
            self.put([one.byte(), index]);
        } else if let Ok(index) = u32::try_from(index) {
            let [a, b, c, d] = index.to_le_bytes();
            self.put([four.byte(), a, b, c, d]);
        } else {
            return Err(Error::custom(format!("the memo index {index} has no opcode")));
        }
        Ok(())
    }

    /// An empty list: its opcode, or MARK LIST at protocol 0.
    #[inline(always)]
    pub fn empty_list(&mut self) {
        self.empty(Opcode::EmptyList, Opcode::List);
    }

    /// An empty dict: its opcode, or MARK DICT at protocol 0.
    #[inline(always)]
    pub fn empty_dict(&mut self) {
        self.empty(Opcode::EmptyDict, Opcode::Dict);
    }

    /// The empty tuple: its opcode, or MARK TUPLE at protocol 0.
    #[inline(always)]
    pub fn empty_tuple(&mut self) {
        self.empty(Opcode::EmptyTuple, Opcode::Tuple);
    }

    #[inline(always)]
    fn empty(&mut self, opcode: Opcode, closing: Opcode) {
        if self.protocol == 0 {
            self.put([Opcode::Mark.byte(), closing.byte()]);
        } else {
            self.put([opcode.byte()]);
        }
    }

    /// Whether a tuple of `len` items (at least one) starts with a MARK at this protocol; up to
    /// three items need none from protocol 2 on.
    #[inline(always)]
    pub fn tuple_needs_mark(&self, len: usize) -> bool {
        self.protocol < 2 || len > 3
    }

    /// The opcode that ends a tuple of `len` items (at least one): TUPLE1, TUPLE2, TUPLE3 or
    /// TUPLE.
    #[inline(always)]
    pub fn end_tuple(&mut self, len: usize) {
        let opcode = match len {
            _ if self.tuple_needs_mark(len) => Opcode::Tuple,
            1 => Opcode::Tuple1,
            2 => Opcode::Tuple2,
            _ => Opcode::Tuple3,
        };
        self.put([opcode.byte()]);
    }

    /// GLOBAL: a module and a name, as text.
    ///
    /// # Errors
    /// A newline in either, or nothing in it.
    pub fn global(&mut self, module: &str, name: &str) -> Result<()> {
        self.line_pair(Opcode::Global, module, name)
    }

    pub(crate) fn line_pair(&mut self, opcode: Opcode, module: &str, name: &str) -> Result<()> {
        if module.is_empty() || name.is_empty() {
            return Err(Error::unplaced(ErrorKind::EmptyLine));
        }
        if module.contains('\n') || name.contains('\n') {
            return Err(Error::custom("a global's name holds a newline"));
        }
        self.line(opcode, module.as_bytes());
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.push(b'\n');
        Ok(())
    }
}

/// The opcode that suits a length, and the length.
fn header(
    one: Option<Opcode>,
    four: Opcode,
    eight: Option<Opcode>,
    length: usize,
) -> Result<Header> {
    let [a, b, c, d, e, f, g, h] = (length as u64).to_le_bytes();
    if let (Some(opcode), Ok(_)) = (one, u8::try_from(length)) {
        return Ok(([opcode.byte(), a, 0, 0, 0, 0, 0, 0, 0], 2));
    }
    if u32::try_from(length).is_ok() {
        return Ok(([four.byte(), a, b, c, d, 0, 0, 0, 0], 5));
    }
    match eight {
        Some(opcode) => Ok(([opcode.byte(), a, b, c, d, e, f, g, h], 9)),
        None => {
            Err(Error::custom(format!("{length} bytes in one object need protocol 4 or higher")))
        }
    }
}
