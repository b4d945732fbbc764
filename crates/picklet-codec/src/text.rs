//! The literals of protocol 0, read as CPython's C `_pickle` reads them.
//!
//! C hands these lines to `strtol`, `PyLong_FromString`, `PyOS_string_to_double`,
//! `PyBytes_DecodeEscape` and `PyUnicode_DecodeRawUnicodeEscape`, and each of them has habits
//! that the pure-Python unpickler does not share: octal `010`, `0x10`, `1_000`, spaces around,
//! a NUL that ends the text. Those habits are kept here. Lines come without their newline.

use std::borrow::Cow;

use num_bigint::BigInt;

use crate::error::ErrorKind;
use crate::str::{PickleStr, PickleString, push_code_point};

/// Up to this many digits CPython never applies its cap on decimal digits
/// (`_PY_LONG_MAX_STR_DIGITS_THRESHOLD`).
const UNCAPPED_DIGITS: u64 = 640;

/// What the text of an int is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntLiteral {
    /// `00` or `01` of INT.
    Bool(bool),
    /// It fits.
    Small(i64),
    /// It does not fit, and is valid.
    Big,
}

/// The checked pieces of an int literal in Python's notation.
struct Pieces<'a> {
    negative: bool,
    radix: u32,
    /// Digits of the radix with single underscores between them.
    digits: &'a [u8],
}

/// INT's line: what `strtol` with base 0 takes whole, else what Python's `int(text, 0)` takes.
pub(crate) fn int_line(line: &[u8], digit_cap: u64) -> Result<IntLiteral, ErrorKind> {
    if line.is_empty() {
        return Err(ErrorKind::EmptyLine);
    }
    match c_long(line) {
        // C compares the line's length, not its text: ` 1` and `+1` are True as well.
        Some(value @ (0 | 1)) if line.len() == 2 => Ok(IntLiteral::Bool(value == 1)),
        Some(value) => Ok(IntLiteral::Small(value)),
        None => python_int(line, false, digit_cap),
    }
}

/// LONG's line: Python's `int(text, 0)` once a trailing `L` is gone.
pub(crate) fn long_line(line: &[u8], digit_cap: u64) -> Result<IntLiteral, ErrorKind> {
    if line.is_empty() {
        return Err(ErrorKind::EmptyLine);
    }
    python_int(without_l(line), false, digit_cap)
}

fn without_l(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"L").unwrap_or(line)
}

/// GET's and PUT's line: Python's `int(text, 10)`, from 0 to 2^63 - 1.
pub(crate) fn index_line(line: &[u8], digit_cap: u64) -> Result<u64, ErrorKind> {
    if line.is_empty() {
        return Err(ErrorKind::EmptyLine);
    }
    match python_int(line, true, digit_cap)? {
        IntLiteral::Small(value) => u64::try_from(value).map_err(|_| ErrorKind::BadMemoIndex),
        _ => Err(ErrorKind::BadMemoIndex),
    }
}

/// What C's `strtol(line, &end, 0)` gives where it reads up to the newline or a NUL: INT's first
/// try. `None` where Python's `int(text, 0)` has to say.
pub fn c_long(line: &[u8]) -> Option<i64> {
    let text = line.trim_ascii_start_c();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
            (16, rest)
        }
        [b'0', ..] => (8, digits),
        _ => (10, digits),
    };
    let mut value: i64 = 0;
    let mut any = false;
    let mut rest = digits;
    while let [byte, tail @ ..] = rest {
        let Some(digit) = char::from(*byte).to_digit(radix) else {
            break;
        };
        any = true;
        value = value.checked_mul(i64::from(radix))?;
        value = if negative {
            value.checked_sub(i64::from(digit))?
        } else {
            value.checked_add(i64::from(digit))?
        };
        rest = tail;
    }
    // Without digits strtol's end is its start.
    let end = if any { rest } else { line };
    matches!(end.first(), None | Some(0)).then_some(value)
}

trait TrimC {
    fn trim_ascii_start_c(&self) -> &[u8];
}

