"""Object graphs for the tests: what picklet writes and reads is compared with stock pickle."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import math
import operator
import pathlib
import types
import uuid
import zoneinfo

from hypothesis import strategies as st

PROTOCOLS = range(6)


class Plain:
    def __init__(self, value=None):
        self.value = value

    def __eq__(self, other):
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None

    class Nested:
        class Deeper:
            pass


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a, b):
        self.a = a
        self.b = b


class WithNewArgs(int):
    def __new__(cls, value, *, unit="m"):
        self = super().__new__(cls, value)
        self.unit = unit
        return self

    def __getnewargs_ex__(self):
        return (int(self),), {"unit": self.unit}


class WithReduce:
    def __init__(self, parts):
        self.parts = parts

    def __reduce__(self):
        return WithReduce, (self.parts,)


class WithSetter:
    def __reduce__(self):
        return WithSetter, (), {"x": 1}, None, None, set_it


def set_it(obj, state):
    obj.__dict__.update(state)


class GrowingList(list):
    pass


class NamedDict(dict):
    pass


class TaggedSet(set):
    pass


class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


class Flags(enum.IntFlag):
    A = 1
    B = 2


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Record:
    name: str
    amount: float
    tags: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: int
    b: str


class Meta(type):
    pass


class WithMeta(metaclass=Meta):
    pass


class Broken(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.extra = code


def named_function():
    return 1


def specimens():
    """One of everything, by name."""
    shared = ["shared"]
    cyclic = [1]
    cyclic.append(cyclic)
    cyclic_dict = {}
    cyclic_dict["self"] = cyclic_dict
    in_tuple = []
    recursive_tuple = (in_tuple, 1)
    in_tuple.append(recursive_tuple)
    long_tuple_list = []
    recursive_long_tuple = (1, 2, 3, 4, long_tuple_list)
    long_tuple_list.append(recursive_long_tuple)
    holder = Plain()
    recursive_frozenset = frozenset([Marked(holder)])
    holder.value = recursive_frozenset
    plain = Plain([1])
    plain.value.append(plain)
    key = "".join(["sha", "red key"])
    return {
        "none": None,
        "booleans": [True, False],
        "small ints": list(range(-3, 300)),
        "int edges": [
            sign * (2**bits) + offset
            for bits in [
                0,
                7,
                8,
                15,
                16,
                29,
                30,
                31,
                32,
                59,
                60,
                61,
                63,
                64,
                89,
                90,
                127,
                2040,
                9000,
            ]
            for sign in (1, -1)
            for offset in (-1, 0, 1)
        ],
        "floats": [0.0, -0.0, 1.5, 1e300, math.inf, -math.inf, math.nan, 5e-324],
        "complex": 1 + 2j,
        "strings": [
            "",
            "a",
            "é",
            "日本",
            "😀",
            "a\nb\\c\r\x1a\0",
            "\ud800",
            "x" * 255,
            "x" * 256,
            "é" * 200,
        ],
        "long string": ["y" * 70000, "é" * 70000, "日" * 70000, "😀" * 70000],
        "bytes": [b"", b"a", b"x" * 255, b"y" * 256, bytes(range(256)), b"z" * 70000],
        "bytearray": [bytearray(), bytearray(b"abc"), bytearray(70000)],
        "empty containers": [[], (), {}, set(), frozenset()],
        "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((),), (((1,),),)],
        "lists by size": [list(range(n)) for n in (0, 1, 2, 999, 1000, 1001, 2000, 2001)],
        "dicts by size": [dict.fromkeys(range(n)) for n in (0, 1, 2, 999, 1000, 1001, 2000, 2001)],
        "sets by size": [set(range(n)) for n in (0, 1, 2, 999, 1000, 1001, 2000, 2001)],
        "frozensets by size": [frozenset(range(n)) for n in (0, 1, 2, 1000, 1001)],
        "shared": [shared, shared, (shared,), {"k": shared}],
        "shared strings": [key, [key], {key: key}],
        "many shared": [str(i % 300) * 2 for i in range(2000)] + [[f"{i}"] * 2 for i in range(600)],
        "cyclic list": cyclic,
        "cyclic dict": cyclic_dict,
        "recursive tuple": recursive_tuple,
        "recursive long tuple": recursive_long_tuple,
        "recursive frozenset": recursive_frozenset,
        "recursive object": plain,
        "records": [
            {"id": i, "name": f"n{i}", "score": i / 7, "ok": i % 2 == 0} for i in range(300)
        ],
        "frames": [["word%d" % i, i] for i in range(20000)],
        "plain": Plain(Plain(3)),
        "slotted": Slotted(1, [2]),
        "newargs_ex": WithNewArgs(5, unit="km"),
        "reduce": WithReduce([1, (2,)]),
        "state setter": WithSetter(),
        "list subclass": GrowingList(range(1100)),
        "dict subclass": NamedDict({i: str(i) for i in range(1100)}),
        "one item subclasses": [GrowingList([1]), NamedDict({1: 2}), GrowingList(), NamedDict()],
        "set subclass": TaggedSet({1, 2}),
        "enum": [Colour.RED, Colour.GREEN, Flags.A | Flags.B],
        "namedtuple": [Point(1, 2), Point(Point(1, 2), "x")],
        "dataclass": [Record("a", 1.0, ["t"]), Record("b", 2.0)],
        "frozen dataclass": Frozen(1, "b"),
        "metaclass": [WithMeta, WithMeta()],
        "exceptions": [ValueError("x"), KeyError(1), Broken(1, "t"), OSError(2, "no")],
        "functions": [named_function, len, operator.add, "x".upper.__func__ if False else math.sin],
        "methods": [[].append, "x".join],
        "classes": [int, Plain, Colour, collections.OrderedDict, type, object],
        "nested classes": [Plain.Nested, Plain.Nested.Deeper, Plain.Nested.Deeper()],
        "singleton types": [type(None), type(...), type(NotImplemented), ..., NotImplemented],
        "range and slice": [range(10), range(1, 10, 3), slice(1, 2, None)],
        "datetime": [
            datetime.date(2020, 1, 2),
            datetime.datetime(2020, 1, 2, 3, 4, 5, 6),
            datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
            datetime.timedelta(1, 2, 3),
            datetime.time(1, 2),
            datetime.timezone(datetime.timedelta(hours=2)),
        ],
        "zoneinfo": zoneinfo.ZoneInfo("Europe/Berlin"),
        "numbers": [decimal.Decimal("1.10"), fractions.Fraction(1, 3)],
        "uuid": uuid.UUID(int=7),
        "collections": [
            collections.OrderedDict([(1, 2), ("a", "b")]),
            collections.defaultdict(list, {1: [2]}),
            collections.Counter("abca"),
            collections.deque([1, 2], maxlen=3),
            collections.ChainMap({1: 2}, {3: 4}),
        ],
        "paths": [pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("c:/x")],
        "addresses": [
            ipaddress.ip_address("10.0.0.1"),
            ipaddress.ip_address("::1"),
            ipaddress.ip_network("10.0.0.0/8"),
        ],
        "arrays": [array.array("d", [1.0, 2.0]), array.array("b", [1])],
        "namespace": types.SimpleNamespace(a=1, b=[2]),
    }


class Marked:
    def __init__(self, holder):
        self.holder = holder

    def __hash__(self):
        return 7


def signature(obj):
    """The object's structure with identities numbered, to compare two graphs."""
    numbers = {}
    parts = []

    def walk(value):
        kind = type(value)
        if kind in (int, float, bool, type(None), str, bytes):
            parts.append((kind.__name__, repr(value)))
            return
        if id(value) in numbers:
            parts.append(("again", numbers[id(value)]))
            return
        numbers[id(value)] = len(numbers)
        keep.append(value)
        parts.append(("new", kind.__name__, len(value) if hasattr(value, "__len__") else None))
        if kind is dict:
            for key, item in value.items():
                walk(key)
                walk(item)
        elif kind in (list, tuple):
            for item in value:
                walk(item)
        elif kind in (set, frozenset):
            parts.append(sorted(repr(signature(item)) for item in value))
        elif kind is bytearray:
            parts.append(bytes(value))

    keep = []
    walk(obj)
    return parts


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.text(st.characters(codec=None), max_size=5),
    st.binary(max_size=20),
    st.sampled_from(["name", "value", "id"]),
)

hashables = st.recursive(
    scalars, lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=4))
)


def _share(items):
    """Lists that hold some of their items twice, once inside a tuple."""
    return [*items, *items[:2], tuple(items[:3]), {"again": items[0]} if items else {}]


values = st.recursive(
    st.one_of(scalars, st.binary(max_size=8).map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(_share),
        st.dictionaries(hashables, inner, max_size=5),
        st.sets(hashables, max_size=5),
        st.builds(Plain, inner),
        st.builds(Record, st.text(max_size=3), st.floats(), st.lists(inner, max_size=2)),
        st.builds(Point, inner, inner),
    ),
    max_leaves=25,
)
