//! The opcodes of a pickle as `pickletools.genops` gives them.
//!
//! That function is a second reader beside C's unpickler, and differs from it: it takes int
//! literals in base 10 only, undoes escapes in the names of globals, lets a FRAME reach past the
//! end, and words its errors in its own way. The disassembler and the optimiser must answer as
//! it does, so they read through here and not through [`Reader`](crate::Reader). Input streams
//! through; no more than one argument is held.

use std::io::{self, BufRead};

use num_bigint::BigInt;

use crate::arg::ArgKind;
use crate::opcode::{Opcode, OpcodeInfo};
use crate::pyrepr::{self, MAX_INT_DIGITS};
use crate::str::{PickleStr, PickleString};
use crate::text;

/// Why the opcodes end early.
#[derive(Debug)]
pub(crate) enum GenError {
    /// The input could not be read.
    Io(io::Error),
    /// What `pickletools` raises: the exception's name and its text.
    Python { exception: &'static str, message: String },
}

impl From<io::Error> for GenError {
    fn from(error: io::Error) -> Self {
        GenError::Io(error)
    }
}

fn value_error(message: impl Into<String>) -> GenError {
    GenError::Python { exception: "ValueError", message: message.into() }
}

fn decode_error(message: String) -> GenError {
    GenError::Python { exception: "UnicodeDecodeError", message }
}

/// An argument as `pickletools` decodes it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GenArg<'a> {
    None,
    Bool(bool),
    Int(i64),
    BigInt(BigInt),
    Float(f64),
    Str(PickleStr<'a>),
    Bytes(&'a [u8]),
    ByteArray(&'a [u8]),
}

impl GenArg<'_> {
    /// Appends Python's `repr`; `None` appends nothing.
    pub(crate) fn push_repr(&self, out: &mut String) -> Result<(), GenError> {
        match self {
            GenArg::None => {}
            GenArg::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
            GenArg::Int(value) => out.push_str(itoa::Buffer::new().format(*value)),
            GenArg::BigInt(value) => push_big_int(out, value)?,
            GenArg::Float(value) => pyrepr::push_float(out, *value),
            GenArg::Str(value) => pyrepr::push_str(out, *value),
            GenArg::Bytes(value) => pyrepr::push_bytes(out, value),
            GenArg::ByteArray(value) => pyrepr::push_bytearray(out, value),
        }
        Ok(())
    }
}

fn push_big_int(out: &mut String, value: &BigInt) -> Result<(), GenError> {
    // 4300 digits are 14,285 bits: what is longer need not be converted to know.
    let digits = (value.bits() <= 14_290).then(|| value.magnitude().to_string());
    match digits.filter(|digits| digits.len() <= MAX_INT_DIGITS) {
        Some(digits) => {
            if value.sign() == num_bigint::Sign::Minus {
                out.push('-');
            }
            out.push_str(&digits);
            Ok(())
        }
        None => Err(value_error(format!(
            "Exceeds the limit ({MAX_INT_DIGITS} digits) for integer string conversion; \
             use sys.set_int_max_str_digits() to increase the limit"
        ))),
    }
}

/// One opcode with its argument.
#[derive(Debug)]
pub(crate) struct GenOp<'a> {
    pub(crate) info: &'static OpcodeInfo,
    pub(crate) arg: GenArg<'a>,
    /// Bytes from where reading began to the opcode.
    pub(crate) position: u64,
}

/// Reads opcodes one after another.
pub(crate) struct GenOps<R> {
    input: R,
    position: u64,
    bytes: Vec<u8>,
    text: PickleString,
}

impl<R: BufRead> GenOps<R> {
    /// `position` is what the first byte's position is called.
    pub(crate) fn new(input: R, position: u64) -> Self {
        GenOps { input, position, bytes: Vec::new(), text: PickleString::from("") }
    }

    /// The position of the byte after the last one read.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next opcode. The caller stops at STOP.
    pub(crate) fn next_op(&mut self) -> Result<GenOp<'_>, GenError> {
        let position = self.position;
        self.read(1)?;
        let Some(&byte) = self.bytes.first() else {
            return Err(value_error("pickle exhausted before seeing STOP"));
        };
        let Some(opcode) = Opcode::from_byte(byte) else {
            let mut message = format!("at position {position}, opcode ");
            pyrepr::push_bytes(&mut message, &[byte]);
            message.push_str(" unknown");
            return Err(value_error(message));
        };
        let info = opcode.info();
        let arg = self.arg(info.arg)?;
        Ok(GenOp { info, arg, position })
    }

