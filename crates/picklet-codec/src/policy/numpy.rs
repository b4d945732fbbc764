//! numpy's calls and states, whose checks do not fit a list of kinds.
//!
//! numpy's own `__setstate__` believes what it is given: a dtype's state can hide an object field
//! and make bytes into pointers; an array's can claim more items than it has bytes.

use super::judge::{Dtype, Facts, Nature, Subject, fits};
use super::shape::{Kind, Makes, Special};

/// Dimensions of an array, numpy 2's limit.
const MAX_DIMENSIONS: u64 = 64;

/// Flags of a dtype that holds objects: counted, pickled as a list, made with care, by Python.
const OBJECT_FLAGS: i64 = 0x01 | 0x02 | 0x08 | 0x10;

/// What a special call makes; none if its arguments are unusual.
pub(super) fn call<S: Subject>(special: Special, args: &S) -> Option<Facts> {
    match special {
        Special::NumpyDtype => new_dtype(args).map(Facts::Dtype),
        Special::NumpyStringDtype => is_string_dtype(args).then_some(Facts::Dtype(STRINGS)),
        Special::NumpyScalar => is_scalar(args).then_some(Facts::None),
        Special::NumpyFromBuffer => is_from_buffer(args).then_some(Facts::None),
        Special::NumpyReconstruct => {
            (args.len() == Some(3) && is_empty_array(args, 0)).then_some(Facts::None)
        }
        Special::NumpyMaskedReconstruct => {
            let masked = args.len() == Some(4)
                && is(args, 0, |class| fits(class, &Kind::ClassOf(Makes::Array)))
                && is_empty_array(args, 1);
            masked.then_some(Facts::None)
        }
    }
}

fn is<S: Subject>(items: &S, at: u64, test: impl FnOnce(&S) -> bool) -> bool {
    items.item(at).is_some_and(|item| test(&item))
}

/// `class, (0,), b'b'` from argument `from` on.
fn is_empty_array<S: Subject>(args: &S, from: u64) -> bool {
    let zero = |shape: &S| {
        shape.nature() == Nature::Tuple
            && shape.len() == Some(1)
            && is(shape, 0, |side| side.nature() == Nature::Int && side.int() == Some(0))
    };
    is(args, from, |class| fits(class, &Kind::ClassOf(Makes::Array)))
        && is(args, from + 1, zero)
        && is(args, from + 2, |code| {
            matches!(code.nature(), Nature::Bytes | Nature::Str) && code.is_text("b")
        })
}

/// `numpy.dtype(text, align, copy)`, or `numpy.dtype(numpy.record, align, copy)`.
fn new_dtype<S: Subject>(args: &S) -> Option<Dtype> {
    let len = args.len().filter(|len| (1..=3).contains(len))?;
    for at in 1..len {
        if !is(args, at, |flag| fits(flag, &Kind::Int)) {
            return None;
        }
    }
    let text = args.item(0)?;
    if fits(&text, &Kind::Global("numpy", "record")) {
        return Some(Dtype {
            itemsize: 0,
            has_object: false,
            is_object: false,
            kind: b'V',
            settled: false,
        });
    }
    if !fits(&text, &Kind::BytesOrStr) {
        return None;
    }
    text.with_text(described)?
}