impl TrimC for [u8] {
    /// Without leading bytes that C's `isspace` takes for space (a vertical tab too).
    fn trim_ascii_start_c(&self) -> &[u8] {
        let count = self.iter().take_while(|byte| is_space(**byte)).count();
        self.get(count..).unwrap_or_default()
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn python_int(line: &[u8], decimal: bool, digit_cap: u64) -> Result<IntLiteral, ErrorKind> {
    let Pieces { negative, radix, digits } = pieces(line, decimal).ok_or(ErrorKind::BadInt)?;
    let mut value: Option<i64> = Some(0);
    let mut count: u64 = 0;
    for digit in digits.iter().filter_map(|byte| char::from(*byte).to_digit(radix)) {
        count += 1;
        value = value.and_then(|value| {
            let value = value.checked_mul(i64::from(radix))?;
            if negative {
                value.checked_sub(i64::from(digit))
            } else {
                value.checked_add(i64::from(digit))
            }
        });
    }
    if radix == 10 && count > digit_cap && (count > UNCAPPED_DIGITS || digit_cap < UNCAPPED_DIGITS)
    {
        return Err(ErrorKind::Limit { limit: "decimal_digits", cap: digit_cap });
    }
    Ok(value.map_or(IntLiteral::Big, IntLiteral::Small))
}

/// The pieces of an int that `PyLong_FromString` accepts in base 0, or in base 10 only.
fn pieces(line: &[u8], decimal: bool) -> Option<Pieces<'_>> {
    // C's text ends at a NUL.
    let text = line.split(|byte| *byte == 0).next()?;
    let text = text.trim_ascii_start_c();
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (radix, digits, zero_only) = match text {
        _ if decimal => (10, text, false),
        [b'0', b'x' | b'X', rest @ ..] => (16, strip_underscore(rest), false),
        [b'0', b'o' | b'O', rest @ ..] => (8, strip_underscore(rest), false),
        [b'0', b'b' | b'B', rest @ ..] => (2, strip_underscore(rest), false),
        // An old octal: only zero may still be written so.
        [b'0', ..] => (10, text, true),
        _ => (10, text, false),
    };
    let is_digit = |byte: u8| char::from(byte).is_digit(radix);
    let length = digits.iter().take_while(|byte| is_digit(**byte) || **byte == b'_').count();
    let (digits, tail) = digits.split_at_checked(length)?;
    let underscores_ok = digits.first().is_some_and(|byte| is_digit(*byte))
        && digits.last().is_some_and(|byte| is_digit(*byte))
        && !digits.windows(2).any(|pair| pair == b"__");
    let zeros = digits.iter().all(|byte| matches!(byte, b'0' | b'_'));
    let ok = underscores_ok && tail.iter().all(|byte| is_space(*byte)) && (!zero_only || zeros);
    ok.then_some(Pieces { negative, radix, digits })
}

/// One underscore may stand between a radix prefix and the digits.
fn strip_underscore(digits: &[u8]) -> &[u8] {
    digits.strip_prefix(b"_").unwrap_or(digits)
}

/// The value of [`Arg::IntText`](crate::Arg::IntText) as two's complement, little-endian, in as
/// few bytes as hold it. Decimal digits take time in the square of their number; the reader has
/// capped them.
pub fn int_text_to_le_bytes(text: &[u8]) -> Vec<u8> {
    let Some(pieces) = pieces(without_l(text), false) else {
        // Cannot be for text that the reader checked.
        return Vec::new();
    };
    let digits: Vec<u8> = pieces.digits.iter().copied().filter(|byte| *byte != b'_').collect();
    let magnitude = BigInt::parse_bytes(&digits, pieces.radix).unwrap_or_default();
    let value = if pieces.negative { -magnitude } else { magnitude };
    value.to_signed_bytes_le()
}

/// The decimal text of an int given as two's complement, little-endian (no bytes is 0). Takes
/// time beyond linear in the number of bytes: see [`decimal_digits_of`] to refuse in time.
pub fn le_bytes_to_decimal(bytes: &[u8]) -> String {
    BigInt::from_signed_bytes_le(bytes).to_string()
}

/// How many decimal digits an int of so many bytes may have, at most.
pub fn decimal_digits_of(bytes: usize) -> u64 {
    // log10(256) is 2.40824.
    (bytes as u64).saturating_mul(240_824).div_ceil(100_000).saturating_add(1)
}

/// The text of Python's `repr(value)`: the shortest digits that read back as the same float,
/// with an exponent below 1e-4 and from 1e16 on; `1.0`, `1e+16`, `1e-05`, `inf`, `nan`.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let shortest = format!("{value:e}");
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs());
    }
    // Display never uses an exponent, and prints the same shortest digits.
    let mut text = value.to_string();
    if !text.contains('.') {
        text.push_str(".0");
    }
    text
}

