//! Classes and functions, written by name; persistent ids.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};

use super::{Done, Encoder, Stop};
use crate::object::{self, Obj, Owned};
use crate::state::pickling_error;

/// A global found in its module: what is written, and what its name hangs on.
struct Found<'py> {
    module_name: Bound<'py, PyAny>,
    name: Bound<'py, PyAny>,
    /// The last component of the name.
    last: Bound<'py, PyAny>,
    /// What the last component is an attribute of.
    parent: Bound<'py, PyAny>,
    module: Bound<'py, PyAny>,
}

impl<'py> Encoder<'_, 'py> {
    /// `persistent_id(obj)`; true when the object was written as a persistent id.
    pub(super) fn save_persistent(&mut self, hook: Obj, obj: Obj) -> Done<bool> {
        let py = self.py;
        let id = hook.bound(py).call1((obj.bound(py),))?;
        if id.is_none() {
            return Ok(false);
        }
        if self.binary {
            // The id itself is not asked for an id.
            self.save_value(Obj::of(&id), false)?;
            self.out.byte(b'Q')?;
            return Ok(true);
        }
        let text = id.str()?.to_string_lossy().into_owned();
        if !text.is_ascii() {
            let message = "persistent IDs in protocol 0 must be ASCII strings".to_owned();
            return Err(pickling_error(py, message).into());
        }
        self.out.byte(b'P')?;
        self.out.write(text.as_bytes())?;
        self.out.byte(b'\n')?;
        Ok(true)
    }

    /// A class whose class is exactly `type`. The types of the three singletons have no name that
    /// could be imported, and are written as `type(None)` and so on.
    pub(super) fn save_type(&mut self, obj: Obj) -> Done {
        let py = self.py;
        for singleton in [py.None(), py.NotImplemented(), py.Ellipsis()] {
            if obj.ptr() == singleton.bind(py).get_type().as_ptr() {
                self.leave_pure()?;
                let call = (py.get_type::<pyo3::types::PyType>(), (singleton,));
                let call = call.into_pyobject(py)?;
                return self.save_reduce(Obj::of(&call), Some(obj));
            }
        }
        self.save_global(obj, None)
    }

    /// Writes `obj` as a global: by `name`, or by its own `__qualname__` or `__name__`.
    pub(super) fn save_global(&mut self, obj: Obj, name: Option<&Bound<'py, PyAny>>) -> Done {
        let found = if self.pure { self.find_pure(obj)? } else { self.find_global(obj, name)? };
        if self.protocol >= 2 && self.save_extension(obj, &found)? {
            return Ok(());
        }
        if self.protocol >= 4 {
            let name = if found.parent.is(&found.module) { &found.last } else { &found.name };
            self.save_name(&found.module_name)?;
            self.save_name(name)?;
            self.out.byte(0x93)?;
        } else if !found.parent.is(&found.module) {
            self.save_nested_global(&found)?;
        } else {
            self.save_global_lines(&found.module_name, &found.last)?;
        }
        self.memoize(obj, false)
    }

    fn save_name(&mut self, name: &Bound<'py, PyAny>) -> Done {
        if self.pure {
            // A borrowed memo must never see an address used again.
            self.keep.push(Owned::from_bound(name.clone()));
        }
        self.save(Obj::of(name), false)
    }

    /// In a pure run: a class or function found by plain dictionary look-ups, or a restart.
    fn find_pure(&self, obj: Obj) -> Done<Found<'py>> {
        let py = self.py;
        let this = obj.bound(py);
        let name = this.getattr(pyo3::intern!(py, "__qualname__"))?;
        let module_name = this.getattr(pyo3::intern!(py, "__module__"))?;
        let modules = self.state.modules.bind(py);
        let plain = name.is_exact_instance_of::<PyString>()
            && module_name.is_exact_instance_of::<PyString>()
            && modules.is_exact_instance_of::<PyDict>();
        if !plain {
            return Err(Stop::Restart);
        }
        let Some(module) = modules.get_item(&module_name)? else { return Err(Stop::Restart) };
        let Ok(exact) = module.cast_exact::<PyModule>() else { return Err(Stop::Restart) };
        match exact.dict().get_item(&name)? {
            Some(value) if value.is(&this) => {
                Ok(Found { module_name, last: name.clone(), name, parent: module.clone(), module })
            }
            _ => Err(Stop::Restart),
        }
    }

    fn find_global(&self, obj: Obj, name: Option<&Bound<'py, PyAny>>) -> Done<Found<'py>> {
        let py = self.py;
        let this = obj.bound(py);
        let name = match name {
            Some(name) => name.clone(),
            None => match this.getattr_opt(pyo3::intern!(py, "__qualname__"))? {
                Some(name) => name,
                None => this.getattr(pyo3::intern!(py, "__name__"))?,
            },
        };
        let path: Vec<Bound<'py, PyAny>> =
            name.call_method1(pyo3::intern!(py, "split"), (".",))?.extract()?;
        if path.iter().any(|part| part.eq("<locals>").unwrap_or(false)) {
            let message = format!("Can't pickle local object {}", name.repr()?);
            return Err(pyo3::exceptions::PyAttributeError::new_err(message).into());
        }
        let module_name = which_module(&this, &path, self.state.modules.bind(py))?;
        let module = match py.import(module_name.cast::<PyString>().map_err(PyErr::from)?) {
            Ok(module) => module.into_any(),
            Err(_) => {
                let message = format!(
                    "Can't pickle {}: import of module {} failed",
                    this.repr()?,
                    module_name.repr()?
                );
                return Err(pickling_error(py, message).into());
            }
        };
        let Some((value, parent)) = deep_attribute(&module, &path)? else {
            let message = format!(
                "Can't pickle {}: attribute lookup {} on {} failed",
                this.repr()?,
                name.str()?,
                module_name.str()?
            );
            return Err(pickling_error(py, message).into());
        };
        if !value.is(&this) {
            let message = format!(
                "Can't pickle {}: it's not the same object as {}.{}",
                this.repr()?,
                module_name.str()?,
                name.str()?
            );
            return Err(pickling_error(py, message).into());
        }
        let last = path.last().cloned().unwrap_or_else(|| name.clone());
        Ok(Found { module_name, name, last, parent, module })
    }

    /// An EXT opcode, if copyreg's registry has a code for the global.
    fn save_extension(&mut self, obj: Obj, found: &Found<'py>) -> Done<bool> {
        let py = self.py;
        let registry = self.state.extension_registry.bind(py);
        let Ok(registry) = registry.cast::<PyDict>() else { return Ok(false) };
        if registry.is_empty() {
            return Ok(false);
        }
        let Some(code) = registry.get_item((&found.module_name, &found.name))? else {
            return Ok(false);
        };
        // From 3.13 on the interpreter says what is wrong with a code that is no int.
        if cfg!(not(Py_3_13)) && !code.is_instance_of::<pyo3::types::PyInt>() {
            let message = format!(
                "Can't pickle {}: extension code {} isn't an integer",
                obj.bound(py).repr()?,
                code.repr()?
            );
            return Err(pickling_error(py, message).into());
        }
        let code = code.extract::<i64>()?;
        let [a, b, c, d, ..] = code.to_le_bytes();
        match code {
            1..=0xff => self.out.write(&[0x82, a])?,
            0x100..=0xffff => self.out.write(&[0x83, a, b])?,
            0x1_0000..=0x7fff_ffff => self.out.write(&[0x84, a, b, c, d])?,
            _ => return Err(self.bad_code(obj, code)),
        }
        Ok(true)
    }

    #[cfg(not(Py_3_13))]
    fn bad_code(&self, obj: Obj, code: i64) -> Stop {
        match obj.bound(self.py).repr() {
            Ok(repr) => {
                let message = format!("Can't pickle {repr}: extension code {code} is out of range");
                pickling_error(self.py, message).into()
            }
            Err(error) => error.into(),
        }
    }

    #[cfg(Py_3_13)]
    fn bad_code(&self, _obj: Obj, code: i64) -> Stop {
        let message = format!("extension code {code} is out of range");
        pyo3::exceptions::PyRuntimeError::new_err(message).into()
    }

    /// Below protocol 4 a nested global is `getattr(parent, name)`. Up to 3.12 C's pickler goes
    /// through its reduce machinery, which memoises the argument tuple; 3.13 writes it outright.
    #[cfg(not(Py_3_13))]
    fn save_nested_global(&mut self, found: &Found<'py>) -> Done {
        self.leave_pure()?;
        let py = self.py;
        let args = (&found.parent, &found.last).into_pyobject(py)?;
        let call = (self.state.getattr.bind(py), args).into_pyobject(py)?;
        self.save_reduce(Obj::of(&call), None)
    }

    #[cfg(Py_3_13)]
    fn save_nested_global(&mut self, found: &Found<'py>) -> Done {
        self.leave_pure()?;
        let py = self.py;
        let path: Vec<Bound<'py, PyAny>> =
            found.name.call_method1(pyo3::intern!(py, "split"), (".",))?.extract()?;
        let Some((first, rest)) = path.split_first() else { return Ok(()) };
        for _ in rest {
            self.save(Obj::of(self.state.getattr.bind(py)), false)?;
            if self.protocol < 2 {
                self.out.byte(b'(')?;
            }
        }
        self.save_global_lines(&found.module_name, first)?;
        for part in rest {
            self.save(Obj::of(part), false)?;
            self.out.byte(if self.protocol < 2 { b't' } else { 0x86 })?;
            self.out.byte(b'R')?;
        }
        Ok(())
    }

    /// `GLOBAL`, with Python 2's names below protocol 3.
    pub(super) fn save_global_lines(
        &mut self,
        module: &Bound<'py, PyAny>,
        name: &Bound<'py, PyAny>,
    ) -> Done {
        let (module, name) = if self.fix_imports {
            self.python2_names(module, name)?
        } else {
            (module.clone(), name.clone())
        };
        self.out.byte(b'c')?;
        self.save_identifier(&module, "module")?;
        self.save_identifier(&name, "global")
    }

    fn save_identifier(&mut self, name: &Bound<'py, PyAny>, what: &str) -> Done {
        let text = name.cast::<PyString>().map_err(PyErr::from)?.to_str()?;
        if self.protocol < 3 && !text.is_ascii() {
            let message = format!(
                "can't pickle {what} identifier '{text}' using pickle protocol {}",
                self.protocol
            );
            return Err(pickling_error(self.py, message).into());
        }
        self.out.write(text.as_bytes())?;
        self.out.byte(b'\n')?;
        Ok(())
    }

    fn python2_names(
        &self,
        module: &Bound<'py, PyAny>,
        name: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let py = self.py;
        let names = self.state.reverse_name_mapping.bind(py).cast::<PyDict>()?;
        if let Some(pair) = names.get_item((module, name))? {
            return Ok((pair.get_item(0)?, pair.get_item(1)?));
        }
        let modules = self.state.reverse_import_mapping.bind(py).cast::<PyDict>()?;
        let module = modules.get_item(module)?.unwrap_or_else(|| module.clone());
        Ok((module, name.clone()))
    }

    /// Everything that is not a built-in value: hooks, classes, functions, reduce.
    pub(super) fn save_object(
        &mut self,
        obj: Obj,
        ty: *mut ffi::PyTypeObject,
        unshared: bool,
    ) -> Done {
        let py = self.py;
        let mut reduced = None;
        if let Some(hook) = &self.hooks.reducer_override {
            let answer = hook.call1((obj.bound(py),))?;
            if !answer.is(py.NotImplemented()) {
                reduced = Some(answer);
            }
        }
        let reduced = match reduced {
            Some(reduced) => reduced,
            None if ty == object::type_type() => return self.save_type(obj),
            None if ty == object::function_type() => return self.save_global(obj, None),
            None => {
                if self.save_instance(obj, ty, unshared)? {
                    return Ok(());
                }
                if self.pure && self.is_plain_class(obj, ty)? {
                    return self.save_global(obj, None);
                }
                self.leave_pure()?;
                if obj.bound(py).is_exact_instance_of::<crate::stub::Stub>() {
                    return self.save_stub(obj);
                }
                match self.reduce(obj)? {
                    Some(reduced) => reduced,
                    None => return self.save_global(obj, None),
                }
            }
        };
        if reduced.is_instance_of::<PyString>() {
            return self.save_global(obj, Some(&reduced));
        }
        if !reduced.is_instance_of::<pyo3::types::PyTuple>() {
            let message = "__reduce__ must return a string or tuple".to_owned();
            return Err(pickling_error(py, message).into());
        }
        self.save_reduce(Obj::of(&reduced), Some(obj))
    }
}

/// The module that a global says it is from, or the first one that holds it.
fn which_module<'py>(
    global: &Bound<'py, PyAny>,
    path: &[Bound<'py, PyAny>],
    modules: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = global.py();
    if let Some(name) = global.getattr_opt(pyo3::intern!(py, "__module__"))?
        && !name.is_none()
    {
        return Ok(name);
    }
    // A copy, because looking up attributes may import.
    for (name, module) in modules.copy()?.iter() {
        if module.is_none() || name.eq("__main__")? {
            continue;
        }
        if let Ok(Some((value, _))) = deep_attribute(&module, path)
            && value.is(global)
        {
            return Ok(name);
        }
    }
    Ok(PyString::intern(py, "__main__").into_any())
}

/// Follows a dotted name; gives the value and what its last component hangs on.
fn deep_attribute<'py>(
    module: &Bound<'py, PyAny>,
    path: &[Bound<'py, PyAny>],
) -> PyResult<Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    let (mut value, mut parent) = (module.clone(), module.clone());
    for part in path {
        let part = part.cast::<PyString>()?;
        let Some(next) = value.getattr_opt(part)? else { return Ok(None) };
        parent = std::mem::replace(&mut value, next);
    }
    Ok(Some((value, parent)))
}
