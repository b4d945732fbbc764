//! Objects that reduce to a call: `copyreg`'s table, `__reduce_ex__`, `__reduce__`, and what
//! they may return.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::{Done, Encoder, Stop};
use crate::object::{self, Obj, Owned, Raised};
use crate::state::pickling_error;

/// Items between a MARK and the opcode that takes them.
const BATCH: usize = 1000;

/// The parts of a reduce value, checked.
struct Reduced {
    callable: Obj,
    args: Obj,
    state: Option<Obj>,
    list_items: Option<Obj>,
    dict_items: Option<Obj>,
    state_setter: Option<Obj>,
}

#[derive(PartialEq, Eq)]
enum Form {
    Call,
    New,
    NewEx,
}

impl<'py> Encoder<'_, 'py> {
    /// Asks the object how to write it; `None` for a class with a metaclass, written by name.
    pub(super) fn reduce(&mut self, obj: Obj) -> Done<Option<Bound<'py, PyAny>>> {
        let py = self.py;
        let this = obj.bound(py);
        let ty = this.get_type();
        let function = match &self.hooks.dispatch_table {
            Some(table) => match table.get_item(&ty) {
                Ok(function) => Some(function),
                Err(error) if error.is_instance_of::<pyo3::exceptions::PyKeyError>(py) => None,
                Err(error) => return Err(error.into()),
            },
            None => {
                let table = self.state.dispatch_table.bind(py);
                table.cast::<PyDict>().map_err(PyErr::from)?.get_item(&ty)?
            }
        };
        if let Some(function) = function {
            return Ok(Some(function.call1((this,))?));
        }
        if this.is_instance_of::<PyType>() {
            return Ok(None);
        }
        if let Some(method) = this.getattr_opt(pyo3::intern!(py, "__reduce_ex__"))? {
            return Ok(Some(method.call1((self.protocol,))?));
        }
        if let Some(method) = this.getattr_opt(pyo3::intern!(py, "__reduce__"))? {
            return Ok(Some(method.call0()?));
        }
        let message = format!("can't pickle '{}' object: {}", ty.name()?, this.repr()?);
        Err(pickling_error(py, message).into())
    }

    pub(super) fn refuse<T>(&self, message: &str) -> Done<T> {
        Err(pickling_error(self.py, message.to_owned()).into())
    }

    fn check_reduced(&self, value: Obj) -> Done<Reduced> {
        let py = self.py;
        let len = object::tuple_len(value);
        if !(2..=6).contains(&len) {
            return self.refuse("tuple returned by __reduce__ must contain 2 through 6 elements");
        }
        let part = |index: usize| {
            (index < len)
                .then(|| object::tuple_item(value, index))
                .filter(|part| *part != object::none())
        };
        let callable = object::tuple_item(value, 0);
        let args = object::tuple_item(value, 1);
        if !callable.bound(py).is_callable() {
            return self.refuse("first item of the tuple returned by __reduce__ must be callable");
        }
        if !args.bound(py).is_instance_of::<PyTuple>() {
            return self.refuse("second item of the tuple returned by __reduce__ must be a tuple");
        }
        for (index, place) in [(3, "fourth"), (4, "fifth")] {
            if let Some(items) = part(index)
                && !is_iterator(items)
            {
                return self.refuse(&format!(
                    "{place} element of the tuple returned by __reduce__ must be an iterator, not {}",
                    type_name(items)
                ));
            }
        }
        if let Some(setter) = part(5)
            && !setter.bound(py).is_callable()
        {
            return self.refuse(&format!(
                "sixth element of the tuple returned by __reduce__ must be a function, not {}",
                type_name(setter)
            ));
        }
        Ok(Reduced {
            callable,
            args,
            state: part(2),
            list_items: part(3),
            dict_items: part(4),
            state_setter: part(5),
        })
    }

    /// Writes the reduce value `value`, a tuple that the caller holds; `obj` is memoised as its
    /// result.
    pub(super) fn save_reduce(&mut self, value: Obj, obj: Option<Obj>) -> Done {
        let reduced = self.check_reduced(value)?;
        match self.form(reduced.callable)? {
            Form::NewEx => self.save_new_ex(reduced.args)?,
            Form::New => self.save_new(reduced.args, obj)?,
            Form::Call => {
                self.save(reduced.callable, false)?;
                self.save(reduced.args, false)?;
                self.out.byte(b'R')?;
            }
        }
        if let Some(obj) = obj {
            // Met again inside its own arguments: throw the second one away.
            if let Some(index) = self.memo.get(obj) {
                self.out.byte(b'0')?;
                return self.emit_get(index);
            }
            self.memoize(obj, false)?;
        }
        if let Some(items) = reduced.list_items {
            self.save_list_items(items)?;
        }
        if let Some(items) = reduced.dict_items {
            self.save_dict_items(items)?;
        }
        match (reduced.state, reduced.state_setter, obj) {
            (Some(state), None, _) => {
                self.save(state, false)?;
                self.out.byte(b'b')?;
            }
            (Some(state), Some(setter), Some(obj)) => {
                self.save(setter, false)?;
                self.save(obj, false)?;
                self.save(state, false)?;
                self.out.write(&[0x86, b'R', b'0'])?;
            }
            _ => {}
        }
        Ok(())
    }

    fn form(&self, callable: Obj) -> Done<Form> {
        if self.protocol < 2 {
            return Ok(Form::Call);
        }
        let py = self.py;
        // Classes are the usual callables, and their names never begin so: but a class may be
        // called `__newobj__`, therefore the name is always looked at.
        let name = callable.bound(py).getattr_opt(pyo3::intern!(py, "__name__"))?;
        let Some(name) = name else { return Ok(Form::Call) };
        let Ok(name) = name.cast::<pyo3::types::PyString>() else { return Ok(Form::Call) };
        Ok(match name.to_str() {
            Ok("__newobj__") => Form::New,
            Ok("__newobj_ex__") => Form::NewEx,
            _ => Form::Call,
        })
    }

    fn save_new(&mut self, args: Obj, obj: Option<Obj>) -> Done {
        let py = self.py;
        if object::tuple_len(args) < 1 {
            return self.refuse("__newobj__ arglist is empty");
        }
        let class = object::tuple_item(args, 0);
        if !class.bound(py).is_instance_of::<PyType>() {
            return self.refuse("args[0] from __newobj__ args is not a type");
        }
        if let Some(obj) = obj {
            let own = obj.bound(py).getattr_opt(pyo3::intern!(py, "__class__"))?;
            if own.is_some_and(|own| own.as_ptr() != class.ptr()) {
                return self.refuse("args[0] from __newobj__ args has the wrong class");
            }
        }
        self.save(class, false)?;
        // SAFETY: a tuple; the slice is a new tuple, or null with an exception set.
        let rest = unsafe {
            Owned::from_new(ffi::PyTuple_GetSlice(
                args.ptr(),
                1,
                object::tuple_len(args) as ffi::Py_ssize_t,
            ))?
        };
        self.save(rest.obj(), false)?;
        self.out.byte(0x81)?;
        Ok(())
    }

    fn save_new_ex(&mut self, args: Obj) -> Done {
        let py = self.py;
        let len = object::tuple_len(args);
        if len != 3 {
            return self.refuse(&format!(
                "length of the NEWOBJ_EX argument tuple must be exactly 3, not {len}"
            ));
        }
        let class = object::tuple_item(args, 0);
        let positional = object::tuple_item(args, 1);
        let keywords = object::tuple_item(args, 2);
        let shape = [
            (class, "first", "class", class.bound(py).is_instance_of::<PyType>()),
            (positional, "second", "tuple", positional.bound(py).is_instance_of::<PyTuple>()),
            (keywords, "third", "dict", keywords.bound(py).is_instance_of::<PyDict>()),
        ];
        for (part, place, wanted, fits) in shape {
            if !fits {
                return self.refuse(&format!(
                    "{place} item from NEWOBJ_EX argument tuple must be a {wanted}, not {}",
                    type_name(part)
                ));
            }
        }
        if self.protocol >= 4 {
            self.save(class, false)?;
            self.save(positional, false)?;
            self.save(keywords, false)?;
            self.out.byte(0x92)?;
            return Ok(());
        }
        // Older protocols: functools.partial(cls.__new__, cls, *args, **kwargs)()
        let new = class.bound(py).getattr(pyo3::intern!(py, "__new__"))?;
        let mut all = vec![new, class.bound(py)];
        let positional = positional.bound(py);
        all.extend(positional.cast::<PyTuple>().map_err(PyErr::from)?.iter());
        let all = PyTuple::new(py, all)?;
        let keywords = keywords.bound(py);
        let keywords = keywords.cast::<PyDict>().map_err(PyErr::from)?;
        let partial = self.state.partial.bind(py).call(all, Some(keywords))?;
        self.save(Obj::of(&partial), false)?;
        self.save(Obj::of(&PyTuple::empty(py)), false)?;
        self.out.byte(b'R')?;
        Ok(())
    }

    /// The items that a reduce value appends.
    pub(super) fn save_list_items(&mut self, items: Obj) -> Done {
        if !self.binary {
            while let Some(item) = next_item(items)? {
                self.save(item.obj(), false)?;
                self.out.byte(b'a')?;
            }
            return Ok(());
        }
        loop {
            let Some(first) = next_item(items)? else { return Ok(()) };
            let Some(mut item) = next_item(items)? else {
                self.save(first.obj(), false)?;
                self.out.byte(b'a')?;
                return Ok(());
            };
            self.out.byte(b'(')?;
            self.save(first.obj(), false)?;
            let mut count = 1;
            let more = loop {
                self.save(item.obj(), false)?;
                count += 1;
                if count == BATCH {
                    break true;
                }
                match next_item(items)? {
                    Some(next) => item = next,
                    None => break false,
                }
            };
            self.out.byte(b'e')?;
            if !more {
                return Ok(());
            }
        }
    }

    fn save_pair_item(&mut self, pair: &Owned) -> Done {
        self.save(object::tuple_item(pair.obj(), 0), false)?;
        self.save(object::tuple_item(pair.obj(), 1), false)
    }

    fn next_pair(&self, items: Obj) -> Done<Option<Owned>> {
        let Some(pair) = next_item(items)? else { return Ok(None) };
        let bound = pair.obj().bound(self.py);
        if !bound.is_instance_of::<PyTuple>() || object::tuple_len(pair.obj()) != 2 {
            return Err(pyo3::exceptions::PyTypeError::new_err(
                "dict items iterator must return 2-tuples",
            )
            .into());
        }
        Ok(Some(pair))
    }

    /// The pairs that a reduce value sets.
    pub(super) fn save_dict_items(&mut self, items: Obj) -> Done {
        if !self.binary {
            while let Some(pair) = self.next_pair(items)? {
                self.save_pair_item(&pair)?;
                self.out.byte(b's')?;
            }
            return Ok(());
        }
        loop {
            let Some(first) = self.next_pair(items)? else { return Ok(()) };
            let Some(mut pair) = self.next_pair(items)? else {
                self.save_pair_item(&first)?;
                self.out.byte(b's')?;
                return Ok(());
            };
            self.out.byte(b'(')?;
            self.save_pair_item(&first)?;
            let mut count = 1;
            let more = loop {
                self.save_pair_item(&pair)?;
                count += 1;
                if count == BATCH {
                    break true;
                }
                match self.next_pair(items)? {
                    Some(next) => pair = next,
                    None => break false,
                }
            };
            self.out.byte(b'u')?;
            if !more {
                return Ok(());
            }
        }
    }
}

fn next_item(items: Obj) -> Result<Option<Owned>, Stop> {
    // SAFETY: an iterator; null means the end, or an exception.
    unsafe {
        match Owned::from_new(ffi::PyIter_Next(items.ptr())) {
            Ok(item) => Ok(Some(item)),
            Err(Raised) if ffi::PyErr_Occurred().is_null() => Ok(None),
            Err(Raised) => Err(Stop::Raised),
        }
    }
}

fn is_iterator(obj: Obj) -> bool {
    // SAFETY: a live object.
    unsafe { ffi::PyIter_Check(obj.ptr()) != 0 }
}

fn type_name(obj: Obj) -> String {
    // SAFETY: a type's tp_name is a C string that lives as long as the type.
    unsafe { std::ffi::CStr::from_ptr((*obj.ty()).tp_name).to_string_lossy().into_owned() }
}
