//! The one function that says whether a step of a pickle is one that the policy lists.
//!
//! The loader asks it about live objects, the scanner about symbols; each tells what it knows of
//! them through [`Subject`]. What is not known is not as listed.

use super::numpy;
use super::shape::{Args, Class, Entry, Grows, Kind, Makes, NUMERAL_DIGITS, SMALL_INT_BITS, State};
use super::{FACTORIES, Rule};

/// The built-in type of an object, as far as kinds tell them apart. Exact: a subclass is
/// [`Nature::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Nature {
    /// `None`.
    None,
    /// `bool`.
    Bool,
    /// `int`.
    Int,
    /// `float`.
    Float,
    /// `str`; Python 2's, too.
    Str,
    /// `bytes`.
    Bytes,
    /// `bytearray`.
    ByteArray,
    /// An out-of-band buffer: a `PickleBuffer` or `memoryview`.
    Buffer,
    /// `list`.
    List,
    /// `tuple`.
    Tuple,
    /// `dict`.
    Dict,
    /// `...` or `NotImplemented`.
    Singleton,
    /// Anything else, or not known.
    Other,
}

/// An object on the pickle machine's stack, as far as the one who asks knows it.
#[expect(clippy::len_without_is_empty, reason = "a length that may not be known")]
pub trait Subject: Sized {
    /// Its built-in type.
    fn nature(&self) -> Nature;
    /// For an imported global, or what an [`Entry::gives`] call gave: what it is listed as.
    fn rule(&self) -> Option<Rule>;
    /// For an object: what the class that it was made of is listed as.
    fn class_rule(&self) -> Option<Rule>;
    /// For an object made by a listed call or class, and whole: its [`Entry::makes`].
    fn makes(&self) -> Makes;
    /// For an object made by a listed call or class: what else was found out about it.
    fn facts(&self) -> Facts;
    /// Whether it is exactly this text.
    fn is_text(&self, text: &str) -> bool {
        self.with_text(|own| own == text).unwrap_or(false)
    }
    /// Reads its text, if it is a `str` that is known; bytes of ASCII may be read as well.
    fn with_text<R>(&self, read: impl FnOnce(&str) -> R) -> Option<R>;
    /// Its value, if it is an `int` or `bool` that is known and fits.
    fn int(&self) -> Option<i64>;
    /// The bits of its magnitude, if it is an `int` of which that much is known.
    fn int_bits(&self) -> Option<u64>;
    /// Items of a tuple, list or dict; bytes of bytes and buffers; characters of a `str`.
    fn len(&self) -> Option<u64>;
    /// Item `at` of a tuple or list.
    fn item(&self, at: u64) -> Option<Self>;
    /// Whether `test` holds for each pair of a dict. False if not all are known.
    fn every_pair(&self, test: impl FnMut(&Self, &Self) -> bool) -> bool;
}

/// What is known of an object beyond its sort. The one who asks keeps it with the object, and
/// gives it back through [`Subject::facts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Facts {
    /// Nothing.
    #[default]
    None,
    /// It was made, but is unfinished until BUILD gives it its state.
    Unfinished,
    /// A numpy dtype.
    Dtype(Dtype),
}

/// A numpy dtype.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtype {
    /// Bytes of one item.
    pub itemsize: u64,
    /// Whether an item holds references to objects.
    pub has_object: bool,
    /// Whether an item is one such reference and nothing else.
    pub is_object: bool,
    /// Its letter, as in `numpy.dtype(…).kind`.
    pub kind: u8,
    /// Whether its state has arrived: no other may follow, as arrays may lie over it by then.
    pub settled: bool,
}

/// What a pickle is about to do.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a, S> {
    /// REDUCE, INST, OBJ: `callable(*args)`.
    Call {
        /// What is called.
        callable: &'a S,
        /// A tuple.
        args: &'a S,
    },
    /// NEWOBJ, NEWOBJ_EX: `class.__new__(class, *args, **keywords)`.
    New {
        /// What an object is made of.
        class: &'a S,
        /// A tuple.
        args: &'a S,
        /// A dict; NEWOBJ has none.
        keywords: Option<&'a S>,
    },
    /// BUILD.
    Build {
        /// What gets the state.
        target: &'a S,
        /// The state.
        state: &'a S,
    },
    /// APPEND(S), SETITEM(S), ADDITEMS on what is no exact list, dict or set.
    Grow {
        /// What is added to.
        target: &'a S,
        /// What is added.
        grows: Grows,
    },
}

/// What a policy says about a step.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// As listed.
    Admitted(Admitted),
    /// By the caller's own list: anything goes.
    Vouched,
    /// The global is listed, but not for this.
    Misused {
        /// The entry that lists it.
        entry: &'static Entry,
        /// What is unusual, to follow "the pickle calls module.name".
        why: &'static str,
    },
    /// What is called or changed is no global that the policy lists, nor made by one.
    Unlisted,
}

/// A step as listed.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    /// The entry that lists it.
    pub entry: &'static Entry,
    /// What the class of the object is listed as, to be given back by [`Subject::class_rule`];
    /// what [`Subject::makes`] is to say stands in its entry.
    pub class: Rule,
    /// What else is known of that object, to be given back by [`Subject::facts`].
    pub facts: Facts,
}

