//! A symbol as the policy and the reader of a report see it.

use std::cell::Cell;

use super::globals::Globals;
use super::source::{Source, opcode_at};
use super::sym::{Contents, Ring, Sort, Sym, UNREADABLE};
use crate::arg::Arg;
use crate::opcode::Opcode;
use crate::policy::{Entry, Facts, Makes, Nature, Rule, Subject};
use crate::pyrepr;
use crate::str::PickleStr;
use crate::text;

/// All that is known of the objects of one scan.
pub(super) struct Known<'s> {
    pub(super) source: &'s dyn Source,
    pub(super) ring: Ring,
    pub(super) contents: Contents,
    pub(super) globals: Globals,
    /// Memo entries that were asked for and had been forgotten.
    pub(super) asked: Cell<Option<u64>>,
    /// Values that may still be looked at, each time that they are. A state may be given again and
    /// again, in three bytes.
    looks: Cell<u64>,
    /// Bytes of text that may still be counted; and the text counted last.
    countable: Cell<u64>,
    counted: Cell<(u64, u64)>,
}

impl<'s> Known<'s> {
    pub(super) fn new(source: &'s dyn Source) -> Known<'s> {
        Known {
            source,
            ring: Ring::new(),
            contents: Contents::new(),
            globals: Globals::new(),
            asked: Cell::new(None),
            looks: Cell::new(looks_for(source.len())),
            countable: Cell::new(source.len().saturating_mul(2).saturating_add(1 << 20)),
            counted: Cell::new((u64::MAX, 0)),
        }
    }

    /// Makes ready for another stretch of the source, whose offsets begin at 0 again.
    pub(super) fn another_part(&mut self) {
        self.counted.set((u64::MAX, 0));
        let more = looks_for(self.source.len()) - FEW_LOOKS + FEW_LOOKS_OF_A_PART;
        self.looks.set(self.looks.get().saturating_add(more));
    }

    /// Values that may still be looked at. Once it is 0, nothing is known of what is asked for.
    pub(super) fn looks(&self) -> u64 {
        self.looks.get()
    }

    /// Returns to what [`looks`](Self::looks) said.
    pub(super) fn look_again(&self, looks: u64) {
        self.looks.set(looks);
    }

    fn look(&self, values: u64) -> Option<()> {
        let left = self.looks.get().saturating_sub(values);
        self.looks.set(left);
        (left > 0).then_some(())
    }

    pub(super) fn view(&self, sym: Sym) -> View<'_, 's> {
        View { known: self, sym }
    }

    /// The opcode that pushed an atom.
    fn atom<R>(&self, sym: Sym, read: impl FnOnce(Opcode, Arg<'_>) -> Option<R>) -> Option<R> {
        self.look(1)?;
        (sym.payload() != UNREADABLE).then(|| opcode_at(self.source, sym.payload(), read)).flatten()
    }

    /// The text of a str that is short enough to be a name.
    pub(super) fn text(&self, sym: Sym) -> Option<String> {
        match sym.sort() {
            Sort::Str | Sort::Bytes | Sort::OldStr => self.atom(sym, |_, arg| text_of(arg)),
            Sort::Forgotten => {
                self.asked.set(Some(sym.payload()));
                None
            }
            _ => None,
        }
    }

    /// The length that the opcode of a long text declares, and where the text begins.
    fn declared(&self, sym: Sym) -> Option<(Opcode, u64, u64)> {
        if sym.payload() == UNREADABLE {
            return None;
        }
        let mut head = [0; 9];
        super::source::read_full(self.source, sym.payload(), &mut head).ok()?;
        let opcode = Opcode::from_byte(*head.first()?)?;
        let crate::arg::ArgExtent::Counted(field) = opcode.info().arg.extent() else { return None };
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(head.get(1..1 + usize::from(field))?) {
            *to = *from;
        }
        Some((opcode, u64::from_le_bytes(word), sym.payload() + 1 + u64::from(field)))
    }

    /// Bytes of bytes, characters of a str.
    fn length(&self, sym: Sym) -> Option<u64> {
        let Some((opcode, bytes, start)) = self.declared(sym) else {
            if let Some(count) = self.line_length(sym) {
                return Some(count);
            }
            return self.atom(sym, |_, arg| match arg {
                Arg::Bytes(bytes) => Some(bytes.len() as u64),
                Arg::EscapedBytes(inner) => Some(text::unescape_string(inner).ok()?.len() as u64),
                Arg::EscapedStr(line) => {
                    let text = text::unescape_unicode(line).ok()?;
                    Some(text.as_pickle_str().code_points().count() as u64)
                }
                Arg::Str(text) => Some(text.code_points().count() as u64),
                _ => None,
            });
        };
        let is_text =
            matches!(opcode, Opcode::ShortBinUnicode | Opcode::BinUnicode | Opcode::BinUnicode8);
        if is_text { self.characters(start, bytes) } else { Some(bytes) }
    }

    /// Characters of UNICODE's line, bytes of STRING's, their escapes taken as one each.
    fn line_length(&self, sym: Sym) -> Option<u64> {
        let mut opcode = [0];
        super::source::read_full(self.source, sym.payload(), &mut opcode).ok()?;
        let is_text = match Opcode::from_byte(opcode[0])? {
            Opcode::Unicode => true,
            Opcode::String => false,
            _ => return None,
        };
        let start = sym.payload() + 1;
        if self.counted.get().0 == start {
            return Some(self.counted.get().1);
        }
        let (mut count, mut at) = (0u64, start);
        // Bytes of an escape that are still to be passed, and what the escape turned out to be.
        let mut escape = Escape::None;
        let mut block = vec![0; 64 * 1024];
        'line: loop {
            let read = self.source.read_at(at, &mut block).ok().filter(|read| *read > 0)?;
            self.countable.set(self.countable.get().checked_sub(read as u64)?);
            for byte in block.get(..read)? {
                match (escape, *byte) {
                    (_, b'\n') => break 'line,
                    (Escape::None, b'\\') => escape = Escape::Begun,
                    (Escape::None, _) => count += 1,
                    (Escape::Begun, b'u') if is_text => escape = Escape::Digits(4),
                    (Escape::Begun, b'U') if is_text => escape = Escape::Digits(8),
                    // The backslash stands for itself, and what follows it too.
                    (Escape::Begun, _) if is_text => {
                        count += 2;
                        escape = Escape::None;
                    }
                    (Escape::Begun, b'x') => escape = Escape::Digits(2),
                    (Escape::Begun, b'0'..=b'7') => escape = Escape::Octal(2),
                    (Escape::Begun, _) => {
                        count += 1;
                        escape = Escape::None;
                    }
                    (Escape::Digits(1), _) => {
                        count += 1;
                        escape = Escape::None;
                    }
                    (Escape::Digits(left), _) => escape = Escape::Digits(left - 1),
                    (Escape::Octal(left @ 1..), b'0'..=b'7') => escape = Escape::Octal(left - 1),
                    (Escape::Octal(_), b'\\') => {
                        count += 1;
                        escape = Escape::Begun;
                    }
                    (Escape::Octal(_), _) => {
                        count += 2;
                        escape = Escape::None;
                    }
                }
            }
            at += read as u64;
        }
        // STRING's line stands between two quotes.
        let count = if is_text { count } else { count.checked_sub(2)? };
        self.counted.set((start, count));
        Some(count)
    }

    /// Counts the characters of `len` bytes of UTF-8.
    fn characters(&self, start: u64, len: u64) -> Option<u64> {
        let (last, count) = self.counted.get();
        if last == start {
            return Some(count);
        }
        self.countable.set(self.countable.get().checked_sub(len)?);
        let (mut count, mut at) = (0, start);
        let mut block = vec![0; 64 * 1024];
        while at < start + len {
            let want = usize::try_from(start + len - at).unwrap_or(usize::MAX).min(block.len());
            let read = self.source.read_at(at, block.get_mut(..want)?).ok().filter(|n| *n > 0)?;
            let bytes = block.get(..read)?;
            count += bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u64;
            at += read as u64;
        }
        self.counted.set((start, count));
        Some(count)
    }

    /// The items of a tuple, if they are known.
    pub(super) fn tuple_items(&self, sym: Sym) -> Option<Vec<Sym>> {
        let (at, len) = sym.items()?;
        self.ring.get(at, len)
    }

    /// What is written in a report for an object: as Python writes it, shortened.
    pub(super) fn shown(&self, sym: Sym) -> String {
        let mut out = String::new();
        self.show(sym, SHOWN_DEPTH, &mut out);
        out
    }

    /// Arguments as they would stand in a call.
    pub(super) fn shown_arguments(&self, items: &[Sym]) -> String {
        let mut out = String::from("(");
        self.show_items(items, SHOWN_DEPTH, &mut out);
        out.push(')');
        out
    }

    fn show_items(&self, items: &[Sym], depth: usize, out: &mut String) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            if at >= SHOWN_ITEMS || out.len() > SHOWN_TEXT {
                out.push('…');
                return;
            }
            self.show(*item, depth, out);
        }
    }

    fn show(&self, sym: Sym, depth: usize, out: &mut String) {
        match sym.sort() {
            Sort::None => out.push_str("None"),
            Sort::True => out.push_str("True"),
            Sort::False => out.push_str("False"),
            Sort::Int | Sort::Float | Sort::Str | Sort::Bytes | Sort::ByteArray | Sort::OldStr => {
                let shown = self.atom(sym, |_, arg| {
                    show_atom(arg, out);
                    Some(())
                });
                if shown.is_none() {
                    out.push('…');
                }
            }
            Sort::EmptyTuple => out.push_str("()"),
            Sort::Tuple | Sort::ObjectTuple | Sort::List | Sort::Set | Sort::FrozenSet => {
                self.show_container(sym, depth, out);
            }
            Sort::Dict => self.show_dict(sym, depth, out),
            Sort::Global => match sym.global().and_then(|number| self.globals.get(number)) {
                Some(global) => out.push_str(&printable(&global.import.dotted())),
                None => out.push('…'),
            },
            Sort::Made => {
                let maker = sym.maker().and_then(|number| self.globals.made_by(number));
                out.push_str(&printable(maker.map_or("", |maker| &maker.name)));
                out.push_str("(…)");
            }
            Sort::Buffer => out.push_str("<buffer>"),
            Sort::Persistent => out.push_str("<persistent id>"),
            Sort::Extension => out.push_str("<extension>"),
            Sort::Forgotten => {
                self.asked.set(Some(sym.payload()));
                out.push('…');
            }
            Sort::Unknown => out.push('…'),
        }
    }

    fn show_container(&self, sym: Sym, depth: usize, out: &mut String) {
        let is_tuple = sym.is_tuple();
        let items =
            if is_tuple { self.tuple_items(sym) } else { self.contents.items(&self.ring, sym) };
        let (open, close) = match sym.sort() {
            Sort::List => ("[", "]"),
            Sort::Set => ("{", "}"),
            Sort::FrozenSet => ("frozenset({", "})"),
            _ => ("(", ")"),
        };
        out.push_str(open);
        match items {
            Some(items) if depth > 0 => {
                self.show_items(&items, depth - 1, out);
                if is_tuple && items.len() == 1 {
                    out.push(',');
                }
            }
            _ => out.push('…'),
        }
        out.push_str(close);
    }

    fn show_dict(&self, sym: Sym, depth: usize, out: &mut String) {
        out.push('{');
        match self.contents.items(&self.ring, sym) {
            Some(items) if depth > 0 => {
                for (at, pair) in items.chunks(2).enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    if at >= SHOWN_ITEMS || out.len() > SHOWN_TEXT {
                        out.push('…');
                        break;
                    }
                    if let [key, value] = pair {
                        self.show(*key, depth - 1, out);
                        out.push_str(": ");
                        self.show(*value, depth - 1, out);
                    }
                }
            }
            _ => out.push('…'),
        }
        out.push('}');
    }
}

