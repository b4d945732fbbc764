//! The symbols that an array's pickle is run on: what numpy would be told, never what it would do.
//!
//! Symbols lie in one list and name each other by number, so that no depth of nesting in the
//! pickle becomes depth of a call or of a drop.

use std::ops::Range;

use picklet_codec::{Error, ErrorKind, Items, Machine, Opcode, PickleStr, Result};

use super::dtype::{ByteOrder, Dtype, Field, Plain, Struct, Unit};
use super::envelope::{ALIGNED, payload_bytes};
use super::recognise::{Encoding, Found, PickledArray};

/// Levels of structured and subarray types.
const DEPTH: usize = 32;

/// Types that one type may be made of, counted as often as they occur.
const PARTS: usize = 100_000;

/// Text and bytes up to this length are kept; longer ones can only be a payload.
const KEPT: usize = 4096;

/// numpy's flag of a type that holds Python objects.
const HAS_OBJECTS: i64 = 0x01;

const HOLDS_OBJECTS: &str = "holds an array of Python objects (dtype object), which are no bytes \
                             of one size";

/// A symbol's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(usize);

/// Bytes in the pickle.
#[derive(Debug, Clone)]
struct Data {
    range: Range<u64>,
    encoding: Encoding,
    /// Their content, when short.
    kept: Option<Vec<u8>>,
    is_text: bool,
}

#[derive(Debug, Clone)]
enum Symbol {
    None,
    Bool(bool),
    Int(i64),
    Data(Data),
    Tuple(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(String, String),
    /// `numpy.dtype(code)`, and its state once BUILD came.
    Dtype {
        code: String,
        state: Option<Id>,
    },
    /// `_reconstruct(ndarray, …)` before BUILD.
    Empty,
    Array(Box<ArrayParts>),
}

#[derive(Debug, Clone)]
struct ArrayParts {
    dtype: Id,
    shape: Id,
    order: Order,
    data: Id,
}

#[derive(Debug, Clone)]
enum Order {
    C,
    Fortran,
    Axes(Id),
}

/// The machine over symbols.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    list: Vec<Symbol>,
    /// The present opcode, with its argument.
    pub(super) extent: Option<Range<u64>>,
    /// Whether the argument was passed over; then it lies at `data`.
    pub(super) passed_over: bool,
    pub(super) data: Range<u64>,
    /// Why this is an array that cannot be read.
    pub(super) unfit: Option<String>,
    opcode: Option<Opcode>,
}

fn no<T>() -> Result<T> {
    Err(Error::unplaced(ErrorKind::Custom("no array".into())))
}

impl Symbols {
    fn push(&mut self, symbol: Symbol) -> Result<Id> {
        self.list.push(symbol);
        Ok(Id(self.list.len() - 1))
    }

    fn at(&self, id: Id) -> &Symbol {
        self.list.get(id.0).unwrap_or(&Symbol::None)
    }

    /// Ends the walk: an array, but not one that can be read here.
    fn unfit<T>(&mut self, why: impl Into<String>) -> Result<T> {
        self.unfit = Some(why.into());
        no()
    }

    fn tuple_of(&self, id: Id) -> Option<&[Id]> {
        match self.at(id) {
            Symbol::Tuple(items) => Some(items),
            _ => None,
        }
    }

    fn int_of(&self, id: Id) -> Option<i64> {
        match self.at(id) {
            Symbol::Int(value) => Some(*value),
            Symbol::Bool(value) => Some(i64::from(*value)),
            _ => None,
        }
    }

    /// The content of a short text or bytes (Python 2 pickles hold names as bytes).
    fn text_of(&self, id: Id) -> Option<String> {
        match self.at(id) {
            Symbol::Data(Data { kept: Some(kept), .. }) => String::from_utf8(kept.clone()).ok(),
            _ => None,
        }
    }

    fn sides_of(&self, id: Id) -> Option<Vec<u64>> {
        let side = |id: &Id| self.int_of(*id).and_then(|side| u64::try_from(side).ok());
        self.tuple_of(id)?.iter().map(side).collect()
    }

