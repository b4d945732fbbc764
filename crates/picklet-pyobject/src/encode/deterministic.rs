//! The same bytes for the same data, in whichever process and however it came about.
//!
//! What an ordinary pickle says about identity depends on the interpreter: which equal strings
//! are one object, in which order a set was filled. Here `str`, `bytes`, tuples and frozensets
//! are shared by value, members of sets stand in the order of their encodings, and only mutable
//! objects (`list`, `dict`, `set`, `bytearray`) are shared by identity. Every one of these is
//! memoised, wanted or not, because reference counts are no property of the data.
//!
//! Only built-in data is taken, by exact type: anything else would have to run code to say what
//! it is. So no Python code runs, and addresses are names for as long as a dump takes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::prelude::*;

use super::depth::deeper;
use super::output::{FRAME_TARGET, Output};
use super::scalars::{header8, push_utf8, significant_len};
use crate::object::{self, Members, Obj, Owned, Pairs, Raised, Text};
use crate::state::pickling_error;

/// Items between a MARK and the opcode that takes them.
const BATCH: usize = 1000;

/// Pickles built-in data at protocol 4 or 5.
///
/// # Errors
/// `ValueError` below protocol 4, `pickle.PicklingError` naming the first type that is not
/// taken, `RecursionError`.
pub fn dumps_deterministic<'py>(
    obj: &Bound<'py, PyAny>,
    protocol: u8,
) -> PyResult<Bound<'py, PyAny>> {
    if protocol < 4 {
        let message = "deterministic=True needs protocol 4 or 5";
        return Err(pyo3::exceptions::PyValueError::new_err(message));
    }
    let bytes = encode(obj.py(), protocol, &Encodings::default(), Obj::of(obj));
    let bytes = bytes.map_err(Raised::take)?;
    Ok(bytes.into_bound(obj.py()))
}

/// Members of sets that were encoded for their order, by address: without it, sets in sets would
/// be encoded anew at every level above them.
type Encodings = RefCell<HashMap<usize, Rc<Owned>>>;

fn encode(py: Python<'_>, protocol: u8, encodings: &Encodings, obj: Obj) -> Result<Owned, Raised> {
    let mut encoder = Deterministic {
        py,
        protocol,
        encodings,
        out: Output::new(None)?,
        memoised: 0,
        mutable: HashMap::new(),
        values: HashMap::new(),
    };
    encoder.out.write(&[0x80, protocol])?;
    encoder.out.start_framing()?;
    encoder.save(obj)?;
    encoder.out.byte(b'.')?;
    match encoder.out.finish()? {
        Some(bytes) => Ok(bytes),
        None => Err(super::internal_error().into()),
    }
}

struct Deterministic<'a, 'py> {
    py: Python<'py>,
    protocol: u8,
    encodings: &'a Encodings,
    out: Output,
    /// Objects memoised so far.
    memoised: u32,
    /// Memo indexes of mutable objects by address.
    mutable: HashMap<usize, u32>,
    /// Memo indexes of values by what tells them from others, see [`Deterministic::value`].
    values: HashMap<Vec<u8>, u32>,
}

/// What a value is, when it is said in terms of what is memoised already.
enum Known {
    /// Memoised at that index.
    At(u32),
    /// A value that is never memoised: what is written for it.
    Atom,
    /// Not written yet; under that name, if it is shared by value.
    New(Option<Vec<u8>>),
}

impl Deterministic<'_, '_> {
    fn save(&mut self, obj: Obj) -> Result<(), Raised> {
        self.out.opcode_boundary()?;
        match self.known(obj)? {
            Known::At(index) => self.get(index),
            Known::Atom => self.save_atom(obj),
            Known::New(name) => self.save_new(obj, name),
        }
    }

    /// What is known of an object without writing it.
    fn known(&self, obj: Obj) -> Result<Known, Raised> {
        let ty = obj.ty();
        if is_atom(obj) {
            return Ok(Known::Atom);
        }
        let mutable = ty == object::list_type()
            || ty == object::dict_type()
            || ty == object::set_type()
            || ty == object::bytearray_type();
        if mutable {
            let index = self.mutable.get(&(obj.ptr() as usize));
            return Ok(index.map_or(Known::New(None), |index| Known::At(*index)));
        }
        let Some(name) = self.name(obj)? else { return Ok(Known::New(None)) };
        Ok(match self.values.get(&name) {
            Some(index) => Known::At(*index),
            None => Known::New(Some(name)),
        })
    }

