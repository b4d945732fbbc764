//! numpy in a safe load: arrays, scalars and dtypes are validated and rebuilt here.
//!
//! numpy's own `__setstate__` believes what it is given: a dtype's state can hide an object field
//! and make bytes into pointers. So a dtype is never given a state of the pickle: the description
//! in it is read, a new dtype is made of that through numpy's constructor, and takes the old
//! one's place. An array gets its state only if its bytes are exactly what shape and dtype need,
//! and objects only as a list.

use picklet_codec::policy::{Admitted, Args, Dtype, Special};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple, PyType};

use super::Decoder;
use super::guard::dict_of;
use crate::object::{self, Obj, Owned, Raised, Text};

/// Calls of numpy's helpers, whose arguments the policy found as listed.
pub(super) fn call<'py>(
    decoder: &mut Decoder<'_, 'py>,
    special: Special,
    callable: Obj,
    args: Obj,
) -> Result<Owned, Raised> {
    match special {
        Special::NumpyDtype => new_dtype(decoder, args),
        Special::NumpyStringDtype => {
            let dtype = decoder.unguarded_call(callable, args)?;
            let found = decoder.hook(|| facts(&dtype.obj().bound(decoder.py), true))?;
            decoder.known.add_dtype(dtype.obj(), found);
            Ok(dtype)
        }
        Special::NumpyReconstruct | Special::NumpyMaskedReconstruct => {
            let array = decoder.unguarded_call(callable, args)?;
            decoder.fresh_array = Some(array.obj().to_owned());
            Ok(array)
        }
        Special::NumpyScalar | Special::NumpyFromBuffer => decoder.unguarded_call(callable, args),
    }
}

/// The last call of `_reconstruct` that the policy found as listed.
pub(super) struct Reconstructed {
    callable: Owned,
    class: Owned,
    admitted: Admitted,
}

impl Reconstructed {
    /// Of a call that was admitted, if it is one of these.
    pub(super) fn of(admitted: &Admitted, callable: Obj, args: Obj) -> Option<Self> {
        let [Args::Special(Special::NumpyReconstruct), ..] = admitted.entry.calls else {
            return None;
        };
        let class = object::tuple_item(args, 0).to_owned();
        Some(Reconstructed { callable: callable.to_owned(), class, admitted: *admitted })
    }

    /// What the policy says of the call, if it is `callable(class, (0,), b'b')` as before: all that
    /// it would look at again, array after array.
    #[inline]
    pub(super) fn again(&self, callable: Obj, args: Obj) -> Option<Admitted> {
        let item = |at| object::tuple_item(args, at);
        let same = callable == self.callable.obj()
            && object::tuple_len(args) == 3
            && item(0) == self.class.obj();
        let plain = || {
            let (shape, code) = (item(1), item(2));
            let side = |at| object::tuple_item(shape, at);
            shape.ty() == object::tuple_type()
                && object::tuple_len(shape) == 1
                && side(0).ty() == object::int_type()
                && object::small_int(side(0)) == Some(0)
                && code.ty() == object::bytes_type()
                && object::bytes_of(code) == b"b"
        };
        (same && plain()).then_some(self.admitted)
    }
}

fn numpy<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyModule>> {
    py.import("numpy")
}

