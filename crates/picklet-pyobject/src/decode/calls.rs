//! Opcodes that import, call, or change an object through its methods.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString, PyTuple, PyType};

use super::{Decoder, build};
use crate::object::{self, Obj, Owned, Raised};

impl<'py> Decoder<'_, 'py> {
    fn line_text(&mut self) -> Result<Owned, Raised> {
        let line = self.input.line()?;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.is_empty() {
            return Err(self.input.truncated());
        }
        build::strict_text(line)
    }

    pub(super) fn global(&mut self) -> Result<(), Raised> {
        let module = self.line_text()?;
        let name = self.line_text()?;
        let value = self.find(module, name)?;
        self.push(value);
        Ok(())
    }

    pub(super) fn stack_global(&mut self) -> Result<(), Raised> {
        let name = self.pop()?;
        let module = self.pop()?;
        if name.obj().ty() != object::str_type() || module.obj().ty() != object::str_type() {
            return self.fail("STACK_GLOBAL requires str");
        }
        let value = self.find(module, name)?;
        self.push(value);
        Ok(())
    }

    /// The global `module.name`: through the override, or by import.
    fn find(&mut self, module: Owned, name: Owned) -> Result<Owned, Raised> {
        let module = module.into_bound(self.py);
        let name = name.into_bound(self.py);
        if let Some(guard) = &self.options.guard {
            return self.guarded_find(guard, module, name);
        }
        let value = match &self.options.find_class {
            Some(find) => self.hook(|| find.call1((module, name)))?,
            None => {
                let fix_imports = self.options.fix_imports && self.protocol < 3;
                self.hook(|| find_class(&module, &name, self.protocol, fix_imports))?
            }
        };
        Ok(Owned::from_bound(value))
    }

    pub(super) fn extension(&mut self, code: i64) -> Result<(), Raised> {
        let py = self.py;
        if code <= 0 {
            return self.fail("EXT specifies code <= 0");
        }
        if self.options.guard.is_some() {
            return self.fail(format!(
                "the pickle refers to extension code {code}, whose meaning depends on the \
                 process; load with trust=True only if you trust the pickle wholly"
            ));
        }
        let cache = self.state.extension_cache.bind(py).cast::<PyDict>().map_err(PyErr::from)?;
        if let Some(value) = cache.get_item(code)? {
            self.push(Owned::from_bound(value));
            return Ok(());
        }
        let registry = self.state.inverted_registry.bind(py);
        let registry = registry.cast::<PyDict>().map_err(PyErr::from)?;
        let Some(pair) = registry.get_item(code)? else {
            let message = format!("unregistered extension code {code}");
            return Err(pyo3::exceptions::PyValueError::new_err(message).into());
        };
        let Ok((module, name)) = pair.extract::<(Bound<'_, PyString>, Bound<'_, PyString>)>()
        else {
            let message = format!("_inverted_registry[{code}] isn't a 2-tuple of strings");
            return Err(pyo3::exceptions::PyValueError::new_err(message).into());
        };
        let value = self.find(Owned::from_bound(module), Owned::from_bound(name))?;
        cache.set_item(code, value.obj().bound(py))?;
        self.push(value);
        Ok(())
    }

    pub(super) fn reduce(&mut self) -> Result<(), Raised> {
        let args = self.pop()?;
        let callable = self.pop()?;
        if let Some(value) = self.known_moment(callable.obj(), args.obj())? {
            self.push(value);
            return Ok(());
        }
        let value = if self.options.guard.is_some() {
            self.guarded_call(callable.obj(), args.obj(), false)?
        } else {
            self.unguarded_call(callable.obj(), args.obj())?
        };
        self.remember_moment(callable.obj());
        self.push(value);
        Ok(())
    }

    /// `callable(*args)`, where `args` may be anything until the interpreter says otherwise.
    pub(super) fn unguarded_call(&self, callable: Obj, args: Obj) -> Result<Owned, Raised> {
        let py = self.py;
        self.hook(|| {
            // SAFETY: live objects; the interpreter checks that `args` is a tuple.
            let value = unsafe {
                let value = ffi::PyObject_CallObject(callable.ptr(), args.ptr());
                Bound::from_owned_ptr_or_err(py, value)?
            };
            Ok(Owned::from_bound(value))
        })
    }

    pub(super) fn newobj(&mut self) -> Result<(), Raised> {
        let args = self.pop()?;
        let class = self.pop()?;
        let value = self.new_object("NEWOBJ", class.obj(), args.obj(), None)?;
        self.push(value);
        Ok(())
    }

    pub(super) fn newobj_ex(&mut self) -> Result<(), Raised> {
        let keywords = self.pop()?;
        let args = self.pop()?;
        let class = self.pop()?;
        let keywords = Some(keywords.obj());
        let value = self.new_object("NEWOBJ_EX", class.obj(), args.obj(), keywords)?;
        self.push(value);
        Ok(())
    }

    fn new_object(
        &mut self,
        opcode: &str,
        class: Obj,
        args: Obj,
        keywords: Option<Obj>,
    ) -> Result<Owned, Raised> {
        if self.options.guard.is_some() {
            return self.guarded_new(opcode, class, args, keywords);
        }
        self.unguarded_new(opcode, class, args, keywords)
    }

    /// `class.__new__(class, *args, **keywords)` through the type's slot, as C does it.
    pub(super) fn unguarded_new(
        &self,
        opcode: &str,
        class: Obj,
        args: Obj,
        keywords: Option<Obj>,
    ) -> Result<Owned, Raised> {
        let py = self.py;
        let class_object = class.bound(py);
        if !class_object.is_instance_of::<PyType>() {
            return self
                .fail(format!("{opcode} class argument must be a type, not {}", type_name(class)));
        }
        if !args.bound(py).is_instance_of::<PyTuple>() {
            return self
                .fail(format!("{opcode} args argument must be a tuple, not {}", type_name(args)));
        }
        if let Some(keywords) = keywords
            && !keywords.bound(py).is_instance_of::<PyDict>()
        {
            return self.fail(format!(
                "{opcode} kwargs argument must be a dict, not {}",
                type_name(keywords)
            ));
        }
        let ty = class.ptr().cast::<ffi::PyTypeObject>();
        // SAFETY: a live type.
        let Some(new) = (unsafe { (*ty).tp_new }) else {
            return self.fail(format!("{opcode} class argument doesn't have __new__"));
        };
        self.hook(|| {
            let keywords = keywords.map_or(std::ptr::null_mut(), Obj::ptr);
            // SAFETY: the type's own constructor, with a tuple and null or a dict.
            let value = unsafe { Bound::from_owned_ptr_or_err(py, new(ty, args.ptr(), keywords))? };
            Ok(Owned::from_bound(value))
        })
    }

    pub(super) fn obj(&mut self) -> Result<(), Raised> {
        let mark = self.pop_mark()?;
        if self.stack.len() < mark + 1 {
            return self.underflow();
        }
        let args = build::tuple(self.stack.drain(mark + 1..))?;
        let Some(class) = self.stack.pop() else { return self.underflow() };
        let value = self.old_style(class.obj(), args.obj())?;
        self.push(value);
        Ok(())
    }

    pub(super) fn inst(&mut self) -> Result<(), Raised> {
        let mark = self.pop_mark()?;
        let args = build::tuple(self.stack.drain(mark..))?;
        let module = self.line_text()?;
        let name = self.line_text()?;
        let class = self.find(module, name)?;
        let value = self.old_style(class.obj(), args.obj())?;
        self.push(value);
        Ok(())
    }

    fn old_style(&mut self, class: Obj, args: Obj) -> Result<Owned, Raised> {
        if self.options.guard.is_some() {
            return self.guarded_call(class, args, true);
        }
        self.unguarded_instance(class, args)
    }

    /// INST and OBJ call the class, but without arguments only make the object.
    pub(super) fn unguarded_instance(&self, class: Obj, args: Obj) -> Result<Owned, Raised> {
        let py = self.py;
        let class_object = class.bound(py);
        if object::tuple_len(args) == 0 && class_object.is_instance_of::<PyType>() {
            let init_args = class_object.getattr_opt(pyo3::intern!(py, "__getinitargs__"))?;
            if init_args.is_none() {
                let made = self.hook(|| {
                    class_object.call_method1(pyo3::intern!(py, "__new__"), (&class_object,))
                })?;
                return Ok(Owned::from_bound(made));
            }
        }
        self.unguarded_call(class, args)
    }

    pub(super) fn build(&mut self) -> Result<(), Raised> {
        let state = self.pop()?;
        let target = self.top()?;
        if self.options.guard.is_some() && self.guarded_build(target, state.obj())? {
            return Ok(());
        }
        let py = self.py;
        let target = target.bound(py);
        let state = state.into_bound(py);
        self.hook(|| set_state(&target, &state))
    }

    pub(super) fn append_to_object(&mut self, target: Obj, from: usize) -> Result<(), Raised> {
        let py = self.py;
        let target = target.bound(py);
        let items = build::list(self.stack.drain(from..))?.into_bound(py);
        self.hook(|| {
            if let Some(extend) = target.getattr_opt(pyo3::intern!(py, "extend"))? {
                return extend.call1((items,)).map(drop);
            }
            let append = target.getattr(pyo3::intern!(py, "append"))?;
            for item in items.try_iter()? {
                append.call1((item?,))?;
            }
            Ok(())
        })
    }

    pub(super) fn set_items_of_object(&mut self, target: Obj, from: usize) -> Result<(), Raised> {
        let py = self.py;
        let target = target.bound(py);
        let pairs: Vec<Owned> = self.stack.drain(from..).collect();
        self.hook(|| {
            for pair in pairs.chunks_exact(2) {
                if let [key, value] = pair {
                    target.set_item(key.obj().bound(py), value.obj().bound(py))?;
                }
            }
            Ok(())
        })
    }

    pub(super) fn add_items_to_object(&mut self, target: Obj, from: usize) -> Result<(), Raised> {
        let py = self.py;
        let target = target.bound(py);
        let items: Vec<Owned> = self.stack.drain(from..).collect();
        self.hook(|| {
            let add = target.getattr(pyo3::intern!(py, "add"))?;
            for item in items {
                add.call1((item.into_bound(py),))?;
            }
            Ok(())
        })
    }
}