    /// The name of a value: equal for equal ones of the same types. None for a tuple with an item
    /// that was not written yet: nothing equal was.
    fn name(&self, obj: Obj) -> Result<Option<Vec<u8>>, Raised> {
        let ty = obj.ty();
        if ty == object::str_type() {
            let mut name = vec![b'X'];
            push_text(&mut name, self.py, obj)?;
            return Ok(Some(name));
        }
        if ty == object::bytes_type() {
            let data = object::bytes_of(obj);
            let mut name = Vec::with_capacity(data.len() + 1);
            name.push(b'B');
            name.extend_from_slice(data);
            return Ok(Some(name));
        }
        if ty == object::tuple_type() {
            return deeper(|| self.tuple_name(obj));
        }
        if ty == object::frozenset_type() {
            let mut name = vec![0x91];
            for (encoding, _) in deeper(|| self.sorted(obj))? {
                name.extend_from_slice(object::bytes_of(encoding.obj()));
            }
            return Ok(Some(name));
        }
        Err(self.refuse(obj))
    }

    fn tuple_name(&self, obj: Obj) -> Result<Option<Vec<u8>>, Raised> {
        let mut name = vec![b't'];
        for at in 0..object::tuple_len(obj) {
            let item = object::tuple_item(obj, at);
            match self.known(item)? {
                Known::At(index) => {
                    name.push(b'j');
                    name.extend_from_slice(&index.to_le_bytes());
                }
                Known::Atom => push_atom(&mut name, item)?,
                Known::New(_) => return Ok(None),
            }
        }
        Ok(Some(name))
    }

    /// The members of a set with their encodings, each as a pickle of its own, in their order.
    fn sorted(&self, set: Obj) -> Result<Vec<(Rc<Owned>, Obj)>, Raised> {
        let mut sorted = Vec::with_capacity(object::set_len(set));
        let mut members = Members::of(set)?;
        while let Some(member) = members.next() {
            sorted.push((self.encoding(member)?, member));
        }
        sorted.sort_by(|(one, _), (other, _)| {
            object::bytes_of(one.obj()).cmp(object::bytes_of(other.obj()))
        });
        Ok(sorted)
    }

    fn encoding(&self, member: Obj) -> Result<Rc<Owned>, Raised> {
        let address = member.ptr() as usize;
        let nested = member.ty() == object::tuple_type() || member.ty() == object::frozenset_type();
        if nested && let Some(encoding) = self.encodings.borrow().get(&address) {
            return Ok(encoding.clone());
        }
        let encoding = Rc::new(encode(self.py, self.protocol, self.encodings, member)?);
        if nested {
            self.encodings.borrow_mut().insert(address, encoding.clone());
        }
        Ok(encoding)
    }

    fn get(&mut self, index: u32) -> Result<(), Raised> {
        let [a, b, c, d] = index.to_le_bytes();
        if index < 0x100 { self.out.write(&[b'h', a]) } else { self.out.write(&[b'j', a, b, c, d]) }
    }

    /// MEMOIZE: gives the index.
    fn memoise(&mut self) -> Result<u32, Raised> {
        self.out.byte(0x94)?;
        let index = self.memoised;
        let Some(next) = index.checked_add(1) else {
            return Err(pickling_error(self.py, "too many objects".to_owned()).into());
        };
        self.memoised = next;
        Ok(index)
    }

    fn memoise_mutable(&mut self, obj: Obj) -> Result<(), Raised> {
        let index = self.memoise()?;
        self.mutable.insert(obj.ptr() as usize, index);
        Ok(())
    }

    fn memoise_value(&mut self, name: Vec<u8>) -> Result<(), Raised> {
        let index = self.memoise()?;
        self.values.insert(name, index);
        Ok(())
    }

    fn save_atom(&mut self, obj: Obj) -> Result<(), Raised> {
        let mut bytes = Vec::new();
        push_atom(&mut bytes, obj)?;
        self.out.write(&bytes)
    }

