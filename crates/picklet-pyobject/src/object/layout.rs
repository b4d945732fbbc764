//! Objects read and made by their layouts in CPython 3.11 to 3.13 with the GIL.
//!
//! Each function has its twin in `portable.rs`; the tests run with both.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{Obj, Owned, Raised, Text, dict_next, none};

/// `int`'s layout: `ob_size` carries the sign up to 3.11, `lv_tag` from 3.12.
#[repr(C)]
struct IntLayout {
    ob_base: ffi::PyObject,
    tag: isize,
    digits: [u32; 1],
}

/// An exact `int` as sign and 30-bit digits, least significant first.
struct IntDigits<'a> {
    negative: bool,
    digits: &'a [u32],
}

/// Bits in a digit of CPython's `int` on every 64-bit build.
const DIGIT_BITS: usize = 30;

#[inline(always)]
fn int_digits<'a>(obj: Obj) -> IntDigits<'a> {
    let int = obj.ptr().cast::<IntLayout>();
    // SAFETY: callers pass an exact `int`; its digits follow the tag, as many as the tag says,
    // and an int never changes.
    unsafe {
        let tag = (*int).tag;
        #[cfg(not(Py_3_12))]
        let (negative, count) = (tag < 0, tag.unsigned_abs());
        #[cfg(Py_3_12)]
        let (negative, count) = (tag & 3 == 2, (tag as usize) >> 3);
        let digits = std::slice::from_raw_parts((&raw const (*int).digits).cast::<u32>(), count);
        // Zero has one digit of storage from 3.12 on but no significant one.
        #[cfg(Py_3_12)]
        let digits = if tag & 3 == 1 { &digits[..0] } else { digits };
        IntDigits { negative, digits }
    }
}

/// The value of an exact `int` of up to 60 bits.
#[inline(always)]
pub(crate) fn int_value(obj: Obj) -> Option<i64> {
    let int = int_digits(obj);
    let magnitude = match int.digits {
        [] => 0,
        [low] => i64::from(*low),
        [low, high] => i64::from(*low) | i64::from(*high) << DIGIT_BITS,
        _ => return None,
    };
    Some(if int.negative { -magnitude } else { magnitude })
}

/// The value of an exact `int`, if 32 bits hold it.
#[inline(always)]
pub(crate) fn small_int(obj: Obj) -> Option<i32> {
    let int = obj.ptr().cast::<IntLayout>();
    // SAFETY: an exact `int`, as above. There is storage for one digit in any, zero's is 0.
    let (tag, digit) = unsafe { ((*int).tag, (*int).digits[0]) };
    #[cfg(not(Py_3_12))]
    let (sign, of_one_digit) = (tag, tag.unsigned_abs() <= 1);
    #[cfg(Py_3_12)]
    let (sign, of_one_digit) = (1 - (tag & 3), (tag as usize) < 16);
    if of_one_digit {
        // 30 bits.
        return Some(sign as i32 * digit as i32);
    }
    int_value(obj).and_then(|value| i32::try_from(value).ok())
}

/// The bits that an exact `int` is stored in: its size, roughly.
pub(crate) fn int_bits(obj: Obj) -> u64 {
    (int_digits(obj).digits.len() * DIGIT_BITS) as u64
}

/// Little-endian two's complement of an exact `int`; may end in repeated sign.
pub(crate) fn int_bytes(obj: Obj) -> Result<Vec<u8>, Raised> {
    let int = int_digits(obj);
    let mut bytes = Vec::with_capacity(int.digits.len() * DIGIT_BITS / 8 + 2);
    let (mut pending, mut bits) = (0u64, 0);
    for digit in int.digits {
        pending |= u64::from(*digit) << bits;
        bits += DIGIT_BITS;
        while bits >= 8 {
            bytes.push(pending as u8);
            pending >>= 8;
            bits -= 8;
        }
    }
    bytes.push(pending as u8);
    bytes.push(0);
    if int.negative {
        let mut carry = true;
        for byte in &mut bytes {
            let (negated, overflow) = (!*byte).overflowing_add(u8::from(carry));
            *byte = negated;
            carry = overflow;
        }
    }
    Ok(bytes)
}