    /// Bytes or text that the present opcode holds.
    fn datum(&mut self, content: &[u8], encoding: Encoding, is_text: bool) -> Result<Id> {
        let range = match &self.extent {
            _ if self.passed_over => self.data.clone(),
            // A line: the opcode before it, the line feed after it.
            Some(extent) if encoding == Encoding::Escaped => {
                extent.start.saturating_add(1)..extent.end.saturating_sub(1)
            }
            Some(extent) => extent.end.saturating_sub(content.len() as u64)..extent.end,
            None => return no(),
        };
        let kept = (content.len() <= KEPT && !self.passed_over).then(|| content.to_vec());
        self.push(Symbol::Data(Data { range, encoding, kept, is_text }))
    }

    fn call(&mut self, module: &str, name: &str, args: &[Id]) -> Result<Id> {
        let numpy_core = |rest: &str| {
            module.strip_prefix("numpy.core.").or_else(|| module.strip_prefix("numpy._core."))
                == Some(rest)
        };
        match (name, args) {
            ("_reconstruct", [class, ..]) if numpy_core("multiarray") => match self.at(*class) {
                Symbol::Global(module, name) if module == "numpy" && name == "ndarray" => {
                    self.push(Symbol::Empty)
                }
                Symbol::Global(module, name) if module.starts_with("numpy") && name == "memmap" => {
                    self.push(Symbol::Empty)
                }
                Symbol::Global(module, name) => {
                    let class = format!("{module}.{name}");
                    self.unfit(format!(
                        "holds a {class}, which is no plain array; make one of it with \
                         numpy.asarray()"
                    ))
                }
                _ => no(),
            },
            ("_frombuffer", [data, dtype, shape, order, rest @ ..]) if numpy_core("numeric") => {
                let order = match (self.text_of(*order).as_deref(), rest) {
                    (Some("C"), _) => Order::C,
                    (Some("F"), _) => Order::Fortran,
                    (Some("K"), [axes]) => Order::Axes(*axes),
                    _ => return no(),
                };
                let parts = ArrayParts { dtype: *dtype, shape: *shape, order, data: *data };
                self.push(Symbol::Array(Box::new(parts)))
            }
            ("dtype", [code, ..]) if module == "numpy" => match self.text_of(*code) {
                Some(code) => self.push(Symbol::Dtype { code, state: None }),
                None => self.unfit("holds an array of a type that numpy itself does not have"),
            },
            // What protocols 0 to 2 make of no bytes.
            ("bytes", []) if matches!(module, "builtins" | "__builtin__") => {
                let at = self.extent.as_ref().map_or(0, |extent| extent.end);
                self.push(Symbol::Data(Data {
                    range: at..at,
                    encoding: Encoding::Raw,
                    kept: Some(Vec::new()),
                    is_text: false,
                }))
            }
            ("encode", [text, codec, ..]) if module == "_codecs" => {
                let codec = self.text_of(*codec);
                match (self.at(*text).clone(), codec.as_deref()) {
                    (Symbol::Data(data), Some("latin1")) if data.is_text => {
                        // The characters are the bytes.
                        let kept = data.kept.and_then(|kept| latin1(&kept));
                        self.push(Symbol::Data(Data { kept, is_text: false, ..data }))
                    }
                    _ => no(),
                }
            }
            _ => no(),
        }
    }

    /// What the walk came to.
    pub(super) fn array(&self, top: Id, end: u64) -> Found {
        let Symbol::Array(parts) = self.at(top) else { return Found::Other };
        let (dtype, shape) = match (self.dtype(parts.dtype), self.sides_of(parts.shape)) {
            (Ok(dtype), Some(shape)) => (dtype, shape),
            (Err(why), _) => return Found::Unfit(why),
            _ => return Found::Other,
        };
        let axes: Vec<usize> = match parts.order {
            Order::C => (0..shape.len()).collect(),
            Order::Fortran => (0..shape.len()).rev().collect(),
            Order::Axes(axes) => match self.permutation(axes, shape.len()) {
                Some(axes) => axes,
                None => return Found::Other,
            },
        };
        let Symbol::Data(data) = self.at(parts.data) else {
            return Found::Unfit("holds an array whose bytes are not in it".into());
        };
        let Some(bytes) = payload_bytes(&dtype, &shape) else {
            return Found::Unfit("holds an array of more bytes than can be counted".into());
        };
        let there = data.range.end.saturating_sub(data.range.start);
        let fits = match data.encoding {
            Encoding::Raw => there == bytes,
            // Characters above 127 take two bytes or more.
            Encoding::Utf8 | Encoding::Escaped => there >= bytes,
        };
        if !fits {
            return Found::Unfit(format!(
                "is damaged: its array needs {bytes} bytes and has {there}"
            ));
        }
        Found::Array(PickledArray {
            dtype,
            shape,
            axes,
            payload: data.range.clone(),
            encoding: data.encoding,
            end,
        })
    }

