//! A str as Python has it: Unicode, lone surrogates included.
//!
//! Python's str may hold surrogate halves (U+D800 to U+DFFF) that no UTF-8, and so no Rust
//! `str`, can. Pickle writes them as the three bytes UTF-8 would use (`surrogatepass`), and two
//! halves side by side stay two: they are never joined into one character, which is where this
//! differs from WTF-8. [`PickleStr`] borrows, [`PickleString`] owns.
//!
//! Most text is ASCII, and finding that out is several times cheaper than `str::from_utf8` on
//! short strings. So ASCII is kept as bytes that are known to be ASCII, and only
//! [`to_str`](PickleStr::to_str) pays for making a `str` of them (this crate has no unsafe code).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};

/// A borrowed Python str.
#[derive(Clone, Copy)]
pub struct PickleStr<'a>(Repr<'a>);

#[derive(Clone, Copy)]
enum Repr<'a> {
    /// ASCII alone.
    Ascii(&'a [u8]),
    /// No surrogates.
    Plain(&'a str),
    /// At least one surrogate, as `surrogatepass` UTF-8.
    Surrogates(&'a [u8]),
}

impl<'a> PickleStr<'a> {
    /// The str of UTF-8 with surrogates passed through, or `None` where the bytes are not that.
    #[inline]
    pub fn from_bytes(bytes: &'a [u8]) -> Option<Self> {
        if is_ascii(bytes) {
            return Some(Self(Repr::Ascii(bytes)));
        }
        Self::beyond_ascii(bytes)
    }

    #[inline(never)]
    fn beyond_ascii(bytes: &'a [u8]) -> Option<Self> {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Some(Self(Repr::Plain(text))),
            Err(_) => Self::with_surrogates(bytes),
        }
    }

    #[cold]
    fn with_surrogates(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        loop {
            let Err(error) = std::str::from_utf8(rest) else {
                return Some(Self(Repr::Surrogates(bytes)));
            };
            rest = rest.get(error.valid_up_to()..)?;
            let [0xed, 0xa0..=0xbf, 0x80..=0xbf, tail @ ..] = rest else {
                return None;
            };
            rest = tail;
        }
    }

    /// The bytes: UTF-8, each surrogate as three bytes (`ED A0 80` to `ED BF BF`).
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        match self.0 {
            Repr::Plain(text) => text.as_bytes(),
            Repr::Ascii(bytes) | Repr::Surrogates(bytes) => bytes,
        }
    }

    /// Whether all of it is ASCII; known without looking where the str came from a pickle.
    #[inline]
    pub fn is_ascii(self) -> bool {
        match self.0 {
            Repr::Ascii(_) => true,
            Repr::Plain(text) => is_ascii(text.as_bytes()),
            Repr::Surrogates(_) => false,
        }
    }

    /// The text, or `None` where it holds a surrogate.
    #[inline]
    pub fn to_str(self) -> Option<&'a str> {
        match self.0 {
            Repr::Ascii(bytes) => simdutf8::basic::from_utf8(bytes).ok(),
            Repr::Plain(text) => Some(text),
            Repr::Surrogates(_) => None,
        }
    }

    /// The text with each surrogate replaced by U+FFFD.
    pub fn to_str_lossy(self) -> Cow<'a, str> {
        match self.to_str() {
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(
                self.code_points()
                    .map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER))
                    .collect(),
            ),
        }
    }

    /// Bytes of the encoded text.
    #[inline]
    pub fn len(self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it is the empty str.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The code points as Python counts them, surrogates included.
    pub fn code_points(self) -> CodePoints<'a> {
        CodePoints(self.as_bytes())
    }

    /// An owned copy.
    pub fn to_owned(self) -> PickleString {
        match self.0 {
            Repr::Ascii(bytes) => PickleString(Owned::Ascii(bytes.into())),
            Repr::Plain(text) => PickleString(Owned::Plain(text.into())),
            Repr::Surrogates(bytes) => PickleString(Owned::Surrogates(bytes.into())),
        }
    }
}

impl<'a> From<&'a str> for PickleStr<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Self(Repr::Plain(text))
    }
}