/// Values that the policy may look at in a source of so many bytes: more than twice what any
/// honest one needs, and a second's work in the smallest.
fn looks_for(bytes: u64) -> u64 {
    bytes.saturating_mul(16).saturating_add(FEW_LOOKS)
}

/// What the smallest source is allowed, and the smallest of many pickles in bytes.
const FEW_LOOKS: u64 = 1 << 18;
const FEW_LOOKS_OF_A_PART: u64 = 1 << 12;

/// Where in an escape of a text line a count is.
#[derive(Clone, Copy)]
enum Escape {
    None,
    Begun,
    Digits(u8),
    Octal(u8),
}

/// How deep, how many items of each, and how much text of arguments a report shows.
const SHOWN_DEPTH: usize = 4;
const SHOWN_ITEMS: usize = 16;
const SHOWN_TEXT: usize = 600;
/// How much of one text is shown.
const SHOWN_PART: usize = 200;

/// Text of the pickle in a line of ours.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(SHOWN_PART));
    for char in text.chars().take(SHOWN_PART) {
        if char.is_control() || is_invisible(char) {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    if text.chars().nth(SHOWN_PART).is_some() {
        shown.push('…');
    }
    shown
}

/// Characters that change how the text around them is read, or that nobody sees.
pub(super) fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{ad}')
}

