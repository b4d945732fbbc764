//! The safe load: what may be imported, called and changed.
//!
//! Every opcode that imports, calls or changes an object asks here first. The rules are the
//! codec's policy table; this file applies them to live objects. What is not allowed raises
//! `UntrustedGlobalError` after the rest of the pickle was read, inertly, for its other globals;
//! or it becomes a [`Stub`], if the caller asked for stubs.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use picklet_codec::policy::{
    Admitted, Args, Dtype, Facts, Grows, Policy, Rule, Sound, State, Step, Verdict,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::live::Live;
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
    /// The types of what listed calls made, by address: what their class is listed as.
    classes: ByAddress<Rule>,
    /// The type that was put into `classes` last.
    last_class: usize,
    kept: Vec<Owned>,
    /// Objects that are no use until BUILD gives them their state.
    unfinished: ByAddress<Owned>,
    /// numpy's dtypes that this load made.
    dtypes: ByAddress<(Owned, Dtype)>,
    /// Blocked globals in the order of the pickle.
    pub(super) blocked: Vec<String>,
}

impl Known {
    fn add(&mut self, obj: Obj, rule: Rule) {
        self.rules.insert(obj.ptr() as usize, rule);
        self.kept.push(obj.to_owned());
    }

    /// What an imported global is listed as.
    pub(super) fn rule(&self, obj: Obj) -> Option<Rule> {
        self.rules.get(&(obj.ptr() as usize)).copied()
    }

    /// What an object's class is listed as.
    pub(super) fn class_rule(&self, obj: Obj) -> Option<Rule> {
        let class = obj.ty() as usize;
        self.rules.get(&class).or_else(|| self.classes.get(&class)).copied()
    }

    /// What a dtype is, if this load made it.
    pub(super) fn dtype(&self, obj: Obj) -> Option<Dtype> {
        self.dtypes.get(&(obj.ptr() as usize)).map(|(_, dtype)| *dtype)
    }

    pub(super) fn add_dtype(&mut self, obj: Obj, dtype: Dtype) {
        self.dtypes.insert(obj.ptr() as usize, (obj.to_owned(), dtype));
    }

    pub(super) fn is_unfinished(&self, obj: Obj) -> bool {
        !self.unfinished.is_empty() && self.unfinished.contains_key(&(obj.ptr() as usize))
    }

