//! Live objects as the policy sees them.

use picklet_codec::policy::{Facts, Makes, Nature, Rule, Subject};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyString};

use super::guard::Known;
use crate::object::{self, Obj, Text};
use crate::state::State;

/// An object of a load in progress.
#[derive(Clone, Copy)]
pub(super) struct Live<'a, 'py> {
    py: Python<'py>,
    known: &'a Known,
    obj: Obj,
}

impl<'a, 'py> Live<'a, 'py> {
    pub(super) fn new(py: Python<'py>, known: &'a Known, obj: Obj) -> Live<'a, 'py> {
        Live { py, known, obj }
    }

    fn is_buffer(&self) -> bool {
        let picklers = State::get(self.py);
        picklers.is_ok_and(|state| self.obj.ty().cast() == state.pickle_buffer_type.as_ptr())
            || self.obj.bound(self.py).is_exact_instance_of::<PyMemoryView>()
    }

    fn buffer_len(&self) -> PyResult<u64> {
        let view = self.py.get_type::<PyMemoryView>().call1((self.obj.bound(self.py),))?;
        view.getattr(pyo3::intern!(self.py, "nbytes"))?.extract()
    }
}

impl Subject for Live<'_, '_> {
    fn nature(&self) -> Nature {
        let (obj, ty) = (self.obj, self.obj.ty());
        if ty == object::tuple_type() {
            Nature::Tuple
        } else if ty == object::str_type() {
            Nature::Str
        } else if ty == object::int_type() {
            Nature::Int
        } else if obj == object::none() {
            Nature::None
        } else if ty == object::bytes_type() {
            Nature::Bytes
        } else if ty == object::dict_type() {
            Nature::Dict
        } else if ty == object::list_type() {
            Nature::List
        } else if obj == object::boolean(true) || obj == object::boolean(false) {
            Nature::Bool
        } else if ty == object::float_type() {
            Nature::Float
        } else if ty == object::bytearray_type() {
            Nature::ByteArray
        } else if obj.ptr() == self.py.Ellipsis().as_ptr()
            || obj.ptr() == self.py.NotImplemented().as_ptr()
        {
            Nature::Singleton
        } else if self.is_buffer() {
            Nature::Buffer
        } else {
            Nature::Other
        }
    }

    fn rule(&self) -> Option<Rule> {
        self.known.rule(self.obj)
    }

    fn class_rule(&self) -> Option<Rule> {
        self.known.class_rule(self.obj)
    }

    fn makes(&self) -> Makes {
        match self.known.class_rule(self.obj) {
            Some(Rule::Listed(entry)) if !self.known.is_unfinished(self.obj) => entry.makes,
            _ => Makes::Other,
        }
    }

    fn facts(&self) -> Facts {
        if self.known.is_unfinished(self.obj) {
            return Facts::Unfinished;
        }
        self.known.dtype(self.obj).map_or(Facts::None, Facts::Dtype)
    }

    fn with_text<R>(&self, read: impl FnOnce(&str) -> R) -> Option<R> {
        match self.nature() {
            Nature::Bytes => std::str::from_utf8(object::bytes_of(self.obj)).ok().map(read),
            Nature::Str => {
                if let Text::Ascii(text) = object::text(self.obj) {
                    return std::str::from_utf8(text).ok().map(read);
                }
                let text = self.obj.bound(self.py);
                // With lone surrogates it is no text that anyone asks for.
                text.cast::<PyString>().ok()?.to_cow().ok().map(|text| read(&text))
            }
            _ => None,
        }
    }

    fn int(&self) -> Option<i64> {
        if !matches!(self.nature(), Nature::Int | Nature::Bool) {
            return None;
        }
        object::int_i64(self.obj)
    }

    fn int_bits(&self) -> Option<u64> {
        (self.nature() == Nature::Int).then(|| object::int_bits(self.obj))
    }

    fn len(&self) -> Option<u64> {
        let obj = self.obj;
        match self.nature() {
            Nature::Tuple => Some(object::tuple_len(obj) as u64),
            Nature::List => Some(object::list_len(obj) as u64),
            Nature::Dict => Some(object::dict_len(obj) as u64),
            Nature::Bytes => Some(object::bytes_of(obj).len() as u64),
            Nature::Str => obj.bound(self.py).len().ok().map(|len| len as u64),
            Nature::ByteArray | Nature::Buffer => self.buffer_len().ok(),
            _ => None,
        }
    }

    fn item(&self, at: u64) -> Option<Self> {
        let at = usize::try_from(at).ok()?;
        let item = match self.nature() {
            Nature::Tuple if at < object::tuple_len(self.obj) => object::tuple_item(self.obj, at),
            Nature::List => object::list_item(self.obj, at)?,
            _ => return None,
        };
        Some(Live { obj: item, ..*self })
    }

    fn every_pair(&self, mut test: impl FnMut(&Self, &Self) -> bool) -> bool {
        if self.nature() != Nature::Dict {
            return false;
        }
        let mut position: ffi::Py_ssize_t = 0;
        while let Some((key, value)) = object::dict_next(self.obj, &mut position) {
            if !test(&Live { obj: key, ..*self }, &Live { obj: value, ..*self }) {
                return false;
            }
        }
        true
    }
}