fn show_atom(arg: Arg<'_>, out: &mut String) {
    let cut = |out: &mut String, whole: usize| {
        if whole > SHOWN_PART {
            out.push('…');
        }
    };
    match arg {
        Arg::Bool(value) => out.push_str(if value { "True" } else { "False" }),
        Arg::Int(value) => out.push_str(&value.to_string()),
        Arg::BigInt(bytes) if bytes.len() <= 40 => out.push_str(&text::le_bytes_to_decimal(bytes)),
        Arg::IntText(line) if line.len() <= 100 => {
            out.push_str(&text::le_bytes_to_decimal(&text::int_text_to_le_bytes(line)));
        }
        Arg::Float(value) => out.push_str(&text::float_repr(value)),
        Arg::Bytes(bytes) => {
            pyrepr::push_bytes(out, bytes.get(..SHOWN_PART).unwrap_or(bytes));
            cut(out, bytes.len());
        }
        Arg::EscapedBytes(inner) => {
            if let Ok(bytes) = text::unescape_string(inner) {
                pyrepr::push_bytes(out, bytes.get(..SHOWN_PART).unwrap_or(&bytes));
                cut(out, bytes.len());
            }
        }
        Arg::Str(text) => push_text(text, out),
        Arg::EscapedStr(line) => match text::unescape_unicode(line) {
            Ok(text) => push_text(text.as_pickle_str(), out),
            Err(_) => out.push('…'),
        },
        _ => out.push('…'),
    }
}

