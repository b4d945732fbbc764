//! JSON Lines as a source: each line is an item, and segments are lists of
//! them.
//!
//! Values are what Python's `json.loads` makes of a line: whole numbers keep
//! every digit, `NaN` and `Infinity` are read, the last of equal keys counts,
//! lone surrogate escapes stay what they are. A line becomes pickle operations
//! directly; keys are written once a segment and referred to after that.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use crate::error::{Error, Result};
use crate::input::Input;
use crate::manifest::{Entry, Header, Kind, SharedCounts};
use crate::progress::Totals;
use crate::split::{SplitOptions, SplitReport, Target, file_name};
use crate::store::{Location, ReadAt, Sequential};
use crate::writer::{EntryMeta, Existing, SegmentsWriter};

/// Containers inside one another in a line, at most; Python's own `json` gives
/// up at about a thousand.
const MAX_DEPTH: usize = 1000;
/// Bytes of a line, at most.
const MAX_LINE: u64 = 1 << 30;
/// Keys remembered in a segment, at most.
const MAX_KEYS: usize = 10_000;
/// Digits of a whole number, at most; Python's `int()` has the same limit.
const MAX_DIGITS: usize = 4300;
/// Bytes that make a frame.
const FRAME_BYTES: usize = 64 * 1024;

/// Splits JSON Lines into lists of what the lines hold.
///
/// # Errors
/// [`Error::Input`] names the line that is no JSON; those of
/// [`SegmentsWriter`]; [`Error::Interrupted`].
pub(crate) fn split_lines(
    input: &Input,
    out: &Location,
    options: &SplitOptions<'_>,
    existing: Existing,
    fingerprint: String,
) -> Result<SplitReport> {
    look_first(input)?;
    let mut header = Header::new(Kind::List, fingerprint);
    header.source = Some(input.describe());
    header.made_by = options.made_by.map(str::to_owned);
    header.sha256 = options.sha256;
    let mut writer = SegmentsWriter::create(out, existing, header)?;
    let done: HashMap<u64, Entry> =
        writer.done().into_iter().map(|entry| (entry.index, entry.clone())).collect();
    options.progress.totals(Totals { bytes: Some(input.size()), ..Totals::default() });
    let mut lines = Lines::new(input);
    let (mut segments, mut items, mut resumed) = (0, 0, 0);
    let mut pending = lines.next()?;
    while pending.is_some() || segments == 0 {
        let file = file_name(options, segments, items)?;
        let (first, from) = (items, lines.begun);
        let kept = match done.get(&segments) {
            Some(entry) if entry.file == file => true,
            Some(entry) => {
                writer.discard(&entry.file)?;
                false
            }
            None => false,
        };
        let path = out.path().join(&file);
        let broken = |e: io::Error| Error::io("write", &path, e);
        let mut segment = match kept {
            true => None,
            false => Some(Segment::begin(writer.draft(&file)?).map_err(broken)?),
        };
        while let Some(line) = &pending {
            let begun = lines.begun;
            let full = items > first
                && match options.target {
                    Target::Items(most) => items - first >= most,
                    Target::Bytes(bytes) => begun - from >= bytes,
                    Target::Parts(parts) => {
                        let part = |at: u64| {
                            u128::from(at) * u128::from(parts) / u128::from(input.size().max(1))
                        };
                        part(begun) > part(from)
                    }
                };
            if full {
                break;
            }
            if items % 256 == 0 && (options.interrupt)() {
                return Err(Error::Interrupted);
            }
            if let Some(segment) = &mut segment {
                segment.add(line).map_err(|(at, message)| lines.bad(at, &message))?;
                segment.frame(FRAME_BYTES).map_err(broken)?;
            }
            items += 1;
            pending = lines.next()?;
        }
        let count = items - first;
        match segment {
            None => {
                resumed += 1;
                options.progress.segment(&file);
            }
            Some(segment) => {
                let draft = segment.finish().map_err(broken)?;
                let meta =
                    EntryMeta { index: segments, items: Some(count), ..EntryMeta::default() };
                for entry in writer.stage(draft, meta)? {
                    options.progress.segment(&entry.file);
                }
            }
        }
        segments += 1;
        let reached = if pending.is_some() { lines.begun } else { input.size() };
        options.progress.bytes(reached - from);
        options.progress.items(count);
    }
    for entry in writer.settle()? {
        options.progress.segment(&entry.file);
    }
    Ok(SplitReport {
        segments: writer.finish()?,
        items,
        resumed,
        shared: SharedCounts::default(),
        warnings: Vec::new(),
    })
}