    fn save_new(&mut self, obj: Obj, name: Option<Vec<u8>>) -> Result<(), Raised> {
        let ty = obj.ty();
        if ty == object::list_type() {
            return deeper(|| self.save_list(obj));
        }
        if ty == object::dict_type() {
            return deeper(|| self.save_dict(obj));
        }
        if ty == object::tuple_type() {
            return deeper(|| self.save_tuple(obj));
        }
        if ty == object::set_type() {
            return deeper(|| self.save_set(obj));
        }
        if ty == object::bytearray_type() {
            return self.save_bytearray(obj);
        }
        let Some(name) = name else { return Err(self.refuse(obj)) };
        if ty == object::frozenset_type() {
            deeper(|| self.save_frozenset(obj))?;
        } else {
            let value = name.get(1..).unwrap_or_default();
            self.save_sized(ty == object::str_type(), value)?;
        }
        self.memoise_value(name)
    }

    /// A str's UTF-8, or bytes.
    fn save_sized(&mut self, text: bool, data: &[u8]) -> Result<(), Raised> {
        let (short, medium, long) = if text { (0x8c, b'X', 0x8d) } else { (b'C', b'B', 0x8e) };
        let len = data.len();
        if let Ok(len) = u8::try_from(len) {
            self.write(&[short, len], data)
        } else if let Ok(len) = u32::try_from(len) {
            let [a, b, c, d] = len.to_le_bytes();
            self.write(&[medium, a, b, c, d], data)
        } else {
            self.write(&header8(long, len), data)
        }
    }

    fn write(&mut self, header: &[u8], data: &[u8]) -> Result<(), Raised> {
        if data.len() >= FRAME_TARGET {
            self.out.write_large(header, data, None, false)
        } else {
            self.out.write_two(header, data)
        }
    }

    /// The str `text`, as any str of the data.
    fn save_name(&mut self, text: &str) -> Result<(), Raised> {
        self.out.opcode_boundary()?;
        let mut name = vec![b'X'];
        name.extend_from_slice(text.as_bytes());
        match self.values.get(&name).copied() {
            Some(index) => self.get(index),
            None => {
                self.save_sized(true, text.as_bytes())?;
                self.memoise_value(name)
            }
        }
    }

    fn save_bytearray(&mut self, obj: Obj) -> Result<(), Raised> {
        // SAFETY: an exact bytearray, which nothing resizes while no Python code runs.
        let data = unsafe {
            std::slice::from_raw_parts(
                ffi::PyByteArray_AsString(obj.ptr()).cast::<u8>(),
                ffi::PyByteArray_Size(obj.ptr()) as usize,
            )
        };
        if self.protocol >= 5 {
            self.write(&header8(0x96, data.len()), data)?;
        } else {
            self.save_name("builtins")?;
            self.save_name("bytearray")?;
            self.out.byte(0x93)?;
            self.save_sized(false, data)?;
            self.out.write(&[0x85, b'R'])?;
        }
        self.memoise_mutable(obj)
    }

    fn save_list(&mut self, obj: Obj) -> Result<(), Raised> {
        self.out.byte(b']')?;
        self.memoise_mutable(obj)?;
        let len = object::list_len(obj);
        for from in (0..len).step_by(BATCH) {
            self.out.byte(b'(')?;
            for at in from..len.min(from + BATCH) {
                if let Some(item) = object::list_item(obj, at) {
                    self.save(item)?;
                }
            }
            self.out.byte(b'e')?;
        }
        Ok(())
    }

    fn save_dict(&mut self, obj: Obj) -> Result<(), Raised> {
        self.out.byte(b'}')?;
        self.memoise_mutable(obj)?;
        let (mut pairs, mut count) = (Pairs::of(obj), 0);
        while let Some((key, value)) = pairs.next() {
            if count % BATCH == 0 {
                self.out.write(if count == 0 { b"(".as_slice() } else { b"u(".as_slice() })?;
            }
            self.save(key)?;
            self.save(value)?;
            count += 1;
        }
        if count > 0 { self.out.byte(b'u') } else { Ok(()) }
    }

    fn save_set(&mut self, obj: Obj) -> Result<(), Raised> {
        self.out.byte(0x8f)?;
        self.memoise_mutable(obj)?;
        for batch in self.sorted(obj)?.chunks(BATCH) {
            self.out.byte(b'(')?;
            for (_, member) in batch {
                self.save(*member)?;
            }
            self.out.byte(0x90)?;
        }
        Ok(())
    }

    fn save_frozenset(&mut self, obj: Obj) -> Result<(), Raised> {
        self.out.byte(b'(')?;
        for (_, member) in self.sorted(obj)? {
            self.save(member)?;
        }
        self.out.byte(0x91)
    }

