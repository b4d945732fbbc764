//! The arguments that follow opcodes: their kinds as the table names them, and what the reader
//! makes of them.
//!
//! [`Arg`] borrows from the input and is never larger than three words. Literals that need
//! work to decode (escapes, huge decimals) stay text here, already checked; the functions of
//! [`text`](crate::text) decode them.

use crate::str::PickleStr;

/// How an opcode's argument is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgKind {
    /// Nothing follows the opcode.
    None,
    /// One byte, unsigned: a value.
    Uint1,
    /// Two bytes, little-endian, unsigned: a value.
    Uint2,
    /// Four bytes, little-endian, signed: a value.
    Int4,
    /// Eight bytes, big-endian IEEE 754.
    Float8,
    /// One byte: a protocol version.
    Protocol1,
    /// Eight bytes, little-endian, unsigned: the length of a frame.
    FrameLength8,
    /// One byte: a memo index.
    Index1,
    /// Four bytes, little-endian, unsigned: a memo index.
    Index4,
    /// A decimal line: a memo index.
    IndexLine,
    /// One byte: an extension code.
    Extension1,
    /// Two bytes, little-endian: an extension code.
    Extension2,
    /// Four bytes, little-endian, signed: an extension code.
    Extension4,
    /// A line: an int in C's or Python's notation, or `00`, `01` for a bool.
    IntLine,
    /// A line: an int in Python's notation, usually with a trailing `L`.
    LongLine,
    /// A line: a float.
    FloatLine,
    /// One byte of length, then a two's complement little-endian int.
    Long1,
    /// Four bytes of signed length, then a two's complement little-endian int.
    Long4,
    /// A line: a quoted Python 2 str with escapes.
    StringLine,
    /// One byte of length, then a Python 2 str.
    String1,
    /// Four bytes of signed length, then a Python 2 str.
    String4,
    /// One byte of length, then bytes.
    Bytes1,
    /// Four bytes of length, then bytes.
    Bytes4,
    /// Eight bytes of length, then bytes.
    Bytes8,
    /// Eight bytes of length, then a bytearray.
    ByteArray8,
    /// A line: a str in Latin-1 with `\u` and `\U` escapes.
    UnicodeLine,
    /// One byte of length, then a str in UTF-8 with surrogates passed through.
    Unicode1,
    /// Four bytes of length, then a str.
    Unicode4,
    /// Eight bytes of length, then a str.
    Unicode8,
    /// A line: an ASCII persistent id.
    AsciiLine,
    /// Two lines of UTF-8: a module and a name in it.
    LinePair,
    /// Two lines of ASCII: a module and a name in it.
    AsciiLinePair,
}

impl ArgKind {
    /// The name `pickletools` gives this kind (it tells fewer apart), or `None` for no argument.
    pub const fn pickletools_name(self) -> Option<&'static str> {
        Some(match self {
            Self::None => return None,
            Self::Uint1 | Self::Protocol1 | Self::Index1 | Self::Extension1 => "uint1",
            Self::Uint2 | Self::Extension2 => "uint2",
            Self::Int4 | Self::Extension4 => "int4",
            Self::Index4 => "uint4",
            Self::FrameLength8 => "uint8",
            Self::Float8 => "float8",
            Self::IndexLine | Self::IntLine => "decimalnl_short",
            Self::LongLine => "decimalnl_long",
            Self::FloatLine => "floatnl",
            Self::Long1 => "long1",
            Self::Long4 => "long4",
            Self::StringLine => "stringnl",
            Self::String1 => "string1",
            Self::String4 => "string4",
            Self::Bytes1 => "bytes1",
            Self::Bytes4 => "bytes4",
            Self::Bytes8 => "bytes8",
            Self::ByteArray8 => "bytearray8",
            Self::UnicodeLine => "unicodestringnl",
            Self::Unicode1 => "unicodestring1",
            Self::Unicode4 => "unicodestring4",
            Self::Unicode8 => "unicodestring8",
            Self::AsciiLine => "stringnl_noescape",
            Self::LinePair | Self::AsciiLinePair => "stringnl_noescape_pair",
        })
    }

    /// How many bytes, or lines, the argument takes.
    pub const fn extent(self) -> ArgExtent {
        match self {
            Self::None => ArgExtent::Bytes(0),
            Self::Uint1 | Self::Protocol1 | Self::Index1 | Self::Extension1 => ArgExtent::Bytes(1),
            Self::Uint2 | Self::Extension2 => ArgExtent::Bytes(2),
            Self::Int4 | Self::Index4 | Self::Extension4 => ArgExtent::Bytes(4),
            Self::Float8 | Self::FrameLength8 => ArgExtent::Bytes(8),
            Self::IndexLine
            | Self::IntLine
            | Self::LongLine
            | Self::FloatLine
            | Self::StringLine
            | Self::UnicodeLine
            | Self::AsciiLine => ArgExtent::Lines(1),
            Self::LinePair | Self::AsciiLinePair => ArgExtent::Lines(2),
            Self::Long1 | Self::String1 | Self::Bytes1 | Self::Unicode1 => ArgExtent::Counted(1),
            Self::Long4 | Self::String4 | Self::Bytes4 | Self::Unicode4 => ArgExtent::Counted(4),
            Self::Bytes8 | Self::ByteArray8 | Self::Unicode8 => ArgExtent::Counted(8),
        }
    }
}

/// How far an argument reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgExtent {
    /// This many bytes.
    Bytes(u8),
    /// This many lines, each with its newline.
    Lines(u8),
    /// A length field of this many bytes, then as many bytes as it says.
    Counted(u8),
}

/// An opcode's argument, borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Arg<'a> {
    /// The opcode has none.
    None,
    /// INT's `00` or `01`.
    Bool(bool),
    /// An int value.
    Int(i64),
    /// A memo index, an extension code, a protocol version or a frame's length.
    UInt(u64),
    /// An int as two's complement, little-endian; no bytes is 0.
    BigInt(&'a [u8]),
    /// An int literal outside `i64`, checked: [`text::int_text_to_le_bytes`](crate::text) reads it.
    IntText(&'a [u8]),
    /// A float.
    Float(f64),
    /// The content of bytes, of a bytearray, or of a Python 2 str.
    Bytes(&'a [u8]),
    /// A Python 2 str between its quotes, with escapes, checked:
    /// [`text::unescape_string`](crate::text) reads it.
    EscapedBytes(&'a [u8]),
    /// A str.
    Str(PickleStr<'a>),
    /// A str as Latin-1 with `\u` escapes, checked:
    /// [`text::unescape_unicode`](crate::text) reads it.
    EscapedStr(&'a [u8]),
    /// A persistent id: ASCII, without its newline.
    Line(&'a str),
    /// A module and a name in it.
    Global(GlobalName<'a>),
}

/// The two lines of GLOBAL and INST.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GlobalName<'a> {
    lines: &'a str,
}

impl<'a> GlobalName<'a> {
    /// `lines` is `module`, a newline and `name`.
    #[inline]
    pub(crate) fn new(lines: &'a str) -> Self {
        Self { lines }
    }

    /// The module and the name.
    #[inline]
    pub fn split(self) -> (&'a str, &'a str) {
        self.lines.split_once('\n').unwrap_or((self.lines, ""))
    }

    /// The module.
    pub fn module(self) -> &'a str {
        self.split().0
    }

    /// The name, dots included.
    pub fn name(self) -> &'a str {
        self.split().1
    }
}
