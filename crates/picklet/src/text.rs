//! Segments as text, for programs that know no pickle.
//!
//! [`form`] is what [`ExternalCommand::text`](picklet_segments::engine::ExternalCommand) takes.
//! What JSON has no word for is written as [`mod@json`] says. Nothing is imported or run.

use std::io::{self, Write};

use picklet_codec::Limits;
use picklet_segments::engine::{Text, TextForm};

#[cfg(doc)]
use crate::json;
use crate::json::to_json;
use crate::value::{Kind, Value, ValueRef};

/// The longest JSON of one item, in bytes.
const ITEM_BYTES: usize = 1 << 30;

/// Commands that read and write text of this form.
pub fn form(form: TextForm) -> Text {
    Text { form, write }
}

/// Writes a pickle as text: [`TextForm`] says how.
///
/// # Errors
/// `InvalidData` where the pickle is none, or holds what has no such form; the writer's.
///
/// ```
/// use picklet::segments::engine::TextForm;
///
/// let mut text = Vec::new();
/// picklet::text::write(b"](}\x8c\x01aK\x01sK\x02e.", TextForm::Jsonl, &mut text)?;
/// assert_eq!(text, b"{\"a\": 1}\n2\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write(pickle: &[u8], form: TextForm, out: &mut dyn Write) -> io::Result<()> {
    let (value, _) = Value::from_prefix(pickle, Limits::default()).map_err(wrong)?;
    match form {
        TextForm::Json => writeln!(out, "{}", json(value.root())?),
        TextForm::Jsonl => match value.root().pairs() {
            Some(pairs) => pairs
                .map(|(key, value)| Ok(format!("[{}, {}]", json(key)?, json(value)?)))
                .try_for_each(|pair: io::Result<String>| writeln!(out, "{}", pair?)),
            None => each(&value, out, json),
        },
        TextForm::Lines if value.root().pairs().is_some() => {
            Err(wrong("a dict has pairs, which are no lines; use jsonl"))
        }
        TextForm::Lines => each(&value, out, line),
    }
}

fn wrong(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

fn json(value: ValueRef<'_>) -> io::Result<String> {
    to_json(value, ITEM_BYTES).map_err(wrong)
}

/// Writes a line for each item; of what has no items, for itself.
fn each(
    value: &Value,
    out: &mut dyn Write,
    told: impl Fn(ValueRef<'_>) -> io::Result<String>,
) -> io::Result<()> {
    let Some(items) = value.root().items() else {
        return writeln!(out, "{}", told(value.root())?);
    };
    for (place, item) in items.enumerate() {
        let text = told(item).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => wrong(format!("item {place}: {error}")),
            _ => error,
        })?;
        writeln!(out, "{text}")?;
    }
    Ok(())
}

/// A str as it is, a number in digits.
fn line(value: ValueRef<'_>) -> io::Result<String> {
    if let Some(text) = value.as_str() {
        if text.contains(['\n', '\r']) {
            return Err(wrong("a str with a line break in it is no line; use jsonl"));
        }
        return Ok(text.to_owned());
    }
    match value.kind() {
        Kind::Bool(_) | Kind::Int(_) | Kind::BigInt(_) | Kind::Float(_) => json(value),
        _ => Err(wrong(format!(
            "{} is no line of text; use jsonl, which takes any item",
            value.type_name()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pickle: &[u8], form: TextForm) -> Result<String, String> {
        let mut out = Vec::new();
        write(pickle, form, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn items_are_lines_and_pairs_are_arrays() {
        let list = b"](\x8c\x02a\"K\x02G?\xf8\0\0\0\0\0\0N\x88e.";
        assert_eq!(text(list, TextForm::Jsonl).unwrap(), "\"a\\\"\"\n2\n1.5\nnull\ntrue\n");
        assert_eq!(text(list, TextForm::Json).unwrap(), "[\"a\\\"\", 2, 1.5, null, true]\n");
        assert_eq!(text(b"}K\x01K\x02s.", TextForm::Jsonl).unwrap(), "[1, 2]\n");
        assert_eq!(text(b"}\x8c\x01aK\x02s.", TextForm::Json).unwrap(), "{\"a\": 2}\n");
        assert_eq!(text(b"K\x07.", TextForm::Lines).unwrap(), "7\n");
        assert_eq!(text(b"](\x8c\x02a\"K\x02e.", TextForm::Lines).unwrap(), "a\"\n2\n");
    }

    #[test]
    fn what_is_no_line_is_named_with_its_place() {
        let error = text(b"](K\x01Ne.", TextForm::Lines).unwrap_err();
        assert!(error.contains("item 1") && error.contains("jsonl"), "{error}");
        let error = text(b"]\x8c\x03a\nba.", TextForm::Lines).unwrap_err();
        assert!(error.contains("line break"), "{error}");
        let error = text(b"}K\x01K\x02s.", TextForm::Lines).unwrap_err();
        assert!(error.contains("pairs"), "{error}");
        assert!(text(b"hello", TextForm::Jsonl).is_err());
    }
}
