//! Stubs pickle back to the opcodes that they came from.

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::{Done, Encoder};
use crate::object::Obj;
use crate::stub::{Form, Stub};

impl<'py> Encoder<'_, 'py> {
    /// Writes what the stub stands for, without importing anything.
    pub(super) fn save_stub(&mut self, obj: Obj) -> Done {
        let py = self.py;
        let bound = obj.bound(py);
        let stub = bound.cast::<Stub>().map_err(PyErr::from)?.get();
        let opcode = match stub.form {
            Form::Global => return self.save_stub_global(obj, stub),
            Form::Call => b'R',
            Form::New | Form::NewEx if self.protocol < 2 => {
                return self.refuse("a Stub of an object needs protocol 2 or higher");
            }
            Form::New => 0x81,
            Form::NewEx if self.protocol < 4 => {
                return self.refuse("a Stub with keyword arguments needs protocol 4 or higher");
            }
            Form::NewEx => 0x92,
        };
        for part in [&stub.callable, &stub.args, &stub.kwargs].into_iter().flatten() {
            self.save(Obj::of(part.bind(py)), false)?;
        }
        self.out.byte(opcode)?;
        if let Some(index) = self.memo.get(obj) {
            self.out.byte(b'0')?;
            return self.emit_get(index);
        }
        self.memoize(obj, false)?;
        let iter = |list: &Py<PyList>| list.bind(py).try_iter();
        self.save_list_items(Obj::of(&iter(&stub.items)?))?;
        self.save_dict_items(Obj::of(&iter(&stub.pairs)?))?;
        for state in stub.states.bind(py).iter() {
            self.save(Obj::of(&state), false)?;
            self.out.byte(b'b')?;
        }
        Ok(())
    }

    fn save_stub_global(&mut self, obj: Obj, stub: &Stub) -> Done {
        let py = self.py;
        let module = PyString::new(py, &stub.module).into_any();
        let name = PyString::new(py, &stub.name).into_any();
        if self.protocol >= 4 {
            self.save(Obj::of(&module), false)?;
            self.save(Obj::of(&name), false)?;
            self.out.byte(0x93)?;
        } else {
            self.save_global_lines(&module, &name)?;
        }
        self.memoize(obj, false)
    }
}
