//! Segments as text, for programs that know no pickle: `jq`, `awk`, `sort`.
//!
//! From text to pickle is done here, as the text comes, in memory that does not grow with it
//! (for [`TextForm::Json`]: with the one document). From pickle to text needs values, which this
//! crate does not have: a [`WriteText`] does it, and `picklet::text` has one.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};

use super::check::{Whole, whole_pickle};
use crate::directory::read_file;
use crate::jsonl;

/// How a segment is written as text, and its output read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextForm {
    /// One item a line, each as JSON; of dicts, `[key, value]`. Gives a list.
    Jsonl,
    /// The whole segment as one JSON document. Gives what the document is.
    Json,
    /// One item a line: strings as they are, numbers in digits. Gives a list of strings.
    Lines,
}

impl TextForm {
    /// What such a file's name ends in.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            TextForm::Jsonl => "jsonl",
            TextForm::Json => "json",
            TextForm::Lines => "txt",
        }
    }
}

/// Writes a segment, given as its pickle, as text.
///
/// Its errors: `InvalidData` for what has no such form, in one line; those of the writer as they
/// are.
pub type WriteText = fn(&[u8], TextForm, &mut dyn Write) -> io::Result<()>;

/// A form, and who writes it.
#[derive(Clone)]
pub struct Text {
    /// The form, in and out.
    pub form: TextForm,
    /// Makes text of segments.
    pub write: WriteText,
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").field("form", &self.form).finish_non_exhaustive()
    }
}

/// Bytes of a line, at most.
const MAX_LINE_BYTES: u64 = 1 << 30;

/// Bytes of a JSON document, at most.
const MAX_DOCUMENT_BYTES: u64 = 4 << 30;

/// Items in a batch, as CPython has it.
const BATCH: u64 = 1000;

/// Pickles `text`. The outer error is `out`'s, the inner one says what is wrong with the text.
pub(crate) fn to_pickle(
    form: TextForm,
    text: impl Read,
    out: &mut impl Write,
) -> io::Result<Result<Whole, String>> {
    let mut text = Source { inner: BufReader::with_capacity(1 << 16, text), failed: None };
    let told = |what: String| format!("its output is not {}: {what}", described(form));
    let result = match form {
        TextForm::Jsonl => jsonl::pickle_lines(&mut text, out).map(list),
        TextForm::Lines => pickle_strings(&mut text, out).map(list),
        TextForm::Json => {
            let mut document = Vec::new();
            text.inner.by_ref().take(MAX_DOCUMENT_BYTES).read_to_end(&mut document)?;
            let pickle = match jsonl::pickle_value(&document) {
                Ok(pickle) => pickle,
                Err(message) => return Ok(Err(told(message))),
            };
            out.write_all(&pickle)?;
            return Ok(whole_pickle(&mut pickle.as_slice()));
        }
    };
    match result {
        Ok(whole) => Ok(Ok(whole)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(told(message(&error)))),
        Err(_) if text.failed.is_some() => {
            let why = text.failed.take().unwrap_or_default();
            Ok(Err(format!("its output cannot be read: {why}")))
        }
        Err(error) => Err(error),
    }
}

fn described(form: TextForm) -> &'static str {
    match form {
        TextForm::Jsonl => "JSON Lines",
        TextForm::Json => "one JSON document",
        TextForm::Lines => "lines of UTF-8 text",
    }
}

fn list(items: u64) -> Whole {
    Whole { holds: "list".to_owned(), items }
}

