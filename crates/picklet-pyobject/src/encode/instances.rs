//! Instances of ordinary classes, written without asking them.
//!
//! An object whose class leaves `__reduce_ex__` and all that it looks at to `object` reduces to
//! `copyreg.__newobj__(class)` and its `__dict__`. That is known without running any Python code,
//! so that lists of dataclasses need not leave the pure run. The bytes are those of the long way.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Done, Encoder};
use crate::object::{self, Obj};

/// The class that was looked at last, and whether it is ordinary. Only meaningful while no Python
/// code runs.
#[derive(Default)]
pub(super) struct LastClass(usize, bool);

impl Encoder<'_, '_> {
    /// Writes an instance of an ordinary class; false, and nothing written, for any other object.
    pub(super) fn save_instance(
        &mut self,
        obj: Obj,
        ty: *mut ffi::PyTypeObject,
        unshared: bool,
    ) -> Done<bool> {
        let hooked = self.hooks.persistent_id.is_some()
            || self.hooks.reducer_override.is_some()
            || self.hooks.dispatch_table.is_some();
        if self.protocol < 2 || self.fast || hooked || !self.is_ordinary(ty)? {
            return Ok(false);
        }
        let Some(attributes) = object::attributes(obj)? else { return Ok(false) };
        self.save(class_of(ty), false)?;
        self.out.opcode_boundary()?;
        self.out.write(&[b')', 0x81])?;
        // Met again inside what saving its class did: throw the second one away.
        if !unshared && let Some(index) = self.memo.get(obj) {
            self.out.byte(b'0')?;
            self.emit_get(index)?;
            return Ok(true);
        }
        self.memoize(obj, unshared)?;
        if object::dict_len(attributes.obj()) > 0 {
            // The instance's reference and ours.
            let owned = self.pure && object::reference_count(attributes.obj()) == 2;
            self.save(attributes.obj(), owned)?;
            self.out.byte(b'b')?;
        }
        Ok(true)
    }

    fn is_ordinary(&mut self, ty: *mut ffi::PyTypeObject) -> Done<bool> {
        if self.pure && self.last_class.0 == ty as usize {
            return Ok(self.last_class.1);
        }
        let ordinary = object::reduces_as_object(self.py, ty) && !self.is_dispatched(ty)?;
        self.last_class = LastClass(ty as usize, ordinary);
        Ok(ordinary)
    }

    /// Whether copyreg's table says how the type is reduced.
    fn is_dispatched(&self, ty: *mut ffi::PyTypeObject) -> Done<bool> {
        let py = self.py;
        let table = self.state.dispatch_table.bind(py).cast::<PyDict>().map_err(PyErr::from)?;
        Ok(table.contains(class_of(ty).bound(py))?)
    }

    /// Whether `obj` is a class that is written by its name, found without running Python code.
    pub(super) fn is_plain_class(&self, obj: Obj, ty: *mut ffi::PyTypeObject) -> Done<bool> {
        Ok(object::is_class_named_as_type(self.py, obj) && !self.is_dispatched(ty)?)
    }
}

/// The class as an object; it lives as long as its instance.
fn class_of(ty: *mut ffi::PyTypeObject) -> Obj {
    // SAFETY: a live type.
    unsafe { Obj::new(ty.cast()) }
}