/// Pickles what the lines of `text` hold as a list; gives how many there are.
///
/// # Errors
/// `InvalidData` that names the line that is no JSON; what `text` and `out` say.
pub(crate) fn pickle_lines(text: &mut impl BufRead, out: &mut impl Write) -> io::Result<u64> {
    let mut segment = Segment::begin(out)?;
    let (mut number, mut items) = (0u64, 0u64);
    let mut line = Vec::new();
    let wrong = |number: u64, message: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("line {number}: {message}"))
    };
    loop {
        line.clear();
        let read = io::Read::take(&mut *text, MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        number += 1;
        if read as u64 == MAX_LINE {
            return Err(wrong(number, "is longer than 1 GiB"));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        segment.add(&line).map_err(|(_, message)| wrong(number, &message))?;
        segment.frame(FRAME_BYTES)?;
        items += 1;
    }
    segment.finish()?.flush()?;
    Ok(items)
}

/// Pickles the one JSON value that `text` is.
///
/// # Errors
/// What is wrong with it, and at which byte.
pub(crate) fn pickle_value(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = b"\x80\x04".to_vec();
    let mut keys = HashMap::new();
    let mut parser = Parser { line: text, at: 0, out: &mut out, keys: &mut keys };
    parser.whole().map_err(|message| format!("byte {}: {message}", parser.at))?;
    out.push(b'.');
    Ok(out)
}

/// Bytes read before anything is written, so that what is no JSON Lines at all
/// leaves nothing behind.
const LOOK_FIRST: u64 = 4 << 20;

/// Reads the first lines without writing anything.
fn look_first(input: &Input) -> Result<()> {
    let mut lines = Lines::new(input);
    let mut keys = HashMap::new();
    let mut out = Vec::new();
    while let Some(line) = lines.next()? {
        out.clear();
        keys.clear();
        let mut parser = Parser { line: &line, at: 0, out: &mut out, keys: &mut keys };
        if let Err(message) = parser.whole() {
            return Err(lines.bad(parser.at, &message));
        }
        if lines.next > LOOK_FIRST {
            break;
        }
    }
    Ok(())
}

/// The lines that hold something.
struct Lines<'i> {
    input: &'i Input,
    reader: BufReader<Sequential<&'i dyn ReadAt>>,
    number: u64,
    /// Where the line just given begins, and where the next one does.
    begun: u64,
    next: u64,
}

impl<'i> Lines<'i> {
    fn new(input: &'i Input) -> Self {
        let reader = BufReader::with_capacity(1 << 18, Sequential::new(input.data()));
        Lines { input, reader, number: 0, begun: 0, next: 0 }
    }

    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let mut line = Vec::new();
            let read = io::Read::take(&mut self.reader, MAX_LINE).read_until(b'\n', &mut line);
            let read = read.map_err(|e| Error::io("read", self.input.path(), e))? as u64;
            if read == 0 {
                return Ok(None);
            }
            self.begun = self.next;
            self.next += read;
            self.number += 1;
            if read == MAX_LINE {
                return Err(self.bad(0, "the line is longer than 1 GiB"));
            }
            if self.number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// The error of the line just given, at its byte `at`.
    fn bad(&self, at: usize, message: &str) -> Error {
        let message = format!("line {}: {message}; each line must be one JSON value", self.number);
        Error::input(self.input.path(), self.begun + at as u64, message)
    }
}

