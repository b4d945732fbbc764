//! The safe load: what may be imported, called and changed.
//!
//! Every opcode that imports, calls or changes an object asks here first. The rules are the
//! codec's policy table; this file applies them to live objects. What is not allowed raises
//! `UntrustedGlobalError` after the rest of the pickle was read, inertly, for its other globals;
//! or it becomes a [`Stub`], if the caller asked for stubs.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use picklet_codec::policy::{
    Args, Entry, FACTORIES, Grows, Kind, NUMERAL_DIGITS, Policy, SMALL_INT_BITS, State, Verdict,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::{Decoder, numpy};
use crate::object::{self, Obj, Owned, Raised};
use crate::state::untrusted_global_error;
use crate::stub::{Form, Stub};

/// What a load does with a global that the policy does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// `UntrustedGlobalError`, naming every such global of the pickle.
    #[default]
    Error,
    /// An inert [`Stub`] takes its place.
    Stub,
}

/// The rules of a safe load.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    /// The globals that may be imported.
    pub policy: Policy,
    /// What happens to others.
    pub unknown: Unknown,
}

/// What an imported global may do.
#[derive(Clone, Copy)]
enum Rule {
    Shaped(&'static Entry),
    Vouched,
    /// The method that `getattr(ZoneInfo, '_unpickle')` gave.
    ZoneInfoUnpickle,
}

/// A map by address. No pickle chooses addresses, so that one multiplication is hash enough.
pub(super) type ByAddress<V> = HashMap<usize, V, BuildHasherDefault<AddressHasher>>;

/// Fibonacci hashing of one address.
#[derive(Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0.rotate_left(5) ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        // The table takes its place from the lowest bits and its tag from the highest.
        self.0 ^ self.0 >> 32
    }
}

/// What the guard knows in the course of one load.
#[derive(Default)]
pub(super) struct Known {
    /// Imported globals by address; `kept` holds them, so that no address is used twice.
    rules: ByAddress<Rule>,
    kept: Vec<Owned>,
    /// Blocked globals in the order of the pickle.
    pub(super) blocked: Vec<String>,
}

impl Known {
    fn add(&mut self, obj: Obj, rule: Rule) {
        self.rules.insert(obj.ptr() as usize, rule);
        self.kept.push(obj.to_owned());
    }

    fn rule(&self, obj: Obj) -> Option<Rule> {
        self.rules.get(&(obj.ptr() as usize)).copied()
    }

    fn rule_of_type(&self, obj: Obj) -> Option<Rule> {
        self.rules.get(&(obj.ty() as usize)).copied()
    }

    /// Something was blocked: from here on nothing is imported or called any more.
    pub(super) fn is_collecting(&self) -> bool {
        !self.blocked.is_empty()
    }
}

fn is_stub(py: Python<'_>, obj: Obj) -> bool {
    obj.bound(py).is_exact_instance_of::<Stub>()
}