/// The characters of an exact `str`.
#[inline(always)]
pub(crate) fn text<'a>(obj: Obj) -> Text<'a> {
    let ptr = obj.ptr();
    // SAFETY: callers pass an exact `str`. A compact one holds its characters right behind its
    // header, `length` of them, in the width its kind says, and never changes them.
    unsafe {
        if ffi::PyUnicode_IS_COMPACT(ptr) == 0 {
            return Text::Other;
        }
        let length = (*ptr.cast::<ffi::PyASCIIObject>()).length as usize;
        if ffi::PyUnicode_IS_COMPACT_ASCII(ptr) != 0 {
            let data = ptr.cast::<ffi::PyASCIIObject>().add(1).cast::<u8>();
            return Text::Ascii(std::slice::from_raw_parts(data, length));
        }
        let data = ptr.cast::<ffi::PyCompactUnicodeObject>().add(1);
        match ffi::PyUnicode_KIND(ptr) {
            1 => Text::Latin1(std::slice::from_raw_parts(data.cast(), length)),
            2 => Text::Ucs2(std::slice::from_raw_parts(data.cast(), length)),
            _ => Text::Ucs4(std::slice::from_raw_parts(data.cast(), length)),
        }
    }
}

/// Whether the dict's keys belong to it alone. A split table shares its keys with every other
/// instance of the class, so that a key of reference count 1 may be met again.
#[inline(always)]
pub(crate) fn dict_owns_keys(obj: Obj) -> bool {
    // SAFETY: callers pass an exact dict, whose layout begins as ffi says.
    unsafe { (*obj.ptr().cast::<ffi::PyDictObject>()).ma_values.is_null() }
}

/// The head of a dict's key table (`Include/internal/pycore_dict.h`).
#[repr(C)]
struct DictKeys {
    refcnt: isize,
    log2_size: u8,
    log2_index_bytes: u8,
    kind: u8,
    version: u32,
    usable: isize,
    entries: isize,
}

/// `DICT_KEYS_UNICODE`: a combined table whose entries are key and value only.
const UNICODE: u8 = 1;

type Entry = [*mut ffi::PyObject; 2];

/// The entries of a combined table of str keys.
#[inline(always)]
fn entries(dict: Obj) -> Option<(*mut Entry, usize)> {
    let raw = dict.ptr().cast::<ffi::PyDictObject>();
    // SAFETY: an exact dict. Its key table begins as `DictKeys`; behind it come the indexes,
    // 2^log2_index_bytes bytes of them, then `entries` entries.
    unsafe {
        let keys = (*raw).ma_keys.cast::<DictKeys>();
        if !(*raw).ma_values.is_null() || (*keys).kind != UNICODE {
            return None;
        }
        let indexes = keys.add(1).cast::<u8>();
        let first = indexes.add(1 << (*keys).log2_index_bytes).cast::<Entry>();
        Some((first, (*keys).entries as usize))
    }
}

/// The pairs of an exact dict, in order. The dict must not change while they are walked.
pub(crate) enum Pairs {
    /// Straight from a table of pairs of pointers: all keys are str.
    Table { at: *const Entry, end: *const Entry },
    /// Through the interpreter.
    Asked { dict: Obj, position: ffi::Py_ssize_t },
}

impl Pairs {
    #[inline(always)]
    pub(crate) fn of(dict: Obj) -> Pairs {
        match entries(dict) {
            // SAFETY: the end of the table's entries.
            Some((at, len)) => unsafe { Pairs::Table { at, end: at.add(len) } },
            None => Pairs::asked(dict),
        }
    }