/// BUILD: `__setstate__`, or the state into `__dict__` and the slots.
pub(super) fn set_state(target: &Bound<'_, PyAny>, state: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = target.py();
    let setter = object::attribute(Obj::of(target), pyo3::intern!(py, "__setstate__"));
    if let Some(method) = setter.map_err(Raised::take)? {
        return method.into_bound(py).call1((state,)).map(drop);
    }
    let error = |message: &str| crate::state::unpickling_error(py, message.to_owned());
    let (state, slots) = match state.cast::<PyTuple>() {
        Ok(pair) if pair.len() == 2 => (pair.get_item(0)?, Some(pair.get_item(1)?)),
        _ => (state.clone(), None),
    };
    if !state.is_none() {
        let state = state.cast::<PyDict>().map_err(|_| error("state is not a dictionary"))?;
        let attributes = target.getattr(pyo3::intern!(py, "__dict__"))?;
        set_attributes(&attributes, state)?;
    }
    if let Some(slots) = slots
        && !slots.is_none()
    {
        let slots = slots.cast::<PyDict>().map_err(|_| error("slot state is not a dictionary"))?;
        for (name, value) in slots.iter() {
            target.setattr(name.cast::<PyString>()?, value)?;
        }
    }
    Ok(())
}

/// Copies `state` into `__dict__`, whatever that is.
fn set_attributes(attributes: &Bound<'_, PyAny>, state: &Bound<'_, PyDict>) -> PyResult<()> {
    let py = state.py();
    for (key, value) in state.iter() {
        let mut key = Owned::from_bound(key).into_ptr();
        // SAFETY: `key` is a reference of ours, which the interning may exchange for another; it
        // is given back below. The objects are alive, the dict is checked to be one.
        unsafe {
            // Attribute names are interned, as assignments in source code would be.
            if ffi::Py_TYPE(key) == object::str_type() {
                ffi::PyUnicode_InternInPlace(&mut key);
            }
            let answer = if attributes.is_exact_instance_of::<PyDict>() {
                ffi::PyDict_SetItem(attributes.as_ptr(), key, value.as_ptr())
            } else {
                ffi::PyObject_SetItem(attributes.as_ptr(), key, value.as_ptr())
            };
            ffi::Py_DECREF(key);
            if answer != 0 {
                return Err(PyErr::fetch(py));
            }
        }
    }
    Ok(())
}

