//! The codec's one error: what went wrong, at which byte, in which opcode.
//!
//! [`Error`] is one boxed word, so that a `Result` of a small value stays small. Its text is
//! one line that ends with the byte offset. The names of files belong to the caller.

use std::fmt;

use crate::opcode::Opcode;

/// The codec's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong with a pickle, and where.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    offset: u64,
    opcode: Option<Opcode>,
}

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input ended where an opcode should stand: there is no STOP. CPython: `EOFError`.
    EndOfInput,
    /// An argument is longer than what is left of the input.
    Truncated {
        /// Bytes the argument needs.
        needed: u64,
        /// Bytes that were left.
        left: u64,
    },
    /// A text argument has no newline before the input's end.
    UnterminatedLine,
    /// A text argument that may not be empty is.
    EmptyLine,
    /// No opcode has this byte.
    UnknownOpcode(u8),
    /// A length field is negative.
    NegativeLength(i64),
    /// PROTO names a protocol above 5.
    UnsupportedProtocol(u8),
    /// A text integer cannot be read.
    BadInt,
    /// A text float cannot be read.
    BadFloat,
    /// A text float lies outside what a float holds. CPython: `OverflowError`.
    FloatOverflow,
    /// STRING's argument does not stand between two equal quotes.
    UnquotedString,
    /// STRING's argument holds a backslash escape that Python does not have.
    BadStringEscape,
    /// UNICODE's argument holds a `\u` or `\U` escape without all its hex digits, or past
    /// U+10FFFF.
    BadUnicodeEscape,
    /// A str argument is not UTF-8 (lone surrogates are let through where Python does).
    BadUtf8,
    /// A text argument that must be ASCII is not.
    NotAscii,
    /// An extension code is zero or negative.
    BadExtensionCode(i64),
    /// A PUT index is negative or beyond 63 bits.
    BadMemoIndex,
    /// An opcode needs more objects than the stack holds above the topmost mark.
    StackUnderflow {
        /// Whether a mark stands where the object should.
        at_mark: bool,
    },
    /// An opcode that ends at a mark found none open.
    NoMark,
    /// GET names a memo entry that was never stored.
    MemoMissing(u64),
    /// An odd number of objects stands where keys and values should alternate.
    OddItems,
    /// An operand has a type the opcode cannot work on; the text says which and what.
    WrongType(Box<str>),
    /// NEXT_BUFFER, and the caller gave no (or no more) buffers.
    NoBuffer,
    /// A cap of [`Limits`](crate::Limits) was met.
    Limit {
        /// The field of `Limits` that holds the cap.
        limit: &'static str,
        /// The cap's value.
        cap: u64,
    },
    /// Memory could not be had.
    OutOfMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// Reading or writing failed underneath.
    Io(std::io::Error),
    /// A consumer of the codec refused; the text is its own.
    Custom(Box<str>),
}

impl Error {
    /// An error of `kind` at byte `offset`, in `opcode` where one was being read.
    #[cold]
    #[inline(never)]
    pub fn new(kind: ErrorKind, offset: u64, opcode: Option<Opcode>) -> Self {
        Self(Box::new(Inner { kind, offset, opcode }))
    }

    /// An error with a text of the caller's own, for builders that refuse a value. The machine
    /// fills in where it happened.
    #[cold]
    #[inline(never)]
    pub fn custom(text: impl Into<Box<str>>) -> Self {
        Self::new(ErrorKind::Custom(text.into()), u64::MAX, None)
    }