impl<'py> Decoder<'_, 'py> {
    /// GLOBAL and its kin in a safe load.
    pub(super) fn guarded_find(
        &mut self,
        guard: &Guard,
        module: Bound<'py, PyAny>,
        name: Bound<'py, PyAny>,
    ) -> Result<Owned, Raised> {
        let py = self.py;
        let (module, name) = if self.options.fix_imports && self.protocol < 3 {
            super::calls::python3_names(&module, &name)?
        } else {
            (module, name)
        };
        let text = |part: &Bound<'py, PyAny>| -> PyResult<String> {
            Ok(part.cast::<PyString>()?.to_string_lossy().into_owned())
        };
        let (module_text, name_text) = (text(&module)?, text(&name)?);
        let verdict = guard.policy.verdict(&module_text, &name_text);
        if let Some(find) = &self.options.find_class
            && !self.known.is_collecting()
        {
            // The override answers for what it gives; what the policy lists keeps its checks.
            let value = Owned::from_bound(self.hook(|| find.call1((&module, &name)))?);
            if self.known.rule(value.obj()).is_none() {
                let rule = match verdict {
                    Verdict::Shaped(entry) => Rule::Shaped(entry),
                    _ => Rule::Vouched,
                };
                self.known.add(value.obj(), rule);
            }
            return Ok(value);
        }
        if matches!(verdict, Verdict::Blocked) && guard.unknown == Unknown::Error {
            let dotted = format!("{module_text}.{name_text}");
            if !self.known.blocked.contains(&dotted) {
                self.known.blocked.push(dotted);
            }
        }
        if matches!(verdict, Verdict::Blocked) || self.known.is_collecting() {
            let stub = Stub::global(py, &module_text, &name_text)?;
            return Ok(Owned::from_bound(stub.into_bound(py)));
        }
        let protocol = if name_text.contains('.') { 4 } else { self.protocol };
        let value = self.hook(|| super::find_class(&module, &name, protocol, false))?;
        let rule = match verdict {
            Verdict::Shaped(entry) => Rule::Shaped(entry),
            Verdict::VouchedIfDefinedThere => {
                let home = value.getattr_opt(pyo3::intern!(py, "__module__"))?;
                if !home.is_some_and(|home| home.eq(&module).unwrap_or(false)) {
                    return self.fail(format!(
                        "{module_text}.{name_text} is not defined in {module_text}, of which \
                         allow= lists all names; if you trust it, list it by its own name"
                    ));
                }
                Rule::Vouched
            }
            _ => Rule::Vouched,
        };
        let value = Owned::from_bound(value);
        self.known.add(value.obj(), rule);
        Ok(value)
    }

    /// The end of a load in which something was blocked.
    pub(super) fn untrusted(&self) -> Raised {
        match untrusted_error(self.py, &self.known.blocked) {
            Ok(error) => error.into(),
            Err(error) => error.into(),
        }
    }

    fn refuse_call<T>(&self, callable: Obj, why: &str) -> Result<T, Raised> {
        let name = callable_name(&callable.bound(self.py));
        self.fail(format!(
            "the pickle calls {name} {why}, which a safe load does not do; load with trust=True \
             only if you trust the pickle wholly"
        ))
    }

    /// REDUCE, INST and OBJ in a safe load.
    pub(super) fn guarded_call(
        &mut self,
        callable: Obj,
        args: Obj,
        old_style: bool,
    ) -> Result<Owned, Raised> {
        let py = self.py;
        if self.known.is_collecting() || is_stub(py, callable) {
            // INST and OBJ without arguments make an object without calling its class.
            let bare = old_style && object::tuple_len(args) == 0;
            let form = if bare { Form::New } else { Form::Call };
            let stub = Stub::made(&callable.bound(py), form, &args.bound(py), None)?;
            return Ok(Owned::from_bound(stub.into_bound(py)));
        }
        if args.ty() != object::tuple_type() {
            return self.refuse_call(callable, "with something that is no tuple");
        }
        match self.known.rule(callable) {
            None => self.refuse_call(callable, "although it is no global of the policy"),
            Some(Rule::Vouched) if old_style => self.unguarded_instance(callable, args),
            Some(Rule::Vouched) => self.unguarded_call(callable, args),
            Some(Rule::ZoneInfoUnpickle) => {
                if !self.fit(args, &[Kind::Str, Kind::Int]) {
                    return self.refuse_call(callable, "with unusual arguments");
                }
                self.unguarded_call(callable, args)
            }
            Some(Rule::Shaped(entry)) => self.call_shaped(entry, callable, args),
        }
    }

    fn call_shaped(
        &mut self,
        entry: &'static Entry,
        callable: Obj,
        args: Obj,
    ) -> Result<Owned, Raised> {
        for shape in entry.calls {
            match shape {
                Args::Special(special) => {
                    return numpy::call(self, *special, callable, args);
                }
                Args::Exactly(kinds) if self.fit(args, kinds) => {}
                Args::Each(kind)
                    if (0..object::tuple_len(args))
                        .all(|at| self.fits(object::tuple_item(args, at), *kind)) => {}
                _ => continue,
            }
            let value = self.unguarded_call(callable, args)?;
            if entry.name == "getattr" {
                self.known.add(value.obj(), Rule::ZoneInfoUnpickle);
            }
            return Ok(value);
        }
        self.refuse_call(callable, "with unusual arguments")
    }

    /// NEWOBJ and NEWOBJ_EX in a safe load.
    pub(super) fn guarded_new(
        &mut self,
        opcode: &str,
        class: Obj,
        args: Obj,
        keywords: Option<Obj>,
    ) -> Result<Owned, Raised> {
        let py = self.py;
        if self.known.is_collecting() || is_stub(py, class) {
            let form = if keywords.is_some() { Form::NewEx } else { Form::New };
            let keywords = keywords.map(|keywords| keywords.bound(py));
            let stub = Stub::made(&class.bound(py), form, &args.bound(py), keywords.as_ref())?;
            return Ok(Owned::from_bound(stub.into_bound(py)));
        }
        let empty =
            args.ty() == object::tuple_type() && object::tuple_len(args) == 0 && keywords.is_none();
        match self.known.rule(class) {
            Some(Rule::Vouched) => self.unguarded_new(opcode, class, args, keywords),
            Some(Rule::Shaped(entry)) if entry.remade && empty => {
                self.unguarded_new(opcode, class, args, None)
            }
            _ => self.refuse_call(class, "in an unusual way"),
        }
    }

    fn fit(&self, args: Obj, kinds: &[Kind]) -> bool {
        object::tuple_len(args) == kinds.len()
            && kinds
                .iter()
                .enumerate()
                .all(|(at, kind)| self.fits(object::tuple_item(args, at), *kind))
    }

    /// Whether an object is of a kind.
    pub(super) fn fits(&self, obj: Obj, kind: Kind) -> bool {
        let ty = obj.ty();
        let is_int = || ty == object::int_type() || is_bool(obj);
        let is_none = || obj == object::none();
        match kind {
            Kind::Any => true,
            Kind::Scalar => {
                is_none() || is_int() || ty == object::float_type() || ty == object::str_type()
            }
            Kind::Int => is_int(),
            Kind::SmallInt => {
                ty == object::int_type()
                    && object::int_digits(obj).digits.len() as u64
                        <= SMALL_INT_BITS / object::INT_DIGIT_BITS as u64
            }
            Kind::Float => ty == object::float_type(),
            Kind::Str => ty == object::str_type(),
            Kind::Numeral => ty == object::str_type() && is_numeral(obj),
            Kind::Bytes => ty == object::bytes_type(),
            Kind::BytesOrStr => ty == object::bytes_type() || ty == object::str_type(),
            Kind::Buffer => {
                ty == object::bytes_type()
                    || ty == object::bytearray_type()
                    || ty.cast() == self.state.pickle_buffer_type.as_ptr()
                    || obj.bound(self.py).is_exact_instance_of::<pyo3::types::PyMemoryView>()
            }
            Kind::List => ty == object::list_type(),
            Kind::Sequence => ty == object::list_type() || ty == object::tuple_type(),
            Kind::Tuple => ty == object::tuple_type(),
            Kind::Dict => ty == object::dict_type(),
            Kind::IntOrNone => is_none() || is_int(),
            Kind::Factory => is_none() || self.is_factory(obj),
            Kind::Singleton => {
                is_none()
                    || obj.ptr() == self.py.Ellipsis().as_ptr()
                    || obj.ptr() == self.py.NotImplemented().as_ptr()
            }
            // The type first: only a str may be read as one.
            Kind::Text(text) => {
                ty == object::str_type()
                    && matches!(object::text(obj), object::Text::Ascii(ascii) if ascii == text.as_bytes())
            }
            Kind::Global(module, name) => match self.known.rule(obj) {
                Some(Rule::Shaped(entry)) => entry.module == module && entry.name == name,
                _ => false,
            },
            Kind::RemadeClass => match self.known.rule(obj) {
                Some(Rule::Shaped(entry)) => entry.remade,
                Some(Rule::Vouched) => true,
                _ => false,
            },
        }
    }

    fn is_factory(&self, obj: Obj) -> bool {
        match self.known.rule(obj) {
            Some(Rule::Shaped(entry)) => FACTORIES.contains(&(entry.module, entry.name)),
            _ => false,
        }
    }

    /// BUILD in a safe load. True when it is done with; false when the state may go the usual
    /// way.
    pub(super) fn guarded_build(&mut self, target: Obj, state: Obj) -> Result<bool, Raised> {
        let py = self.py;
        if is_stub(py, target) {
            let target = target.bound(py);
            let stub = target.cast::<Stub>().map_err(PyErr::from)?;
            stub.get().states.bind(py).append(state.bound(py))?;
            return Ok(true);
        }
        if self.known.is_collecting() {
            return Ok(true);
        }
        if self.pending_dtypes.contains_key(&(target.ptr() as usize)) {
            return numpy::build_dtype(self, target, state).map(|()| true);
        }
        match self.known.rule_of_type(target) {
            Some(Rule::Vouched) => Ok(false),
            Some(Rule::Shaped(entry)) => match entry.state {
                State::Refused => self.refuse_state(target),
                State::Attributes => match self.plain_attributes(state) {
                    true => Ok(false),
                    false => self.refuse_state(target),
                },
                State::Fields(fields) => match self.has_fields(state, fields) {
                    true => Ok(false),
                    false => self.refuse_state(target),
                },
                State::NumpyArray => numpy::build_array(self, target, state).map(|()| true),
                // Only one that waits for its state, see above.
                State::NumpyDtype => self.refuse_state(target),
            },
            _ => self.refuse_state(target),
        }
    }

    pub(super) fn refuse_state<T>(&self, target: Obj) -> Result<T, Raised> {
        let name = callable_name(&target.bound(self.py).get_type().into_any());
        self.fail(format!(
            "the pickle gives an object of {name} an unusual state, which a safe load does not \
             do; if you trust the pickle, load with allow=[{name:?}]"
        ))
    }

    fn plain_attributes(&self, state: Obj) -> bool {
        if state.ty() != object::dict_type() {
            return state == object::none();
        }
        let mut position = 0;
        while let Some((name, _)) = object::dict_next(state, &mut position) {
            if name.ty() != object::str_type() {
                return false;
            }
        }
        true
    }

    fn has_fields(&self, state: Obj, fields: &[(&str, Kind)]) -> bool {
        if state.ty() != object::dict_type() {
            return false;
        }
        let mut position = 0;
        while let Some((name, value)) = object::dict_next(state, &mut position) {
            let known = fields.iter().any(|(field, kind)| {
                self.fits(name, Kind::Str)
                    && name.bound(self.py).eq(*field).unwrap_or(false)
                    && self.fits(value, *kind)
            });
            if !known {
                return false;
            }
        }
        true
    }

    /// A numpy dtype that was made but has no state yet; taken out, it can have none again.
    pub(super) fn take_pending_dtype(&mut self, dtype: Obj) -> Option<(Owned, Vec<u64>)> {
        self.pending_dtypes.remove(&(dtype.ptr() as usize))
    }

    /// APPEND(S), SETITEM(S) and ADDITEMS on what is no exact list, dict or set. True when the
    /// items above `from` are taken care of.
    pub(super) fn guarded_growth(
        &mut self,
        target: Obj,
        from: usize,
        grows: Grows,
    ) -> Result<bool, Raised> {
        let py = self.py;
        if is_stub(py, target) {
            let stub = target.bound(py);
            let stub = stub.cast::<Stub>().map_err(PyErr::from)?.get();
            let added: Vec<Owned> = self.stack.drain(from..).collect();
            if grows == Grows::Pairs {
                for pair in added.chunks_exact(2) {
                    if let [key, value] = pair {
                        stub.pairs.bind(py).append((key.obj().bound(py), value.obj().bound(py)))?;
                    }
                }
            } else {
                for item in added {
                    stub.items.bind(py).append(item.into_bound(py))?;
                }
            }
            return Ok(true);
        }
        if self.known.is_collecting() {
            self.stack.truncate(from);
            return Ok(true);
        }
        match self.known.rule_of_type(target) {
            Some(Rule::Vouched) => Ok(false),
            Some(Rule::Shaped(entry)) if entry.grows == grows && grows != Grows::No => Ok(false),
            _ => {
                let name = callable_name(&target.bound(py).get_type().into_any());
                self.fail(format!(
                    "the pickle adds items to an object of {name}, which a safe load does not do"
                ))
            }
        }
    }

    /// A key or a member must not cost more to hash than its bytes suggest, nor overflow the
    /// interpreter's stack, whose tuple hash recurses without a guard.
    #[inline(always)]
    pub(super) fn check_key(&self, key: Obj) -> Result<(), Raised> {
        if key.ty() == object::str_type() || key.ty() == object::int_type() {
            return Ok(());
        }
        self.check_key_slowly(key)
    }

    fn check_key_slowly(&self, key: Obj) -> Result<(), Raised> {
        let mut budget = KEY_ITEMS;
        if is_cheap_key(key, KEY_DEPTH, &mut budget) {
            return Ok(());
        }
        self.fail(format!(
            "a tuple with more than {KEY_DEPTH} levels or {KEY_ITEMS} items serves as a key or as \
             a set's member"
        ))
    }
}