    /// The same through the interpreter: the dict may change while they are walked, if it is held.
    pub(crate) fn asked(dict: Obj) -> Pairs {
        Pairs::Asked { dict, position: 0 }
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<(Obj, Obj)> {
        match self {
            Pairs::Table { at, end } => {
                while *at < *end {
                    // SAFETY: an entry of the table; a deleted one has no value. What is there
                    // the dict holds.
                    unsafe {
                        let [key, value] = **at;
                        *at = (*at).add(1);
                        if !value.is_null() {
                            return Some((Obj::new(key), Obj::new(value)));
                        }
                    }
                }
                None
            }
            Pairs::Asked { dict, position } => dict_next(*dict, position),
        }
    }
}

/// The members of a set, in the order of its table. The set may change while they are walked.
pub(crate) struct Members {
    set: Obj,
    position: usize,
}

impl Members {
    pub(crate) fn of(set: Obj) -> Result<Members, Raised> {
        Ok(Members { set, position: 0 })
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Obj> {
        let set = self.set.ptr().cast::<ffi::PySetObject>();
        // SAFETY: callers pass a set; its table has mask + 1 entries. A deleted entry holds a
        // dummy key and the hash -1, which no object has.
        unsafe {
            while self.position <= (*set).mask as usize {
                let entry = (*set).table.add(self.position);
                self.position += 1;
                if !(*entry).key.is_null() && (*entry).hash != -1 {
                    return Some(Obj::new((*entry).key));
                }
            }
        }
        None
    }
}

/// Moves all of `items` to the end of an exact list, growing it once.
///
/// Goes to the list's storage directly, because neither appending one by one nor assigning to a
/// slice avoids touching every reference count twice.
pub(crate) fn extend_list(list: Obj, stack: &mut Vec<Owned>, from: usize) -> Result<(), Raised> {
    let raw = list.ptr().cast::<ffi::PyListObject>();
    // SAFETY: an exact list, whose layout ffi gives. Its storage comes from PyMem_Malloc, holds
    // `allocated` slots, `ob_size` of which are filled. Nothing here runs Python code, so that
    // the list is seen again only when it is whole. `Owned` is a transparent pointer; those that
    // are copied leave the stack by its new length, so that each reference has one owner.
    unsafe {
        let added = stack.len() - from;
        let old = ffi::Py_SIZE(list.ptr()) as usize;
        let new = old + added;
        if new > (*raw).allocated as usize {
            // A list of one batch is as large as it gets; longer ones grow by an eighth, as
            // the interpreter lets them grow: more would be a higher peak than stock's.
            let room = if old == 0 { new } else { new + new / 8 };
            let bytes = room.saturating_mul(size_of::<*mut ffi::PyObject>());
            let storage = ffi::PyMem_Realloc((*raw).ob_item.cast(), bytes);
            if storage.is_null() {
                ffi::PyErr_NoMemory();
                return Err(Raised);
            }
            (*raw).ob_item = storage.cast();
            (*raw).allocated = room as ffi::Py_ssize_t;
        }
        let items = stack.as_ptr().add(from).cast::<*mut ffi::PyObject>();
        std::ptr::copy_nonoverlapping(items, (*raw).ob_item.add(old), added);
        stack.set_len(from);
        (*list.ptr().cast::<ffi::PyVarObject>()).ob_size = new as ffi::Py_ssize_t;
    }
    Ok(())
}

const SMALL_LEAST: i64 = -5;
const SMALL_MOST: i64 = 256;
const SMALL_INTS: usize = (SMALL_MOST - SMALL_LEAST + 1) as usize;

/// The header of an object that only its maker refers to: its reference count and its type.
type Header = [usize; 2];

const TEXT_HEADER: usize = size_of::<ffi::PyASCIIObject>();

/// Makes objects by hand, without the checks that the pickle has answered already.
pub(crate) struct Fresh {
    small: [*mut ffi::PyObject; SMALL_INTS],
    int: Header,
    float: Header,
    /// The beginning of an ASCII str whose hash is not known, all but its length.
    text: [u8; TEXT_HEADER],
    /// The key table that all empty dicts share.
    no_keys: *mut ffi::PyDictKeysObject,
}

// SAFETY: immortal objects and plain numbers, used with the GIL held.
unsafe impl Send for Fresh {}
// SAFETY: as above.
unsafe impl Sync for Fresh {}

fn header(ty: *mut ffi::PyTypeObject) -> Header {
    [1, ty as usize]
}

fn no_memory() -> Raised {
    // SAFETY: the GIL is held; this sets the exception.
    unsafe { ffi::PyErr_NoMemory() };
    Raised
}

impl Fresh {
    pub(crate) fn new(_py: Python<'_>) -> Result<Fresh, Raised> {
        let mut small = [std::ptr::null_mut(); SMALL_INTS];
        for (place, value) in small.iter_mut().zip(SMALL_LEAST..) {
            // SAFETY: the GIL is held. The interpreter keeps one object for each of these.
            *place = unsafe { Owned::from_new(ffi::PyLong_FromLongLong(value))? }.into_ptr();
        }
        let mut text = [0; TEXT_HEADER];
        // SAFETY: a new str that nobody else has seen, so that its reference count is 1 and its
        // hash unknown; its header is that of any ASCII str but for the length.
        unsafe {
            let made = Owned::from_new(ffi::PyUnicode_New(2, 127))?;
            std::ptr::copy_nonoverlapping(made.ptr().cast(), text.as_mut_ptr(), TEXT_HEADER);
            std::ptr::write_bytes(made.ptr().cast::<u8>().add(TEXT_HEADER), b' ', 2);
        }
        let (int, float) = (header(super::int_type()), header(super::float_type()));
        // SAFETY: a new dict; the table that it has at first is never freed.
        let no_keys = unsafe {
            let dict = Owned::from_new(ffi::PyDict_New())?;
            (*dict.ptr().cast::<ffi::PyDictObject>()).ma_keys
        };
        Ok(Fresh { small, int, float, text, no_keys })
    }