fn push_text(text: PickleStr<'_>, out: &mut String) {
    let points: Vec<u32> = text.code_points().take(SHOWN_PART).collect();
    let longer = text.code_points().nth(SHOWN_PART).is_some();
    if let Some(part) = crate::str::PickleString::from_code_points(points) {
        pyrepr::push_str(out, part.as_pickle_str());
    }
    if longer {
        out.push('…');
    }
}

/// The text of a str, or of Python 2's str if it is ASCII; surrogates make no name.
fn text_of(arg: Arg<'_>) -> Option<String> {
    match arg {
        Arg::Str(text) => text.to_str().map(str::to_owned),
        Arg::EscapedStr(line) => text::unescape_unicode(line).ok()?.to_str().map(str::to_owned),
        Arg::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        Arg::EscapedBytes(inner) => {
            String::from_utf8(text::unescape_string(inner).ok()?.into_owned()).ok()
        }
        _ => None,
    }
}

/// One symbol, and all that is known.
#[derive(Clone, Copy)]
pub(super) struct View<'k, 's> {
    known: &'k Known<'s>,
    pub(super) sym: Sym,
}

impl View<'_, '_> {
    fn maker(&self) -> Option<&super::globals::Maker> {
        self.sym.maker().and_then(|number| self.known.globals.made_by(number))
    }

    fn asked(&self) {
        if self.sym.is(Sort::Forgotten) {
            self.known.asked.set(Some(self.sym.payload()));
        }
    }

    fn listed_class(&self) -> Option<&'static Entry> {
        match self.maker()?.class {
            Rule::Listed(entry) => Some(entry),
            _ => None,
        }
    }
}

impl Subject for View<'_, '_> {
    fn nature(&self) -> Nature {
        match self.sym.sort() {
            Sort::None => Nature::None,
            Sort::True | Sort::False => Nature::Bool,
            Sort::Int => Nature::Int,
            Sort::Float => Nature::Float,
            Sort::Str | Sort::OldStr => Nature::Str,
            Sort::Bytes => Nature::Bytes,
            Sort::ByteArray => Nature::ByteArray,
            Sort::Buffer => Nature::Buffer,
            Sort::List => Nature::List,
            Sort::EmptyTuple | Sort::Tuple | Sort::ObjectTuple => Nature::Tuple,
            Sort::Dict => Nature::Dict,
            Sort::Global => match self.sym.global().and_then(|n| self.known.globals.get(n)) {
                Some(global)
                    if global.import.module == "builtins"
                        && matches!(&*global.import.name, "Ellipsis" | "NotImplemented") =>
                {
                    Nature::Singleton
                }
                _ => Nature::Other,
            },
            Sort::Made => match self.listed_class() {
                Some(entry) if entry.module == "builtins" && entry.name == "bytes" => Nature::Bytes,
                Some(entry) if entry.module == "builtins" && entry.name == "bytearray" => {
                    Nature::ByteArray
                }
                _ => Nature::Other,
            },
            Sort::Forgotten => {
                self.asked();
                Nature::Other
            }
            Sort::Set | Sort::FrozenSet | Sort::Persistent | Sort::Extension | Sort::Unknown => {
                Nature::Other
            }
        }
    }