/// `UntrustedGlobalError` for the named globals.
fn untrusted_error(py: Python<'_>, names: &[String]) -> PyResult<PyErr> {
    let list: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let message = format!(
        "the pickle refers to {} that the policy does not list: {}; if you trust {}, load \
         with allow=[{}]",
        if names.len() == 1 { "a global" } else { "globals" },
        names.join(", "),
        if names.len() == 1 { "it" } else { "all of them" },
        list.join(", ")
    );
    let error = untrusted_global_error(py)?.call1((message,))?;
    error.setattr("names", PyTuple::new(py, names)?)?;
    Ok(PyErr::from_value(error))
}

/// `find_class` under a policy: what an override calls to have a listed global.
///
/// # Errors
/// `UntrustedGlobalError` for one that is not listed; as [`super::find_class`].
pub fn find_listed<'py>(
    guard: &Guard,
    module: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
    protocol: u8,
    fix_imports: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = module.py();
    let (module, name) = if fix_imports && protocol < 3 {
        super::calls::python3_names(module, name)?
    } else {
        (module.clone(), name.clone())
    };
    let (module_text, name_text): (String, String) = (module.extract()?, name.extract()?);
    let verdict = guard.policy.verdict(&module_text, &name_text);
    if matches!(verdict, Verdict::Blocked) {
        return Err(untrusted_error(py, &[format!("{module_text}.{name_text}")])?);
    }
    let dotted = if name_text.contains('.') { 4 } else { protocol };
    let value = super::find_class(&module, &name, dotted, false)?;
    if matches!(verdict, Verdict::VouchedIfDefinedThere) {
        let home = value.getattr_opt(pyo3::intern!(py, "__module__"))?;
        if !home.is_some_and(|home| home.eq(&module).unwrap_or(false)) {
            return Err(untrusted_error(py, &[format!("{module_text}.{name_text}")])?);
        }
    }
    Ok(value)
}

