//! The drawings of docs/format.md: bytes, opcodes, arguments and values are what the page says,
//! and it shows most of what there is.

mod common;

use std::collections::BTreeSet;

use picklet_codec::{DisOptions, OPCODES, Reader, dis};

const PAGE: &str = include_str!("../../../docs/format.md");

/// One drawn pickle.
#[derive(Default)]
struct Drawing {
    /// The bytes.
    pickle: Vec<u8>,
    /// Each opcode's first byte and its text: the opcode, a blank, the argument.
    ops: Vec<(usize, String)>,
    /// What Python prints for the value.
    value: String,
}

fn drawings() -> Vec<Drawing> {
    let mut all = Vec::new();
    let mut open: Option<Drawing> = None;
    for line in PAGE.lines() {
        match &mut open {
            None if line == "```pickle" => open = Some(Drawing::default()),
            None => {}
            Some(_) if line == "```" => all.extend(open.take()),
            Some(drawing) => match line.strip_prefix("= ") {
                Some(value) => drawing.value = value.to_owned(),
                None => drawing.take(line),
            },
        }
    }
    all
}

impl Drawing {
    /// Takes a line: bytes, and where an opcode starts two blanks and its text.
    fn take(&mut self, line: &str) {
        let (bytes, text) = line.split_once("  ").unwrap_or((line, ""));
        let text = text.split("  ; ").next().unwrap_or_default().trim();
        if !text.is_empty() {
            self.ops.push((self.pickle.len(), text.to_owned()));
        }
        self.pickle.extend(bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
}

/// The listing's lines without what it says of marks, and its blanks in columns.
fn listed(pickle: &[u8]) -> Vec<(usize, String)> {
    let mut listing = Vec::new();
    dis(pickle, &mut listing, &DisOptions { indent: 0, ..DisOptions::default() }).unwrap();
    let listing = String::from_utf8(listing).unwrap();
    let ops = listing.lines().filter_map(|line| {
        let (place, rest) = line.split_once(": ")?;
        let (_code, text) = rest.trim_start().split_once(' ')?;
        let text = text.trim_start();
        let (name, arg) = text.split_once(' ').unwrap_or((text, ""));
        let arg = arg.split("(MARK at").next().unwrap_or_default().trim();
        let text = if arg.is_empty() { name.to_owned() } else { format!("{name} {arg}") };
        Some((place.trim().parse().ok()?, text))
    });
    ops.collect()
}

#[test]
fn drawn_bytes_are_the_opcodes_drawn_beside_them() {
    for drawing in drawings() {
        let (ours, mut reader) = (listed(&drawing.pickle), Reader::new(&drawing.pickle));
        assert_eq!(ours, drawing.ops, "{}", drawing.pickle.escape_ascii());
        while let Some(op) = reader.next_op().unwrap() {
            assert!(drawing.ops.iter().any(|(place, text)| {
                *place as u64 == op.offset && text.split(' ').next() == Some(op.opcode.name())
            }));
        }
        assert!(reader.rest().is_empty(), "{} goes on after STOP", drawing.pickle.escape_ascii());
    }
}

#[test]
fn drawn_values_are_what_python_loads() {
    let Some(python) = common::python() else { return };
    let drawings = drawings();
    let mut input = Vec::new();
    for drawing in &drawings {
        input.extend_from_slice(&(drawing.pickle.len() as u32).to_le_bytes());
        input.extend_from_slice(&drawing.pickle);
    }
    let answer = common::ask(&python, include_str!("format_oracle.py"), &input);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.lines().count(), drawings.len());
    for (drawing, theirs) in drawings.iter().zip(answer.lines()) {
        // Python is asked for ASCII, so that its output's encoding does not matter.
        let drawn = drawing.value.replace('é', "\\xe9");
        assert_eq!(drawn, theirs, "{}", drawing.pickle.escape_ascii());
        common::load(&drawing.pickle)
            .map(drop)
            .or_else(|error| match error.kind() {
                // What calls make lies beyond the test's builder.
                picklet_codec::ErrorKind::WrongType(_) | picklet_codec::ErrorKind::NoBuffer => {
                    Ok(())
                }
                _ => Err(error),
            })
            .unwrap();
    }
}

#[test]
fn most_opcodes_are_drawn_and_by_their_own_names() {
    let drawings = drawings();
    assert!(drawings.len() >= 30, "{} drawings", drawings.len());
    let drawn: BTreeSet<&str> = drawings
        .iter()
        .flat_map(|drawing| &drawing.ops)
        .filter_map(|(_, text)| text.split(' ').next())
        .collect();
    assert!(drawn.len() >= 44, "{} opcodes are drawn", drawn.len());
    assert!(drawn.iter().all(|name| OPCODES.iter().any(|info| info.name == *name)));
}