/// What arrays are checked against, looked up once.
struct Numpy {
    dtype: Py<PyType>,
    int8: Py<PyAny>,
    record: Py<PyAny>,
    /// By their texts, the dtypes of numbers in this machine's order, of which numpy has one each.
    numbers: Vec<(&'static str, Py<PyAny>, Dtype)>,
}

/// The dtypes of numbers that most arrays have.
const NUMBERS: [&str; 14] =
    ["f8", "i8", "f4", "i4", "u1", "b1", "i2", "u2", "u4", "u8", "i1", "f2", "c8", "c16"];

static NUMPY: PyOnceLock<Numpy> = PyOnceLock::new();

impl Numpy {
    /// Only after the pickle was allowed to import numpy.
    fn get(py: Python<'_>) -> PyResult<&'static Numpy> {
        NUMPY.get_or_try_init(py, || {
            let dtype = numpy(py)?.getattr("dtype")?.cast_into::<PyType>()?;
            let int8 = dtype.call1(("int8",))?.unbind();
            let record = numpy(py)?.getattr("record")?.unbind();
            let mut numbers = Vec::new();
            for text in NUMBERS {
                let number = dtype.call1((text,))?;
                let facts = facts(&number, true)?;
                numbers.push((text, number.unbind(), facts));
            }
            Ok(Numpy { dtype: dtype.unbind(), int8, record, numbers })
        })
    }
}

/// What the policy asks of a dtype, and whether its state has come.
fn facts(dtype: &Bound<'_, PyAny>, settled: bool) -> PyResult<Dtype> {
    let py = dtype.py();
    let has_object = has_object(dtype)?;
    let kind = dtype.getattr(pyo3::intern!(py, "kind"))?.extract::<char>()?;
    Ok(Dtype {
        itemsize: dtype.getattr(pyo3::intern!(py, "itemsize"))?.extract()?,
        has_object,
        is_object: has_object && kind == 'O',
        kind: u8::try_from(kind).unwrap_or(b'?'),
        settled,
    })
}

/// `numpy.dtype(text, align, copy)`, or of `numpy.record`, which says what a structure's items are.
fn new_dtype(decoder: &mut Decoder<'_, '_>, args: Obj) -> Result<Owned, Raised> {
    let py = decoder.py;
    let text = object::tuple_item(args, 0).bound(py);
    let text = match text.cast::<PyBytes>() {
        Ok(bytes) => PyString::new(py, &String::from_utf8_lossy(bytes.as_bytes())).into_any(),
        Err(_) => text,
    };
    // A copy, so that the object is this pickle's own until its state arrives.
    let (dtype, dtype_facts) = decoder.hook(|| {
        let numpy = Numpy::get(py)?;
        if let Text::Ascii(text) = object::text(Obj::of(&text))
            && let Some((_, dtype, facts)) =
                numpy.numbers.iter().find(|(known, ..)| known.as_bytes() == text)
        {
            let newbyteorder = pyo3::intern!(py, "newbyteorder");
            let copy = dtype.bind(py).call_method1(newbyteorder, (pyo3::intern!(py, "="),))?;
            return Ok((copy, Dtype { settled: false, ..*facts }));
        }
        let dtype = numpy.dtype.bind(py).call1((text, false, true))?;
        let facts = facts(&dtype, false)?;
        Ok((dtype, facts))
    })?;
    let dtype = Owned::from_bound(dtype);
    let entry = (dtype.obj().to_owned(), Vec::new());
    decoder.pending_dtypes.insert(dtype.ptr() as usize, entry);
    decoder.known.add_dtype(dtype.obj(), dtype_facts);
    Ok(dtype)
}

/// Whether `obj` is a numpy dtype: each that a pickle can get hold of was made by us or numpy.
fn is_dtype(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    let dtype = Numpy::get(obj.py())?.dtype.as_ptr().cast();
    Ok(object::is_of_type(Obj::of(obj), dtype))
}

fn has_object(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    dtype.getattr(pyo3::intern!(dtype.py(), "hasobject"))?.is_truthy()
}

/// The bytes that `shape` items of `itemsize` need, if that is a number.
fn bytes_needed(shape: &Bound<'_, PyAny>, itemsize: usize) -> PyResult<Option<usize>> {
    let Ok(shape) = shape.cast_exact::<PyTuple>() else { return Ok(None) };
    if shape.len() > 64 {
        return Ok(None);
    }
    let (mut items, mut room) = (1usize, itemsize.max(1));
    for side in shape.iter() {
        let Ok(side) = side.extract::<usize>() else { return Ok(None) };
        // Sides of zero must not hide others that overflow.
        let Some(more) = room.checked_mul(side.max(1)) else { return Ok(None) };
        if isize::try_from(more).is_err() {
            return Ok(None);
        }
        room = more;
        items = items.saturating_mul(side);
    }
    Ok(items.checked_mul(itemsize))
}

/// BUILD of an array: `(version, shape, dtype, fortran, data)`.
pub(super) fn build_array(
    decoder: &mut Decoder<'_, '_>,
    target: Obj,
    state: Obj,
) -> Result<(), Raised> {
    let py = decoder.py;
    let array = target.bound(py);
    let state = state.bound(py);
    // The one that was made last needs no looking at: nothing else fills arrays.
    let made = decoder.fresh_array.take().is_some_and(|made| made.obj() == target);
    if !made && !decoder.hook(|| is_fresh(&array))? {
        return decoder.refuse_state(target);
    }
    decoder.hook(|| array.call_method1(pyo3::intern!(py, "__setstate__"), (&state,)).map(drop))
}

/// Only an array that `_reconstruct` makes: nothing can be looking at its (no) bytes.
fn is_fresh(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = array.py();
    let is_empty = |array: &Bound<'_, PyAny>| -> PyResult<bool> {
        Ok(array.getattr(pyo3::intern!(py, "size"))?.extract::<usize>()? == 0)
    };
    // A masked array is a view of an array that nothing else can reach.
    let base = array.getattr(pyo3::intern!(py, "base"))?;
    Ok(is_empty(array)?
        && (base.is_none() || is_empty(&base)?)
        && array.getattr(pyo3::intern!(py, "dtype"))?.is(&Numpy::get(py)?.int8))
}

/// BUILD of a dtype: a new one is made of the description, and takes the old one's place on the
/// stack and in the memo.
pub(super) fn build_dtype(
    decoder: &mut Decoder<'_, '_>,
    target: Obj,
    state: Obj,
) -> Result<(), Raised> {
    let py = decoder.py;
    let old = target.bound(py);
    let state = state.bound(py);
    let new = match plain_dtype(decoder, target, Obj::of(&state))? {
        Some(plain) => Some(plain),
        None => decoder.hook(|| match described_dtype(&old, &state)? {
            Some(new) => Ok(Some((facts(&new, true)?, new))),
            None => Ok(None),
        })?,
    };
    let Some((new_facts, new)) = new else { return decoder.refuse_state(target) };
    let new = Owned::from_bound(new);
    decoder.known.add_dtype(new.obj(), new_facts);
    if let Some((old, indexes)) = decoder.take_pending_dtype(target) {
        decoder.memo.replace(&indexes, old.obj(), new.obj());
    }
    drop(decoder.stack.pop());
    decoder.push(new);
    Ok(())
}

/// The dtype of numbers that `old` becomes by the state that numpy writes for those of this
/// machine's order, `(3, '<', None, None, None, -1, -1, 0)`: known without asking numpy.
fn plain_dtype<'py>(
    decoder: &Decoder<'_, 'py>,
    old: Obj,
    state: Obj,
) -> PyResult<Option<(Dtype, Bound<'py, PyAny>)>> {
    let Some(old) = decoder.known.dtype(old) else { return Ok(None) };
    if state.ty() != object::tuple_type() || object::tuple_len(state) != 8 {
        return Ok(None);
    }
    let item = |at| object::tuple_item(state, at);
    let is_int = |at, wanted| {
        item(at).ty() == object::int_type() && object::int_value(item(at)) == Some(wanted)
    };
    let order =
        if item(1).ty() == object::str_type() { object::text(item(1)) } else { Text::Other };
    let native = match order {
        Text::Ascii(b"|") => old.itemsize == 1,
        Text::Ascii(b"<") => old.itemsize > 1 && cfg!(target_endian = "little"),
        _ => false,
    };
    let plain = native
        && is_int(0, 3)
        && (2..5).all(|at| item(at) == object::none())
        && is_int(5, -1)
        && is_int(6, -1)
        && is_int(7, 0);
    if !plain {
        return Ok(None);
    }
    let numbers = &Numpy::get(decoder.py)?.numbers;
    let known = numbers.iter().find(|(_, _, known)| Dtype { settled: true, ..old } == *known);
    Ok(known.map(|(_, dtype, known)| (*known, dtype.bind(decoder.py).clone())))
}