/// `f8`, `U12`, `M8`, `O8`, `V16`: one letter and a size, as numpy writes them.
fn described(text: &str) -> Option<Dtype> {
    let text = text.trim_start_matches(['<', '>', '=', '|']);
    let mut letters = text.chars();
    let letter = u8::try_from(letters.next()?).ok()?;
    let digits = letters.as_str();
    if digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size: Option<u64> = digits.parse().ok();
    let plain = |kind: u8, itemsize: u64| {
        Some(Dtype { itemsize, has_object: false, is_object: false, kind, settled: false })
    };
    match (letter, size) {
        (b'O', None | Some(8) | Some(4)) => Some(Dtype {
            itemsize: 8,
            has_object: true,
            is_object: true,
            kind: b'O',
            settled: false,
        }),
        (b'b', Some(1)) | (b'?', None) => plain(b'b', 1),
        (b'i' | b'u', Some(size @ (1 | 2 | 4 | 8))) => plain(letter, size),
        (b'f', Some(size @ (2 | 4 | 8 | 12 | 16))) => plain(b'f', size),
        (b'c', Some(size @ (8 | 16 | 24 | 32))) => plain(b'c', size),
        (b'S' | b'a', size) => plain(b'S', size.unwrap_or(0)),
        (b'V', size) => plain(b'V', size.unwrap_or(0)),
        (b'U', size) => plain(b'U', size.unwrap_or(0).checked_mul(4)?),
        (b'M' | b'm', None | Some(8)) => plain(letter, 8),
        (b'b', None) => plain(b'i', 1),
        (b'B', None) => plain(b'u', 1),
        (b'h' | b'i' | b'l' | b'q', None) => plain(b'i', width(letter)),
        (b'H' | b'I' | b'L' | b'Q', None) => plain(b'u', width(letter)),
        (b'e', None) => plain(b'f', 2),
        (b'f', None) => plain(b'f', 4),
        (b'd', None) => plain(b'f', 8),
        (b'g', None) => plain(b'f', 16),
        (b'F', None) => plain(b'c', 8),
        (b'D', None) => plain(b'c', 16),
        (b'G', None) => plain(b'c', 32),
        (b'c', None) => plain(b'S', 1),
        _ => None,
    }
}

/// Bytes of C's integers, as Linux and macOS have them.
fn width(letter: u8) -> u64 {
    match letter.to_ascii_lowercase() {
        b'h' => 2,
        b'i' => 4,
        _ => 8,
    }
}

/// The letter of numpy 2's strings of any length.
const STRING_KIND: u8 = b'T';

/// Their dtype. What an item holds is no object but as good as one: nothing may lie over it.
const STRINGS: Dtype =
    Dtype { itemsize: 16, has_object: true, is_object: false, kind: STRING_KIND, settled: true };

/// What may stand among them, and what may say that one is missing.
const STRING_OR_MISSING: Kind = Kind::OneOf(&[
    Kind::Str,
    Kind::None,
    Kind::Float,
    Kind::Global("pandas._libs.missing", "NA"),
    Kind::Global("pandas", "NA"),
]);

/// What a masked array shows in the place of what it masks: numpy makes an array of it.
const FILL_VALUE: Kind = Kind::OneOf(&[
    Kind::Scalar,
    Kind::Bytes,
    Kind::Made(Makes::NumpyScalar),
    Kind::Made(Makes::Array),
]);

/// What may stand in a structure that holds objects: of what is no object there, numpy asks the text
/// or the number, which of others than these may take for ever.
const FIELD: Kind = Kind::OneOf(&[Kind::Scalar, Kind::Bytes, Kind::Made(Makes::NumpyScalar)]);

/// Structures within a structure.
const MAX_NESTED: u32 = 8;

fn is_row<S: Subject>(row: &S, depth: u32) -> bool {
    let Some(len) = row.len().filter(|_| row.nature() == Nature::Tuple) else { return false };
    let plain = |field: &S| fits(field, &FIELD) || depth > 0 && is_row(field, depth - 1);
    (0..len).all(|at| is(row, at, plain))
}

/// `_convert_to_stringdtype_kwargs(coerce[, missing])`.
fn is_string_dtype<S: Subject>(args: &S) -> bool {
    args.len().is_some_and(|len| (1..=2).contains(&len))
        && is(args, 0, |coerce| fits(coerce, &Kind::Int))
        && args.item(1).is_none_or(|missing| fits(&missing, &STRING_OR_MISSING))
}

/// What is known of a dtype that may be used. A structure may not before its state has come: what
/// is made of its bytes would not know of the objects that the state puts there.
fn dtype_of<S: Subject>(subject: &S) -> Option<Dtype> {
    match subject.facts() {
        Facts::Dtype(dtype) if subject.makes() == Makes::Dtype => {
            (dtype.settled || dtype.kind != b'V').then_some(dtype)
        }
        _ => None,
    }
}