    /// Reads `length` bytes, or as many as there are, into `self.bytes`.
    fn read(&mut self, length: u64) -> io::Result<()> {
        self.bytes.clear();
        let mut left = length;
        while left > 0 {
            let available = match self.input.fill_buf() {
                Ok([]) => break,
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let take = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.bytes.extend_from_slice(available.get(..take).unwrap_or_default());
            self.input.consume(take);
            left -= take as u64;
        }
        self.position += length - left;
        Ok(())
    }

    fn line(&mut self, kind: &str) -> Result<(), GenError> {
        self.bytes.clear();
        self.position += self.input.read_until(b'\n', &mut self.bytes)? as u64;
        if self.bytes.pop_if(|byte| *byte == b'\n').is_none() {
            return Err(value_error(format!("no newline found when trying to read {kind}")));
        }
        Ok(())
    }

    fn fixed<const N: usize>(&mut self, kind: &str) -> Result<[u8; N], GenError> {
        self.read(N as u64)?;
        self.bytes
            .first_chunk::<N>()
            .copied()
            .ok_or_else(|| value_error(format!("not enough data in stream to read {kind}")))
    }

    /// The length field of a counted argument.
    fn length(&mut self, kind: ArgKind, name: &str) -> Result<u64, GenError> {
        let signed = |length: i32| {
            u64::try_from(length)
                .map_err(|_| value_error(format!("{name} byte count < 0: {length}")))
        };
        match kind {
            ArgKind::Long4 | ArgKind::String4 => signed(i32::from_le_bytes(self.fixed("int4")?)),
            ArgKind::Bytes4 | ArgKind::Unicode4 => {
                Ok(u32::from_le_bytes(self.fixed("uint4")?).into())
            }
            ArgKind::Bytes8 | ArgKind::ByteArray8 | ArgKind::Unicode8 => {
                let length = u64::from_le_bytes(self.fixed("uint8")?);
                if i64::try_from(length).is_err() {
                    return Err(value_error(format!("{name} byte count > sys.maxsize: {length}")));
                }
                Ok(length)
            }
            _ => Ok(u8::from_le_bytes(self.fixed("uint1")?).into()),
        }
    }

    /// Reads a counted argument whole into `self.bytes`.
    fn counted(&mut self, kind: ArgKind, name: &str) -> Result<(), GenError> {
        let length = self.length(kind, name)?;
        self.read(length)?;
        let got = self.bytes.len() as u64;
        if got == length {
            return Ok(());
        }
        Err(value_error(match kind {
            ArgKind::Long1 | ArgKind::Long4 => format!("not enough data in stream to read {name}"),
            _ => format!("expected {length} bytes in a {name}, but only {got} remain"),
        }))
    }

    fn arg(&mut self, kind: ArgKind) -> Result<GenArg<'_>, GenError> {
        let name = kind.pickletools_name().unwrap_or_default();
        Ok(match kind {
            ArgKind::None => GenArg::None,
            ArgKind::Uint1 | ArgKind::Protocol1 | ArgKind::Index1 | ArgKind::Extension1 => {
                GenArg::Int(u8::from_le_bytes(self.fixed(name)?).into())
            }
            ArgKind::Uint2 | ArgKind::Extension2 => {
                GenArg::Int(u16::from_le_bytes(self.fixed(name)?).into())
            }
            ArgKind::Int4 | ArgKind::Extension4 => {
                GenArg::Int(i32::from_le_bytes(self.fixed(name)?).into())
            }
            ArgKind::Index4 => GenArg::Int(u32::from_le_bytes(self.fixed(name)?).into()),
            ArgKind::FrameLength8 => {
                let length = u64::from_le_bytes(self.fixed(name)?);
                i64::try_from(length).map_or_else(|_| GenArg::BigInt(length.into()), GenArg::Int)
            }
            ArgKind::Float8 => GenArg::Float(f64::from_be_bytes(self.fixed(name)?)),
            ArgKind::IndexLine | ArgKind::IntLine => {
                self.line("stringnl")?;
                match self.bytes.as_slice() {
                    b"00" => GenArg::Bool(false),
                    b"01" => GenArg::Bool(true),
                    line => int(line)?,
                }
            }
            ArgKind::LongLine => {
                self.line("stringnl")?;
                int(self.bytes.strip_suffix(b"L").unwrap_or(&self.bytes))?
            }
            ArgKind::FloatLine => {
                self.line("stringnl")?;
                GenArg::Float(float(&self.bytes)?)
            }
            ArgKind::Long1 | ArgKind::Long4 => {
                self.counted(kind, name)?;
                text::le_bytes_to_i64(&self.bytes).map_or_else(
                    || GenArg::BigInt(BigInt::from_signed_bytes_le(&self.bytes)),
                    GenArg::Int,
                )
            }
            ArgKind::StringLine => {
                self.line("stringnl")?;
                let inner = unquoted(&self.bytes)?;
                self.text = ascii(inner)?;
                GenArg::Str(self.text.as_pickle_str())
            }
            ArgKind::AsciiLine => {
                self.line("stringnl")?;
                self.text = ascii(&self.bytes)?;
                GenArg::Str(self.text.as_pickle_str())
            }
            ArgKind::LinePair | ArgKind::AsciiLinePair => {
                self.line("stringnl")?;
                let module = ascii(&self.bytes)?;
                self.line("stringnl")?;
                let attribute = ascii(&self.bytes)?;
                self.text = PickleString::from(format!("{module} {attribute}"));
                GenArg::Str(self.text.as_pickle_str())
            }
            ArgKind::String1 | ArgKind::String4 => {
                self.counted(kind, name)?;
                let latin1: String = self.bytes.iter().copied().map(char::from).collect();
                self.text = latin1.into();
                GenArg::Str(self.text.as_pickle_str())
            }
            ArgKind::UnicodeLine => {
                self.line("unicodestringnl")?;
                self.text = text::unescape_unicode(&self.bytes)
                    .map_err(|_| raw_unicode_escape_error(&self.bytes))?;
                GenArg::Str(self.text.as_pickle_str())
            }
            ArgKind::Bytes1 | ArgKind::Bytes4 | ArgKind::Bytes8 => {
                self.counted(kind, name)?;
                GenArg::Bytes(&self.bytes)
            }
            ArgKind::ByteArray8 => {
                self.counted(kind, name)?;
                GenArg::ByteArray(&self.bytes)
            }
            ArgKind::Unicode1 | ArgKind::Unicode4 | ArgKind::Unicode8 => {
                self.counted(kind, name)?;
                let text = PickleStr::from_bytes(&self.bytes);
                GenArg::Str(text.ok_or_else(|| utf8_error(&self.bytes))?)
            }
        })
    }
}