/// What the policy says about a step; see [`Policy::judge`](super::Policy::judge).
pub(super) fn judge<S: Subject>(step: Step<'_, S>) -> Verdict {
    match step {
        Step::Call { callable, args } => match callable.rule() {
            Some(Rule::Listed(entry)) => call(entry, args),
            Some(Rule::Vouched | Rule::VouchedIfDefinedThere) => Verdict::Vouched,
            Some(Rule::Unlisted) | None => Verdict::Unlisted,
        },
        Step::New { class, args, keywords } => match class.rule() {
            Some(Rule::Listed(entry)) => new(entry, args, keywords),
            Some(Rule::Vouched | Rule::VouchedIfDefinedThere) => Verdict::Vouched,
            Some(Rule::Unlisted) | None => Verdict::Unlisted,
        },
        Step::Build { target, state } => match target.class_rule() {
            Some(Rule::Listed(entry)) => build(entry, target, state),
            Some(Rule::Vouched | Rule::VouchedIfDefinedThere) => Verdict::Vouched,
            Some(Rule::Unlisted) | None => Verdict::Unlisted,
        },
        Step::Grow { target, grows } => match target.class_rule() {
            Some(Rule::Listed(entry)) if entry.grows == grows && grows != Grows::No => {
                admitted(entry)
            }
            Some(Rule::Listed(entry)) => {
                Verdict::Misused { entry, why: "whose objects take no more items" }
            }
            Some(Rule::Vouched | Rule::VouchedIfDefinedThere) => Verdict::Vouched,
            Some(Rule::Unlisted) | None => Verdict::Unlisted,
        },
    }
}

fn admitted(entry: &'static Entry) -> Verdict {
    Verdict::Admitted(Admitted { entry, class: Rule::Listed(entry), facts: Facts::None })
}

/// The class of what a call of `entry` makes.
fn class_of<S: Subject>(entry: &'static Entry, args: &S) -> Rule {
    match entry.class {
        Class::Itself => Rule::Listed(entry),
        Class::Of(class) => Rule::Listed(class),
        Class::Argument(at) => {
            args.item(at).and_then(|class| class.rule()).unwrap_or(Rule::Unlisted)
        }
    }
}

fn call<S: Subject>(entry: &'static Entry, args: &S) -> Verdict {
    if args.nature() != Nature::Tuple {
        return Verdict::Misused { entry, why: "with something that is no tuple" };
    }
    for shape in entry.calls {
        let facts = match shape {
            Args::Exactly(kinds) => fit(args, kinds).then_some(None),
            Args::Each(kind) => every(args, kind).then_some(None),
            Args::Special(special) => numpy::call(*special, args).map(Some),
        };
        let Some(facts) = facts else { continue };
        let class = class_of(entry, args);
        let unfinished = match class {
            Rule::Listed(class) if !std::ptr::eq(class, entry) => {
                entry.needs_state || class.needs_state
            }
            // A class that is only ever called, and then given its state.
            Rule::Listed(class) => class.needs_state && !class.remade,
            _ => false,
        };
        let facts = match facts {
            Some(facts) => facts,
            None if unfinished => Facts::Unfinished,
            None => Facts::None,
        };
        return Verdict::Admitted(Admitted { entry, class, facts });
    }
    let why = if entry.calls.is_empty() {
        "although it may only be named"
    } else {
        "with unusual arguments"
    };
    Verdict::Misused { entry, why }
}

fn new<S: Subject>(entry: &'static Entry, args: &S, keywords: Option<&S>) -> Verdict {
    let bare = args.nature() == Nature::Tuple && args.len() == Some(0);
    let ignored = |shape: &Args| match shape {
        Args::Exactly(kinds) => args.nature() == Nature::Tuple && fit(args, kinds),
        Args::Each(_) | Args::Special(_) => false,
    };
    if entry.remade && keywords.is_none() && (bare || entry.news.iter().any(ignored)) {
        let facts = if entry.needs_state { Facts::Unfinished } else { Facts::None };
        return Verdict::Admitted(Admitted { entry, class: Rule::Listed(entry), facts });
    }
    Verdict::Misused { entry, why: "in an unusual way" }
}

fn build<S: Subject>(entry: &'static Entry, target: &S, state: &S) -> Verdict {
    let facts = match entry.state {
        State::Refused => None,
        State::Attributes => is_attributes(state).then_some(Facts::None),
        State::Fields(fields) => keys(state, fields).then_some(Facts::None),
        State::Is(kind) => fits(state, &kind).then_some(Facts::None),
        State::NumpyArray => numpy::is_array_state(state).then_some(Facts::None),
        State::NumpyMaskedArray => numpy::is_masked_state(state).then_some(Facts::None),
        State::NumpyDtype => numpy::dtype_with_state(target, state).map(Facts::Dtype),
    };
    match facts {
        Some(facts) => Verdict::Admitted(Admitted { entry, class: Rule::Listed(entry), facts }),
        None => Verdict::Misused { entry, why: "with an unusual state" },
    }
}