    /// Whether an exact dict is as EMPTY_DICT makes it, whoever made it: never filled, no
    /// instance's attributes, and nobody is told of its changes.
    #[inline(always)]
    pub(crate) fn is_new_dict(&self, dict: Obj) -> bool {
        let raw = dict.ptr().cast::<ffi::PyDictObject>();
        // SAFETY: an exact dict, whose layout begins as ffi says. From 3.12 on the lowest byte
        // of the version says who watches.
        unsafe {
            #[cfg(Py_3_12)]
            #[expect(deprecated, reason = "it is there in 3.12 and 3.13")]
            let watched = (*raw).ma_version_tag & 0xff != 0;
            #[cfg(not(Py_3_12))]
            let watched = false;
            (*raw).ma_keys == self.no_keys && (*raw).ma_values.is_null() && !watched
        }
    }

    /// A new int.
    #[inline(always)]
    pub(crate) fn int(&self, value: i32) -> Result<Owned, Raised> {
        let value = i64::from(value);
        if let Some(small) = self.small.get((value - SMALL_LEAST) as usize) {
            // SAFETY: an object that lives as long as the interpreter.
            return Ok(unsafe { Obj::new(*small) }.to_owned());
        }
        if value.unsigned_abs() >> DIGIT_BITS != 0 {
            // SAFETY: the GIL is held; null means that an exception is set.
            return unsafe { Owned::from_new(ffi::PyLong_FromLongLong(value)) };
        }
        #[cfg(not(Py_3_12))]
        let tag = value.signum() as isize;
        // One digit, and the sign's code: 0 or 2.
        #[cfg(Py_3_12)]
        let tag = if value < 0 { 1 << 3 | 2 } else { 1 << 3 };
        // SAFETY: PyObject_Malloc gives room for an int of one digit, as the interpreter asks for
        // it, all of whose fields are written here.
        unsafe {
            let int = ffi::PyObject_Malloc(size_of::<IntLayout>()).cast::<IntLayout>();
            if int.is_null() {
                return Err(no_memory());
            }
            int.cast::<Header>().write(self.int);
            (*int).tag = tag;
            (*int).digits = [value.unsigned_abs() as u32];
            Owned::from_new(int.cast())
        }
    }

    /// A new float.
    #[inline(always)]
    pub(crate) fn float(&self, value: f64) -> Result<Owned, Raised> {
        // SAFETY: PyObject_Malloc gives room for a float, both of whose parts are written here.
        unsafe {
            let float = ffi::PyObject_Malloc(size_of::<ffi::PyFloatObject>());
            if float.is_null() {
                return Err(no_memory());
            }
            float.cast::<Header>().write(self.float);
            (*float.cast::<ffi::PyFloatObject>()).ob_fval = value;
            Owned::from_new(float.cast())
        }
    }