/// What `Unpickler.find_class` does: names of Python 2 below protocol 3, dotted names from 4 on.
///
/// # Errors
/// Whatever the import raises; `AttributeError` for a name that is not there.
pub fn find_class<'py>(
    module: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
    protocol: u8,
    fix_imports: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = module.py();
    audit(py, module, name)?;
    let (module, name) =
        if fix_imports { python3_names(module, name)? } else { (module.clone(), name.clone()) };
    let module = module.cast::<PyString>()?;
    let loaded = match imported(module)? {
        Some(loaded) => loaded,
        None => py.import(module)?,
    };
    let missing = || -> PyErr {
        let repr =
            |obj: &Bound<'_, PyAny>| obj.repr().map(|repr| repr.to_string()).unwrap_or_default();
        let message = format!("Can't get attribute {} on {}", repr(&name), repr(&loaded));
        pyo3::exceptions::PyAttributeError::new_err(message)
    };
    if protocol < 4 {
        return loaded.getattr_opt(name.cast::<PyString>()?)?.ok_or_else(missing);
    }
    let mut value = loaded.clone().into_any();
    let dotted = name.cast::<PyString>()?.to_string_lossy().into_owned();
    if dotted.split('.').any(|part| part == "<locals>") {
        return Err(pyo3::exceptions::PyAttributeError::new_err(format!(
            "Can't get local attribute {} on {}",
            name.repr()?,
            loaded.repr()?
        )));
    }
    for part in dotted.split('.') {
        value = value.getattr_opt(part)?.ok_or_else(missing)?;
    }
    Ok(value)
}

