//! Which globals a safe load may import, and how it may call them.
//!
//! A name alone is not safe: bytes smuggled into a `numpy.dtype`'s state crash the interpreter,
//! and `getattr` reaches anything. So an [`Entry`] is a *call shape*: the argument lists that the
//! callable may be given, what state it may be handed, and what may be added to it. The loader
//! checks them against live objects, a scanner against what it knows of the arguments; both read
//! this one table. Nothing here touches Python.
//!
//! The table is the built-in `data` policy. A caller adds names of their own with
//! [`Policy::allow`]; those are vouched for, and may be called with anything.

use std::collections::BTreeSet;
use std::fmt;

/// What one argument must be. Types are exact: a subclass is something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any object that the load has made.
    Any,
    /// `None`, `bool`, `int`, `float` or `str`.
    Scalar,
    /// `int` or `bool`.
    Int,
    /// `int` of at most [`SMALL_INT_BITS`] bits: what is done with it is not linear.
    SmallInt,
    /// `float`.
    Float,
    /// `str`.
    Str,
    /// `str` of digits, at most [`NUMERAL_DIGITS`], with one `/` or a leading `-` allowed.
    Numeral,
    /// `bytes`.
    Bytes,
    /// `bytes`, or the `str` that Python 2's bytes become.
    BytesOrStr,
    /// `bytes`, `bytearray`, or an out-of-band buffer.
    Buffer,
    /// `list`.
    List,
    /// `list` or `tuple`.
    Sequence,
    /// `tuple`.
    Tuple,
    /// `dict`.
    Dict,
    /// `None` or `int`.
    IntOrNone,
    /// `None`, or one of the built-in types that make an empty value when called.
    Factory,
    /// One of `None`, `...` and `NotImplemented`.
    Singleton,
    /// Exactly this text.
    Text(&'static str),
    /// Exactly this global.
    Global(&'static str, &'static str),
    /// A class that may be made with `copyreg`'s helper: its entry has `remade` set.
    RemadeClass,
}

/// Bits of a [`Kind::SmallInt`].
pub const SMALL_INT_BITS: u64 = 1 << 14;
/// Characters of a [`Kind::Numeral`]; CPython's own limit for decimal text.
pub const NUMERAL_DIGITS: usize = 4300;

/// The arguments of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Args {
    /// Exactly these.
    Exactly(&'static [Kind]),
    /// Any number of this kind.
    Each(Kind),
    /// Checked by rules of their own, which live with the loader: [`Special`].
    Special(Special),
}

/// Calls whose checks do not fit a list of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// `numpy.dtype(text, align, copy)`: a type string that names no object.
    NumpyDtype,
    /// `numpy…scalar(dtype, bytes)`: as many bytes as the dtype says.
    NumpyScalar,
    /// `numpy…_frombuffer(buffer, dtype, shape, order)`: as many bytes as dtype and shape say.
    NumpyFromBuffer,
    /// `numpy…_reconstruct(ndarray, (0,), b'b')`: only the empty array that a state then fills.
    NumpyReconstruct,
}

/// What BUILD may give an object of the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Refused,
    /// These attributes, each of its kind.
    Fields(&'static [(&'static str, Kind)]),
    /// A dict of any attributes; the class's own handling of it is harmless.
    Attributes,
    /// Validated and rebuilt by rules that live with the loader.
    NumpyArray,
    /// As above, for dtypes.
    NumpyDtype,
}

/// What may be added to an object of the class after it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grows {
    /// Nothing.
    No,
    /// Items: APPEND, APPENDS.
    Items,
    /// Pairs: SETITEM, SETITEMS.
    Pairs,
}

/// One global that a safe load may import.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its module, by the name that pickles use.
    pub module: &'static str,
    /// Its name in the module.
    pub name: &'static str,
    /// Argument lists it may be called with; none: it may be mentioned, never called.
    pub calls: &'static [Args],
    /// Whether an empty object may be made of the class without calling it (NEWOBJ with no
    /// arguments, or `copyreg._reconstructor`).
    pub remade: bool,
    /// What BUILD may do.
    pub state: State,
    /// What may be added.
    pub grows: Grows,
}

const fn mention(module: &'static str, name: &'static str) -> Entry {
    Entry { module, name, calls: &[], remade: false, state: State::Refused, grows: Grows::No }
}

const fn call(module: &'static str, name: &'static str, calls: &'static [Args]) -> Entry {
    Entry { module, name, calls, remade: false, state: State::Refused, grows: Grows::No }
}

const fn exception(name: &'static str) -> Entry {
    Entry {
        module: "builtins",
        name,
        calls: &[Args::Each(Kind::Any)],
        remade: false,
        state: State::Attributes,
        grows: Grows::No,
    }
}