    /// A new str of ASCII, of 2 bytes or more: shorter ones exist once in the interpreter.
    #[inline(always)]
    pub(crate) fn ascii(&self, bytes: &[u8]) -> Result<Owned, Raised> {
        debug_assert!(bytes.len() >= 2 && bytes.is_ascii());
        // SAFETY: PyObject_Malloc gives room for the header, the characters and the NUL behind
        // them, as PyUnicode_New asks for it; all of them are written here. `bytes` is a slice,
        // so that the sum cannot overflow.
        unsafe {
            let text = ffi::PyObject_Malloc(TEXT_HEADER + bytes.len() + 1).cast::<u8>();
            if text.is_null() {
                return Err(no_memory());
            }
            std::ptr::copy_nonoverlapping(self.text.as_ptr(), text, TEXT_HEADER);
            (*text.cast::<ffi::PyASCIIObject>()).length = bytes.len() as ffi::Py_ssize_t;
            let data = text.add(TEXT_HEADER);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
            data.add(bytes.len()).write(0);
            Owned::from_new(text.cast())
        }
    }
}

/// A dict whose keys the next ones are expected to have, each with None for a value.
pub(crate) struct Template {
    dict: Owned,
    len: usize,
}

impl Template {
    /// Of a dict with `len` keys, all of them str, set in their order and never deleted.
    pub(crate) fn of(dict: Obj) -> Result<Option<Template>, Raised> {
        let Some((first, len)) = entries(dict) else { return Ok(None) };
        if len != super::dict_len(dict) {
            return Ok(None);
        }
        // SAFETY: an exact dict; the copy is ours, and untracked, so that copies of it are not
        // tracked either. The entries of the original do not change meanwhile.
        unsafe {
            let copy = Owned::from_new(ffi::PyDict_Copy(dict.ptr()))?;
            for at in 0..len {
                let [key, _] = *first.add(at);
                if ffi::PyDict_SetItem(copy.ptr(), key, none().ptr()) != 0 {
                    return Err(Raised);
                }
            }
            if ffi::PyObject_GC_IsTracked(copy.ptr()) != 0 {
                ffi::PyObject_GC_UnTrack(copy.ptr().cast());
            }
            Ok(entries(copy.obj()).is_some().then_some(Template { dict: copy, len }))
        }
    }

    /// Whether the pairs in `stack` have this template's very keys, in order.
    #[inline(always)]
    pub(crate) fn fits(&self, pairs: &[Owned]) -> bool {
        let Some((first, len)) = entries(self.dict.obj()) else { return false };
        // SAFETY: `len` entries follow `first`.
        let keys = unsafe { std::slice::from_raw_parts(first, len) };
        pairs.len() == 2 * len
            && keys.iter().zip(pairs.chunks_exact(2)).all(|(entry, pair)| {
                matches!((entry, pair), ([key, _], [given, _]) if *key == given.ptr())
            })
    }