/// `scalar(dtype, bytes)`.
fn is_scalar<S: Subject>(args: &S) -> bool {
    let (Some(2), Some(dtype), Some(data)) = (args.len(), args.item(0), args.item(1)) else {
        return false;
    };
    let Some(dtype) = dtype_of(&dtype) else { return false };
    // Python 2's bytes arrive as str: numpy turns latin-1 text back itself.
    !dtype.has_object && fits(&data, &Kind::BytesOrStr) && data.len() == Some(dtype.itemsize)
}

/// The items that a shape holds, if they are a number whose bytes can be counted.
fn items_of<S: Subject>(shape: &S, itemsize: u64) -> Option<u64> {
    if shape.nature() != Nature::Tuple {
        return None;
    }
    let len = shape.len().filter(|len| *len <= MAX_DIMENSIONS)?;
    let (mut items, mut room) = (1u64, itemsize.max(1));
    for at in 0..len {
        let side = u64::try_from(shape.item(at)?.int()?).ok()?;
        // Sides of zero must not hide others that overflow.
        room = room.checked_mul(side.max(1)).filter(|room| i64::try_from(*room).is_ok())?;
        items = items.saturating_mul(side);
    }
    Some(items)
}

/// `_frombuffer(buffer, dtype, shape, order)`.
fn is_from_buffer<S: Subject>(args: &S) -> bool {
    let (Some(4), Some(buffer), Some(dtype), Some(shape), Some(order)) =
        (args.len(), args.item(0), args.item(1), args.item(2), args.item(3))
    else {
        return false;
    };
    let Some(dtype) = dtype_of(&dtype) else { return false };
    let needed =
        items_of(&shape, dtype.itemsize).and_then(|items| items.checked_mul(dtype.itemsize));
    // How long an out-of-band buffer is, only the loader knows.
    let enough = match buffer.len() {
        Some(len) => needed == Some(len),
        None => needed.is_some() && buffer.nature() == Nature::Buffer,
    };
    !dtype.has_object
        && fits(&buffer, &Kind::Buffer)
        && enough
        && order.nature() == Nature::Str
        && (order.is_text("C") || order.is_text("F"))
}

/// `(version, shape, dtype, fortran, data)`.
pub(super) fn is_array_state<S: Subject>(state: &S) -> bool {
    state.nature() == Nature::Tuple && state.len() == Some(5) && array_items(state).is_some()
}

/// As above, and `mask, fill_value`.
pub(super) fn is_masked_state<S: Subject>(state: &S) -> bool {
    if state.nature() != Nature::Tuple || state.len() != Some(7) {
        return false;
    }
    let Some((items, dtype)) = array_items(state) else { return false };
    let Some(mask) = state.item(5) else { return false };
    // A structure has a mask for each field: numpy itself checks what it is given.
    fits(&mask, &Kind::BytesOrStr)
        && (dtype.kind == b'V' || mask.len() == Some(items))
        && state.item(6).is_some_and(|value| fits(&value, &FILL_VALUE))
}

/// How many items an array's state holds; none if it is unusual.
fn array_items<S: Subject>(state: &S) -> Option<(u64, Dtype)> {
    let (version, shape, dtype, fortran, data) =
        (state.item(0)?, state.item(1)?, state.item(2)?, state.item(3)?, state.item(4)?);
    if !fits(&version, &Kind::Int) || !fits(&fortran, &Kind::Int) {
        return None;
    }
    let dtype = dtype_of(&dtype)?;
    let items = items_of(&shape, dtype.itemsize)?;
    let usual = if dtype.has_object {
        // Objects come as a list, one for each item. Of what are to be strings numpy asks the text,
        // which of others than these may take for ever. The scanner does not keep long lists.
        let every =
            |test: fn(&S) -> bool| (0..items).all(|at| data.item(at).is_none_or(|o| test(&o)));
        data.nature() == Nature::List
            && data.len() == Some(items)
            && match dtype.kind {
                STRING_KIND => every(|item| fits(item, &STRING_OR_MISSING)),
                b'V' => every(|item| is_row(item, MAX_NESTED)),
                _ => true,
            }
    } else {
        fits(&data, &Kind::BytesOrStr) && data.len() == items.checked_mul(dtype.itemsize)
    };
    usual.then_some((items, dtype))
}