/// Whether all bytes are ASCII, eight at a time and without a loop over single bytes: most
/// strings of a pickle are 8 to 30 bytes long, where std's routine spends its time on setup.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    if bytes.len() > 64 {
        return bytes.is_ascii();
    }
    if let Some(tail) = bytes.last_chunk::<8>() {
        // The last eight bytes overlap those before them where the length is no multiple of 8.
        let mut all = u64::from_le_bytes(*tail);
        for chunk in bytes.as_chunks::<8>().0 {
            all |= u64::from_le_bytes(*chunk);
        }
        return all & HIGH == 0;
    }
    if let (Some(head), Some(tail)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let all = u32::from_le_bytes(*head) | u32::from_le_bytes(*tail);
        return all & 0x8080_8080 == 0;
    }
    match *bytes {
        [a, b, c] => (a | b | c) < 0x80,
        [a, b] => (a | b) < 0x80,
        [a] => a < 0x80,
        _ => true,
    }
}

/// The code points of a [`PickleStr`].
#[derive(Clone, Debug)]
pub struct CodePoints<'a>(&'a [u8]);

impl Iterator for CodePoints<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let tail = |byte: u8| u32::from(byte & 0x3f);
        let (point, rest) = match *self.0 {
            [] => return None,
            [a @ 0..=0x7f, ref rest @ ..] => (u32::from(a), rest),
            [a @ 0..=0xdf, b, ref rest @ ..] => (u32::from(a & 0x1f) << 6 | tail(b), rest),
            [a @ 0..=0xef, b, c, ref rest @ ..] => {
                (u32::from(a & 0x0f) << 12 | tail(b) << 6 | tail(c), rest)
            }
            [a, b, c, d, ref rest @ ..] => {
                (u32::from(a & 0x07) << 18 | tail(b) << 12 | tail(c) << 6 | tail(d), rest)
            }
            // Cannot be: a PickleStr holds whole sequences only.
            _ => return None,
        };
        self.0 = rest;
        Some(point)
    }
}

/// An owned Python str.
#[derive(Clone)]
pub struct PickleString(Owned);

#[derive(Clone)]
enum Owned {
    Ascii(Box<[u8]>),
    Plain(Box<str>),
    Surrogates(Box<[u8]>),
}

impl PickleString {
    /// The str of UTF-8 with surrogates passed through; the bytes come back where they are not.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Vec<u8>> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self(Owned::Plain(text.into()))),
            Err(error) => {
                let bytes = error.into_bytes();
                if PickleStr::from_bytes(&bytes).is_some() {
                    Ok(Self(Owned::Surrogates(bytes.into())))
                } else {
                    Err(bytes)
                }
            }
        }
    }

    /// The str of a sequence of code points; `None` where one is above U+10FFFF.
    pub fn from_code_points(points: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut bytes = Vec::new();
        for point in points {
            if !push_code_point(&mut bytes, point) {
                return None;
            }
        }
        Self::from_bytes(bytes).ok()
    }

    /// It, borrowed.
    #[inline]
    pub fn as_pickle_str(&self) -> PickleStr<'_> {
        match &self.0 {
            Owned::Ascii(bytes) => PickleStr(Repr::Ascii(bytes)),
            Owned::Plain(text) => PickleStr(Repr::Plain(text)),
            Owned::Surrogates(bytes) => PickleStr(Repr::Surrogates(bytes)),
        }
    }

    /// The bytes: UTF-8, each surrogate as three bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.as_pickle_str().as_bytes()
    }

    /// The text, or `None` where it holds a surrogate.
    #[inline]
    pub fn to_str(&self) -> Option<&str> {
        self.as_pickle_str().to_str()
    }
}

/// Appends a code point (surrogates too) as UTF-8; false where it is above U+10FFFF.
pub(crate) fn push_code_point(bytes: &mut Vec<u8>, point: u32) -> bool {
    match char::from_u32(point) {
        Some(char) => {
            let mut buffer = [0; 4];
            bytes.extend_from_slice(char.encode_utf8(&mut buffer).as_bytes());
            true
        }
        None if (0xd800..=0xdfff).contains(&point) => {
            bytes.extend_from_slice(&[
                0xed,
                0x80 | (point >> 6 & 0x3f) as u8,
                0x80 | (point & 0x3f) as u8,
            ]);
            true
        }
        None => false,
    }
}