/// UNICODE's line for a str: Latin-1 with `\u` and `\U` escapes for the rest and for what would
/// break a line (backslash, NUL, newline, carriage return, Ctrl-Z), as C writes it.
pub fn escape_unicode(text: PickleStr<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len());
    for point in text.code_points() {
        match u8::try_from(point) {
            Ok(b'\\' | 0 | b'\n' | b'\r' | 0x1a) => {
                line.extend_from_slice(format!("\\u{point:04x}").as_bytes());
            }
            Ok(byte) => line.push(byte),
            Err(_) if point < 0x10000 => {
                line.extend_from_slice(format!("\\u{point:04x}").as_bytes());
            }
            Err(_) => line.extend_from_slice(format!("\\U{point:08x}").as_bytes()),
        }
    }
    line
}

/// The same int in as few bytes as hold it: none for 0, as LONG1 and LONG4 want it.
pub fn trim_le_bytes(bytes: &[u8]) -> &[u8] {
    let mut bytes = bytes;
    loop {
        bytes = match bytes {
            [0] => &[],
            [rest @ .., next, 0] if *next < 0x80 => bytes.get(..rest.len() + 1).unwrap_or(bytes),
            [rest @ .., next, 0xff] if *next >= 0x80 => {
                bytes.get(..rest.len() + 1).unwrap_or(bytes)
            }
            _ => return bytes,
        };
    }
}

/// The `i64` of a two's complement, little-endian int, where it fits.
#[inline]
pub fn le_bytes_to_i64(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let mut word = [fill; 8];
    if let Some((low, high)) = bytes.split_at_checked(8) {
        word.copy_from_slice(low);
        let value = i64::from_le_bytes(word);
        let fits = high.iter().all(|byte| *byte == fill) && (value < 0) == negative;
        return fits.then_some(value);
    }
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    Some(i64::from_le_bytes(word))
}

/// FLOAT's line.
pub(crate) fn float_line(line: &[u8]) -> Result<f64, ErrorKind> {
    if line.is_empty() {
        return Err(ErrorKind::EmptyLine);
    }
    // C's text ends at a NUL.
    let text = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| ErrorKind::BadFloat)?;
    let value: f64 = text.parse().map_err(|_| ErrorKind::BadFloat)?;
    // A number beyond the range is an error in C, while `inf` is a value.
    if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(ErrorKind::FloatOverflow);
    }
    Ok(value)
}

/// What stands between the quotes of STRING's line.
pub(crate) fn string_line(line: &[u8]) -> Result<&[u8], ErrorKind> {
    match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => Ok(inner),
        _ => Err(ErrorKind::UnquotedString),
    }
}

/// Whether STRING's content needs [`unescape_string`], or an error where that would fail.
pub(crate) fn check_string(inner: &[u8]) -> Result<bool, ErrorKind> {
    if memchr::memchr(b'\\', inner).is_none() {
        return Ok(false);
    }
    walk_string(inner, |_| ())?;
    Ok(true)
}

/// The bytes of STRING's content, its backslash escapes resolved as in a Python bytes literal
/// (unknown escapes keep their backslash).
///
/// # Errors
/// [`ErrorKind::BadStringEscape`]: a `\x` without two hex digits, or a backslash at the end.
pub fn unescape_string(inner: &[u8]) -> Result<Cow<'_, [u8]>, ErrorKind> {
    if memchr::memchr(b'\\', inner).is_none() {
        return Ok(Cow::Borrowed(inner));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    walk_string(inner, |byte| bytes.push(byte))?;
    Ok(Cow::Owned(bytes))
}

