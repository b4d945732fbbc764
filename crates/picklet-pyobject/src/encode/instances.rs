//! Instances of ordinary classes, and of those that `standard.rs` knows, written without asking
//! them.
//!
//! An object whose class leaves `__reduce_ex__` and all that it looks at to `object` reduces to
//! `copyreg.__newobj__(class)` and its `__dict__`. That is known without running any Python code,
//! so that lists of dataclasses need not leave the pure run. The bytes are those of the long way.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Done, Encoder};
use crate::object::standard::{self, Standard};
use crate::object::{self, Obj};

/// How an object is written that is no built-in value.
#[derive(Clone, Copy, Default)]
pub(super) enum Way {
    /// As it says itself.
    #[default]
    Asked,
    /// As `object.__reduce_ex__` has it.
    Ordinary,
    Standard(Standard),
}

/// The classes that were looked at last, by their addresses. Only meaningful while no Python code
/// runs.
#[derive(Default)]
pub(super) struct Ways([(usize, Way); 8]);

impl Ways {
    fn slot(&mut self, ty: *mut ffi::PyTypeObject) -> Option<&mut (usize, Way)> {
        let count = self.0.len();
        // Types are large, so that their addresses differ above these bits.
        self.0.get_mut((ty as usize >> 6) % count)
    }
}

impl Encoder<'_, '_> {
    /// Writes an instance of a class that need not be asked; false, and nothing written, for any
    /// other object.
    pub(super) fn save_instance(
        &mut self,
        obj: Obj,
        ty: *mut ffi::PyTypeObject,
        unshared: bool,
    ) -> Done<bool> {
        let hooked = self.hooks.persistent_id.is_some()
            || self.hooks.reducer_override.is_some()
            || self.hooks.dispatch_table.is_some();
        if self.protocol < 2 || self.fast || hooked {
            return Ok(false);
        }
        match self.way(ty)? {
            Way::Ordinary => {}
            Way::Standard(standard) => return self.save_standard(obj, standard, unshared),
            Way::Asked => return Ok(false),
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

    fn way(&mut self, ty: *mut ffi::PyTypeObject) -> Done<Way> {
        if self.pure
            && let Some((known, way)) = self.ways.slot(ty)
            && *known == ty as usize
        {
            return Ok(*way);
        }
        let way = if object::reduces_as_object(self.py, ty) {
            Way::Ordinary
        } else if self.hot
            && let Some(standard) = standard::standard(self.state.modules.bind(self.py), ty)
        {
            Way::Standard(standard)
        } else {
            Way::Asked
        };
        let way = match way {
            Way::Ordinary | Way::Standard(_) if self.is_dispatched(ty)? => Way::Asked,
            way => way,
        };
        if let Some(slot) = self.ways.slot(ty) {
            *slot = (ty as usize, way);
        }
        Ok(way)
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
pub(super) fn class_of(ty: *mut ffi::PyTypeObject) -> Obj {
    // SAFETY: a live type.
    unsafe { Obj::new(ty.cast()) }
}