fn message(error: &io::Error) -> String {
    error.get_ref().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Pickles lines as a list of strings.
fn pickle_strings(text: &mut impl BufRead, out: &mut impl Write) -> io::Result<u64> {
    let mut out = io::BufWriter::with_capacity(1 << 16, out);
    out.write_all(b"\x80\x04]")?;
    let mut items = 0u64;
    let mut line = Vec::new();
    loop {
        line.clear();
        if Read::take(&mut *text, MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.pop_if(|last| *last == b'\n').is_some() {
            line.pop_if(|last| *last == b'\r');
        }
        let wrong = |what: &str| {
            let text = format!("line {}: {what}", items.saturating_add(1));
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        if line.len() as u64 + 1 >= MAX_LINE_BYTES {
            return Err(wrong("is longer than 1 GiB"));
        }
        if std::str::from_utf8(&line).is_err() {
            return Err(wrong("is no UTF-8"));
        }
        if items.is_multiple_of(BATCH) {
            out.write_all(if items == 0 { b"(" } else { b"e(" })?;
        }
        match (u8::try_from(line.len()), u32::try_from(line.len())) {
            (Ok(length), _) => out.write_all(&[0x8c, length])?,
            (_, length) => {
                out.write_all(b"X")?;
                out.write_all(&length.unwrap_or(u32::MAX).to_le_bytes())?;
            }
        }
        out.write_all(&line)?;
        items = items.saturating_add(1);
    }
    out.write_all(if items == 0 { b"." } else { b"e." })?;
    out.flush()?;
    Ok(items)
}

/// Remembers that reading failed, which writing may do as well.
struct Source<R> {
    inner: BufReader<R>,
    failed: Option<String>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|error| self.failed = Some(error.to_string()))
    }
}

impl<R: Read> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let Source { inner, failed } = self;
        inner.fill_buf().inspect_err(|error| *failed = Some(error.to_string()))
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }
}

/// What becomes of writing a segment's text to a command.
pub(crate) enum Fed {
    /// All was written, or the command wanted no more.
    Whole,
    /// The segment has no such form.
    Unfit(String),
}

/// Reads the segment's file and writes it as text.
pub(crate) fn feed(path: &str, text: &Text, stdin: impl Write) -> Fed {
    let pickle = match read_file(path) {
        Ok(pickle) => pickle,
        Err(error) => return Fed::Unfit(format!("the segment cannot be read: {error}")),
    };
    let mut stdin = io::BufWriter::with_capacity(1 << 16, stdin);
    let written = (text.write)(&pickle, text.form, &mut stdin).and_then(|()| stdin.flush());
    // What is still buffered is not worth a second attempt.
    let (_, _) = stdin.into_parts();
    match written {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Fed::Unfit(message(&error)),
        // A command that reads no more has done nothing wrong.
        _ => Fed::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pickled(form: TextForm, text: &[u8]) -> Result<(Vec<u8>, Whole), String> {
        let mut out = Vec::new();
        let whole = to_pickle(form, text, &mut out).unwrap()?;
        assert_eq!(whole_pickle(&mut out.as_slice()).unwrap(), whole);
        Ok((out, whole))
    }

    #[test]
    fn text_of_every_form_becomes_one_whole_pickle() {
        let (_, whole) = pickled(TextForm::Jsonl, b"{\"a\": 1}\n\n[2]\n").unwrap();
        assert_eq!((whole.holds.as_str(), whole.items), ("list", 2));
        let (_, whole) = pickled(TextForm::Json, b"{\"a\": 1, \"b\": 2}").unwrap();
        assert_eq!((whole.holds.as_str(), whole.items), ("dict", 2));
        let (pickle, whole) = pickled(TextForm::Lines, b"a\r\n\nc").unwrap();
        assert_eq!((whole.holds.as_str(), whole.items), ("list", 3));
        assert_eq!(pickle, b"\x80\x04](\x8c\x01a\x8c\x00\x8c\x01ce.");
        for form in [TextForm::Jsonl, TextForm::Lines] {
            assert_eq!(pickled(form, b"").unwrap().1.items, 0);
        }
        let many = "x\n".repeat(2500);
        assert_eq!(pickled(TextForm::Lines, many.as_bytes()).unwrap().1.items, 2500);
        let long = "y".repeat(70_000);
        assert_eq!(pickled(TextForm::Lines, long.as_bytes()).unwrap().1.items, 1);
    }

    #[test]
    fn text_that_is_not_of_its_form_is_told_with_its_line() {
        let error = pickled(TextForm::Jsonl, b"1\n{2}\n").unwrap_err();
        assert!(error.contains("JSON Lines") && error.contains("line 2"), "{error}");
        let error = pickled(TextForm::Lines, b"a\n\xff\n").unwrap_err();
        assert!(error.contains("line 2: is no UTF-8"), "{error}");
        for text in [&b""[..], b"[1", b"1 2"] {
            let error = pickled(TextForm::Json, text).unwrap_err();
            assert!(error.contains("one JSON document"), "{error}");
        }
    }
}