/// The dtype that `old` becomes by `state`: `(version, order, subarray, names, fields, itemsize,
/// alignment, flags[, metadata])`. None when the state is not one that numpy writes.
fn described_dtype<'py>(
    old: &Bound<'py, PyAny>,
    state: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Ok(state) = state.cast_exact::<PyTuple>() else { return Ok(None) };
    let version = state.get_item(0)?.extract::<i64>().unwrap_or(-1);
    if !(8..=9).contains(&state.len()) || !(3..=4).contains(&version) {
        return Ok(None);
    }
    let Ok(order) = state.get_item(1)?.extract::<String>() else { return Ok(None) };
    if !matches!(order.as_str(), "<" | ">" | "|" | "=") {
        return Ok(None);
    }
    let (subarray, names, fields) = (state.get_item(2)?, state.get_item(3)?, state.get_item(4)?);
    let kind = old.getattr("kind")?.extract::<String>()?;
    let size = state.get_item(5)?.extract::<i64>().unwrap_or(-1);
    match kind.as_str() {
        "V" if !subarray.is_none() => subarray_dtype(&subarray),
        "V" if !names.is_none() => structured_dtype(old, &names, &fields, state),
        "V" | "S" | "U" => {
            let sized = old.getattr("itemsize")?.extract::<i64>()? == size || size == -1;
            if !sized {
                return Ok(None);
            }
            ordered(old, &order).map(Some)
        }
        "M" | "m" => time_dtype(&kind, state, &order),
        "O" => Ok(Some(old.clone())),
        _ => ordered(old, &order).map(Some),
    }
}

/// The dtype in that order. This machine's own is called native, as numpy calls it.
fn ordered<'py>(dtype: &Bound<'py, PyAny>, order: &str) -> PyResult<Bound<'py, PyAny>> {
    const NATIVE: &str = if cfg!(target_endian = "little") { "<" } else { ">" };
    match order {
        "|" => Ok(dtype.clone()),
        NATIVE => dtype.call_method1("newbyteorder", ("=",)),
        other => dtype.call_method1("newbyteorder", (other,)),
    }
}