    /// Remembers what a listed call made.
    pub(super) fn made(&mut self, obj: Obj, admitted: &Admitted) {
        let class = obj.ty() as usize;
        if self.last_class != class {
            self.last_class = class;
            // The first to make a type says what it is: others may stand for several.
            if let std::collections::hash_map::Entry::Vacant(place) = self.classes.entry(class) {
                place.insert(admitted.class);
                self.kept.push(obj.class());
            }
        }
        if admitted.facts == Facts::Unfinished {
            self.unfinished.insert(obj.ptr() as usize, obj.to_owned());
        }
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
        let (module_text, name_text) = (
            module.cast::<PyString>().map_err(PyErr::from)?.to_string_lossy(),
            name.cast::<PyString>().map_err(PyErr::from)?.to_string_lossy(),
        );
        let rule = guard.policy.rule(&module_text, &name_text);
        if let Some(find) = &self.options.find_class
            && !self.known.is_collecting()
        {
            // The override answers for what it gives; what the policy lists keeps its checks.
            let value = Owned::from_bound(self.hook(|| find.call1((&module, &name)))?);
            if self.known.rule(value.obj()).is_none() {
                let rule = match rule {
                    Rule::Listed(entry) => Rule::Listed(entry),
                    _ => Rule::Vouched,
                };
                self.known.add(value.obj(), rule);
            }
            return Ok(value);
        }
        if matches!(rule, Rule::Unlisted) && guard.unknown == Unknown::Error {
            let dotted = format!("{module_text}.{name_text}");
            if !self.known.blocked.contains(&dotted) {
                self.known.blocked.push(dotted);
            }
        }
        if matches!(rule, Rule::Unlisted) || self.known.is_collecting() {
            let stub = Stub::global(py, &module_text, &name_text)?;
            return Ok(Owned::from_bound(stub.into_bound(py)));
        }
        let protocol = if name_text.contains('.') { 4 } else { self.protocol };
        let value = self.hook(|| super::find_class(&module, &name, protocol, false))?;
        let rule = match rule {
            Rule::Listed(entry) => Rule::Listed(entry),
            Rule::VouchedIfDefinedThere => {
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
        if let Some(last) = &self.reconstructed
            && let Some(admitted) = last.again(callable, args)
        {
            return self.admitted_call(&admitted, callable, args);
        }
        let step = Step::Call { callable: &self.live(callable), args: &self.live(args) };
        match judge(step) {
            Verdict::Vouched if old_style => self.unguarded_instance(callable, args),
            Verdict::Vouched => self.unguarded_call(callable, args),
            Verdict::Admitted(admitted) => {
                let value = self.admitted_call(&admitted, callable, args)?;
                if let Some(call) = numpy::Reconstructed::of(&admitted, callable, args) {
                    self.reconstructed = Some(call);
                }
                Ok(value)
            }
            Verdict::Misused { why, .. } => self.refuse_call(callable, why),
            Verdict::Unlisted => {
                self.refuse_call(callable, "although it is no global of the policy")
            }
        }
    }

    fn admitted_call(
        &mut self,
        admitted: &Admitted,
        callable: Obj,
        args: Obj,
    ) -> Result<Owned, Raised> {
        let sound = sound_of(admitted);
        self.check_before(admitted.entry.sound, args)?;
        let value = match admitted.entry.calls {
            [Args::Special(special), ..] => numpy::call(self, *special, callable, args)?,
            _ => self.unguarded_call(callable, args)?,
        };
        if admitted.facts != Facts::Unfinished {
            self.check_after(sound, value.obj())?;
        }
        if let Some(entry) = admitted.entry.gives {
            self.known.add(value.obj(), Rule::Listed(entry));
        }
        self.known.made(value.obj(), admitted);
        Ok(value)
    }

    /// What the policy may ask of an object.
    fn live(&self, obj: Obj) -> Live<'_, 'py> {
        Live::new(self.py, &self.known, obj)
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
        let keywords_seen = keywords.map(|keywords| self.live(keywords));
        let (live_class, live_args) = (self.live(class), self.live(args));
        let step =
            Step::New { class: &live_class, args: &live_args, keywords: keywords_seen.as_ref() };
        match judge(step) {
            Verdict::Vouched => self.unguarded_new(opcode, class, args, keywords),
            Verdict::Admitted(admitted) => {
                let value = self.unguarded_new(opcode, class, args, None)?;
                self.known.made(value.obj(), &admitted);
                Ok(value)
            }
            _ => self.refuse_call(class, "in an unusual way"),
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
        let step = Step::Build { target: &self.live(target), state: &self.live(state) };
        let admitted = match judge(step) {
            Verdict::Vouched => return Ok(false),
            Verdict::Admitted(admitted) => admitted,
            _ => return self.refuse_state(target),
        };
        match admitted.entry.state {
            State::NumpyArray | State::NumpyMaskedArray => {
                numpy::build_array(self, target, state).map(|()| true)
            }
            // Only one that waits for its state.
            State::NumpyDtype if self.pending_dtypes.contains_key(&(target.ptr() as usize)) => {
                numpy::build_dtype(self, target, state).map(|()| true)
            }
            State::NumpyDtype => self.refuse_state(target),
            _ => self.admitted_state(&admitted, target, state).map(|()| true),
        }
    }

    fn admitted_state(
        &mut self,
        admitted: &Admitted,
        target: Obj,
        state: Obj,
    ) -> Result<(), Raised> {
        let py = self.py;
        let sound = sound_of(admitted);
        self.check_before(sound, state)?;
        let (live, state) = (target.bound(py), state.bound(py));
        self.hook(|| super::calls::set_state(&live, &state))?;
        self.check_after(sound, target)?;
        self.known.unfinished.remove(&(target.ptr() as usize));
        Ok(())
    }

    /// Values that native code would take as places in memory, looked at before it is called.
    fn check_before(&self, sound: Sound, args: Obj) -> Result<(), Raised> {
        if !matches!(sound, Sound::Manager | Sound::Arrow | Sound::Block | Sound::Tree) {
            return Ok(());
        }
        self.check_soundness("before", sound, args)
    }

    /// As above, of what was made.
    fn check_after(&self, sound: Sound, obj: Obj) -> Result<(), Raised> {
        if sound == Sound::AsMade {
            return Ok(());
        }
        self.check_soundness("after", sound, obj)
    }

    fn check_soundness(&self, when: &str, sound: Sound, obj: Obj) -> Result<(), Raised> {
        let py = self.py;
        let why = self.hook(|| {
            let checks = py.import(pyo3::intern!(py, "picklet._sound"))?;
            let why = checks.call_method1(when, (sound.name(), obj.bound(py)))?;
            why.extract::<Option<String>>()
        })?;
        let Some(why) = why else { return Ok(()) };
        self.fail(format!(
            "the pickle holds {why}, which a safe load does not build; load with trust=True only \
             if you trust the pickle wholly"
        ))
    }

    /// The end of the pickle: an object that never got its state may not be let out.
    pub(super) fn refuse_unfinished(&self) -> Result<(), Raised> {
        let Some(left) = self.known.unfinished.values().next() else { return Ok(()) };
        let name = callable_name(&left.obj().bound(self.py).get_type().into_any());
        self.fail(format!("the pickle leaves an object of {name} without its state"))
    }

    pub(super) fn refuse_state<T>(&self, target: Obj) -> Result<T, Raised> {
        let name = callable_name(&target.bound(self.py).get_type().into_any());
        self.fail(format!(
            "the pickle gives an object of {name} an unusual state, which a safe load does not \
             do; if you trust the pickle, load with allow=[{name:?}]"
        ))
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
        match judge(Step::Grow { target: &self.live(target), grows }) {
            Verdict::Vouched | Verdict::Admitted(_) => Ok(false),
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

/// What is checked of what a step makes or changes.
fn sound_of(admitted: &Admitted) -> Sound {
    match admitted.class {
        Rule::Listed(class) => class.sound,
        _ => admitted.entry.sound,
    }
}

/// The policy's answer. What it is about was looked up when the globals were imported.
fn judge(step: Step<'_, Live<'_, '_>>) -> Verdict {
    Policy::judge(step)
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
    let rule = guard.policy.rule(&module_text, &name_text);
    if matches!(rule, Rule::Unlisted) {
        return Err(untrusted_error(py, &[format!("{module_text}.{name_text}")])?);
    }
    let dotted = if name_text.contains('.') { 4 } else { protocol };
    let value = super::find_class(&module, &name, dotted, false)?;
    if matches!(rule, Rule::VouchedIfDefinedThere) {
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
