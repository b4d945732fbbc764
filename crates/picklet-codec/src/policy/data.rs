//! The `data` policy: built-in types and exceptions, the standard library's data types, and numpy.

use super::shape::{Args, Class, Entry, Grows, Kind, Makes, Special, State, call, mention};

use Args::{Each, Exactly};
use Kind::{
    Any, Bytes, BytesOrStr, Dict, Factory, Float, Int, IntOrNone, List, Numeral, Scalar, Sequence,
    Singleton, SmallInt, Str, Text,
};

const PATHS: &[Args] = &[Each(Str)];
const ADDRESS: &[Args] = &[Exactly(&[Int]), Exactly(&[Str])];
const RECONSTRUCT: &[Args] = &[Args::Special(Special::NumpyReconstruct)];
const MASKED_RECONSTRUCT: &[Args] = &[Args::Special(Special::NumpyMaskedReconstruct)];
const STRING_DTYPE: &[Args] = &[Args::Special(Special::NumpyStringDtype)];
const SCALAR: &[Args] = &[Args::Special(Special::NumpyScalar)];
const FROM_BUFFER: &[Args] = &[Args::Special(Special::NumpyFromBuffer)];

/// `ZoneInfo._unpickle(key, from_cache)`, which reads the time zone's own file.
static ZONE_INFO_UNPICKLE: Entry =
    call("zoneinfo", "ZoneInfo._unpickle", &[Exactly(&[Str, Int])]).making(Makes::TimeZone);

/// numpy's array, whose state is checked by rules of its own.
static NDARRAY: Entry =
    mention("numpy", "ndarray").with_state(State::NumpyArray).making(Makes::Array);