impl Entry {
    const fn growing(mut self, grows: Grows) -> Entry {
        self.grows = grows;
        self
    }

    const fn remade_with(mut self, state: State) -> Entry {
        self.remade = true;
        self.state = state;
        self
    }

    const fn with_state(mut self, state: State) -> Entry {
        self.state = state;
        self
    }

    /// `module.name`.
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.module, self.name)
    }
}

use Args::{Each, Exactly};
use Kind::{
    Any, Bytes, BytesOrStr, Dict, Factory, Float, Int, IntOrNone, List, Numeral, Scalar, Sequence,
    Singleton, SmallInt, Str, Text,
};

const PATHS: &[Args] = &[Each(Str)];
const ADDRESS: &[Args] = &[Exactly(&[Int]), Exactly(&[Str])];
const RECONSTRUCT: &[Args] = &[Args::Special(Special::NumpyReconstruct)];
const SCALAR: &[Args] = &[Args::Special(Special::NumpyScalar)];
const FROM_BUFFER: &[Args] = &[Args::Special(Special::NumpyFromBuffer)];

/// The `data` policy: built-in types and exceptions, the standard library's data types, numpy's
/// arrays, scalars and dtypes.
pub static DATA: &[Entry] = &[
    // Built-in types. Those that make an empty value serve as factories of defaultdict.
    mention("builtins", "object"),
    mention("builtins", "int"),
    mention("builtins", "float"),
    mention("builtins", "bool"),
    mention("builtins", "str"),
    mention("builtins", "dict"),
    mention("builtins", "list"),
    mention("builtins", "tuple"),
    mention("builtins", "Ellipsis"),
    mention("builtins", "NotImplemented"),
    call("builtins", "bytes", &[Exactly(&[])]),
    call(
        "builtins",
        "bytearray",
        &[Exactly(&[]), Exactly(&[Bytes]), Exactly(&[Str, Text("latin-1")])],
    ),
    call("builtins", "set", &[Exactly(&[]), Exactly(&[List])]),
    call("builtins", "frozenset", &[Exactly(&[]), Exactly(&[List])]),
    call("builtins", "complex", &[Exactly(&[Float, Float])]),
    call("builtins", "range", &[Exactly(&[Int, Int, Int])]),
    call("builtins", "slice", &[Exactly(&[Scalar, Scalar, Scalar])]),
    call("builtins", "type", &[Exactly(&[Singleton])]),
    call(
        "builtins",
        "getattr",
        &[Exactly(&[Kind::Global("zoneinfo", "ZoneInfo"), Text("_unpickle")])],
    ),
    call("_codecs", "encode", &[Exactly(&[Str, Text("latin1")])]),
    call(
        "copyreg",
        "_reconstructor",
        &[Exactly(&[Kind::RemadeClass, Kind::Global("builtins", "object"), Singleton])],
    ),
    // Exceptions hold data; making one does not raise it.
    exception("ArithmeticError"),
    exception("AssertionError"),
    exception("AttributeError"),
    exception("BaseException"),
    exception("BaseExceptionGroup"),
    exception("BlockingIOError"),
    exception("BrokenPipeError"),
    exception("BufferError"),
    exception("BytesWarning"),
    exception("ChildProcessError"),
    exception("ConnectionAbortedError"),
    exception("ConnectionError"),
    exception("ConnectionRefusedError"),
    exception("ConnectionResetError"),
    exception("DeprecationWarning"),
    exception("EOFError"),
    exception("EncodingWarning"),
    exception("Exception"),
    exception("ExceptionGroup"),
    exception("FileExistsError"),
    exception("FileNotFoundError"),
    exception("FloatingPointError"),
    exception("FutureWarning"),
    exception("GeneratorExit"),
    exception("ImportError"),
    exception("ImportWarning"),
    exception("IndentationError"),
    exception("IndexError"),
    exception("InterruptedError"),
    exception("IsADirectoryError"),
    exception("KeyError"),
    exception("KeyboardInterrupt"),
    exception("LookupError"),
    exception("MemoryError"),
    exception("ModuleNotFoundError"),
    exception("NameError"),
    exception("NotADirectoryError"),
    exception("NotImplementedError"),
    exception("OSError"),
    exception("OverflowError"),
    exception("PendingDeprecationWarning"),
    exception("PermissionError"),
    exception("ProcessLookupError"),
    exception("RecursionError"),
    exception("ReferenceError"),
    exception("ResourceWarning"),
    exception("RuntimeError"),
    exception("RuntimeWarning"),
    exception("StopAsyncIteration"),
    exception("StopIteration"),
    exception("SyntaxError"),
    exception("SyntaxWarning"),
    exception("SystemError"),
    exception("SystemExit"),
    exception("TabError"),
    exception("TimeoutError"),
    exception("TypeError"),
    exception("UnboundLocalError"),
    exception("UnicodeDecodeError"),
    exception("UnicodeEncodeError"),
    exception("UnicodeError"),
    exception("UnicodeTranslateError"),
    exception("UnicodeWarning"),
    exception("UserWarning"),
    exception("ValueError"),
    exception("Warning"),
    exception("ZeroDivisionError"),
    // The standard library's data types.
    call("datetime", "date", &[Exactly(&[BytesOrStr]), Exactly(&[Int, Int, Int])]),
    call("datetime", "datetime", &[Exactly(&[BytesOrStr]), Exactly(&[BytesOrStr, Any])]),
    call("datetime", "time", &[Exactly(&[BytesOrStr]), Exactly(&[BytesOrStr, Any])]),
    call("datetime", "timedelta", &[Exactly(&[Int, Int, Int])]),
    call("datetime", "timezone", &[Exactly(&[Any]), Exactly(&[Any, Str])]),
    call("decimal", "Decimal", &[Exactly(&[Str])]),
    call("fractions", "Fraction", &[Exactly(&[Numeral]), Exactly(&[SmallInt, SmallInt])]),
    mention("uuid", "UUID").remade_with(State::Fields(&[("int", Int), ("is_safe", IntOrNone)])),
    call("uuid", "SafeUUID", &[Exactly(&[IntOrNone])]),
    call("collections", "OrderedDict", &[Exactly(&[]), Exactly(&[List])]).growing(Grows::Pairs),
    call("collections", "defaultdict", &[Exactly(&[]), Exactly(&[Factory])]).growing(Grows::Pairs),
    call("collections", "Counter", &[Exactly(&[]), Exactly(&[Dict])]).growing(Grows::Pairs),
    call(
        "collections",
        "deque",
        &[Exactly(&[]), Exactly(&[Sequence]), Exactly(&[Sequence, IntOrNone])],
    )
    .growing(Grows::Items),
    mention("collections", "ChainMap").remade_with(State::Fields(&[("maps", List)])),
    mention("collections", "UserDict").remade_with(State::Fields(&[("data", Dict)])),
    mention("collections", "UserList").remade_with(State::Fields(&[("data", List)])),
    mention("collections", "UserString").remade_with(State::Fields(&[("data", Str)])),
    call("pathlib", "PurePath", PATHS),
    call("pathlib", "PurePosixPath", PATHS),
    call("pathlib", "PureWindowsPath", PATHS),
    call("pathlib", "PosixPath", PATHS),
    call("pathlib", "WindowsPath", PATHS),
    call("pathlib._local", "PurePath", PATHS),
    call("pathlib._local", "PurePosixPath", PATHS),
    call("pathlib._local", "PureWindowsPath", PATHS),
    call("pathlib._local", "PosixPath", PATHS),
    call("pathlib._local", "WindowsPath", PATHS),
    call("ipaddress", "IPv4Address", ADDRESS),
    call("ipaddress", "IPv6Address", ADDRESS),
    call("ipaddress", "IPv4Network", ADDRESS),
    call("ipaddress", "IPv6Network", ADDRESS),
    call("ipaddress", "IPv4Interface", ADDRESS),
    call("ipaddress", "IPv6Interface", ADDRESS),
    mention("zoneinfo", "ZoneInfo"),
    call("array", "array", &[Exactly(&[Str, List])]),
    call(
        "array",
        "_array_reconstructor",
        &[Exactly(&[Kind::Global("array", "array"), Str, Int, Bytes])],
    ),
    call("types", "SimpleNamespace", &[Exactly(&[])]).with_state(State::Attributes),
    // numpy. What makes arrays and dtypes is checked by rules of its own.
    mention("numpy", "ndarray").with_state(State::NumpyArray),
    call("numpy", "dtype", &[Args::Special(Special::NumpyDtype)]).with_state(State::NumpyDtype),
    call("numpy.core.multiarray", "_reconstruct", RECONSTRUCT),
    call("numpy._core.multiarray", "_reconstruct", RECONSTRUCT),
    call("numpy.core.multiarray", "scalar", SCALAR),
    call("numpy._core.multiarray", "scalar", SCALAR),
    call("numpy.core.numeric", "_frombuffer", FROM_BUFFER),
    call("numpy._core.numeric", "_frombuffer", FROM_BUFFER),
];

