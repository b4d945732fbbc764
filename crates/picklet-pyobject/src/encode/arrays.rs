//! numpy's arrays of numbers, written without calling their `__reduce_ex__`.
//!
//! At protocol 4 it makes a call of `_reconstruct` and a state of version, shape, dtype, order and
//! bytes (`array_reduce` in numpy's `methods.c`); the dtype's is in `descriptor.c`. The bytes are
//! those of the long way.

use pyo3::prelude::*;
use pyo3::types::PyModule;

use super::instances::class_of;
use super::{Done, Encoder};
use crate::object::array::{Array, Numbers};
use crate::object::{self, Obj, Owned};

/// Where numpy 2 and numpy 1 keep `_reconstruct`.
const HOMES: [&str; 2] = ["numpy._core.multiarray", "numpy.core.multiarray"];

/// Bytes of an array above which a dump to a file asks it, in full-memo mode: its bytes go to the
/// file uncopied then, while a pure run looks at everything twice.
const LARGE: usize = 256 * 1024;

/// The dtype that was looked at last, and what it is of.
#[derive(Default)]
pub(super) struct LastDtype(usize, Option<Numbers>);

impl<'py> Encoder<'_, 'py> {
    /// Writes an exact array in a pure run; false, and nothing written, for one that is not plain.
    pub(super) fn save_array(&mut self, obj: Obj, unshared: bool) -> Done<bool> {
        let Some(array) = Array::of(obj) else { return Ok(false) };
        let Some(numbers) = self.numbers(array.dtype())? else { return Ok(false) };
        // SAFETY: the dtype's own size; no Python code runs before the bytes are copied.
        let Some(bytes) = (unsafe { array.bytes(numbers.size) }) else { return Ok(false) };
        if bytes.len() > LARGE && self.pure_cap < u64::MAX {
            return Ok(false);
        }
        let bytes = super::new_bytes(bytes)?;
        let Some(reconstruct) = self.numpy_global(&HOMES, "_reconstruct")? else {
            return Ok(false);
        };

        self.save_known_global(&reconstruct)?;
        self.begin_passing_tuple(3)?;
        self.save(class_of(obj.ty()), false)?;
        self.begin_passing_tuple(1)?;
        self.passing_int(0)?;
        self.end_passing_tuple(1)?;
        let kind = super::new_bytes(b"b")?;
        self.save(kind.obj(), false)?;
        self.end_passing_tuple(3)?;
        self.out.byte(b'R')?;
        self.memoize(obj, unshared)?;

        self.begin_passing_tuple(5)?;
        self.passing_int(1)?;
        self.begin_passing_tuple(array.shape().len())?;
        for side in array.shape() {
            self.passing_int(*side as i32)?;
        }
        self.end_passing_tuple(array.shape().len())?;
        self.save_dtype(array.dtype(), numbers)?;
        self.save(object::boolean(array.is_fortran()), false)?;
        // Up to one byte is an object that the interpreter has one of.
        let alone = object::bytes_of(bytes.obj()).len() > 1;
        self.save(bytes.obj(), alone)?;
        self.end_passing_tuple(5)?;
        self.out.byte(b'b')?;
        Ok(true)
    }

    /// `numpy.dtype(text, False, True)` and its state, or what the memo knows.
    fn save_dtype(&mut self, dtype: Obj, numbers: Numbers) -> Done {
        self.out.opcode_boundary()?;
        if let Some(index) = self.memo.get(dtype) {
            return self.emit_get(index);
        }
        let Some(class) = self.numpy_global(&["numpy"], "dtype")? else {
            return Err(super::Stop::Restart);
        };
        self.save_known_global(&class)?;
        self.begin_passing_tuple(3)?;
        self.passing_text(&format!("{}{}", numbers.kind, numbers.size))?;
        self.save(object::boolean(false), false)?;
        self.save(object::boolean(true), false)?;
        self.end_passing_tuple(3)?;
        self.out.byte(b'R')?;
        self.memoize(dtype, false)?;

        self.begin_passing_tuple(8)?;
        self.passing_int(3)?;
        let order = if numbers.size > 1 { "<" } else { "|" };
        // Of a character below 256 the interpreter has one str, that others may refer to as well.
        let order = Owned::from_bound(pyo3::types::PyString::new(self.py, order));
        self.save(order.obj(), false)?;
        for _ in 0..3 {
            self.save(object::none(), false)?;
        }
        for number in [-1, -1, 0] {
            self.passing_int(number)?;
        }
        self.end_passing_tuple(8)?;
        Ok(self.out.byte(b'b')?)
    }

    fn numbers(&mut self, dtype: Obj) -> Done<Option<Numbers>> {
        if self.last_dtype.0 != dtype.ptr() as usize {
            let numbers = Numbers::of(&dtype.bound(self.py))?;
            self.last_dtype = LastDtype(dtype.ptr() as usize, numbers);
        }
        Ok(self.last_dtype.1)
    }

    /// What the first of these modules that is imported holds under a name.
    fn numpy_global(&self, homes: &[&str], name: &str) -> Done<Option<Bound<'py, PyAny>>> {
        let modules = self.state.modules.bind(self.py);
        for home in homes {
            if let Some(module) = modules.get_item(home)?
                && let Ok(module) = module.cast_exact::<PyModule>()
            {
                return Ok(module.dict().get_item(name)?);
            }
        }
        Ok(None)
    }

    /// A global that is no class of `type`'s, which would be asked how it is pickled.
    fn save_known_global(&mut self, global: &Bound<'py, PyAny>) -> Done {
        self.out.opcode_boundary()?;
        match self.memo.get(Obj::of(global)) {
            Some(index) => self.emit_get(index),
            None => self.save_global(Obj::of(global), None),
        }
    }
}
