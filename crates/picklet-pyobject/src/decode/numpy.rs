//! numpy in a safe load: arrays, scalars and dtypes are validated and rebuilt here.
//!
//! numpy's own `__setstate__` believes what it is given: a dtype's state can hide an object field
//! and make bytes into pointers. So a dtype is never given a state of the pickle: the description
//! in it is read, a new dtype is made of that through numpy's constructor, and takes the old
//! one's place. An array gets its state only if its bytes are exactly what shape and dtype need,
//! and objects only as a list.

use picklet_codec::policy::{Kind, Special};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple, PyType};

use super::Decoder;
use super::guard::dict_of;
use crate::object::{self, Obj, Owned, Raised};

/// Levels of structured and subarray dtypes.
const DTYPE_DEPTH: usize = 32;

/// Calls of numpy's helpers.
pub(super) fn call<'py>(
    decoder: &mut Decoder<'_, 'py>,
    special: Special,
    callable: Obj,
    args: Obj,
) -> Result<Owned, Raised> {
    match special {
        Special::NumpyDtype => new_dtype(decoder, args),
        Special::NumpyReconstruct => reconstruct(decoder, callable, args),
        Special::NumpyScalar => scalar(decoder, callable, args),
        Special::NumpyFromBuffer => from_buffer(decoder, callable, args),
    }
}

fn refuse<T>(decoder: &Decoder<'_, '_>, what: &str) -> Result<T, Raised> {
    decoder.fail(format!(
        "the pickle holds {what}, which a safe load does not build; load with trust=True only if \
         you trust the pickle wholly"
    ))
}

fn numpy<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyModule>> {
    py.import("numpy")
}

/// What every array is checked against, looked up once.
struct Numpy {
    dtype: Py<PyType>,
    int8: Py<PyAny>,
    object: Py<PyAny>,
}

static NUMPY: PyOnceLock<Numpy> = PyOnceLock::new();