    /// An error of a kind whose place the machine fills in.
    #[cold]
    #[inline(never)]
    pub fn unplaced(kind: ErrorKind) -> Self {
        Self::new(kind, u64::MAX, None)
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// What went wrong, by value.
    pub fn into_kind(self) -> ErrorKind {
        self.0.kind
    }

    /// The byte offset of the opcode at fault from the input's start, or where the input ended;
    /// `None` for errors that have no place in a pickle.
    pub fn offset(&self) -> Option<u64> {
        (self.0.offset != u64::MAX).then_some(self.0.offset)
    }

    /// The opcode at fault, where one had been read.
    pub fn opcode(&self) -> Option<Opcode> {
        self.0.opcode
    }

    /// The same error placed at `offset` in `opcode`, unless it has a place already.
    #[must_use]
    pub fn or_at(mut self, offset: u64, opcode: Opcode) -> Self {
        if self.0.offset == u64::MAX {
            self.0.offset = offset;
            self.0.opcode = Some(opcode);
        }
        self
    }

    /// The same error with its offset moved on by `base` bytes: for a reader that was given a
    /// part of a larger input.
    #[must_use]
    pub fn shifted(mut self, base: u64) -> Self {
        if self.0.offset != u64::MAX {
            self.0.offset = self.0.offset.saturating_add(base);
        }
        self
    }

    /// Whether the input ended too early, so that more bytes could have made it whole.
    pub fn is_truncation(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::EndOfInput | ErrorKind::Truncated { .. } | ErrorKind::UnterminatedLine
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EndOfInput => f.write_str("the input ends before the pickle's STOP"),
            Self::Truncated { needed, left } => {
                write!(f, "the argument needs {needed} bytes and the input has {left} left")
            }
            Self::UnterminatedLine => f.write_str("the input ends before the argument's newline"),
            Self::EmptyLine => f.write_str("the text argument is empty"),
            Self::UnknownOpcode(byte) => {
                write!(f, "no opcode has the byte 0x{byte:02x}")?;
                if byte.is_ascii_graphic() {
                    write!(f, " ({:?})", char::from(*byte))?;
                }
                Ok(())
            }
            Self::NegativeLength(length) => write!(f, "the length is negative: {length}"),
            Self::UnsupportedProtocol(protocol) => {
                write!(f, "protocol {protocol} is not supported (0 to 5 are)")
            }
            Self::BadInt => f.write_str("the text is no integer"),
            Self::BadFloat => f.write_str("the text is no float"),
            Self::FloatOverflow => f.write_str("the number is too large for a float"),
            Self::UnquotedString => f.write_str("the string is not between two equal quotes"),
            Self::BadStringEscape => f.write_str("the string holds a bad backslash escape"),
            Self::BadUnicodeEscape => f.write_str("the str holds a bad \\u escape"),
            Self::BadUtf8 => f.write_str("the str is not UTF-8"),
            Self::NotAscii => f.write_str("the text is not ASCII"),
            Self::BadExtensionCode(code) => {
                write!(f, "the extension code {code} is not positive")
            }
            Self::BadMemoIndex => f.write_str("the memo index is negative or too large"),
            Self::StackUnderflow { at_mark: false } => f.write_str("the stack holds too little"),
            Self::StackUnderflow { at_mark: true } => {
                f.write_str("a mark stands where an object is needed")
            }
            Self::NoMark => f.write_str("no mark is open"),
            Self::MemoMissing(index) => write!(f, "the memo has no entry {index}"),
            Self::OddItems => f.write_str("a key has no value: the number of items is odd"),
            Self::WrongType(text) | Self::Custom(text) => f.write_str(text),
            Self::NoBuffer => {
                f.write_str("the pickle needs an out-of-band buffer that was not given")
            }
            Self::Limit { limit, cap } => write!(
                f,
                "the limit `{limit}` of {cap} is reached (raise it if the pickle is to be trusted)"
            ),
            Self::OutOfMemory { bytes } => write!(f, "no memory for {bytes} bytes"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(opcode) = self.0.opcode {
            write!(f, "{opcode}: ")?;
        }
        write!(f, "{}", self.0.kind)?;
        match self.offset() {
            Some(offset) => write!(f, ", at byte {offset}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("offset", &self.offset())
            .field("opcode", &self.0.opcode)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            ErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::unplaced(ErrorKind::Io(error))
    }
}
