//! The reader: one pickle's opcodes out of a slice, borrowed, one at a time.
//!
//! It checks every argument as CPython's C unpickler does and allocates nothing. It keeps no
//! stack and no memo (see [`machine`](crate::machine)), and never looks past a pickle's STOP.

use crate::arg::{Arg, GlobalName};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;
use crate::opcode::{HIGHEST_PROTOCOL, Opcode, with_opcode_table};
use crate::str::PickleStr;
use crate::text::{self, IntLiteral};

/// One opcode of a pickle, with its argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Op<'a> {
    /// Where its byte stands, in bytes from the input's start.
    pub offset: u64,
    /// Where the next opcode stands: the end of its argument.
    pub end: u64,
    /// The opcode.
    pub opcode: Opcode,
    /// Its argument.
    pub arg: Arg<'a>,
}

/// Reads opcodes from a slice that starts with a pickle.
///
/// ```
/// use picklet_codec::{Arg, Opcode, Reader};
///
/// let mut reader = Reader::new(b"\x80\x02K\x07.rest");
/// let mut opcodes = Vec::new();
/// while let Some(op) = reader.next_op()? {
///     opcodes.push((op.offset, op.opcode, op.arg));
/// }
/// assert_eq!(opcodes[1], (2, Opcode::BinInt1, Arg::Int(7)));
/// assert_eq!(reader.rest(), b"rest");
/// # Ok::<(), picklet_codec::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The offset of the input's end.
    end: u64,
    stopped: bool,
    /// The slice is the whole input, so that a frame may not reach past it.
    whole: bool,
    limits: Limits,
}

/// What is done with an opcode. A trait and not a closure, because a closure cannot be told to
/// be inlined into all 68 arms, and called from them it costs as much as the reading.
pub(crate) trait Act<'a> {
    type Output;

    /// To be marked `#[inline(always)]`.
    fn act(self, opcode: Opcode, arg: Arg<'a>) -> Self::Output;
}

/// Gives opcode and argument as they are.
struct Give;

impl<'a> Act<'a> for Give {
    type Output = (Opcode, Arg<'a>);

    #[inline(always)]
    fn act(self, opcode: Opcode, arg: Arg<'a>) -> Self::Output {
        (opcode, arg)
    }
}

impl<'a> Reader<'a> {
    /// A reader of the pickle at the start of `input`, with the default [`Limits`].
    pub fn new(input: &'a [u8]) -> Self {
        Self::with_limits(input, Limits::default())
    }

    /// The same with limits of the caller's.
    pub fn with_limits(input: &'a [u8], limits: Limits) -> Self {
        Self { rest: input, end: input.len() as u64, stopped: false, whole: true, limits }
    }

    /// The same reader with all offsets counted from `base` bytes before the input's start, for
    /// input that is a part of something larger.
    #[must_use]
    pub fn at_offset(mut self, base: u64) -> Self {
        self.end = self.end.saturating_add(base);
        self
    }

    /// The same reader for a slice that a stream goes on behind.
    pub(crate) fn part_of_a_stream(mut self, base: u64) -> Self {
        self.whole = false;
        self.at_offset(base)
    }

    /// The offset of the next byte to be read.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.end - self.rest.len() as u64
    }

    /// The bytes not read yet: after STOP, what follows the pickle.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The limits it keeps to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Turns to the next pickle in the same input, once STOP was read. False, and nothing
    /// changes, where no bytes are left.
    pub fn next_pickle(&mut self) -> bool {
        if self.rest.is_empty() {
            return false;
        }
        self.stopped = false;
        true
    }

