//! Element types, as numpy's `dtype` has them: all but those that hold Python objects.
//!
//! The text form is that of a `.npy` header ("descr"): `<f8`, `|S5`, `<M8[ns]`, and for structured
//! types a list of `[name, type]` or `[name, type, shape]` (tuples, as JSON has none, are lists).

use serde_json::{Value, json};

/// Levels of structured and subarray types.
const DEPTH: usize = 32;

/// Fields of one structured type.
const FIELDS: usize = 65_536;

/// In which order an element's bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The lowest byte first: `<`.
    Little,
    /// The highest byte first: `>`.
    Big,
    /// Does not matter: `|`.
    Irrelevant,
}

impl ByteOrder {
    /// numpy's character for it.
    pub fn as_char(self) -> char {
        match self {
            ByteOrder::Little => '<',
            ByteOrder::Big => '>',
            ByteOrder::Irrelevant => '|',
        }
    }

    /// From numpy's character; `=` is this machine's order.
    pub fn from_char(c: char) -> Option<Self> {
        Some(match c {
            '<' => ByteOrder::Little,
            '>' => ByteOrder::Big,
            '|' => ByteOrder::Irrelevant,
            '=' if cfg!(target_endian = "big") => ByteOrder::Big,
            '=' => ByteOrder::Little,
            _ => return None,
        })
    }
}

/// A date's or a duration's unit: `[ns]`, `[25s]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unit {
    /// numpy's name of the unit: `ns`, `D`, `generic`.
    pub name: String,
    /// How many of them make one step.
    pub count: i64,
}

/// A type without parts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plain {
    /// numpy's letter: `b` bool, `i`, `u`, `f`, `c` complex, `m` duration, `M` date, `S` bytes,
    /// `U` text, `V` raw bytes.
    pub kind: char,
    /// In which order the bytes of an element stand.
    pub order: ByteOrder,
    /// Bytes of an element.
    pub size: u64,
    /// Of dates and durations.
    pub unit: Option<Unit>,
}

/// A field of a structured type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its title, if it has one.
    pub title: Option<String>,
    /// Its type.
    pub dtype: Dtype,
    /// Bytes from the element's beginning to it.
    pub offset: u64,
}

/// A structured type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Struct {
    /// Its fields, in the order of their names.
    pub fields: Vec<Field>,
    /// Bytes of an element.
    pub size: u64,
    /// The alignment that numpy noted.
    pub alignment: u64,
    /// Whether it was made with `align=True`.
    pub aligned: bool,
}

/// An element type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// A number, a date, text or raw bytes of one size.
    Plain(Plain),
    /// Named fields.
    Struct(Struct),
    /// A small array of its own, as a field of a structured type.
    Sub {
        /// The type of its elements.
        base: Box<Dtype>,
        /// Its shape.
        shape: Vec<u64>,
    },
}

impl Dtype {
    /// A type from its `.npy` text without fields: `<f8`, `|u1`, `<U12`, `<M8[ns]`.
    /// `None` when there is no such type, or when its elements are Python objects.
    pub fn plain(text: &str) -> Option<Dtype> {
        let mut order = ByteOrder::from_char('=')?;
        let mut rest = text;
        if let Some(first) = text.chars().next()
            && let Some(given) = ByteOrder::from_char(first)
        {
            order = given;
            rest = text.get(1..)?;
        }
        let (rest, unit) = match rest.split_once('[') {
            Some((rest, unit)) => (rest, Some(Unit::parse(unit.strip_suffix(']')?)?)),
            None => (rest, None),
        };
        let kind = rest.chars().next()?;
        let digits = rest.get(1..)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.len() > 9 {
            return None;
        }
        let number: Option<u64> = digits.parse().ok();
        let size = match (kind, number) {
            ('?', None) => 1,
            ('U', number) => number.unwrap_or(0).checked_mul(4)?,
            ('S' | 'a' | 'V', number) => number.unwrap_or(0),
            (_, number) => number?,
        };
        let kind = match kind {
            '?' => 'b',
            'a' => 'S',
            kind => kind,
        };
        let unit = match kind {
            'm' | 'M' => Some(unit.unwrap_or(Unit { name: "generic".into(), count: 1 })),
            _ if unit.is_some() => return None,
            _ => None,
        };
        Plain { kind, order, size, unit }.checked().map(Dtype::Plain)
    }