    /// `axes` as numpy's `_frombuffer` takes it: the order in which the axes stand in memory.
    fn permutation(&self, axes: Id, count: usize) -> Option<Vec<usize>> {
        let axes: Vec<usize> =
            self.sides_of(axes)?.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
        let mut sorted = axes.clone();
        sorted.sort_unstable();
        sorted.into_iter().eq(0..count).then_some(axes)
    }

    fn dtype(&self, id: Id) -> Result<Dtype, String> {
        let mut parts = PARTS;
        self.dtype_within(id, DEPTH, &mut parts)
    }

    fn dtype_within(&self, id: Id, depth: usize, parts: &mut usize) -> Result<Dtype, String> {
        let unusual = || "holds an array of a type of an unusual form".to_owned();
        let Symbol::Dtype { code, state } = self.at(id) else { return Err(unusual()) };
        *parts = parts.checked_sub(1).ok_or_else(unusual)?;
        let state = state.and_then(|state| self.tuple_of(state)).unwrap_or_default();
        let state = |place: usize| state.get(place).copied();
        let flags = state(7).and_then(|flags| self.int_of(flags)).unwrap_or(0);
        let letter = code.trim_start_matches(['<', '>', '=', '|']).chars().next();
        if letter == Some('O') || flags & HAS_OBJECTS != 0 {
            return Err(HOLDS_OBJECTS.into());
        }
        let size = state(5).and_then(|size| self.int_of(size)).unwrap_or(-1);
        let depth = depth.checked_sub(1).ok_or_else(unusual)?;
        if let Some([base, shape]) = state(2).and_then(|sub| self.tuple_of(sub)) {
            let base = Box::new(self.dtype_within(*base, depth, parts)?);
            let shape = match self.sides_of(*shape) {
                Some(shape) => shape,
                None => vec![
                    self.int_of(*shape)
                        .and_then(|side| u64::try_from(side).ok())
                        .ok_or_else(unusual)?,
                ],
            };
            return Ok(Dtype::Sub { base, shape });
        }
        if let (Some(names), Some(fields)) = (state(3), state(4))
            && let (Some(names), Symbol::Dict(fields)) = (self.tuple_of(names), self.at(fields))
        {
            let size = u64::try_from(size).map_err(|_| unusual())?;
            let alignment = state(6).and_then(|a| self.int_of(a));
            let alignment = alignment.and_then(|a| u64::try_from(a).ok()).unwrap_or(1);
            let fields = self.fields(names, fields, depth, parts)?;
            let aligned = flags & ALIGNED != 0;
            let checked = Struct { fields, size, alignment, aligned }.checked();
            return checked.map(Dtype::Struct).ok_or_else(unusual);
        }
        let unit = state(8).and_then(|metadata| self.unit(metadata));
        let Some(Dtype::Plain(plain)) = Dtype::plain(code) else { return Err(unusual()) };
        let order = state(1).and_then(|order| self.text_of(order));
        let order = order.and_then(|order| ByteOrder::from_char(order.chars().next()?));
        let order = order.unwrap_or(plain.order);
        let size = u64::try_from(size).unwrap_or(plain.size);
        let unit = unit.or(plain.unit);
        Plain { order, size, unit, ..plain }.checked().map(Dtype::Plain).ok_or_else(unusual)
    }