/// A list being pickled.
struct Segment<W: Write> {
    out: BufWriter<W>,
    /// What is not framed yet.
    buffer: Vec<u8>,
    /// Items in the open batch.
    batch: usize,
    keys: HashMap<Vec<u8>, u32>,
}

/// Items in a batch, as CPython has it.
const BATCH: usize = 1000;

impl<W: Write> Segment<W> {
    fn begin(out: W) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 18, out);
        out.write_all(b"\x80\x04")?;
        Ok(Segment { out, buffer: b"]".to_vec(), batch: 0, keys: HashMap::new() })
    }

    /// Adds the value of a line.
    fn add(&mut self, line: &[u8]) -> Result<(), (usize, String)> {
        if self.batch == BATCH {
            self.buffer.push(b'e');
            self.batch = 0;
        }
        if self.batch == 0 {
            self.buffer.push(b'(');
        }
        self.batch += 1;
        let mut parser = Parser { line, at: 0, out: &mut self.buffer, keys: &mut self.keys };
        parser.whole().map_err(|message| (parser.at, message))
    }

    /// Writes a frame if there are `least` bytes for it.
    fn frame(&mut self, least: usize) -> io::Result<()> {
        if self.buffer.len() < least {
            return Ok(());
        }
        self.out.write_all(&[0x95])?;
        self.out.write_all(&(self.buffer.len() as u64).to_le_bytes())?;
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<W> {
        if self.batch > 0 {
            self.buffer.push(b'e');
        }
        self.buffer.push(b'.');
        self.frame(4)?;
        self.out.write_all(&self.buffer)?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// Turns one JSON value into pickle operations, without recursion.
struct Parser<'p> {
    line: &'p [u8],
    at: usize,
    out: &'p mut Vec<u8>,
    keys: &'p mut HashMap<Vec<u8>, u32>,
}

/// A container that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

type Parsed<T> = Result<T, String>;

impl Parser<'_> {
    fn whole(&mut self) -> Parsed<()> {
        let mut open: Vec<Open> = Vec::new();
        'value: loop {
            // A value is expected here.
            match self.skip() {
                Some(kind @ (b'[' | b'{')) => {
                    self.at += 1;
                    let (empty, closer, container) = match kind {
                        b'[' => (b']', b']', Open::Array),
                        _ => (b'}', b'}', Open::Object),
                    };
                    self.out.push(empty);
                    if self.skip() == Some(closer) {
                        self.at += 1;
                    } else {
                        if open.len() >= MAX_DEPTH {
                            return Err(format!("more than {MAX_DEPTH} brackets are open here"));
                        }
                        open.push(container);
                        self.out.push(b'(');
                        if container == Open::Object {
                            self.key()?;
                        }
                        continue 'value;
                    }
                }
                Some(b'"') => {
                    let text = self.string()?;
                    self.text(&text);
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(_) => self.word()?,
                None => return Err("ends where a value should be".to_owned()),
            }
            // A value has ended.
            loop {
                let Some(&inner) = open.last() else {
                    return match self.skip() {
                        None => Ok(()),
                        Some(_) => Err("something follows the value".to_owned()),
                    };
                };
                match (self.skip(), inner) {
                    (Some(b','), Open::Array) => {
                        self.at += 1;
                        continue 'value;
                    }
                    (Some(b','), Open::Object) => {
                        self.at += 1;
                        self.key()?;
                        continue 'value;
                    }
                    (Some(b']'), Open::Array) => self.out.push(b'e'),
                    (Some(b'}'), Open::Object) => self.out.push(b'u'),
                    (None, _) => return Err("ends inside brackets".to_owned()),
                    _ => return Err("neither a comma nor the closing bracket".to_owned()),
                }
                self.at += 1;
                open.pop();
            }
        }
    }

    /// The next byte that is no space.
    fn skip(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.line.get(self.at) {
            self.at += 1;
        }
        self.line.get(self.at).copied()
    }

    /// A key and its colon.
    fn key(&mut self) -> Parsed<()> {
        if self.skip() != Some(b'"') {
            return Err("a key in quotes should be here".to_owned());
        }
        let text = self.string()?;
        if self.skip() != Some(b':') {
            return Err("a colon should be here".to_owned());
        }
        self.at += 1;
        if let Some(&id) = self.keys.get(&text) {
            match u8::try_from(id) {
                Ok(id) => self.out.extend_from_slice(&[b'h', id]),
                Err(_) => {
                    self.out.push(b'j');
                    self.out.extend_from_slice(&id.to_le_bytes());
                }
            }
            return Ok(());
        }
        self.text(&text);
        if self.keys.len() < MAX_KEYS {
            self.out.push(0x94);
            let id = self.keys.len() as u32;
            self.keys.insert(text, id);
        }
        Ok(())
    }

    /// Writes a str.
    fn text(&mut self, utf8: &[u8]) {
        match (u8::try_from(utf8.len()), u32::try_from(utf8.len())) {
            (Ok(length), _) => self.out.extend_from_slice(&[0x8c, length]),
            (_, Ok(length)) => {
                self.out.push(b'X');
                self.out.extend_from_slice(&length.to_le_bytes());
            }
            _ => {
                self.out.push(0x8d);
                self.out.extend_from_slice(&(utf8.len() as u64).to_le_bytes());
            }
        }
        self.out.extend_from_slice(utf8);
    }

    /// A string in quotes, as UTF-8 in which lone surrogates may stand.
    fn string(&mut self) -> Parsed<Vec<u8>> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let rest = self.line.get(self.at..).unwrap_or_default();
            let plain = rest
                .iter()
                .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))
                .unwrap_or(rest.len());
            let (plain, rest) = rest.split_at(plain);
            if std::str::from_utf8(plain).is_err() {
                return Err("bytes that are no UTF-8".to_owned());
            }
            text.extend_from_slice(plain);
            self.at += plain.len();
            match rest.first() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => self.escape(&mut text)?,
                Some(_) => return Err("a control character in a string".to_owned()),
                None => return Err("a string without its closing quote".to_owned()),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Parsed<()> {
        let Some(&kind) = self.line.get(self.at + 1) else {
            return Err("a string without its closing quote".to_owned());
        };
        let byte = match kind {
            b'"' | b'\\' | b'/' => kind,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.hex(self.at + 2)?;
                self.at += 6;
                let follows = self.line.get(self.at..self.at + 2) == Some(b"\\u");
                if (0xd800..0xdc00).contains(&unit) && follows {
                    let low = self.hex(self.at + 2)?;
                    if (0xdc00..0xe000).contains(&low) {
                        self.at += 6;
                        encode(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), text);
                        return Ok(());
                    }
                }
                encode(unit, text);
                return Ok(());
            }
            _ => return Err("an unknown escape".to_owned()),
        };
        text.push(byte);
        self.at += 2;
        Ok(())
    }

    fn hex(&self, from: usize) -> Parsed<u32> {
        let digits = self.line.get(from..from + 4).unwrap_or_default();
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        if digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return u32::from_str_radix(digits, 16).map_err(|e| e.to_string());
        }
        Err("an escape without four hexadecimal digits".to_owned())
    }

    fn word(&mut self) -> Parsed<()> {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let words: [(&[u8], &[u8]); 5] = [
            (b"null", b"N"),
            (b"true", b"\x88"),
            (b"false", b"\x89"),
            (b"NaN", b"G\x7f\xf8\0\0\0\0\0\0"),
            (b"Infinity", b"G\x7f\xf0\0\0\0\0\0\0"),
        ];
        for (word, ops) in words {
            if rest.starts_with(word) {
                self.at += word.len();
                self.out.extend_from_slice(ops);
                return Ok(());
            }
        }
        Err("this is no JSON value".to_owned())
    }

    fn number(&mut self) -> Parsed<()> {
        let rest = self.line.get(self.at..).unwrap_or_default();
        if rest.starts_with(b"-Infinity") {
            self.at += 9;
            self.out.extend_from_slice(b"G\xff\xf0\0\0\0\0\0\0");
            return Ok(());
        }
        let sign = usize::from(rest.first() == Some(&b'-'));
        let digits = |from: usize| {
            rest.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let whole = digits(sign);
        if whole == 0 {
            return Err("a minus without a number".to_owned());
        }
        let mut end = sign + whole;
        if whole > 1 && rest.get(sign) == Some(&b'0') {
            return Err("a number that begins with 0".to_owned());
        }
        let mut float = false;
        if rest.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            float = true;
            end += 1 + digits(end + 1);
        }
        if matches!(rest.get(end), Some(b'e' | b'E')) {
            let signed = usize::from(matches!(rest.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end + 1 + signed);
            if exponent > 0 {
                float = true;
                end += 1 + signed + exponent;
            }
        }
        let text = rest.get(..end).and_then(|t| std::str::from_utf8(t).ok()).unwrap_or_default();
        if float {
            let value: f64 = text.parse().map_err(|_| "no number".to_owned())?;
            self.out.push(b'G');
            self.out.extend_from_slice(&value.to_be_bytes());
        } else {
            if whole > MAX_DIGITS {
                return Err(format!("a whole number of more than {MAX_DIGITS} digits"));
            }
            whole_number(text, self.out);
        }
        self.at += end;
        Ok(())
    }
}