/// Levels of tuples in a key.
const KEY_DEPTH: usize = 200;
/// Items of the tuples in a key, counted as often as they are met.
const KEY_ITEMS: usize = 100_000;

fn is_cheap_key(key: Obj, depth: usize, budget: &mut usize) -> bool {
    // SAFETY: a live object.
    if unsafe { pyo3::ffi::PyTuple_Check(key.ptr()) } == 0 {
        return true;
    }
    let len = object::tuple_len(key);
    if depth == 0 || len > *budget {
        return false;
    }
    *budget -= len;
    (0..len).all(|at| is_cheap_key(object::tuple_item(key, at), depth - 1, budget))
}

fn is_bool(obj: Obj) -> bool {
    obj == object::boolean(true) || obj == object::boolean(false)
}

/// `-12/5`: what a fraction's text may be.
fn is_numeral(obj: Obj) -> bool {
    let object::Text::Ascii(text) = object::text(obj) else { return false };
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut parts = text.split(|byte| *byte == b'/');
    text.len() <= NUMERAL_DIGITS
        && text.iter().filter(|byte| **byte == b'/').count() <= 1
        && parts.all(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit))
}

/// `module.qualname` of a class or function, as well as it is known.
pub(super) fn callable_name(callable: &Bound<'_, PyAny>) -> String {
    let text = |name: &str| -> Option<String> { callable.getattr(name).ok()?.extract().ok() };
    match (text("__module__"), text("__qualname__")) {
        (Some(module), Some(name)) => format!("{module}.{name}"),
        (None, Some(name)) => name,
        _ => "an object".to_owned(),
    }
}

/// A dict with the given entries, for rebuilt states.
pub(super) fn dict_of<'py>(
    py: Python<'py>,
    entries: &[(&str, Bound<'py, PyAny>)],
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in entries {
        dict.set_item(*name, value)?;
    }
    Ok(dict)
}