/// `(base, shape)`; the base was made before, by the same rules.
fn subarray_dtype<'py>(subarray: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = subarray.py();
    let Ok(pair) = subarray.cast_exact::<PyTuple>() else { return Ok(None) };
    if pair.len() != 2 {
        return Ok(None);
    }
    let (base, shape) = (pair.get_item(0)?, pair.get_item(1)?);
    if !is_dtype(&base)? || has_object(&base)? {
        return Ok(None);
    }
    let shape = match shape.extract::<usize>() {
        Ok(side) => PyTuple::new(py, [side])?.into_any(),
        Err(_) => shape,
    };
    let itemsize = base.getattr("itemsize")?.extract::<usize>()?;
    let fits = bytes_needed(&shape, itemsize)?;
    if fits.is_none_or(|bytes| i32::try_from(bytes).is_err()) {
        return Ok(None);
    }
    numpy(py)?.getattr("dtype")?.call1(((base, shape),)).map(Some)
}

/// Names and `{name: (dtype, offset[, title])}`: made anew by numpy from names, formats and
/// offsets, which checks that the fields lie within the item.
fn structured_dtype<'py>(
    old: &Bound<'py, PyAny>,
    names: &Bound<'py, PyAny>,
    fields: &Bound<'py, PyAny>,
    state: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = names.py();
    let (Ok(names), Ok(fields)) = (names.cast_exact::<PyTuple>(), fields.cast_exact::<PyDict>())
    else {
        return Ok(None);
    };
    let Ok(size) = state.get_item(5)?.extract::<i32>() else { return Ok(None) };
    let (formats, offsets) = (PyList::empty(py), PyList::empty(py));
    for name in names.iter() {
        if !name.is_exact_instance_of::<PyString>() {
            return Ok(None);
        }
        let Some(field) = fields.get_item(&name)? else { return Ok(None) };
        let Ok(field) = field.cast_exact::<PyTuple>() else { return Ok(None) };
        if field.len() != 2 || !is_dtype(&field.get_item(0)?)? {
            return Ok(None);
        }
        let format = field.get_item(0)?;
        let offset = field.get_item(1)?;
        if offset.extract::<u32>().is_err() {
            return Ok(None);
        }
        formats.append(format)?;
        offsets.append(offset)?;
    }
    if fields.len() != names.len() {
        return Ok(None);
    }
    let size = size.into_pyobject(py)?.into_any();
    let aligned = state.get_item(7)?.extract::<i64>().is_ok_and(|flags| flags & 0x80 != 0);
    let spec = dict_of(
        py,
        &[
            ("names", names.to_list().into_any()),
            ("formats", formats.into_any()),
            ("offsets", offsets.into_any()),
            ("itemsize", size),
        ],
    )?;
    let dtype = numpy(py)?.getattr("dtype")?;
    let structure = dtype.call1((spec, aligned))?;
    let record = Numpy::get(py)?.record.bind(py);
    if !old.getattr("type")?.is(record) {
        return Ok(Some(structure));
    }
    dtype.call1(((record, structure),)).map(Some)
}

/// `M8[25s]`: unit and count come in the metadata, `(…, (b'ns', count, 1, 1))`.
fn time_dtype<'py>(
    kind: &str,
    state: &Bound<'py, PyTuple>,
    order: &str,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = state.py();
    let Ok(metadata) = state.get_item(8) else { return Ok(None) };
    let Ok(metadata) = metadata.cast_exact::<PyTuple>() else { return Ok(None) };
    let Ok(unit) = metadata.get_item(metadata.len().saturating_sub(1)) else { return Ok(None) };
    let Ok(unit) = unit.cast_exact::<PyTuple>() else { return Ok(None) };
    if unit.len() != 4 {
        return Ok(None);
    }
    let name = unit.get_item(0)?;
    let name = match (name.extract::<String>(), name.cast_exact::<PyBytes>()) {
        (Ok(name), _) => name,
        (_, Ok(bytes)) => String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
        _ => return Ok(None),
    };
    let Ok(count) = unit.get_item(1)?.extract::<u32>() else { return Ok(None) };
    let units = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic"];
    if !units.contains(&name.as_str()) || count == 0 {
        return Ok(None);
    }
    let text =
        if name == "generic" { format!("{kind}8") } else { format!("{kind}8[{count}{name}]") };
    ordered(&numpy(py)?.getattr("dtype")?.call1((text,))?, order).map(Some)
}