/// STRING's line without its quotes.
fn unquoted(line: &[u8]) -> Result<&[u8], GenError> {
    let Some(quote) = line.first().copied().filter(|byte| matches!(byte, b'"' | b'\'')) else {
        let mut message = String::from("no string quotes around ");
        pyrepr::push_bytes(&mut message, line);
        return Err(value_error(message));
    };
    if line.last() != Some(&quote) {
        let mut message = String::from("strinq quote ");
        pyrepr::push_bytes(&mut message, &[quote]);
        message.push_str(" not found at both ends of ");
        pyrepr::push_bytes(&mut message, line);
        return Err(value_error(message));
    }
    // A lone quote is both ends, and Python's `[1:-1]` of it is empty.
    Ok(line.get(1..line.len() - 1).unwrap_or_default())
}

/// A line with its backslash escapes undone, which must then be ASCII.
fn ascii(line: &[u8]) -> Result<PickleString, GenError> {
    let bytes = text::unescape_string(line).map_err(|_| string_escape_error(line))?;
    if let Some(at) = bytes.iter().position(|byte| !byte.is_ascii()) {
        let byte = bytes.get(at).copied().unwrap_or_default();
        return Err(decode_error(format!(
            "'ascii' codec can't decode byte 0x{byte:02x} in position {at}: \
             ordinal not in range(128)"
        )));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned().into())
}

fn string_escape_error(line: &[u8]) -> GenError {
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        if *byte != b'\\' {
            at += 1;
            continue;
        }
        let is_hex = |place: usize| line.get(place).is_some_and(u8::is_ascii_hexdigit);
        match line.get(at + 1) {
            None => break,
            Some(b'x') if !(is_hex(at + 2) && is_hex(at + 3)) => {
                return value_error(format!("invalid \\x escape at position {at}"));
            }
            Some(_) => at += 2,
        }
    }
    value_error("Trailing \\ in string")
}

/// The text of a `UnicodeDecodeError` at `bytes[start..end]`.
fn undecodable(codec: &str, bytes: &[u8], start: usize, end: usize, reason: &str) -> GenError {
    decode_error(if end == start + 1 {
        let byte = bytes.get(start).copied().unwrap_or_default();
        format!("'{codec}' codec can't decode byte 0x{byte:02x} in position {start}: {reason}")
    } else {
        let last = end.saturating_sub(1);
        format!("'{codec}' codec can't decode bytes in position {start}-{last}: {reason}")
    })
}