    fn rule(&self) -> Option<Rule> {
        self.asked();
        match self.sym.sort() {
            Sort::Global => {
                self.sym.global().and_then(|n| self.known.globals.get(n)).map(|global| global.rule)
            }
            Sort::Made => self.maker()?.gives.map(Rule::Listed),
            _ => None,
        }
    }

    fn class_rule(&self) -> Option<Rule> {
        self.asked();
        self.maker().map(|maker| maker.class)
    }

    fn makes(&self) -> Makes {
        self.asked();
        if self.facts() == Facts::Unfinished {
            return Makes::Other;
        }
        self.listed_class().map_or(Makes::Other, |entry| entry.makes)
    }

    fn facts(&self) -> Facts {
        match self.sym.sort() {
            Sort::Made => self.known.globals.facts(self.sym.extra()),
            _ => Facts::None,
        }
    }

    fn with_text<R>(&self, read: impl FnOnce(&str) -> R) -> Option<R> {
        self.known.text(self.sym).map(|text| read(&text))
    }

    fn int(&self) -> Option<i64> {
        match self.sym.sort() {
            Sort::True => Some(1),
            Sort::False => Some(0),
            Sort::Int => self.known.atom(self.sym, |_, arg| match arg {
                Arg::Int(value) => Some(value),
                Arg::Bool(value) => Some(value.into()),
                _ => None,
            }),
            _ => None,
        }
    }

    fn int_bits(&self) -> Option<u64> {
        if !self.sym.is(Sort::Int) {
            return None;
        }
        if let Some((_, bytes, _)) = self.known.declared(self.sym) {
            return Some(bytes.saturating_mul(8));
        }
        self.known.atom(self.sym, |_, arg| match arg {
            Arg::Int(_) | Arg::Bool(_) => Some(64),
            Arg::BigInt(bytes) => Some(bytes.len() as u64 * 8),
            Arg::IntText(line) => Some(line.len() as u64 * 4),
            _ => None,
        })
    }

    fn len(&self) -> Option<u64> {
        match self.sym.sort() {
            Sort::EmptyTuple | Sort::Tuple | Sort::ObjectTuple => {
                self.sym.items().map(|(_, len)| len as u64)
            }
            Sort::List => self.known.contents.get(self.sym).map(|content| content.count),
            Sort::Dict => self.known.contents.get(self.sym).map(|content| content.count / 2),
            Sort::Str | Sort::OldStr | Sort::Bytes | Sort::ByteArray => self.known.length(self.sym),
            // `bytes()` alone makes bytes by a call.
            Sort::Made if self.nature() == Nature::Bytes => Some(0),
            _ => None,
        }
    }

    fn item(&self, at: u64) -> Option<Self> {
        self.known.look(1)?;
        let sym = match self.sym.sort() {
            Sort::Tuple | Sort::ObjectTuple => {
                let (from, len) = self.sym.items()?;
                (at < len as u64).then(|| self.known.ring.one(from + at)).flatten()?
            }
            Sort::List => self.known.contents.item(&self.known.ring, self.sym, at)?,
            _ => return None,
        };
        Some(View { known: self.known, sym })
    }

    fn every_pair(&self, mut test: impl FnMut(&Self, &Self) -> bool) -> bool {
        let Some(items) = self.known.contents.items(&self.known.ring, self.sym) else {
            return false;
        };
        if self.known.look(items.len() as u64).is_none() {
            return false;
        }
        let view = |sym: &Sym| View { known: self.known, sym: *sym };
        items.chunks(2).all(|pair| match pair {
            [key, value] => test(&view(key), &view(value)),
            _ => false,
        })
    }
}
