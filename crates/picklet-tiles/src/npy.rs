//! The header of a `.npy` file, read and written.
//!
//! The format is numpy's own (`numpy/lib/format.py`): a magic string, a version, a length, and a
//! Python dict in text: `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }`.

use std::path::Path;

use picklet_segments::array::Dtype;
use picklet_segments::{Error, ReadAt, Result};
use serde_json::Value;

/// What every `.npy` file begins with.
pub(crate) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Bytes of a header at most; numpy itself refuses longer ones than 10,000 by default.
const LONGEST: u64 = 16 << 20;

/// Levels of lists and tuples in a header.
const DEPTH: usize = 40;

/// What a header says.
#[derive(Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) dtype: Dtype,
    pub(crate) fortran: bool,
    pub(crate) shape: Vec<u64>,
    /// Bytes from the file's beginning to the first element.
    pub(crate) end: u64,
}

/// Reads the header that begins at byte 0 of `data`.
pub(crate) fn read(data: &dyn ReadAt, path: &Path) -> Result<Header> {
    let bad = |offset: u64, message: &str| Err(Error::input(path, offset, message));
    let io = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::input(path, None, "ends within its .npy header; it was cut off")
        }
        _ => Error::io("read", path, e),
    };
    let mut first = [0u8; 8];
    data.read_exact_at(0, &mut first).map_err(io)?;
    let [.., major, _minor] = first;
    if !first.starts_with(MAGIC) {
        return bad(0, "is no .npy file");
    }
    let (start, length) = match major {
        1 => {
            let mut length = [0u8; 2];
            data.read_exact_at(8, &mut length).map_err(io)?;
            (10, u64::from(u16::from_le_bytes(length)))
        }
        2 | 3 => {
            let mut length = [0u8; 4];
            data.read_exact_at(8, &mut length).map_err(io)?;
            (12, u64::from(u32::from_le_bytes(length)))
        }
        other => {
            let message = format!(
                ".npy format version {other} is not known here; save it with \
                                   numpy.save()"
            );
            return bad(6, &message);
        }
    };
    if length > LONGEST {
        return bad(8, "its .npy header is longer than 16 MiB");
    }
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    data.read_exact_at(start, &mut text).map_err(io)?;
    let end = start + length;
    let text = match String::from_utf8(text) {
        Ok(text) => text,
        // Versions 1 and 2 are Latin-1.
        Err(error) => error.into_bytes().into_iter().map(char::from).collect(),
    };
    let Some(dict) = literal(&text) else {
        return bad(start, "its .npy header is no Python dict as numpy.save() writes it");
    };
    let shape = dict.get("shape").and_then(Value::as_array);
    let shape = shape.and_then(|sides| sides.iter().map(Value::as_u64).collect::<Option<Vec<_>>>());
    let fortran = dict.get("fortran_order").and_then(Value::as_bool);
    let (Some(shape), Some(fortran), Some(descr)) = (shape, fortran, dict.get("descr")) else {
        return bad(start, "its .npy header says no descr, fortran_order or shape");
    };
    let Some(dtype) = Dtype::from_descr(descr) else {
        let objects = descr.to_string().contains('O');
        let message = if objects {
            "holds Python objects (dtype object), which have no bytes of one size to cut".to_owned()
        } else {
            format!("has elements of type {descr}, which is not known here")
        };
        return bad(start, &message);
    };
    Ok(Header { dtype, fortran, shape, end })
}