    fn fields(
        &self,
        names: &[Id],
        fields: &[(Id, Id)],
        depth: usize,
        parts: &mut usize,
    ) -> Result<Vec<Field>, String> {
        let unusual = || "holds an array of a type of an unusual form".to_owned();
        let by_name: std::collections::HashMap<String, Id> =
            fields.iter().filter_map(|(key, value)| Some((self.text_of(*key)?, *value))).collect();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let name = self.text_of(*name).ok_or_else(unusual)?;
            let value = *by_name.get(&name).ok_or_else(unusual)?;
            let (dtype, offset, title) = match self.tuple_of(value) {
                Some([dtype, offset]) => (*dtype, *offset, None),
                Some([dtype, offset, title]) => (*dtype, *offset, self.text_of(*title)),
                _ => return Err(unusual()),
            };
            let offset = self.int_of(offset).and_then(|offset| u64::try_from(offset).ok());
            let offset = offset.ok_or_else(unusual)?;
            let dtype = self.dtype_within(dtype, depth, parts)?;
            found.push(Field { name, title, dtype, offset });
        }
        Ok(found)
    }

    /// The unit in a date's metadata: `({…}, (b'ns', 1, 1, 1))`.
    fn unit(&self, metadata: Id) -> Option<Unit> {
        let [_, unit] = self.tuple_of(metadata)? else { return None };
        let [name, count, ..] = self.tuple_of(*unit)? else { return None };
        Unit { name: self.text_of(*name)?, count: self.int_of(*count)? }.checked()
    }
}