/// numpy's own subclasses of it.
const fn subclass(module: &'static str, name: &'static str) -> Entry {
    mention(module, name).with_state(State::NumpyArray).making(Makes::Array)
}

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
    call("builtins", "slice", &[Exactly(&[Scalar, Scalar, Scalar])]).making(Makes::Slice),
    call("builtins", "type", &[Exactly(&[Singleton])]),
    call(
        "builtins",
        "getattr",
        &[Exactly(&[Kind::Global("zoneinfo", "ZoneInfo"), Text("_unpickle")])],
    )
    .giving(&ZONE_INFO_UNPICKLE),
    call("_codecs", "encode", &[Exactly(&[Str, Text("latin1")])]),
    call(
        "copyreg",
        "_reconstructor",
        &[
            Exactly(&[Kind::RemadeClass, Kind::Global("builtins", "object"), Singleton]),
            Exactly(&[
                Kind::ClassOf(Makes::DictSparseMatrix),
                Kind::Global("builtins", "dict"),
                Dict,
            ]),
        ],
    )
    .of(Class::Argument(0)),
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
    call("datetime", "date", &[Exactly(&[BytesOrStr]), Exactly(&[Int, Int, Int])])
        .making(Makes::Time),
    call("datetime", "datetime", &[Exactly(&[BytesOrStr]), Exactly(&[BytesOrStr, Any])])
        .making(Makes::Time),
    call("datetime", "time", &[Exactly(&[BytesOrStr]), Exactly(&[BytesOrStr, Any])])
        .making(Makes::Time),
    call("datetime", "timedelta", &[Exactly(&[Int, Int, Int])]).making(Makes::TimeDelta),
    call("datetime", "timezone", &[Exactly(&[Any]), Exactly(&[Any, Str])]).making(Makes::TimeZone),
    call("decimal", "Decimal", &[Exactly(&[Str])]),
    call("fractions", "Fraction", &[Exactly(&[Numeral]), Exactly(&[SmallInt, SmallInt])]),
    mention("uuid", "UUID").remade_with(State::Fields(&[("int", Int), ("is_safe", IntOrNone)])),
    call("uuid", "SafeUUID", &[Exactly(&[IntOrNone])]),
    // torch's state dicts carry a second one as an attribute.
    call("collections", "OrderedDict", &[Exactly(&[]), Exactly(&[List])])
        .growing(Grows::Pairs)
        .with_state(State::Fields(&[("_metadata", Any)]))
        .making(Makes::OrderedDict),
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
    mention("collections", "UserString")
        .remade_with(State::Fields(&[("data", Str)]))
        .ignoring(&[Exactly(&[Str])]),
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
    mention("zoneinfo", "ZoneInfo").making(Makes::TimeZone),
    call("array", "array", &[Exactly(&[Str, List])]),
    call(
        "array",
        "_array_reconstructor",
        &[Exactly(&[Kind::Global("array", "array"), Str, Int, Bytes])],
    ),
    call("types", "SimpleNamespace", &[Exactly(&[])]).with_state(State::Attributes),
    // numpy. What makes arrays and dtypes is checked by rules of its own.
    NDARRAY,
    subclass("numpy", "matrix"),
    subclass("numpy", "recarray"),
    subclass("numpy", "chararray"),
    subclass("numpy.rec", "recarray"),
    subclass("numpy.char", "chararray"),
    subclass("numpy.core.records", "recarray"),
    subclass("numpy.core.defchararray", "chararray"),
    subclass("numpy.ma", "MaskedArray").with_state(State::NumpyMaskedArray),
    subclass("numpy.ma.core", "MaskedArray").with_state(State::NumpyMaskedArray),
    call("numpy.ma.core", "_mareconstruct", MASKED_RECONSTRUCT).of(Class::Argument(0)),
    mention("numpy", "record"),
    // The types of its scalars, which dtypes of others' make name.
    mention("numpy", "bool_").making(Makes::NumpyScalar),
    mention("numpy", "bool").making(Makes::NumpyScalar),
    mention("numpy", "int8").making(Makes::NumpyScalar),
    mention("numpy", "int16").making(Makes::NumpyScalar),
    mention("numpy", "int32").making(Makes::NumpyScalar),
    mention("numpy", "int64").making(Makes::NumpyScalar),
    mention("numpy", "uint8").making(Makes::NumpyScalar),
    mention("numpy", "uint16").making(Makes::NumpyScalar),
    mention("numpy", "uint32").making(Makes::NumpyScalar),
    mention("numpy", "uint64").making(Makes::NumpyScalar),
    mention("numpy", "intp").making(Makes::NumpyScalar),
    mention("numpy", "uintp").making(Makes::NumpyScalar),
    mention("numpy", "longlong").making(Makes::NumpyScalar),
    mention("numpy", "ulonglong").making(Makes::NumpyScalar),
    mention("numpy", "float16").making(Makes::NumpyScalar),
    mention("numpy", "float32").making(Makes::NumpyScalar),
    mention("numpy", "float64").making(Makes::NumpyScalar),
    mention("numpy", "longdouble").making(Makes::NumpyScalar),
    mention("numpy", "complex64").making(Makes::NumpyScalar),
    mention("numpy", "complex128").making(Makes::NumpyScalar),
    mention("numpy", "clongdouble").making(Makes::NumpyScalar),
    mention("numpy", "str_").making(Makes::NumpyScalar),
    mention("numpy", "bytes_").making(Makes::NumpyScalar),
    mention("numpy", "object_").making(Makes::NumpyScalar),
    mention("numpy", "void").making(Makes::NumpyScalar),
    mention("numpy", "datetime64").making(Makes::NumpyScalar),
    mention("numpy", "timedelta64").making(Makes::NumpyScalar),
    call("numpy", "dtype", &[Args::Special(Special::NumpyDtype)])
        .with_state(State::NumpyDtype)
        .making(Makes::Dtype),
    call("numpy._core._internal", "_convert_to_stringdtype_kwargs", STRING_DTYPE)
        .making(Makes::Dtype),
    call("numpy.core.multiarray", "_reconstruct", RECONSTRUCT).of(Class::Argument(0)),
    call("numpy._core.multiarray", "_reconstruct", RECONSTRUCT).of(Class::Argument(0)),
    call("numpy.core.multiarray", "scalar", SCALAR).making(Makes::NumpyScalar),
    call("numpy._core.multiarray", "scalar", SCALAR).making(Makes::NumpyScalar),
    call("numpy.core.numeric", "_frombuffer", FROM_BUFFER).of(Class::Of(&NDARRAY)),
    call("numpy._core.numeric", "_frombuffer", FROM_BUFFER).of(Class::Of(&NDARRAY)),
];

const fn exception(name: &'static str) -> Entry {
    call("builtins", name, &[Each(Any)]).with_state(State::Attributes)
}

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