    /// Bytes of an element; `None` when they cannot be counted.
    pub fn size(&self) -> Option<u64> {
        match self {
            Dtype::Plain(plain) => Some(plain.size),
            Dtype::Struct(fields) => Some(fields.size),
            Dtype::Sub { base, shape } => {
                shape.iter().try_fold(base.size()?, |size, side| size.checked_mul(*side))
            }
        }
    }

    /// The type without parts, if it is one.
    pub fn as_plain(&self) -> Option<&Plain> {
        match self {
            Dtype::Plain(plain) => Some(plain),
            _ => None,
        }
    }

    /// Its `.npy` form as JSON. `None` where `.npy` has none: fields that overlap or are not in
    /// the order of their bytes.
    pub fn descr(&self) -> Option<Value> {
        match self {
            Dtype::Plain(plain) => Some(Value::from(plain.text())),
            Dtype::Struct(fields) => fields.descr(),
            Dtype::Sub { .. } => None,
        }
    }

    /// A type from its `.npy` form as JSON.
    pub fn from_descr(descr: &Value) -> Option<Dtype> {
        Dtype::from_descr_within(descr, DEPTH)
    }

    fn from_descr_within(descr: &Value, depth: usize) -> Option<Dtype> {
        match descr {
            Value::String(text) => Dtype::plain(text),
            Value::Array(fields) => Struct::from_descr(fields, depth.checked_sub(1)?),
            _ => None,
        }
    }
}

impl Unit {
    /// Reads `ns`, `25s`.
    fn parse(text: &str) -> Option<Unit> {
        let name = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = text.strip_suffix(name)?;
        let count = if digits.is_empty() { 1 } else { digits.parse().ok()? };
        Unit { name: name.to_owned(), count }.checked()
    }

    pub(super) fn checked(self) -> Option<Unit> {
        const NAMES: [&str; 14] =
            ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic"];
        (NAMES.contains(&self.name.as_str()) && self.count > 0).then_some(self)
    }
}

impl Plain {
    /// The same if numpy has such a type.
    pub(super) fn checked(mut self) -> Option<Plain> {
        let fits = match self.kind {
            'b' => self.size == 1,
            'i' | 'u' => matches!(self.size, 1 | 2 | 4 | 8),
            'f' => matches!(self.size, 2 | 4 | 8 | 12 | 16),
            'c' => matches!(self.size, 8 | 16 | 24 | 32),
            'm' | 'M' => self.size == 8,
            'S' | 'V' => self.size <= i32::MAX as u64,
            'U' => self.size <= i32::MAX as u64 && self.size.is_multiple_of(4),
            _ => false,
        };
        if self.size == 1 || matches!(self.kind, 'S' | 'V') {
            self.order = ByteOrder::Irrelevant;
        } else if self.order == ByteOrder::Irrelevant {
            self.order = ByteOrder::from_char('=')?;
        }
        fits.then_some(self)
    }

    /// `f8`, `U12`: letter and size, as `numpy.dtype` takes them.
    pub fn code(&self) -> String {
        let number = if self.kind == 'U' { self.size / 4 } else { self.size };
        format!("{}{number}", self.kind)
    }

    /// `<f8`, `<M8[ns]`.
    pub fn text(&self) -> String {
        let unit = match &self.unit {
            None => String::new(),
            Some(unit) if unit.name == "generic" => String::new(),
            Some(Unit { name, count: 1 }) => format!("[{name}]"),
            Some(Unit { name, count }) => format!("[{count}{name}]"),
        };
        format!("{}{}{unit}", self.order.as_char(), self.code())
    }
}

