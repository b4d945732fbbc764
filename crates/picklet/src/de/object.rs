//! What an instance looks like to serde: its class and arguments are read, never called.
//!
//! Only classes whose arguments are known to say everything are looked at by name. Of any other
//! callable nothing is guessed: it has no form, unless it was called without arguments and then
//! given a state.

use std::borrow::Cow;

use rustc_hash::FxHashSet;

use crate::serde_error::{SerdeError, SerdeErrorKind};

use super::tape::{Call, Instance, Slot, Slots, Tag, Tape};

/// What the type being made asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    Any,
    Map,
    Seq,
    Scalar,
}

/// A form that serde knows.
pub(super) enum Shape<'t, 'de> {
    /// Keys and values in turn.
    Map(Slots<'t, 'de>),
    /// The same, gathered from several places.
    GatheredMap(Vec<Slot>),
    Seq(Slots<'t, 'de>),
    GatheredSeq(Vec<Slot>),
    Bytes(Cow<'t, [u8]>),
    /// What another object looks like.
    Same(Slot),
}

impl<'t, 'de> Shape<'t, 'de> {
    pub(super) fn of(
        tape: &'t Tape<'de>,
        slot: Slot,
        hint: Hint,
    ) -> Result<Shape<'t, 'de>, SerdeError> {
        let known = tape.instances.get(slot.payload as usize).and_then(|instance| {
            if instance.rebuilt {
                return None;
            }
            match instance.call {
                Call::New if instance.args.tag() == Tag::Tuple => {
                    from_new(tape, instance, tape.items(instance.args), hint)
                }
                Call::New => None,
                Call::NewWithKeywords => with_keywords(tape, instance, hint),
                Call::Reduce => from_call(tape, instance, hint),
            }
        });
        known.ok_or_else(|| no_form(tape, slot))
    }
}

/// The error for an object that serde has no form for.
#[cold]
pub(super) fn no_form(tape: &Tape<'_>, slot: Slot) -> SerdeError {
    let global = |slot: Slot| {
        let (module, name) = tape.global(slot)?;
        let (module, name) = picklet_codec::compat::to_python3(module, name);
        Some(format!("{module}.{name}"))
    };
    let class = match slot.tag() {
        Tag::Global | Tag::StackGlobal => global(slot).map(|name| format!("the global {name}")),
        Tag::Extension => Some(format!("extension code {}", slot.payload)),
        Tag::PersistentId => Some("a persistent id".to_owned()),
        Tag::Instance => tape
            .instances
            .get(slot.payload as usize)
            .and_then(|instance| global(class_of(tape, instance))),
        _ => None,
    };
    let class = class.unwrap_or_else(|| "an object of a computed class".to_owned());
    SerdeError::new(SerdeErrorKind::NoForm { class: class.into() })
}

/// The class that an instance is of, behind the functions that only rebuild objects.
fn class_of(tape: &Tape<'_>, instance: &Instance) -> Slot {
    let rebuilds = instance.call == Call::Reduce
        && matches!(
            tape.global(instance.class),
            Some(("copyreg" | "copy_reg", "_reconstructor" | "__newobj__" | "__newobj_ex__"))
        );
    let first = tape.items(instance.args).next();
    first.filter(|_| rebuilds).unwrap_or(instance.class)
}

/// `class.__new__(class, *args)`, then perhaps items, pairs and a state.
fn from_new<'t, 'de>(
    tape: &'t Tape<'de>,
    instance: &Instance,
    args: Slots<'t, 'de>,
    hint: Hint,
) -> Option<Shape<'t, 'de>> {
    if instance.pairs.total > 0 {
        return Some(Shape::Map(tape.items_of(instance.pairs)));
    }
    let has_state = !matches!(instance.state.tag(), Tag::Absent | Tag::None);
    if instance.items.total > 0 && !(has_state && hint == Hint::Map) {
        return Some(Shape::Seq(tape.items_of(instance.items)));
    }
    match hint {
        Hint::Scalar if args.total == 1 => return args.clone().next().map(Shape::Same),
        Hint::Seq if args.total > 0 => return Some(Shape::Seq(args)),
        Hint::Seq if !has_state => return Some(Shape::Seq(args)),
        _ => {}
    }
    if has_state {
        return from_state(tape, instance.state);
    }
    Some(if args.total == 0 { Shape::Map(args) } else { Shape::Seq(args) })
}

/// The state that BUILD gave: a dict, a pair of a dict and the slots' dict, or what a frozen
/// dataclass with slots has, its fields' values in order.
fn from_state<'t, 'de>(tape: &'t Tape<'de>, state: Slot) -> Option<Shape<'t, 'de>> {
    match state.tag() {
        Tag::Dict => Some(Shape::Map(tape.items(state))),
        Tag::List => Some(Shape::Seq(tape.items(state))),
        Tag::Tuple => {
            let mut items = tape.items(state);
            let (Some(dict), Some(slots), None) = (items.next(), items.next(), items.next()) else {
                return None;
            };
            match (dict.tag(), slots.tag()) {
                (Tag::None, Tag::Dict) => Some(Shape::Map(tape.items(slots))),
                (Tag::Dict, Tag::Dict | Tag::None) => {
                    Some(Shape::GatheredMap(tape.items(dict).chain(tape.items(slots)).collect()))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// `class.__new__(class, *args, **kwargs)`.
fn with_keywords<'t, 'de>(
    tape: &'t Tape<'de>,
    instance: &Instance,
    hint: Hint,
) -> Option<Shape<'t, 'de>> {
    let mut both = tape.items(instance.args);
    let (args, keywords) = (both.next()?, both.next()?);
    if (args.tag(), keywords.tag()) != (Tag::Tuple, Tag::Dict) {
        return None;
    }
    let keywords = tape.items(keywords);
    if keywords.total == 0 {
        return from_new(tape, instance, tape.items(args), hint);
    }
    let only_keywords = tape.items(args).total == 0
        && matches!(instance.state.tag(), Tag::Absent | Tag::None)
        && instance.items.total == 0
        && instance.pairs.total == 0;
    only_keywords.then_some(Shape::Map(keywords))
}

/// `callable(*args)`.
fn from_call<'t, 'de>(
    tape: &'t Tape<'de>,
    instance: &Instance,
    hint: Hint,
) -> Option<Shape<'t, 'de>> {
    if instance.args.tag() != Tag::Tuple {
        return None;
    }
    let mut args = tape.items(instance.args);
    let (module, name) = tape.global(instance.class)?;
    match picklet_codec::compat::to_python3(module, name) {
        ("copyreg" | "copy_reg", "_reconstructor") => reconstructed(tape, instance, args, hint),
        ("copyreg" | "copy_reg", "__newobj__") => {
            args.next()?;
            args.total = args.total.saturating_sub(1);
            from_new(tape, instance, args, hint)
        }
        ("collections", "OrderedDict" | "Counter") | ("builtins", "dict") => {
            mapping(tape, instance, args.next())
        }
        ("collections", "defaultdict") => {
            let _factory = args.next();
            mapping(tape, instance, args.next())
        }
        ("collections", "deque") | ("builtins", "set" | "frozenset" | "list" | "tuple") => {
            let mut all = Vec::new();
            match args.next() {
                None => {}
                Some(first) if is_row(first) => all.extend(tape.items(first)),
                Some(_) => return None,
            }
            all.extend(tape.items_of(instance.items));
            Some(Shape::GatheredSeq(all))
        }
        ("_codecs", "encode") => match (args.next(), args.next()) {
            (Some(text), Some(encoding)) => encoded(tape, text, encoding).map(Shape::Bytes),
            _ => None,
        },
        ("builtins", "bytes" | "bytearray") => match (args.next(), args.next()) {
            (None, _) => Some(Shape::Bytes(Cow::Borrowed(&[]))),
            (Some(bytes), None) if bytes.tag() == Tag::Bytes => Some(Shape::Same(bytes)),
            // Below protocol 3 a bytearray is made of bytes that are such calls themselves.
            (Some(bytes), None) => encode_call(tape, bytes).map(Shape::Bytes),
            (Some(text), Some(encoding)) => encoded(tape, text, encoding).map(Shape::Bytes),
        },
        _ if args.total == 0 && instance.state.tag() != Tag::Absent => {
            from_new(tape, instance, args, hint)
        }
        _ => None,
    }
}

/// Whether iterating over it gives its items as the tape has them.
fn is_row(slot: Slot) -> bool {
    matches!(slot.tag(), Tag::Tuple | Tag::List | Tag::Set | Tag::FrozenSet)
}

/// `_reconstructor(class, base, base's state)`: every object below protocol 2.
fn reconstructed<'t, 'de>(
    tape: &'t Tape<'de>,
    instance: &Instance,
    mut args: Slots<'t, 'de>,
    hint: Hint,
) -> Option<Shape<'t, 'de>> {
    let (Some(_class), Some(base), Some(state)) = (args.next(), args.next(), args.next()) else {
        return None;
    };
    let (module, name) = tape.global(base)?;
    let has_state = !matches!(instance.state.tag(), Tag::Absent | Tag::None);
    match picklet_codec::compat::to_python3(module, name) {
        ("builtins", "object") => from_new(tape, instance, Slots::from_slice(tape, &[]), hint),
        _ if has_state && hint == Hint::Map && state.tag() != Tag::Dict => {
            from_state(tape, instance.state)
        }
        _ => Some(Shape::Same(state)),
    }
}

/// A dict's subclass that takes a dict or a list of pairs, and SETITEMS.
fn mapping<'t, 'de>(
    tape: &'t Tape<'de>,
    instance: &Instance,
    first: Option<Slot>,
) -> Option<Shape<'t, 'de>> {
    let pairs = tape.items_of(instance.pairs);
    let Some(first) = first else {
        return Some(Shape::Map(pairs));
    };
    let mut all = Vec::new();
    match first.tag() {
        Tag::Dict => all.extend(tape.items(first)),
        Tag::List | Tag::Tuple => {
            for pair in tape.items(first) {
                if !is_row(pair) || tape.items(pair).total != 2 {
                    return None;
                }
                all.extend(tape.items(pair));
            }
        }
        _ => return None,
    }
    all.extend(pairs);
    Some(Shape::GatheredMap(all))
}

/// What an object is that is a call of `_codecs.encode`.
fn encode_call<'t>(tape: &'t Tape<'_>, slot: Slot) -> Option<Cow<'t, [u8]>> {
    let instance = tape.instances.get(slot.payload as usize)?;
    if slot.tag() != Tag::Instance || tape.global(instance.class) != Some(("_codecs", "encode")) {
        return None;
    }
    let mut args = tape.items(instance.args);
    encoded(tape, args.next()?, args.next()?)
}

/// `_codecs.encode(text, 'latin1')`: bytes below protocol 3.
fn encoded<'t>(tape: &'t Tape<'_>, text: Slot, encoding: Slot) -> Option<Cow<'t, [u8]>> {
    let text = std::str::from_utf8(tape.text(text)?).ok()?;
    match tape.text(encoding)? {
        b"latin1" | b"latin-1" | b"iso-8859-1" => {
            let bytes: Option<Vec<u8>> =
                text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
            bytes.map(Cow::Owned)
        }
        b"utf-8" | b"utf8" => Some(Cow::Borrowed(text.as_bytes())),
        b"ascii" if text.is_ascii() => Some(Cow::Borrowed(text.as_bytes())),
        _ => None,
    }
}

/// Whether `from` holds something that holds itself. For the message of an error alone.
#[cold]
pub(super) fn is_in_cycle(tape: &Tape<'_>, from: Slot) -> bool {
    enum Step {
        Enter(Slot),
        Leave(Slot),
    }
    let key = |slot: Slot| {
        let space = match slot.tag() {
            Tag::Tuple | Tag::FrozenSet => 0_u8,
            Tag::Instance => 1,
            _ => 2,
        };
        (space, slot.payload)
    };
    let mut open = FxHashSet::default();
    let mut done = FxHashSet::default();
    let mut steps = vec![Step::Enter(from)];
    while let Some(step) = steps.pop() {
        let slot = match step {
            Step::Leave(slot) => {
                open.remove(&key(slot));
                done.insert(key(slot));
                continue;
            }
            Step::Enter(slot) => slot,
        };
        match slot.tag() {
            Tag::Tuple | Tag::FrozenSet | Tag::List | Tag::Set | Tag::Dict | Tag::Instance => {}
            _ => continue,
        }
        if done.contains(&key(slot)) {
            continue;
        }
        if !open.insert(key(slot)) {
            return true;
        }
        steps.push(Step::Leave(slot));
        steps.extend(tape.items(slot).map(Step::Enter));
        if let Some(instance) =
            tape.instances.get(slot.payload as usize).filter(|_| slot.tag() == Tag::Instance)
        {
            steps.extend([instance.args, instance.state].map(Step::Enter));
            steps.extend(tape.items_of(instance.items).map(Step::Enter));
            steps.extend(tape.items_of(instance.pairs).map(Step::Enter));
        }
    }
    false
}