fn walk_string(inner: &[u8], mut push: impl FnMut(u8)) -> Result<(), ErrorKind> {
    let mut rest = inner;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'\\' {
            push(*byte);
            continue;
        }
        let [escape, tail @ ..] = rest else {
            return Err(ErrorKind::BadStringEscape);
        };
        rest = tail;
        match *escape {
            b'\n' => {}
            b'\\' | b'\'' | b'"' => push(*escape),
            b'a' => push(0x07),
            b'b' => push(0x08),
            b't' => push(b'\t'),
            b'n' => push(b'\n'),
            b'v' => push(0x0b),
            b'f' => push(0x0c),
            b'r' => push(b'\r'),
            b'0'..=b'7' => {
                let mut value = u32::from(*escape - b'0');
                for _ in 0..2 {
                    let [digit @ b'0'..=b'7', tail @ ..] = rest else {
                        break;
                    };
                    value = value << 3 | u32::from(*digit - b'0');
                    rest = tail;
                }
                // `\777` wraps in C.
                push((value & 0xff) as u8);
            }
            b'x' => {
                let (value, tail) = hex(rest, 2).ok_or(ErrorKind::BadStringEscape)?;
                push((value & 0xff) as u8);
                rest = tail;
            }
            other => {
                push(b'\\');
                push(other);
            }
        }
    }
    Ok(())
}

/// STRING's line for a Python 2 str: its `repr`, in quotes, with escapes.
pub fn quote_string(bytes: &[u8]) -> Vec<u8> {
    let double = memchr::memchr(b'\'', bytes).is_some() && memchr::memchr(b'"', bytes).is_none();
    let quote = if double { b'"' } else { b'\'' };
    let mut line = Vec::with_capacity(bytes.len() + 2);
    line.push(quote);
    for &byte in bytes {
        match byte {
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            byte if byte == quote => line.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => line.push(byte),
            byte => line.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    line.push(quote);
    line
}

/// Whether UNICODE's line needs [`unescape_unicode`] (it is not plain ASCII without escapes), or
/// an error where that would fail.
pub(crate) fn check_unicode(line: &[u8]) -> Result<bool, ErrorKind> {
    if memchr::memchr(b'\\', line).is_none() {
        return Ok(!line.is_ascii());
    }
    walk_unicode(line, |_| true)?;
    Ok(true)
}

/// The str of UNICODE's line: Latin-1 with `\uXXXX` and `\UXXXXXXXX`; any other backslash is a
/// backslash. Surrogates are let through and not joined.
///
/// # Errors
/// [`ErrorKind::BadUnicodeEscape`]: too few hex digits, or past U+10FFFF.
pub fn unescape_unicode(line: &[u8]) -> Result<PickleString, ErrorKind> {
    let mut bytes = Vec::with_capacity(line.len());
    walk_unicode(line, |point| push_code_point(&mut bytes, point))?;
    PickleString::from_bytes(bytes).map_err(|_| ErrorKind::BadUnicodeEscape)
}

fn walk_unicode(line: &[u8], mut push: impl FnMut(u32) -> bool) -> Result<(), ErrorKind> {
    let mut rest = line;
    while let [byte, tail @ ..] = rest {
        let digits = match rest {
            [b'\\', b'u', ..] => 4,
            [b'\\', b'U', ..] => 8,
            [b'\\', other, tail @ ..] => {
                // The second byte is taken with the first: `\\u0041` holds no escape.
                push(u32::from(b'\\'));
                push(u32::from(*other));
                rest = tail;
                continue;
            }
            _ => {
                push(u32::from(*byte));
                rest = tail;
                continue;
            }
        };
        let after = rest.get(2..).unwrap_or_default();
        let (point, tail) = hex(after, digits).ok_or(ErrorKind::BadUnicodeEscape)?;
        if point > 0x10ffff || !push(point) {
            return Err(ErrorKind::BadUnicodeEscape);
        }
        rest = tail;
    }
    Ok(())
}

/// Exactly `count` hex digits from the front.
fn hex(bytes: &[u8], count: usize) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.split_at_checked(count)?;
    let mut value = 0;
    for digit in digits {
        value = value << 4 | char::from(*digit).to_digit(16)?;
    }
    Some((value, rest))
}