impl Struct {
    fn descr(&self) -> Option<Value> {
        let padding = |bytes: u64| json!(["", format!("|V{bytes}")]);
        let mut list = Vec::new();
        let mut end = 0u64;
        for field in &self.fields {
            match field.offset.checked_sub(end)? {
                0 => {}
                gap => list.push(padding(gap)),
            }
            let name = match &field.title {
                Some(title) => json!([title, field.name]),
                None => json!(field.name),
            };
            list.push(match &field.dtype {
                Dtype::Sub { base, shape } => json!([name, base.descr()?, shape]),
                dtype => json!([name, dtype.descr()?]),
            });
            end = field.offset.checked_add(field.dtype.size()?)?;
        }
        match self.size.checked_sub(end)? {
            0 => {}
            gap => list.push(padding(gap)),
        }
        Some(Value::Array(list))
    }

    fn from_descr(list: &[Value], depth: usize) -> Option<Dtype> {
        if list.len() > FIELDS {
            return None;
        }
        let mut fields: Vec<Field> = Vec::new();
        let mut size = 0u64;
        for entry in list {
            let entry = entry.as_array()?;
            let (title, name) = match entry.first()? {
                Value::String(name) => (None, name.clone()),
                Value::Array(both) => {
                    (Some(both.first()?.as_str()?.to_owned()), both.get(1)?.as_str()?.to_owned())
                }
                _ => return None,
            };
            let mut dtype = Dtype::from_descr_within(entry.get(1)?, depth)?;
            if let Some(shape) = entry.get(2) {
                let shape = match shape {
                    Value::Array(sides) => {
                        sides.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>()?
                    }
                    side => vec![side.as_u64()?],
                };
                dtype = Dtype::Sub { base: Box::new(dtype), shape };
            }
            let offset = size;
            size = size.checked_add(dtype.size()?).filter(|size| *size <= i32::MAX as u64)?;
            let raw = matches!(&dtype, Dtype::Plain(plain) if plain.kind == 'V');
            if name.is_empty() && raw {
                continue;
            }
            fields.push(Field { name, title, dtype, offset });
        }
        Struct { fields, size, alignment: 1, aligned: false }.checked().map(Dtype::Struct)
    }

    /// The same if no field reaches out of the element.
    pub(super) fn checked(self) -> Option<Struct> {
        let inside = |field: &Field| {
            let end = field.dtype.size().and_then(|size| field.offset.checked_add(size));
            end.is_some_and(|end| end <= self.size)
        };
        (self.fields.iter().all(inside) && self.size <= i32::MAX as u64).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_plain_types_come_back() {
        for text in [
            "|b1", "|i1", "|u1", "<i2", ">u4", "<i8", "<f2", ">f4", "<f8", "<c16", "|S5", "<U12",
            "|V3", "<M8[ns]", "<m8[25s]", "<M8", "|S0", "<f16",
        ] {
            let dtype = Dtype::plain(text).unwrap();
            assert_eq!(dtype.descr().unwrap(), Value::from(text));
        }
        for text in ["|O", "<O8", "<f3", "<f8x", "", "<", "<M8[x]", "<f8[ns]", "<U-1", "<b2"] {
            assert_eq!(Dtype::plain(text), None, "{text}");
        }
    }

    #[test]
    fn structured_types_keep_their_gaps_titles_and_subarrays() {
        let descr = json!([
            ["a", "|u1"],
            ["", "|V3"],
            [["the b", "b"], "<f4", [2, 3]],
            ["c", [["x", "<i2"], ["y", "<i2"]]],
            ["", "|V4"]
        ]);
        let dtype = Dtype::from_descr(&descr).unwrap();
        assert_eq!(dtype.size(), Some(36));
        assert_eq!(dtype.descr(), Some(descr));
    }

    #[test]
    fn types_nested_without_end_are_refused() {
        let mut descr = json!("<f8");
        for _ in 0..40 {
            descr = json!([["a", descr]]);
        }
        assert_eq!(Dtype::from_descr(&descr), None);
    }
}