    /// The next opcode; `None` once STOP has been given.
    ///
    /// # Errors
    /// Whatever C `_pickle` would refuse in an opcode or its argument; see [`ErrorKind`].
    /// After an error the reader's place is not defined.
    // Inlined into its callers' loops: as a call it passed each Op through memory, at a third of the
    // speed.
    #[inline(always)]
    pub fn next_op(&mut self) -> Result<Option<Op<'a>>> {
        if self.stopped {
            return Ok(None);
        }
        let offset = self.offset();
        let (opcode, arg) = self.dispatch(Give)?;
        self.stopped = opcode == Opcode::Stop;
        Ok(Some(Op { offset, end: self.offset(), opcode, arg }))
    }

    /// Whether STOP has been read.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Reads one opcode and its argument and hands both to `act`, which is inlined into each of
    /// the 68 arms with the opcode known: what it does with a match on the opcode costs nothing.
    #[inline(always)]
    pub(crate) fn dispatch<A: Act<'a>>(&mut self, act: A) -> Result<A::Output> {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return Err(self.error(ErrorKind::EndOfInput, 0, None));
        };
        self.rest = rest;
        macro_rules! arms {
            ($($variant:ident = $byte:literal, $name:literal, $protocol:literal, $arg:ident,
               $before:tt => $after:tt, $peek:literal, $effect:ident, $doc:literal;)+) => {
                match byte {
                    $($byte => {
                        let arg = read_arg!($arg, self, Opcode::$variant);
                        Ok(act.act(Opcode::$variant, arg))
                    })+
                    _ => Err(self.error(ErrorKind::UnknownOpcode(byte), 1, None)),
                }
            };
        }
        with_opcode_table!(arms)
    }

    /// Notes that the machine met STOP.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    /// An error in an opcode of which `read` bytes were taken.
    #[cold]
    #[inline(never)]
    fn error(&self, kind: ErrorKind, read: u64, opcode: Option<Opcode>) -> Error {
        Error::new(kind, self.offset().saturating_sub(read), opcode)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self, opcode: Opcode) -> Result<[u8; N]> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(N as u64, 0, opcode));
        };
        self.rest = rest;
        Ok(*head)
    }

    /// An argument of `needed` bytes is cut, after a length field of `field` bytes.
    #[cold]
    #[inline(never)]
    fn truncated(&self, needed: u64, field: u64, opcode: Opcode) -> Error {
        let left = self.rest.len() as u64;
        self.error(ErrorKind::Truncated { needed, left }, field + 1, Some(opcode))
    }

    /// `length` bytes after a length field of `field` bytes.
    #[inline(always)]
    fn take(&mut self, length: u64, field: u64, opcode: Opcode) -> Result<&'a [u8]> {
        // A length beyond usize is beyond the slice as well.
        let split =
            usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((head, rest)) = split else {
            return Err(self.truncated(length, field, opcode));
        };
        if length > self.limits.argument_bytes {
            return Err(self.over_argument_cap(field, opcode));
        }
        self.rest = rest;
        Ok(head)
    }

    #[cold]
    #[inline(never)]
    fn over_argument_cap(&self, field: u64, opcode: Opcode) -> Error {
        let kind = ErrorKind::Limit { limit: "argument_bytes", cap: self.limits.argument_bytes };
        self.error(kind, field + 1, Some(opcode))
    }

    #[inline(always)]
    fn counted1(&mut self, opcode: Opcode) -> Result<&'a [u8]> {
        let [length] = self.array(opcode)?;
        self.take(length.into(), 1, opcode)
    }

    #[inline(always)]
    fn counted4(&mut self, opcode: Opcode) -> Result<&'a [u8]> {
        let length = u32::from_le_bytes(self.array(opcode)?);
        self.take(length.into(), 4, opcode)
    }

    /// LONG4 and BINSTRING have a signed length.
    #[inline(always)]
    fn counted4_signed(&mut self, opcode: Opcode) -> Result<&'a [u8]> {
        let length = i32::from_le_bytes(self.array(opcode)?);
        match u64::try_from(length) {
            Ok(length) => self.take(length, 4, opcode),
            Err(_) => {
                let kind = ErrorKind::NegativeLength(length.into());
                Err(self.error(kind, 5, Some(opcode)))
            }
        }
    }

    #[inline(always)]
    fn counted8(&mut self, opcode: Opcode) -> Result<&'a [u8]> {
        let length = u64::from_le_bytes(self.array(opcode)?);
        self.take(length, 8, opcode)
    }

    #[inline(always)]
    fn str_of(&self, bytes: &'a [u8], field: u64, opcode: Opcode) -> Result<Arg<'a>> {
        match PickleStr::from_bytes(bytes) {
            Some(text) => Ok(Arg::Str(text)),
            None => {
                let read = 1 + field + bytes.len() as u64;
                Err(self.error(ErrorKind::BadUtf8, read, Some(opcode)))
            }
        }
    }

    #[inline(always)]
    fn big_int(&self, bytes: &'a [u8]) -> Arg<'a> {
        match text::le_bytes_to_i64(bytes) {
            Some(value) => Arg::Int(value),
            None => Arg::BigInt(bytes),
        }
    }

    /// A line without its newline.
    fn line(&mut self, opcode: Opcode) -> Result<&'a [u8]> {
        let split = memchr::memchr(b'\n', self.rest).and_then(|at| {
            let (line, rest) = self.rest.split_at_checked(at)?;
            Some((line, rest.get(1..)?))
        });
        let Some((line, rest)) = split else {
            return Err(self.error(ErrorKind::UnterminatedLine, 1, Some(opcode)));
        };
        if line.len() as u64 > self.limits.argument_bytes {
            return Err(self.over_argument_cap(0, opcode));
        }
        self.rest = rest;
        Ok(line)
    }

    /// A line and what `parse` makes of it.
    fn parsed_line<T>(
        &mut self,
        opcode: Opcode,
        parse: impl FnOnce(&'a [u8]) -> Result<T, ErrorKind>,
    ) -> Result<T> {
        let line = self.line(opcode)?;
        parse(line).map_err(|kind| self.error(kind, line.len() as u64 + 2, Some(opcode)))
    }

    #[inline(never)]
    fn int_arg(&mut self, opcode: Opcode) -> Result<Arg<'a>> {
        let cap = self.limits.decimal_digits;
        self.parsed_line(opcode, |line| {
            let literal = match opcode {
                Opcode::Int => text::int_line(line, cap)?,
                _ => text::long_line(line, cap)?,
            };
            Ok(match literal {
                IntLiteral::Bool(value) => Arg::Bool(value),
                IntLiteral::Small(value) => Arg::Int(value),
                IntLiteral::Big => Arg::IntText(line),
            })
        })
    }

    #[inline(never)]
    fn index_arg(&mut self, opcode: Opcode) -> Result<Arg<'a>> {
        let cap = self.limits.decimal_digits;
        self.parsed_line(opcode, |line| Ok(Arg::UInt(text::index_line(line, cap)?)))
    }

    #[inline(never)]
    fn float_arg(&mut self, opcode: Opcode) -> Result<Arg<'a>> {
        self.parsed_line(opcode, |line| Ok(Arg::Float(text::float_line(line)?)))
    }

    #[inline(never)]
    fn string_arg(&mut self, opcode: Opcode) -> Result<Arg<'a>> {
        self.parsed_line(opcode, |line| {
            let inner = text::string_line(line)?;
            Ok(if text::check_string(inner)? {
                Arg::EscapedBytes(inner)
            } else {
                Arg::Bytes(inner)
            })
        })
    }

    #[inline(never)]
    fn unicode_arg(&mut self, opcode: Opcode) -> Result<Arg<'a>> {
        self.parsed_line(opcode, |line| {
            if text::check_unicode(line)? {
                return Ok(Arg::EscapedStr(line));
            }
            let text = std::str::from_utf8(line).map_err(|_| ErrorKind::BadUtf8)?;
            Ok(Arg::Str(text.into()))
        })
    }

    #[inline(never)]
    fn ascii_line_arg(&mut self, opcode: Opcode) -> Result<Arg<'a>> {
        self.parsed_line(opcode, |line| {
            let text = std::str::from_utf8(line).map_err(|_| ErrorKind::NotAscii)?;
            if !text.is_ascii() {
                return Err(ErrorKind::NotAscii);
            }
            Ok(Arg::Line(text))
        })
    }

    /// Two lines: a module and a name, in UTF-8, or in ASCII for INST.
    #[inline(never)]
    fn global_arg(&mut self, opcode: Opcode, ascii: bool) -> Result<Arg<'a>> {
        let both = self.rest;
        let module = self.line(opcode)?.len();
        let name = self.line(opcode)?.len();
        let read = (module + name) as u64 + 3;
        let kind = if module == 0 || name == 0 {
            ErrorKind::EmptyLine
        } else {
            let lines = both.get(..module + 1 + name).unwrap_or_default();
            match std::str::from_utf8(lines) {
                Ok(lines) if !ascii || lines.is_ascii() => {
                    return Ok(Arg::Global(GlobalName::new(lines)));
                }
                Ok(_) => ErrorKind::NotAscii,
                Err(_) => ErrorKind::BadUtf8,
            }
        };
        Err(self.error(kind, read, Some(opcode)))
    }

    #[inline(always)]
    fn extension(&self, code: i64, field: u64, opcode: Opcode) -> Result<Arg<'a>> {
        match u64::try_from(code) {
            Ok(code @ 1..) => Ok(Arg::UInt(code)),
            _ => {
                let kind = ErrorKind::BadExtensionCode(code);
                Err(self.error(kind, field + 1, Some(opcode)))
            }
        }
    }

    /// FRAME is a hint to the reader; C refuses one that reaches past the input.
    fn frame(&mut self, opcode: Opcode) -> Result<Arg<'a>> {
        let length = u64::from_le_bytes(self.array(opcode)?);
        if self.whole && length > self.rest.len() as u64 {
            return Err(self.truncated(length, 8, opcode));
        }
        Ok(Arg::UInt(length))
    }

    fn protocol(&mut self, opcode: Opcode) -> Result<Arg<'a>> {
        let [version] = self.array(opcode)?;
        if version > HIGHEST_PROTOCOL {
            let kind = ErrorKind::UnsupportedProtocol(version);
            return Err(self.error(kind, 2, Some(opcode)));
        }
        Ok(Arg::UInt(version.into()))
    }
}