/// What a dtype becomes by its state: `(version, order, subarray, names, fields, itemsize,
/// alignment, flags[, metadata])`.
pub(super) fn dtype_with_state<S: Subject>(target: &S, state: &S) -> Option<Dtype> {
    let Facts::Dtype(old) = target.facts() else { return None };
    let len = state.len().filter(|_| state.nature() == Nature::Tuple)?;
    let version = state.item(0)?.int()?;
    let orders = ["<", ">", "|", "="];
    let order = state.item(1)?;
    let usual = (8..=9).contains(&len)
        && (3..=4).contains(&version)
        && orders.iter().any(|text| order.is_text(text));
    if !usual {
        return None;
    }
    let (subarray, names, fields) = (state.item(2)?, state.item(3)?, state.item(4)?);
    let (size, flags) = (state.item(5)?.int()?, state.item(7)?.int()?);
    if old.settled {
        return None;
    }
    let settled = Dtype { settled: true, ..old };
    let none = |one: &S| one.nature() == Nature::None;
    match (none(&subarray), none(&names)) {
        (false, _) if old.kind == b'V' => subarray_dtype(&subarray),
        (true, false) if old.kind == b'V' => structured(&names, &fields, size, flags),
        (true, true) if none(&fields) => {
            let sized = matches!(old.kind, b'V' | b'S' | b'U');
            let as_told = size == -1 || u64::try_from(size) == Ok(old.itemsize);
            let usual = (as_told || !sized) && (old.is_object || flags & 0x03 == 0);
            usual.then_some(settled)
        }
        _ => None,
    }
}

/// `(base, shape)`; an object inside would be hidden.
fn subarray_dtype<S: Subject>(pair: &S) -> Option<Dtype> {
    if pair.nature() != Nature::Tuple || pair.len() != Some(2) {
        return None;
    }
    let (base, shape) = (dtype_of(&pair.item(0)?)?, pair.item(1)?);
    let items = match shape.nature() {
        Nature::Int => u64::try_from(shape.int()?).ok()?,
        _ => items_of(&shape, base.itemsize)?,
    };
    let itemsize = items.checked_mul(base.itemsize)?;
    let fits = !base.has_object && i32::try_from(itemsize).is_ok();
    fits.then_some(Dtype {
        itemsize,
        has_object: false,
        is_object: false,
        kind: b'V',
        settled: true,
    })
}

/// Names and `{name: (dtype, offset[, title])}`: fields within the item, and flags that tell of
/// objects where there are some.
fn structured<S: Subject>(names: &S, fields: &S, size: i64, flags: i64) -> Option<Dtype> {
    let itemsize = u64::try_from(i32::try_from(size).ok()?).ok()?;
    let count = names.len().filter(|_| names.nature() == Nature::Tuple)?;
    if fields.nature() != Nature::Dict || fields.len() != Some(count) {
        return None;
    }
    let (mut has_object, mut strings) = (false, false);
    let mut spans = Vec::new();
    let usual = fields.every_pair(|name, field| {
        let (Some(dtype), Some(offset)) = (
            field.item(0).and_then(|dtype| dtype_of(&dtype)),
            field.item(1).and_then(|at| at.int()),
        ) else {
            return false;
        };
        has_object |= dtype.has_object;
        strings |= dtype.kind == STRING_KIND;
        spans.push((offset, dtype.itemsize));
        name.nature() == Nature::Str
            && field.nature() == Nature::Tuple
            && field.len() == Some(2)
            && u64::try_from(offset)
                .ok()
                .and_then(|offset| offset.checked_add(dtype.itemsize))
                .is_some_and(|end| end <= itemsize)
    });
    // Where there are objects, another field must not lie over one.
    spans.sort_unstable();
    let apart = |pair: &[(i64, u64)]| match pair {
        [(at, size), (next, _)] => at.checked_add_unsigned(*size).is_some_and(|end| end <= *next),
        _ => true,
    };
    if has_object && !spans.windows(2).all(apart) {
        return None;
    }
    let told = if has_object { flags & OBJECT_FLAGS == OBJECT_FLAGS } else { flags & 0x03 == 0 };
    // numpy makes no structures of its strings.
    (usual && told && !strings).then_some(Dtype {
        itemsize,
        has_object,
        is_object: false,
        kind: b'V',
        settled: true,
    })
}