impl From<String> for PickleString {
    fn from(text: String) -> Self {
        Self(Owned::Plain(text.into()))
    }
}

impl From<&str> for PickleString {
    fn from(text: &str) -> Self {
        Self(Owned::Plain(text.into()))
    }
}

impl PartialEq for PickleStr<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
impl Eq for PickleStr<'_> {}
impl PartialOrd for PickleStr<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for PickleStr<'_> {
    /// By code point, as Python orders str (the byte order of UTF-8 is the same).
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}
impl Hash for PickleStr<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}
impl PartialEq<str> for PickleStr<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
impl PartialEq<&str> for PickleStr<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq for PickleString {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
impl Eq for PickleString {}
impl PartialOrd for PickleString {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for PickleString {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}
impl Hash for PickleString {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}
impl PartialEq<str> for PickleString {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}
impl PartialEq<&str> for PickleString {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Debug for PickleStr<'_> {
    /// As Rust's `str`, with surrogates as `\u{d800}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_str() {
            Some(text) => text.fmt(f),
            None => {
                f.write_char('"')?;
                for point in self.code_points() {
                    match char::from_u32(point) {
                        Some(char) => write!(f, "{}", char.escape_debug())?,
                        None => write!(f, "\\u{{{point:x}}}")?,
                    }
                }
                f.write_char('"')
            }
        }
    }
}

impl fmt::Display for PickleStr<'_> {
    /// The text, each surrogate replaced by U+FFFD.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_str_lossy())
    }
}

impl fmt::Debug for PickleString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_pickle_str().fmt(f)
    }
}

impl fmt::Display for PickleString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_pickle_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surrogate_halves_pass_and_are_not_joined() {
        let pair = [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80];
        let text = PickleStr::from_bytes(&pair).unwrap();
        assert_eq!(text.to_str(), None);
        assert_eq!(text.code_points().collect::<Vec<_>>(), [0xd83d, 0xde00]);
        assert_eq!(text.to_str_lossy(), "\u{fffd}\u{fffd}");
        assert_eq!(format!("{text:?}"), "\"\\u{d83d}\\u{de00}\"");
        let owned = PickleString::from_code_points([0xd83d, 0xde00]).unwrap();
        assert_eq!(owned.as_bytes(), pair);
        assert_eq!(owned.as_pickle_str(), text);
    }

    #[test]
    fn ascii_is_found_at_every_length_and_place() {
        for length in 0..100 {
            let mut bytes = vec![b'a'; length];
            assert!(PickleStr::from_bytes(&bytes).unwrap().is_ascii());
            for place in 0..length {
                bytes[place] = 0x80;
                assert!(!is_ascii(&bytes), "{length} {place}");
                assert!(PickleStr::from_bytes(&bytes).is_none());
                bytes[place] = b'a';
            }
        }
        assert!(PickleStr::from("abc").is_ascii() && !PickleStr::from("é").is_ascii());
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused() {
        for bad in [
            &b"\xff"[..],
            b"a\x80",
            b"\xed\xa0",
            b"\xc0\x80",
            b"\xf5\x80\x80\x80",
            b"\xed\xa0\x80\xff",
        ] {
            assert!(PickleStr::from_bytes(bad).is_none(), "{bad:x?}");
            assert!(PickleString::from_bytes(bad.to_vec()).is_err());
        }
    }

    #[test]
    fn every_width_of_code_point_is_told() {
        let text = PickleStr::from("a\u{e9}\u{20ac}\u{1f600}");
        let points: Vec<_> = text.code_points().collect();
        assert_eq!(points, [0x61, 0xe9, 0x20ac, 0x1f600]);
        assert_eq!(PickleString::from_code_points(points).unwrap(), "aé€😀");
        assert!(PickleString::from_code_points([0x110000]).is_none());
    }
}