/// Writes a whole number given in decimal.
fn whole_number(text: &str, out: &mut Vec<u8>) {
    match text.parse::<i64>() {
        Ok(n @ 0..=0xff) => out.extend_from_slice(&[b'K', n as u8]),
        Ok(n @ 0..=0xffff) => {
            out.push(b'M');
            out.extend_from_slice(&(n as u16).to_le_bytes());
        }
        Ok(n) if i32::try_from(n).is_ok() => {
            out.push(b'J');
            out.extend_from_slice(&(n as i32).to_le_bytes());
        }
        Ok(n) => long(n < 0, &n.unsigned_abs().to_le_bytes(), out),
        Err(_) => {
            let (negative, digits) = match text.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, text),
            };
            let mut bytes: Vec<u8> = Vec::new();
            for digit in digits.bytes() {
                let mut carry = u32::from(digit - b'0');
                for byte in &mut bytes {
                    let next = u32::from(*byte) * 10 + carry;
                    *byte = next as u8;
                    carry = next >> 8;
                }
                if carry > 0 {
                    bytes.push(carry as u8);
                }
            }
            long(negative, &bytes, out);
        }
    }
}

/// Writes LONG1 or LONG4 of a magnitude, little end first.
fn long(negative: bool, magnitude: &[u8], out: &mut Vec<u8>) {
    let mut bytes = magnitude.to_vec();
    bytes.push(0);
    if negative {
        let mut carry = true;
        for byte in &mut bytes {
            let (flipped, over) = (!*byte).overflowing_add(u8::from(carry));
            *byte = flipped;
            carry = over;
        }
    }
    // The shortest form whose top bit is the sign.
    let filler = if negative { 0xff } else { 0 };
    while let [.., before, last] = bytes.as_slice() {
        if *last != filler || (*before >= 0x80) != negative {
            break;
        }
        bytes.pop();
    }
    match u8::try_from(bytes.len()) {
        Ok(length) => out.extend_from_slice(&[0x8a, length]),
        Err(_) => {
            out.push(0x8b);
            out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        }
    }
    out.extend_from_slice(&bytes);
}

/// Encodes a code point as Python's `surrogatepass` does.
fn encode(point: u32, text: &mut Vec<u8>) {
    let tail = |shift: u32| 0x80 | ((point >> shift) & 0x3f) as u8;
    match point {
        0..0x80 => text.push(point as u8),
        0x80..0x800 => text.extend_from_slice(&[0xc0 | (point >> 6) as u8, tail(0)]),
        0x800..0x10000 => {
            text.extend_from_slice(&[0xe0 | (point >> 12) as u8, tail(6), tail(0)]);
        }
        _ => text.extend_from_slice(&[0xf0 | (point >> 18) as u8, tail(12), tail(6), tail(0)]),
    }
}