/// The built-in types that [`Kind::Factory`] means, by name in `builtins` or `collections`.
pub const FACTORIES: &[(&str, &str)] = &[
    ("builtins", "int"),
    ("builtins", "float"),
    ("builtins", "bool"),
    ("builtins", "str"),
    ("builtins", "bytes"),
    ("builtins", "bytearray"),
    ("builtins", "complex"),
    ("builtins", "dict"),
    ("builtins", "list"),
    ("builtins", "tuple"),
    ("builtins", "set"),
    ("builtins", "frozenset"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("collections", "deque"),
];

/// What a policy says about one global.
#[derive(Debug, Clone, Copy)]
pub enum Verdict {
    /// Listed in the built-in table, with its call shape.
    Shaped(&'static Entry),
    /// Listed by the caller: may be imported and called with anything.
    Vouched,
    /// In a module of which the caller listed all names: as [`Verdict::Vouched`], but only what
    /// is defined there, not what the module imports from elsewhere.
    VouchedIfDefinedThere,
    /// Not listed.
    Blocked,
}

/// The globals that a load may import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    names: BTreeSet<String>,
    modules: BTreeSet<String>,
}

/// A name given to [`Policy::allow`] that is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadName {
    name: String,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "allow: {:?} is neither a full name such as \"package.module.Class\" nor all names of \
             a module, \"package.module.*\"",
            self.name
        )
    }
}