    fn save_tuple(&mut self, obj: Obj) -> Result<(), Raised> {
        let len = object::tuple_len(obj);
        let counted = len <= 3;
        if !counted {
            self.out.byte(b'(')?;
        }
        for at in 0..len {
            self.save(object::tuple_item(obj, at))?;
        }
        // All items are written now. An equal tuple may have been, inside one of them.
        let Some(name) = self.tuple_name(obj)? else {
            return Err(super::internal_error().into());
        };
        if let Some(index) = self.values.get(&name).copied() {
            for _ in 0..if counted { len } else { 0 } {
                self.out.byte(b'0')?;
            }
            if !counted {
                self.out.byte(b'1')?;
            }
            return self.get(index);
        }
        self.out.byte(if counted { 0x84 + len as u8 } else { b't' })?;
        self.memoise_value(name)
    }

    #[cold]
    fn refuse(&self, obj: Obj) -> Raised {
        let ty = obj.bound(self.py).get_type();
        let name = ty.fully_qualified_name().map_or_else(
            |_| "an object of an unnamed type".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        pickling_error(
            self.py,
            format!(
                "deterministic=True takes None, bool, int, float, str, bytes, bytearray, list, \
                 tuple, dict, set and frozenset, and no {name}"
            ),
        )
        .into()
    }
}

/// Values that are written out wherever they stand.
fn is_atom(obj: Obj) -> bool {
    let ty = obj.ty();
    obj == object::none()
        || ty == object::int_type()
        || ty == object::float_type()
        || obj == object::boolean(true)
        || obj == object::boolean(false)
        || (ty == object::tuple_type() && object::tuple_len(obj) == 0)
}

fn push_atom(bytes: &mut Vec<u8>, obj: Obj) -> Result<(), Raised> {
    if obj == object::none() {
        bytes.push(b'N');
    } else if obj == object::boolean(true) {
        bytes.push(0x88);
    } else if obj == object::boolean(false) {
        bytes.push(0x89);
    } else if obj.ty() == object::tuple_type() {
        bytes.push(b')');
    } else if obj.ty() == object::float_type() {
        bytes.push(b'G');
        bytes.extend_from_slice(&object::float_value(obj).to_be_bytes());
    } else {
        push_int(bytes, obj)?;
    }
    Ok(())
}

fn push_int(bytes: &mut Vec<u8>, obj: Obj) -> Result<(), Raised> {
    if let Some(value) = object::int_i64(obj).and_then(|value| i32::try_from(value).ok()) {
        let [a, b, c, d] = value.to_le_bytes();
        match (d, c, b) {
            (0, 0, 0) => bytes.extend_from_slice(&[b'K', a]),
            (0, 0, _) => bytes.extend_from_slice(&[b'M', a, b]),
            _ => bytes.extend_from_slice(&[b'J', a, b, c, d]),
        }
        return Ok(());
    }
    let digits = object::int_bytes(obj)?;
    let digits = digits.get(..significant_len(&digits)).unwrap_or_default();
    if let Ok(len) = u8::try_from(digits.len()) {
        bytes.extend_from_slice(&[0x8a, len]);
    } else if let Ok(len) = i32::try_from(digits.len()) {
        bytes.push(0x8b);
        bytes.extend_from_slice(&len.to_le_bytes());
    } else {
        let error = "int too large to pickle";
        return Err(pyo3::exceptions::PyOverflowError::new_err(error).into());
    }
    bytes.extend_from_slice(digits);
    Ok(())
}

/// UTF-8, surrogates passed through.
fn push_text(bytes: &mut Vec<u8>, py: Python<'_>, obj: Obj) -> Result<(), Raised> {
    match object::text(obj) {
        Text::Ascii(text) => bytes.extend_from_slice(text),
        Text::Latin1(units) => units.iter().for_each(|unit| push_utf8(bytes, u32::from(*unit))),
        Text::Ucs2(units) => units.iter().for_each(|unit| push_utf8(bytes, u32::from(*unit))),
        Text::Ucs4(units) => units.iter().for_each(|unit| push_utf8(bytes, *unit)),
        Text::Other => {
            let text = obj.bound(py).call_method1("encode", ("utf-8", "surrogatepass"))?;
            bytes.extend_from_slice(object::bytes_of(Owned::from_bound(text).obj()));
        }
    }
    Ok(())
}