impl Numpy {
    /// Only after the pickle was allowed to import numpy.
    fn get(py: Python<'_>) -> PyResult<&'static Numpy> {
        NUMPY.get_or_try_init(py, || {
            let dtype = numpy(py)?.getattr("dtype")?.cast_into::<PyType>()?;
            let int8 = dtype.call1(("int8",))?.unbind();
            let object = dtype.call1(("O",))?.unbind();
            Ok(Numpy { dtype: dtype.unbind(), int8, object })
        })
    }
}

/// What was found out about the array and the dtype met last; most arrays share their dtype.
#[derive(Default)]
pub(super) struct Arrays {
    /// Made by `_reconstruct` and not filled yet. Held, so that its address stays its own.
    fresh: Option<Owned>,
    dtype: Option<(Owned, Dtype)>,
}

/// What the checks ask of a dtype.
#[derive(Clone, Copy)]
struct Dtype {
    itemsize: usize,
    has_object: bool,
}

impl Arrays {
    /// None if `obj` is no dtype.
    fn dtype(&mut self, obj: &Bound<'_, PyAny>) -> PyResult<Option<Dtype>> {
        if let Some((last, dtype)) = &self.dtype
            && last.obj() == Obj::of(obj)
        {
            return Ok(Some(*dtype));
        }
        if !is_dtype(obj)? {
            return Ok(None);
        }
        let itemsize = obj.getattr(pyo3::intern!(obj.py(), "itemsize"))?.extract()?;
        let dtype = Dtype { itemsize, has_object: has_object(obj)? };
        self.dtype = Some((Obj::of(obj).to_owned(), dtype));
        Ok(Some(dtype))
    }
}

/// `numpy.dtype(text, align, copy)`.
fn new_dtype(decoder: &mut Decoder<'_, '_>, args: Obj) -> Result<Owned, Raised> {
    let len = object::tuple_len(args);
    let text = (1..=3).contains(&len).then(|| object::tuple_item(args, 0));
    let Some(text) = text.filter(|text| decoder.fits(*text, Kind::BytesOrStr)) else {
        return refuse(decoder, "a numpy dtype of an unusual form");
    };
    let flags = (1..len).map(|at| object::tuple_item(args, at));
    if !flags.clone().all(|flag| decoder.fits(flag, Kind::Int)) {
        return refuse(decoder, "a numpy dtype of an unusual form");
    }
    let py = decoder.py;
    let text = match text.bound(py).cast::<PyBytes>() {
        Ok(bytes) => String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
        Err(_) => {
            text.bound(py).cast::<PyString>().map_err(PyErr::from)?.to_string_lossy().into_owned()
        }
    };
    if !is_type_string(&text) {
        return refuse(decoder, "a numpy dtype of an unusual form");
    }
    // A copy, so that the object is this pickle's own until its state arrives.
    let dtype = decoder.hook(|| numpy(py)?.getattr("dtype")?.call1((text, false, true)))?;
    let dtype = Owned::from_bound(dtype);
    let entry = (dtype.obj().to_owned(), Vec::new());
    decoder.pending_dtypes.insert(dtype.ptr() as usize, entry);
    Ok(dtype)
}

/// `f8`, `U12`, `M8`, `O8`, `V16`: one letter and a size, as numpy writes them.
fn is_type_string(text: &str) -> bool {
    let text = text.trim_start_matches(['<', '>', '=', '|']);
    let mut letters = text.chars();
    let letter = letters.next();
    let digits = letters.as_str();
    letter.is_some_and(|letter| "?bBhHiIlLqQefdgFDGSUVOMmcap".contains(letter))
        && digits.len() <= 9
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `_reconstruct(ndarray, (0,), b'b')`: the empty array that BUILD then fills.
fn reconstruct(decoder: &mut Decoder<'_, '_>, callable: Obj, args: Obj) -> Result<Owned, Raised> {
    let usual = object::tuple_len(args) == 3
        && decoder.fits(object::tuple_item(args, 0), Kind::Global("numpy", "ndarray"))
        && is_zero_shape(decoder, object::tuple_item(args, 1))
        && is_code_b(object::tuple_item(args, 2));
    if !usual {
        return refuse(decoder, "a numpy array of an unusual class");
    }
    let array = decoder.unguarded_call(callable, args)?;
    decoder.arrays.fresh = Some(array.obj().to_owned());
    Ok(array)
}

/// `(0,)`.
fn is_zero_shape(decoder: &Decoder<'_, '_>, shape: Obj) -> bool {
    decoder.fits(shape, Kind::Tuple) && object::tuple_len(shape) == 1 && {
        let side = object::tuple_item(shape, 0);
        side.ty() == object::int_type() && object::int_digits(side).digits.is_empty()
    }
}

/// `b'b'`, or Python 2's `'b'`.
fn is_code_b(code: Obj) -> bool {
    if code.ty() == object::bytes_type() {
        return object::bytes_of(code) == b"b";
    }
    code.ty() == object::str_type() && matches!(object::text(code), object::Text::Ascii(b"b"))
}

/// Whether `obj` is a numpy dtype: each that a pickle can get hold of was made by us or numpy.
fn is_dtype(obj: &Bound<'_, PyAny>) -> PyResult<bool> {
    let dtype = Numpy::get(obj.py())?.dtype.as_ptr().cast();
    Ok(object::is_of_type(Obj::of(obj), dtype))
}

fn has_object(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    dtype.getattr(pyo3::intern!(dtype.py(), "hasobject"))?.is_truthy()
}

/// `scalar(dtype, bytes)`.
fn scalar(decoder: &mut Decoder<'_, '_>, callable: Obj, args: Obj) -> Result<Owned, Raised> {
    let py = decoder.py;
    let two = object::tuple_len(args) == 2;
    let usual = two
        && decoder.hook(|| {
            let dtype = object::tuple_item(args, 0).bound(py);
            let data = object::tuple_item(args, 1).bound(py);
            if !is_dtype(&dtype)? || has_object(&dtype)? {
                return Ok(false);
            }
            // Python 2's bytes arrive as str: numpy turns latin-1 text back itself.
            let len = match (data.cast_exact::<PyBytes>(), data.cast_exact::<PyString>()) {
                (Ok(bytes), _) => bytes.as_bytes().len(),
                (_, Ok(text)) => text.len()?,
                _ => return Ok(false),
            };
            Ok(len == dtype.getattr(pyo3::intern!(dtype.py(), "itemsize"))?.extract::<usize>()?)
        })?;
    if !usual {
        return refuse(decoder, "a numpy scalar of an unusual form");
    }
    decoder.unguarded_call(callable, args)
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

/// `_frombuffer(buffer, dtype, shape, order)`.
fn from_buffer(decoder: &mut Decoder<'_, '_>, callable: Obj, args: Obj) -> Result<Owned, Raised> {
    let py = decoder.py;
    let buffer = (object::tuple_len(args) == 4).then(|| object::tuple_item(args, 0));
    let usual = match buffer {
        Some(buffer) if decoder.fits(buffer, Kind::Buffer) => decoder.hook(|| {
            let dtype = object::tuple_item(args, 1).bound(py);
            let shape = object::tuple_item(args, 2).bound(py);
            let order = object::tuple_item(args, 3).bound(py);
            if !is_dtype(&dtype)? || has_object(&dtype)? {
                return Ok(false);
            }
            let itemsize =
                dtype.getattr(pyo3::intern!(dtype.py(), "itemsize"))?.extract::<usize>()?;
            let len = py
                .import("builtins")?
                .getattr("memoryview")?
                .call1((buffer.bound(py),))?
                .getattr("nbytes")?
                .extract::<usize>()?;
            Ok(bytes_needed(&shape, itemsize)? == Some(len) && (order.eq("C")? || order.eq("F")?))
        })?,
        _ => false,
    };
    if !usual {
        return refuse(decoder, "a numpy array of an unusual form");
    }
    decoder.unguarded_call(callable, args)
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
    // The one that `_reconstruct` made last needs no looking at: nothing else fills arrays.
    let made = decoder.arrays.fresh.take().is_some_and(|made| made.obj() == target);
    let mut arrays = std::mem::take(&mut decoder.arrays);
    let usual =
        decoder.hook(|| Ok((made || is_fresh(&array)?) && is_array_state(&mut arrays, &state)?));
    decoder.arrays = arrays;
    if !usual? {
        return decoder.refuse_state(target);
    }
    decoder.hook(|| array.call_method1(pyo3::intern!(py, "__setstate__"), (&state,)).map(drop))
}

/// Only an array that `_reconstruct` makes: nothing can be looking at its (no) bytes.
fn is_fresh(array: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = array.py();
    Ok(array.getattr(pyo3::intern!(py, "size"))?.extract::<usize>()? == 0
        && array.getattr(pyo3::intern!(py, "base"))?.is_none()
        && array.getattr(pyo3::intern!(py, "dtype"))?.is(&Numpy::get(py)?.int8))
}

fn is_array_state(arrays: &mut Arrays, state: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = state.py();
    let Ok(state) = state.cast_exact::<PyTuple>() else { return Ok(false) };
    if state.len() != 5 || state.get_item(0)?.extract::<i64>().is_err() {
        return Ok(false);
    }
    let (shape, dtype) = (state.get_item(1)?, state.get_item(2)?);
    let data = state.get_item(4)?;
    let Some(known) = arrays.dtype(&dtype)? else { return Ok(false) };
    if state.get_item(3)?.extract::<i64>().is_err() {
        return Ok(false);
    }
    if known.has_object {
        // Objects come as a list, one for each item; only whole items, so that no field of a
        // structure hides one.
        let plain = dtype.eq(&Numpy::get(py)?.object)?;
        let items = bytes_needed(&shape, 1)?;
        return Ok(plain && data.cast_exact::<PyList>().is_ok_and(|list| Some(list.len()) == items));
    }
    let len = match (data.cast_exact::<PyBytes>(), data.cast_exact::<PyString>()) {
        (Ok(bytes), _) => bytes.as_bytes().len(),
        (_, Ok(text)) => text.len()?,
        _ => return Ok(false),
    };
    Ok(bytes_needed(&shape, known.itemsize)? == Some(len))
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
    let new = decoder.hook(|| described_dtype(&old, &state, DTYPE_DEPTH))?;
    let Some(new) = new else { return decoder.refuse_state(target) };
    let new = Owned::from_bound(new);
    if let Some((old, indexes)) = decoder.take_pending_dtype(target) {
        decoder.memo.replace(&indexes, old.obj(), new.obj());
    }
    drop(decoder.stack.pop());
    decoder.push(new);
    Ok(())
}

/// The dtype that `old` becomes by `state`: `(version, order, subarray, names, fields, itemsize,
/// alignment, flags[, metadata])`. None when the state is not one that numpy writes.
fn described_dtype<'py>(
    old: &Bound<'py, PyAny>,
    state: &Bound<'py, PyAny>,
    depth: usize,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Ok(state) = state.cast_exact::<PyTuple>() else { return Ok(None) };
    let version = state.get_item(0)?.extract::<i64>().unwrap_or(-1);
    if !(8..=9).contains(&state.len()) || !(3..=4).contains(&version) || depth == 0 {
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
        "V" if !names.is_none() => structured_dtype(&names, &fields, state),
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

fn ordered<'py>(dtype: &Bound<'py, PyAny>, order: &str) -> PyResult<Bound<'py, PyAny>> {
    if order == "|" { Ok(dtype.clone()) } else { dtype.call_method1("newbyteorder", (order,)) }
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
        if has_object(&format)? || offset.extract::<u32>().is_err() {
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
    numpy(py)?.getattr("dtype")?.call1((spec, aligned)).map(Some)
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