fn is_attributes<S: Subject>(state: &S) -> bool {
    let plain = |name: &S| name.with_text(|name| !is_protocol_name(name)).unwrap_or(false);
    match state.nature() {
        Nature::None => true,
        Nature::Dict => state.every_pair(|name, _| name.nature() == Nature::Str && plain(name)),
        _ => false,
    }
}

/// Whether others look for an attribute of this name to learn what they may do with an object:
/// numpy takes the address in `__array_interface__` for memory, pickle calls `__setstate__`. No
/// honest object has one of its own; a note that was added to an exception is data.
fn is_protocol_name(name: &str) -> bool {
    name.starts_with("__") && name.ends_with("__") && name != "__notes__"
}

fn fit<S: Subject>(args: &S, kinds: &[Kind]) -> bool {
    args.len() == Some(kinds.len() as u64)
        && kinds
            .iter()
            .zip(0..)
            .all(|(kind, at)| args.item(at).is_some_and(|item| fits(&item, kind)))
}

fn every<S: Subject>(items: &S, kind: &Kind) -> bool {
    items
        .len()
        .is_some_and(|len| (0..len).all(|at| items.item(at).is_some_and(|item| fits(&item, kind))))
}

fn keys<S: Subject>(dict: &S, fields: &[(&str, Kind)]) -> bool {
    dict.nature() == Nature::Dict
        && dict.every_pair(|name, value| {
            let named = |text: &str| fields.iter().find(|(field, _)| *field == text);
            let field = name.with_text(named).flatten().filter(|_| name.nature() == Nature::Str);
            field.is_some_and(|(_, kind)| fits(value, kind))
        })
}

/// Whether an object is known to be of a kind.
pub fn fits<S: Subject>(subject: &S, kind: &Kind) -> bool {
    let nature = subject.nature();
    let is_int = || matches!(nature, Nature::Int | Nature::Bool);
    match kind {
        Kind::Any => true,
        Kind::Scalar => matches!(
            nature,
            Nature::None | Nature::Int | Nature::Bool | Nature::Float | Nature::Str
        ),
        Kind::None => nature == Nature::None,
        Kind::Bool => nature == Nature::Bool,
        Kind::Int => is_int(),
        Kind::SmallInt => {
            nature == Nature::Int && subject.int_bits().is_some_and(|bits| bits <= SMALL_INT_BITS)
        }
        Kind::IntBelow(end) => {
            is_int() && subject.int().is_some_and(|value| (0..*end).contains(&value))
        }
        Kind::Float => nature == Nature::Float,
        Kind::Str => nature == Nature::Str,
        Kind::NoPath => {
            let plain = |text: &str| !text.contains("dateutil/");
            nature == Nature::Str && subject.with_text(plain).unwrap_or(false)
        }
        Kind::Numeral => nature == Nature::Str && subject.with_text(is_numeral).unwrap_or(false),
        Kind::Bytes => nature == Nature::Bytes,
        Kind::BytesOrStr => matches!(nature, Nature::Bytes | Nature::Str),
        Kind::Buffer => matches!(nature, Nature::Bytes | Nature::ByteArray | Nature::Buffer),
        Kind::List => nature == Nature::List,
        Kind::Sequence => matches!(nature, Nature::List | Nature::Tuple),
        Kind::Tuple => nature == Nature::Tuple,
        Kind::Dict => nature == Nature::Dict,
        Kind::IntOrNone => nature == Nature::None || is_int(),
        Kind::Factory => {
            nature == Nature::None
                || matches!(subject.rule(), Some(Rule::Listed(entry))
                    if FACTORIES.contains(&(entry.module, entry.name)))
        }
        Kind::Singleton => matches!(nature, Nature::None | Nature::Singleton),
        Kind::Text(text) => nature == Nature::Str && subject.is_text(text),
        Kind::Global(module, name) => matches!(subject.rule(), Some(Rule::Listed(entry))
            if entry.module == *module && entry.name == *name),
        Kind::ClassOf(makes) => {
            matches!(subject.rule(), Some(Rule::Listed(entry)) if entry.makes == *makes)
        }
        Kind::Made(makes) => subject.makes() == *makes,
        Kind::RemadeClass => match subject.rule() {
            Some(Rule::Listed(entry)) => entry.remade,
            Some(Rule::Vouched | Rule::VouchedIfDefinedThere) => true,
            Some(Rule::Unlisted) | None => false,
        },
        Kind::OneOf(kinds) => kinds.iter().any(|kind| fits(subject, kind)),
        Kind::TupleOf(kinds) => nature == Nature::Tuple && fit(subject, kinds),
        Kind::Every(kind) => matches!(nature, Nature::List | Nature::Tuple) && every(subject, kind),
        Kind::Keys(fields) => keys(subject, fields),
    }
}

/// `-12/5`: what a fraction's text may be.
fn is_numeral(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mut parts = digits.split('/');
    text.len() <= NUMERAL_DIGITS
        && text.bytes().filter(|byte| *byte == b'/').count() <= 1
        && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}