    /// Moves the pairs above `from`, which fit, into an empty exact dict that only the load has
    /// seen. False when that could not be done.
    #[inline(always)]
    pub(crate) fn fill(
        &self,
        dict: Obj,
        stack: &mut Vec<Owned>,
        from: usize,
    ) -> Result<bool, Raised> {
        // SAFETY: an exact dict, untracked. The copy has the template's keys and, for each, a
        // reference to None. Each of these is exchanged for the value's reference; the stack's
        // references to the keys are dropped, since the copy has its own. Then the two dicts
        // exchange what stands behind their headers, the version that tells them apart included.
        // Nothing here runs Python code: keys and None live on.
        unsafe {
            let copy = Owned::from_new(ffi::PyDict_Copy(self.dict.ptr()))?;
            let Some((first, len)) = entries(copy.obj()).filter(|(_, len)| *len == self.len) else {
                return Ok(false);
            };
            let pairs = stack.as_ptr().add(from).cast::<Entry>();
            let mut tracked = false;
            for at in 0..len {
                let [key, value] = *pairs.add(at);
                (*first.add(at))[1] = value;
                ffi::Py_DECREF(key);
                ffi::Py_DECREF(none().ptr());
                tracked |= (*ffi::Py_TYPE(value)).tp_flags & ffi::Py_TPFLAGS_HAVE_GC != 0;
            }
            stack.set_len(from);
            let (to, made) = (dict.ptr().cast::<Body>(), copy.ptr().cast::<Body>());
            std::ptr::swap(&raw mut (*to).body, &raw mut (*made).body);
            if tracked && ffi::PyObject_GC_IsTracked(dict.ptr()) == 0 {
                ffi::PyObject_GC_Track(dict.ptr().cast());
            }
            Ok(true)
        }
    }
}

/// A dict as its header and the rest.
#[repr(C)]
struct Body {
    ob_base: ffi::PyObject,
    body: [usize; (size_of::<ffi::PyDictObject>() - size_of::<ffi::PyObject>()) / 8],
}

unsafe extern "C" {
    /// What a type's method resolution order finds, borrowed, or null without an exception
    /// (`Include/cpython/object.h`).
    fn _PyType_Lookup(ty: *mut ffi::PyTypeObject, name: *mut ffi::PyObject) -> *mut ffi::PyObject;
}

/// What `ty` and `base` find under a name.
fn looked_up(
    ty: *mut ffi::PyTypeObject,
    base: *mut ffi::PyTypeObject,
    name: &Bound<'_, PyString>,
) -> [*mut ffi::PyObject; 2] {
    // SAFETY: two live types and a str.
    unsafe { [_PyType_Lookup(ty, name.as_ptr()), _PyType_Lookup(base, name.as_ptr())] }
}

/// Whether instances of the class are reduced by `object`'s own methods, to nothing but the class
/// and their `__dict__`; `object.__reduce_ex__` is followed in `Objects/typeobject.c`.
pub(crate) fn reduces_as_object(py: Python<'_>, ty: *mut ffi::PyTypeObject) -> bool {
    const KINDS: std::ffi::c_ulong = ffi::Py_TPFLAGS_LIST_SUBCLASS
        | ffi::Py_TPFLAGS_DICT_SUBCLASS
        | ffi::Py_TPFLAGS_TYPE_SUBCLASS;
    // SAFETY: a live, ready type, whose public fields ffi gives.
    unsafe {
        // What the instances hold beside their dict and weak references would be lost.
        let mut size = ffi::PyBaseObject_Type.tp_basicsize;
        size += if (*ty).tp_dictoffset > 0 { 8 } else { 0 };
        size += if (*ty).tp_weaklistoffset > 0 { 8 } else { 0 };
        let flags = (*ty).tp_flags;
        let simple = flags & ffi::Py_TPFLAGS_HEAPTYPE != 0
            && flags & KINDS == 0
            && (*ty).tp_itemsize == 0
            && (*ty).tp_basicsize <= size
            && (*ty).tp_dictoffset != 0
            && (*ty).tp_new.is_some()
            && (*ty).tp_getattro.map(|get| get as usize)
                == ffi::PyBaseObject_Type.tp_getattro.map(|get| get as usize);
        if !simple {
            return false;
        }
    }
    let object = &raw mut ffi::PyBaseObject_Type;
    let names = [
        pyo3::intern!(py, "__reduce_ex__"),
        pyo3::intern!(py, "__reduce__"),
        pyo3::intern!(py, "__getstate__"),
        pyo3::intern!(py, "__class__"),
        // `object` has none of these.
        pyo3::intern!(py, "__getnewargs_ex__"),
        pyo3::intern!(py, "__getnewargs__"),
        pyo3::intern!(py, "__slots__"),
    ];
    let own = names.iter().any(|name| {
        let [here, there] = looked_up(ty, object, name);
        here != there
    });
    // copyreg keeps the names of slots here; a class may also say them itself.
    let [slots, _] = looked_up(ty, object, pyo3::intern!(py, "__slotnames__"));
    // SAFETY: null, or a live object.
    let slots = unsafe {
        !slots.is_null() && (ffi::PyList_CheckExact(slots) == 0 || ffi::PyList_Size(slots) != 0)
    };
    !own && !slots
}

/// The `__dict__` of an instance whose class [`reduces_as_object`]: none if an attribute has a name
/// that pickle might ask for.
pub(crate) fn attributes(obj: Obj) -> Result<Option<Owned>, Raised> {
    // SAFETY: a live object with a `__dict__`, which this makes if it is not there yet, as
    // `object.__reduce_ex__` does.
    let dict =
        unsafe { Owned::from_new(ffi::PyObject_GenericGetDict(obj.ptr(), std::ptr::null_mut()))? };
    if dict.obj().ty() != super::dict_type() {
        return Ok(None);
    }
    let mut position = 0;
    while let Some((key, _)) = dict_next(dict.obj(), &mut position) {
        let plain = key.ty() == super::str_type()
            && matches!(text(key), Text::Ascii(name) if !name.starts_with(b"__"));
        if !plain {
            return Ok(None);
        }
    }
    Ok(Some(dict))
}

/// Whether `obj` is a class that gives its names as `type` does.
pub(crate) fn is_class_named_as_type(py: Python<'_>, obj: Obj) -> bool {
    let (ty, metaclass) = (&raw mut ffi::PyType_Type, obj.ty());
    // SAFETY: a live object and its type.
    let plain = unsafe {
        (*metaclass).tp_flags & ffi::Py_TPFLAGS_TYPE_SUBCLASS != 0
            && (*metaclass).tp_getattro.map(|get| get as usize)
                == (*ty).tp_getattro.map(|get| get as usize)
    };
    plain
        && [pyo3::intern!(py, "__qualname__"), pyo3::intern!(py, "__module__")].iter().all(|name| {
            let [here, there] = looked_up(metaclass, ty, name);
            here == there
        })
}