impl std::error::Error for BadName {}

impl Policy {
    /// The built-in `data` policy.
    pub fn data() -> Policy {
        Policy::default()
    }

    /// Adds `package.module.Class`, or `package.module.*` for every name directly in that module.
    ///
    /// # Errors
    /// [`BadName`] for anything else: a bare name, `*` alone or elsewhere than at the end.
    pub fn allow(&mut self, name: &str) -> Result<(), BadName> {
        let bad = || BadName { name: name.to_owned() };
        let (module, last) = name.rsplit_once('.').ok_or_else(bad)?;
        let plain = |part: &str| {
            !part.is_empty() && !part.contains(['*', ' ']) && !part.contains(char::is_control)
        };
        if !module.split('.').all(plain) || !(last == "*" || plain(last)) {
            return Err(bad());
        }
        if last == "*" {
            self.modules.insert(module.to_owned());
        } else {
            self.names.insert(name.to_owned());
        }
        Ok(())
    }

    /// What the policy says about `module.name`. The caller's list comes first. A dotted `name`
    /// is allowed only by the whole of it.
    pub fn verdict(&self, module: &str, name: &str) -> Verdict {
        if self.names.contains(&format!("{module}.{name}")) {
            return Verdict::Vouched;
        }
        if self.modules.contains(module) && !name.contains('.') {
            return Verdict::VouchedIfDefinedThere;
        }
        match DATA.iter().find(|entry| entry.name == name && entry.module == module) {
            Some(entry) => Verdict::Shaped(entry),
            None => Verdict::Blocked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_entry_is_listed_twice() {
        let mut seen = BTreeSet::new();
        for entry in DATA {
            assert!(seen.insert(entry.dotted()), "{} twice", entry.dotted());
        }
    }

    #[test]
    fn factories_are_listed_themselves() {
        for (module, name) in FACTORIES {
            assert!(matches!(Policy::data().verdict(module, name), Verdict::Shaped(_)));
        }
    }

    #[test]
    fn names_are_exact_and_dotted_ones_need_the_whole() {
        let mut policy = Policy::data();
        assert!(matches!(policy.verdict("os", "system"), Verdict::Blocked));
        assert!(matches!(policy.verdict("builtins", "eval"), Verdict::Blocked));
        assert!(matches!(policy.verdict("builtins", "int.__new__"), Verdict::Blocked));
        policy.allow("shop.Order").unwrap();
        policy.allow("shop.models.*").unwrap();
        assert!(matches!(policy.verdict("shop", "Order"), Verdict::Vouched));
        assert!(matches!(policy.verdict("shop", "Order.run"), Verdict::Blocked));
        assert!(matches!(policy.verdict("shop", "Orders"), Verdict::Blocked));
        let item = policy.verdict("shop.models", "Item");
        assert!(matches!(item, Verdict::VouchedIfDefinedThere));
        assert!(matches!(policy.verdict("shop.models", "os.system"), Verdict::Blocked));
        assert!(matches!(policy.verdict("shop.models.deep", "Item"), Verdict::Blocked));
        assert!(matches!(policy.verdict("shop", "models"), Verdict::Blocked));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for name in ["", "*", "os", ".x", "x.", "a.*.b", "*.b", "a b.c", "a..b", "a.\n"] {
            assert!(Policy::data().allow(name).is_err(), "{name:?}");
        }
    }
}