/// The argument of each kind.
macro_rules! read_arg {
    (None, $reader:ident, $opcode:expr) => {
        Arg::None
    };
    (Uint1, $reader:ident, $opcode:expr) => {
        Arg::Int(u8::from_le_bytes($reader.array($opcode)?).into())
    };
    (Uint2, $reader:ident, $opcode:expr) => {
        Arg::Int(u16::from_le_bytes($reader.array($opcode)?).into())
    };
    (Int4, $reader:ident, $opcode:expr) => {
        Arg::Int(i32::from_le_bytes($reader.array($opcode)?).into())
    };
    (Float8, $reader:ident, $opcode:expr) => {
        Arg::Float(f64::from_be_bytes($reader.array($opcode)?))
    };
    (Protocol1, $reader:ident, $opcode:expr) => {
        $reader.protocol($opcode)?
    };
    (FrameLength8, $reader:ident, $opcode:expr) => {
        $reader.frame($opcode)?
    };
    (Index1, $reader:ident, $opcode:expr) => {
        Arg::UInt(u8::from_le_bytes($reader.array($opcode)?).into())
    };
    (Index4, $reader:ident, $opcode:expr) => {
        Arg::UInt(u32::from_le_bytes($reader.array($opcode)?).into())
    };
    (IndexLine, $reader:ident, $opcode:expr) => {
        $reader.index_arg($opcode)?
    };
    (Extension1, $reader:ident, $opcode:expr) => {{
        let code = u8::from_le_bytes($reader.array($opcode)?);
        $reader.extension(code.into(), 1, $opcode)?
    }};
    (Extension2, $reader:ident, $opcode:expr) => {{
        let code = u16::from_le_bytes($reader.array($opcode)?);
        $reader.extension(code.into(), 2, $opcode)?
    }};
    (Extension4, $reader:ident, $opcode:expr) => {{
        let code = i32::from_le_bytes($reader.array($opcode)?);
        $reader.extension(code.into(), 4, $opcode)?
    }};
    (IntLine, $reader:ident, $opcode:expr) => {
        $reader.int_arg($opcode)?
    };
    (LongLine, $reader:ident, $opcode:expr) => {
        $reader.int_arg($opcode)?
    };
    (FloatLine, $reader:ident, $opcode:expr) => {
        $reader.float_arg($opcode)?
    };
    (Long1, $reader:ident, $opcode:expr) => {{
        let bytes = $reader.counted1($opcode)?;
        $reader.big_int(bytes)
    }};
    (Long4, $reader:ident, $opcode:expr) => {{
        let bytes = $reader.counted4_signed($opcode)?;
        $reader.big_int(bytes)
    }};
    (StringLine, $reader:ident, $opcode:expr) => {
        $reader.string_arg($opcode)?
    };
    (String1, $reader:ident, $opcode:expr) => {
        Arg::Bytes($reader.counted1($opcode)?)
    };
    (String4, $reader:ident, $opcode:expr) => {
        Arg::Bytes($reader.counted4_signed($opcode)?)
    };
    (Bytes1, $reader:ident, $opcode:expr) => {
        Arg::Bytes($reader.counted1($opcode)?)
    };
    (Bytes4, $reader:ident, $opcode:expr) => {
        Arg::Bytes($reader.counted4($opcode)?)
    };
    (Bytes8, $reader:ident, $opcode:expr) => {
        Arg::Bytes($reader.counted8($opcode)?)
    };
    (ByteArray8, $reader:ident, $opcode:expr) => {
        Arg::Bytes($reader.counted8($opcode)?)
    };
    (UnicodeLine, $reader:ident, $opcode:expr) => {
        $reader.unicode_arg($opcode)?
    };
    (Unicode1, $reader:ident, $opcode:expr) => {{
        let bytes = $reader.counted1($opcode)?;
        $reader.str_of(bytes, 1, $opcode)?
    }};
    (Unicode4, $reader:ident, $opcode:expr) => {{
        let bytes = $reader.counted4($opcode)?;
        $reader.str_of(bytes, 4, $opcode)?
    }};
    (Unicode8, $reader:ident, $opcode:expr) => {{
        let bytes = $reader.counted8($opcode)?;
        $reader.str_of(bytes, 8, $opcode)?
    }};
    (AsciiLine, $reader:ident, $opcode:expr) => {
        $reader.ascii_line_arg($opcode)?
    };
    (LinePair, $reader:ident, $opcode:expr) => {
        $reader.global_arg($opcode, false)?
    };
    (AsciiLinePair, $reader:ident, $opcode:expr) => {
        $reader.global_arg($opcode, true)?
    };
}
use read_arg;