/// The header of an array in C order, padded so that the elements begin at a multiple of 64.
pub(crate) fn write(dtype: &Dtype, shape: &[u64]) -> Result<Vec<u8>> {
    let descr = dtype.descr().ok_or_else(|| {
        Error::usage(
            "the fields of this type overlap or are out of order, which .npy cannot say; write \
             .pickle instead",
        )
    })?;
    let mut sides: Vec<String> = shape.iter().map(u64::to_string).collect();
    if sides.len() == 1 {
        sides.push(String::new());
    }
    let text = format!(
        "{{'descr': {}, 'fortran_order': False, 'shape': ({}), }}",
        python(&descr, true),
        sides.join(", ").trim_end()
    );
    let ascii = text.is_ascii();
    // Version 1 up to 65535 bytes of ASCII, 2 beyond, 3 for names that are not ASCII.
    let wide = !ascii || text.len() > 65_000;
    let start = if wide { 12 } else { 10 };
    let padding = 64 - (start + text.len() + 1) % 64;
    let length = text.len() + padding % 64 + 1;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(if !wide {
        [1, 0]
    } else if ascii {
        [2, 0]
    } else {
        [3, 0]
    });
    match u16::try_from(length) {
        Ok(short) if !wide => bytes.extend(short.to_le_bytes()),
        _ => bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()),
    }
    bytes.extend(text.as_bytes());
    bytes.resize(start + length - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

/// A type's descr as Python writes it; `top` lists are lists, what is in them tuples.
fn python(value: &Value, top: bool) -> String {
    match value {
        Value::String(text) => {
            let mut quoted = String::from("'");
            for c in text.chars() {
                match c {
                    '\'' | '\\' => {
                        quoted.push('\\');
                        quoted.push(c);
                    }
                    '\n' => quoted.push_str("\\n"),
                    c => quoted.push(c),
                }
            }
            quoted + "'"
        }
        Value::Array(items) if top => {
            let items: Vec<String> = items.iter().map(|item| python(item, false)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Array(items) => {
            // A field: its second part may be a list of fields.
            let nested =
                |item: &Value| item.as_array().is_some_and(|i| i.iter().all(Value::is_array));
            let items: Vec<String> = items
                .iter()
                .enumerate()
                .map(|(place, item)| python(item, place == 1 && nested(item)))
                .collect();
            let comma = if items.len() == 1 { "," } else { "" };
            format!("({}{comma})", items.join(", "))
        }
        other => other.to_string(),
    }
}

/// Reads a Python literal of dicts, lists, tuples (as lists), strings, ints, True, False, None.
fn literal(text: &str) -> Option<Value> {
    let mut parser = Parser { rest: text.trim_end() };
    let value = parser.value(DEPTH)?;
    parser.skip();
    parser.rest.is_empty().then_some(value)
}

struct Parser<'t> {
    rest: &'t str,
}

impl Parser<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, word: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        self.skip();
        let first = self.rest.chars().next()?;
        match first {
            '{' => {
                self.eat("{");
                let mut map = serde_json::Map::new();
                while !self.eat("}") {
                    let key = self.value(depth)?.as_str()?.to_owned();
                    if !self.eat(":") {
                        return None;
                    }
                    map.insert(key, self.value(depth)?);
                    if !self.eat(",") {
                        self.skip();
                        self.rest.starts_with('}').then_some(())?;
                    }
                }
                Some(Value::Object(map))
            }
            '(' | '[' => {
                let (open, close) = if first == '(' { ("(", ")") } else { ("[", "]") };
                self.eat(open);
                let mut items = Vec::new();
                while !self.eat(close) {
                    items.push(self.value(depth)?);
                    if !self.eat(",") {
                        self.skip();
                        self.rest.starts_with(close).then_some(())?;
                        // One value in brackets and no comma is that value.
                        if first == '(' && items.len() == 1 {
                            self.eat(close);
                            return items.pop();
                        }
                    }
                }
                Some(Value::Array(items))
            }
            '\'' | '"' => self.string(first),
            _ if self.eat("True") => Some(Value::Bool(true)),
            _ if self.eat("False") => Some(Value::Bool(false)),
            _ if self.eat("None") => Some(Value::Null),
            _ => {
                let digits = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
                let number = self.rest.strip_suffix(digits)?.parse::<u64>().ok()?;
                // Python 2 wrote long integers with an L.
                self.rest = digits.strip_prefix('L').unwrap_or(digits);
                Some(Value::from(number))
            }
        }
    }

    fn string(&mut self, quote: char) -> Option<Value> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((place, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = self.rest.get(place + 1..)?;
                    return Some(Value::String(text));
                }
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    _ => return None,
                },
                c => text.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn round(descr: Value, shape: &[u64]) {
        let dtype = Dtype::from_descr(&descr).unwrap();
        let bytes = write(&dtype, shape).unwrap();
        assert_eq!(bytes.len() % 64, 0);
        let header = read(&bytes, Path::new("x.npy")).unwrap();
        let end = bytes.len() as u64;
        assert_eq!(header, Header { dtype, fortran: false, shape: shape.to_vec(), end });
    }

    #[test]
    fn headers_come_back() {
        round(json!("<f8"), &[3, 4]);
        round(json!("|u1"), &[7]);
        round(json!("<M8[ns]"), &[]);
        round(json!([["a", "<i4"], ["it's", "<f8", [2]], ["c", [["x", "|u1"]]]]), &[1, 2, 3]);
        round(json!([["높이", "<i4"]]), &[2]);
        for length in 0..70 {
            round(json!([["n".repeat(length + 1), "<i4"]]), &[2]);
        }
    }

    #[test]
    fn headers_of_other_writers_are_read() {
        let header = |text: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.as_bytes());
            read(&bytes, Path::new("x.npy"))
        };
        let read = header("{\"descr\":\"<f4\",'shape':(10L,),'fortran_order':True}").unwrap();
        assert_eq!((read.fortran, read.shape), (true, vec![10]));
        for bad in [
            "",
            "{",
            "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f8', 'fortran_order': False}",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)} + exit()",
        ] {
            assert!(!header(bad).unwrap_err().to_string().contains('\n'));
        }
        assert!(header(&"[".repeat(60_000)).is_err());
    }
}