/// The module, if its import has come to its end: what `__import__` would find out for more.
fn imported<'py>(module: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyModule>>> {
    let py = module.py();
    let modules = crate::state::State::get(py)?.modules.bind(py);
    let Some(loaded) = modules.get_item(module)? else { return Ok(None) };
    let Ok(loaded) = loaded.cast_into_exact::<PyModule>() else { return Ok(None) };
    let Some(spec) = loaded.dict().get_item(pyo3::intern!(py, "__spec__"))? else {
        return Ok(None);
    };
    let initializing = spec.getattr_opt(pyo3::intern!(py, "_initializing"))?;
    Ok(initializing
        .is_some_and(|state| state.is(pyo3::types::PyBool::new(py, false)))
        .then_some(loaded))
}

fn audit(py: Python<'_>, module: &Bound<'_, PyAny>, name: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: the event's name and format are C strings, and the arguments fit the format.
    let answer = unsafe {
        PySys_Audit(c"pickle.find_class".as_ptr(), c"OO".as_ptr(), module.as_ptr(), name.as_ptr())
    };
    if answer == 0 { Ok(()) } else { Err(PyErr::fetch(py)) }
}

unsafe extern "C" {
    /// Raises an auditing event (`Include/sysmodule.h`).
    fn PySys_Audit(
        event: *const std::ffi::c_char,
        format: *const std::ffi::c_char,
        ...
    ) -> std::ffi::c_int;
}

/// Python 2's name for a global, mapped to where it lives now.
pub(super) fn python3_names<'py>(
    module: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let py = module.py();
    let state = crate::state::State::get(py)?;
    let names = state.name_mapping.bind(py).cast::<PyDict>()?;
    if let Some(pair) = names.get_item((module, name))? {
        return Ok((pair.get_item(0)?, pair.get_item(1)?));
    }
    let modules = state.import_mapping.bind(py).cast::<PyDict>()?;
    let module = modules.get_item(module)?.unwrap_or_else(|| module.clone());
    Ok((module, name.clone()))
}

fn type_name(obj: Obj) -> String {
    // SAFETY: a type's tp_name is a C string that lives as long as the type.
    unsafe { std::ffi::CStr::from_ptr((*obj.ty()).tp_name).to_string_lossy().into_owned() }
}