/// The bytes that a text's characters are.
fn latin1(text: &[u8]) -> Option<Vec<u8>> {
    std::str::from_utf8(text).ok()?.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

impl Machine for Symbols {
    type Value = Id;

    fn op(&mut self, opcode: Opcode, _offset: u64) {
        self.opcode = Some(opcode);
    }

    fn none(&mut self) -> Result<Id> {
        self.push(Symbol::None)
    }

    fn bool(&mut self, value: bool) -> Result<Id> {
        self.push(Symbol::Bool(value))
    }

    fn int(&mut self, value: i64) -> Result<Id> {
        self.push(Symbol::Int(value))
    }

    fn big_int(&mut self, _bytes: &[u8]) -> Result<Id> {
        no()
    }

    fn float(&mut self, _value: f64) -> Result<Id> {
        no()
    }

    fn str(&mut self, text: PickleStr<'_>) -> Result<Id> {
        let encoding = match self.opcode {
            Some(Opcode::Unicode) => Encoding::Escaped,
            _ => Encoding::Utf8,
        };
        self.datum(text.as_bytes(), encoding, true)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<Id> {
        self.datum(bytes, Encoding::Raw, false)
    }

    fn byte_array(&mut self, bytes: &[u8]) -> Result<Id> {
        self.datum(bytes, Encoding::Raw, false)
    }

    fn string(&mut self, bytes: &[u8]) -> Result<Id> {
        if self.opcode == Some(Opcode::String) && bytes.len() > KEPT {
            return self.unfit(
                "is a pickle of Python 2's protocol 0, which holds arrays as quoted text; load \
                 and dump it once with a newer protocol",
            );
        }
        self.datum(bytes, Encoding::Raw, false)
    }

    fn empty_tuple(&mut self) -> Result<Id> {
        self.push(Symbol::Tuple(Vec::new()))
    }

    fn tuple(&mut self, items: Items<'_, Id>) -> Result<Id> {
        let items = items.collect();
        self.push(Symbol::Tuple(items))
    }

    fn empty_list(&mut self) -> Result<Id> {
        // Where an array's bytes are due, a list holds its objects.
        match self.list.iter().any(|symbol| matches!(symbol, Symbol::Empty)) {
            true => self.unfit(HOLDS_OBJECTS),
            false => no(),
        }
    }

    fn list(&mut self, _items: Items<'_, Id>) -> Result<Id> {
        self.empty_list()
    }

    fn append(&mut self, _list: &mut Id, _item: Id) -> Result<()> {
        no()
    }

    fn appends(&mut self, _list: &mut Id, _items: Items<'_, Id>) -> Result<()> {
        no()
    }

    fn empty_dict(&mut self) -> Result<Id> {
        // A type's fields or metadata; at the beginning of a pickle there is no type yet.
        let begun = self.list.iter().take(3).any(
            |symbol| matches!(symbol, Symbol::Global(module, _) if module.starts_with("numpy")),
        );
        if begun { self.push(Symbol::Dict(Vec::new())) } else { no() }
    }

    fn dict(&mut self, items: Items<'_, Id>) -> Result<Id> {
        let items: Vec<Id> = items.collect();
        let pairs = items.chunks_exact(2).filter_map(|pair| match pair {
            [key, value] => Some((*key, *value)),
            _ => None,
        });
        let pairs = pairs.collect();
        self.push(Symbol::Dict(pairs))
    }

    fn set_item(&mut self, dict: &mut Id, key: Id, value: Id) -> Result<()> {
        match self.list.get_mut(dict.0) {
            Some(Symbol::Dict(pairs)) => {
                pairs.push((key, value));
                Ok(())
            }
            _ => no(),
        }
    }

    fn set_items(&mut self, dict: &mut Id, items: Items<'_, Id>) -> Result<()> {
        let items: Vec<Id> = items.collect();
        for pair in items.chunks_exact(2) {
            if let [key, value] = pair {
                self.set_item(dict, *key, *value)?;
            }
        }
        Ok(())
    }

    fn empty_set(&mut self) -> Result<Id> {
        no()
    }

    fn add_items(&mut self, _set: &mut Id, _items: Items<'_, Id>) -> Result<()> {
        no()
    }

    fn frozenset(&mut self, _items: Items<'_, Id>) -> Result<Id> {
        no()
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Id> {
        self.push(Symbol::Global(module.to_owned(), name.to_owned()))
    }

    fn stack_global(&mut self, module: Id, name: Id) -> Result<Id> {
        match (self.text_of(module), self.text_of(name)) {
            (Some(module), Some(name)) => self.push(Symbol::Global(module, name)),
            _ => no(),
        }
    }

    fn extension(&mut self, _code: u32) -> Result<Id> {
        no()
    }

    fn reduce(&mut self, callable: Id, args: Id) -> Result<Id> {
        match (self.at(callable).clone(), self.tuple_of(args)) {
            (Symbol::Global(module, name), Some(args)) => {
                let args = args.to_vec();
                self.call(&module, &name, &args)
            }
            _ => no(),
        }
    }

    fn build(&mut self, object: &mut Id, state: Id) -> Result<()> {
        let built = match (self.at(*object), self.tuple_of(state)) {
            (Symbol::Dtype { code, .. }, Some(_)) => {
                Symbol::Dtype { code: code.clone(), state: Some(state) }
            }
            (Symbol::Empty, Some([_version, shape, dtype, fortran, data])) => {
                let order =
                    if self.int_of(*fortran) == Some(1) { Order::Fortran } else { Order::C };
                let (shape, dtype, data) = (*shape, *dtype, *data);
                Symbol::Array(Box::new(ArrayParts { dtype, shape, order, data }))
            }
            _ => return no(),
        };
        if let Some(place) = self.list.get_mut(object.0) {
            *place = built;
        }
        Ok(())
    }

    fn new_object(&mut self, _class: Id, _args: Id) -> Result<Id> {
        no()
    }

    fn new_object_ex(&mut self, _class: Id, _args: Id, _kwargs: Id) -> Result<Id> {
        no()
    }

    fn inst(&mut self, _module: &str, _name: &str, _args: Items<'_, Id>) -> Result<Id> {
        no()
    }

    fn obj(&mut self, _class: Id, _args: Items<'_, Id>) -> Result<Id> {
        no()
    }

    fn persistent_id(&mut self, _id: &str) -> Result<Id> {
        no()
    }

    fn binary_persistent_id(&mut self, _id: Id) -> Result<Id> {
        no()
    }

    fn next_buffer(&mut self) -> Result<Id> {
        self.unfit(
            "keeps its bytes outside (an out-of-band buffer); dump it without buffer_callback",
        )
    }

    fn readonly_buffer(&mut self, _buffer: Id) -> Result<Id> {
        no()
    }
}