fn raw_unicode_escape_error(line: &[u8]) -> GenError {
    const CODEC: &str = "rawunicodeescape";
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        let (count, reason) = match (byte, line.get(at + 1)) {
            (b'\\', Some(b'u')) => (4, "truncated \\uXXXX escape"),
            (b'\\', Some(b'U')) => (8, "truncated \\UXXXXXXXX escape"),
            (b'\\', Some(_)) => {
                at += 2;
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        let digits: Vec<u32> = line
            .iter()
            .skip(at + 2)
            .take(count)
            .map_while(|byte| char::from(*byte).to_digit(16))
            .collect();
        let end = at + 2 + digits.len();
        if digits.len() < count {
            return undecodable(CODEC, line, at, end, reason);
        }
        if digits.iter().fold(0u32, |value, digit| value << 4 | digit) > 0x10_ffff {
            return undecodable(CODEC, line, at, end, "\\Uxxxxxxxx out of range");
        }
        at = end;
    }
    undecodable(CODEC, line, 0, line.len(), "invalid escape")
}

/// The first place where CPython's UTF-8 decoder with `surrogatepass` stops.
fn utf8_error(bytes: &[u8]) -> GenError {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if let [0xed, 0xa0..=0xbf, 0x80..=0xbf, ..] = rest {
            at += 3;
            continue;
        }
        match utf8_step(rest) {
            Ok(used) => at += used,
            Err((used, reason)) => return undecodable("utf-8", bytes, at, at + used, reason),
        }
    }
    undecodable("utf-8", bytes, 0, bytes.len(), "invalid data")
}

/// The length of the character at the front, or that of the fault and its name.
fn utf8_step(rest: &[u8]) -> Result<usize, (usize, &'static str)> {
    const CONTINUATION: &str = "invalid continuation byte";
    let (length, second) = match rest.first() {
        Some(0..=0x7f) => return Ok(1),
        Some(0xc2..=0xdf) => (2, 0x80..=0xbf),
        Some(0xe0) => (3, 0xa0..=0xbf),
        Some(0xed) => (3, 0x80..=0x9f),
        Some(0xe1..=0xef) => (3, 0x80..=0xbf),
        Some(0xf0) => (4, 0x90..=0xbf),
        Some(0xf4) => (4, 0x80..=0x8f),
        Some(0xf1..=0xf3) => (4, 0x80..=0xbf),
        _ => return Err((1, "invalid start byte")),
    };
    for place in 1..length {
        let allowed = if place == 1 { second.clone() } else { 0x80..=0xbf };
        match rest.get(place) {
            None => return Err((rest.len(), "unexpected end of data")),
            Some(byte) if !allowed.contains(byte) => return Err((place, CONTINUATION)),
            Some(_) => {}
        }
    }
    Ok(length)
}

fn trimmed(line: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = line.iter().take_while(|byte| is_space(byte)).count();
    let end = line.len() - line.iter().rev().take_while(|byte| is_space(byte)).count();
    line.get(start..end).unwrap_or_default()
}

/// Python's `int(bytes)`.
fn int<'a>(line: &[u8]) -> Result<GenArg<'a>, GenError> {
    let text = trimmed(line);
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let run = digits.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'_').count();
    let (body, tail) = digits.split_at(run);
    let joined = body.first().is_some_and(u8::is_ascii_digit)
        && body.last().is_some_and(u8::is_ascii_digit)
        && !body.windows(2).any(|pair| pair == b"__");
    if !joined || !tail.is_empty() {
        return Err(invalid_int(line));
    }
    let count = body.iter().filter(|byte| **byte != b'_').count();
    if count > MAX_INT_DIGITS {
        return Err(value_error(format!(
            "Exceeds the limit ({MAX_INT_DIGITS} digits) for integer string conversion: \
             value has {count} digits; use sys.set_int_max_str_digits() to increase the limit"
        )));
    }
    let plain: Vec<u8> = body.iter().copied().filter(|byte| *byte != b'_').collect();
    let magnitude = BigInt::parse_bytes(&plain, 10).unwrap_or_default();
    let value = if negative { -magnitude } else { magnitude };
    Ok(i64::try_from(&value).map_or(GenArg::BigInt(value), GenArg::Int))
}

/// CPython shows 200 bytes in this message, and cuts their `repr` to 200 characters.
fn invalid_int(line: &[u8]) -> GenError {
    let mut shown = String::new();
    pyrepr::push_bytes(&mut shown, line.get(..200).unwrap_or(line));
    shown.truncate(200);
    value_error(format!("invalid literal for int() with base 10: {shown}"))
}

/// Python's `float(bytes)`: spaces around and single underscores between digits are let through.
fn float(line: &[u8]) -> Result<f64, GenError> {
    let refused = || {
        let mut message = String::from("could not convert string to float: ");
        pyrepr::push_bytes(&mut message, line);
        value_error(message)
    };
    let text = trimmed(line);
    let mut plain = String::with_capacity(text.len());
    let mut previous = 0u8;
    for (at, &byte) in text.iter().enumerate() {
        if byte == b'_' {
            let next_is_digit = text.get(at + 1).is_some_and(u8::is_ascii_digit);
            if !previous.is_ascii_digit() || !next_is_digit {
                return Err(refused());
            }
        } else if byte.is_ascii() {
            plain.push(char::from(byte));
        } else {
            return Err(refused());
        }
        previous = byte;
    }
    plain.parse().map_err(|_| refused())
}
