"""Writes cases for tests/value.rs to stdout, each as blobs: a little-endian u32 length, bytes.

`value_oracle.py pickles`: a name, a pickle that C's pickler wrote, `repr` of the object where
it is made of built-in types alone (else nothing).
"""

import collections
import copyreg
import datetime
import decimal
import enum
import fractions
import io
import pathlib
import pickle
import random
import struct
import sys
import uuid

sys.setrecursionlimit(5000)


class Plain:
    def __init__(self, **fields):
        self.__dict__.update(fields)


class Slots:
    __slots__ = ("a", "b")


class Both(Slots):
    pass


class MyList(list):
    pass


class MyDict(dict):
    pass


class MySet(set):
    pass


class Keywords:
    def __new__(cls, *, key=None):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"key": "word"}


class Reduced:
    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return Reduced, self.args


def set_state(obj, state):
    obj.state = state


class StateSetter:
    def __reduce__(self):
        return StateSetter, (), {"k": [1]}, None, None, set_state


class Colour(enum.Enum):
    RED = 1


class Nested:
    class Inner:
        class Deep:
            pass


class Cyclic:
    def __init__(self, items=None):
        self.items = items

    def __reduce__(self):
        return Cyclic, (self.items,)


Pair = collections.namedtuple("Pair", "x y")


class Registered:
    pass


copyreg.add_extension(__name__, "Registered", 0x1234)


class Persistent(pickle.Pickler):
    def persistent_id(self, obj):
        return "id" if isinstance(obj, Plain) else None


def builtin():
    yield from (None, True, False, 0, 1, -1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31))
    for bits in (32, 63, 64, 100, 2039, 2040, 2048, 5000):
        yield from (2**bits, -(2**bits), 2**bits - 1, -(2**bits) - 1)
    yield from (0.0, -0.0, 1.5, 1e300, -1e-300, float("inf"), float("-inf"), 0.1)
    yield from (
        "",
        "abc",
        "é한😀",
        "\ud83d",
        "\ud83d\ude00",
        "a\\b\n\r\0\x1a",
        "x" * 255,
        "x" * 256,
    )
    yield from (b"", b"abc", bytes(range(256)), bytearray(b""), bytearray(b"it's"), b"y" * 300)
    yield from ([], (), {}, set(), frozenset(), [()], ((),), ({},), [[]])
    for count in (1, 2, 3, 4, 999, 1000, 1001, 2000, 2001, 5000):
        yield list(range(count))
        yield tuple(range(count))
        yield {key: str(key) for key in range(count)}
        yield set(range(count))
        yield frozenset(range(count))
        yield [[n] for n in range(count)]
    shared = ["x"]
    yield [shared, shared, (shared,), {"k": shared}]
    pair = (1, 2)
    yield [pair, pair, frozenset([pair])]
    text = "".join(["sha", "red"])
    yield [text, text, {text: text}]
    for size in (65533, 65534, 65535, 65536, 65537, 70000, 200000):
        yield "s" * size
        yield ["a", b"b" * size, "c", "d" * size]
        yield [bytearray(b"e" * size), "f" * (size // 2), "g" * (size // 2 + 7), "tail"]
    for size in range(65500, 65560, 3):
        yield ["p" * (size // 2), "q" * (size - size // 2), "r", ["s", ("t",)], {"u": "v"}]
    yield [["item %d" % n, n, n / 7, None] for n in range(6000)]
    yield {"key %d" % n: ("value", n) for n in range(6000)}
    deep = []
    for _ in range(400):
        deep = [deep]
    yield deep


def cyclic():
    loop = []
    loop.append(loop)
    yield loop
    loop = {}
    loop["self"] = loop
    yield loop
    for size in (1, 2, 3, 4, 5):
        inner = []
        outer = tuple([inner] * size)
        inner.append(outer)
        yield outer
        yield inner
    thing = Plain()
    thing.me = thing
    yield thing
    members = Plain()
    members.all = frozenset([members])
    yield members
    yield members.all
    hashed = Plain()
    hashed.all = {hashed}
    yield hashed.all
    keyed = MyDict()
    keyed[1] = keyed
    yield keyed
    items = MyList()
    items.append((items,))
    yield items
    items = []
    cycle = Cyclic(items)
    items.append(cycle)
    yield cycle
    yield items
    inst = Plain()
    inst.t = (inst, [inst])
    yield inst.t


def instances():
    slots = Slots()
    slots.a, slots.b = 1, [2]
    both = Both()
    both.a, both.c = 1, 2
    yield from (Plain(), Plain(x=1, y="z"), [Plain(x=1), Plain(x=2)], slots, both, Keywords())
    yield from (MyList(), MyList([1]), MyList(range(1001)), MyDict(), MyDict(a=1), MySet([1, 2]))
    yield MyDict({n: n for n in range(2001)})
    my_list = MyList([1, 2, 3])
    my_list.note = "attribute"
    yield my_list
    yield from (Reduced(), Reduced(1, [2]), StateSetter(), [StateSetter(), StateSetter()])
    yield from (
        Colour.RED,
        [Colour.RED, Colour.RED],
        Pair(1, 2),
        Plain,
        Nested.Inner,
        Nested.Inner.Deep,
    )
    yield [Nested.Inner, Nested.Inner, Nested.Inner()]
    yield from (Registered, Registered(), [Registered, Registered()])
    yield from (
        datetime.datetime(2020, 1, 2, 3, 4, 5),
        datetime.date(1, 2, 3),
        datetime.timedelta(1, 2, 3),
    )
    yield {"datetime": datetime.datetime(2020, 1, 1), "date": datetime.date(2020, 1, 1)}
    yield from (decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=7), 1j, range(3))
    yield from (
        collections.OrderedDict(a=1, b=2),
        collections.deque([1, 2], 5),
        collections.Counter("aab"),
    )
    yield from (collections.defaultdict(list, a=[1]), ValueError("x"), KeyError("k"), slice(1, 2))
    yield from (type(None), type(...), ..., NotImplemented, len, "".join, dict.fromkeys, print)
    yield from (pathlib.PurePosixPath("/a/b"), io.BytesIO(b"x"), random.Random(5), Exception)
    yield from ([datetime.UTC] * 2, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))


def random_object(rng, depth, pool):
    kind = rng.randrange(16 if depth else 8)
    if pool and rng.random() < 0.15:
        return rng.choice(pool)
    if kind == 0:
        value = rng.choice([None, True, False])
    elif kind in (1, 2):
        value = rng.choice(
            [rng.randrange(300), rng.randrange(-(2**40), 2**40), rng.getrandbits(90)]
        )
    elif kind == 3:
        value = rng.choice([rng.random(), float(rng.randrange(10)), rng.random() * 1e20])
    elif kind in (4, 5):
        value = "".join(rng.choice("abcé한😀\n\\'") for _ in range(rng.randrange(12)))
    elif kind == 6:
        value = bytes(rng.randrange(256) for _ in range(rng.randrange(12)))
    elif kind == 7:
        value = bytearray(b"ba%d" % rng.randrange(9))
    else:
        items = [random_object(rng, depth - 1, pool) for _ in range(rng.randrange(6))]
        names = ["k%d" % rng.randrange(20) for _ in items]
        if kind in (8, 9):
            value = items
        elif kind == 10:
            value = tuple(items)
        elif kind in (11, 12):
            value = dict(zip(names, items, strict=False))
        elif kind == 13:
            value = rng.choice([set, frozenset])(names)
        elif kind == 14:
            value = Plain(**dict(zip(names, items, strict=False)))
        else:
            value = rng.choice([Reduced(*items), MyList(items), Pair(items, names), Cyclic(items)])
    pool.append(value)
    return value


def deep_object(rng):
    """More levels than the writer calls itself for, of containers of every kind."""
    pool = []
    value = random_object(rng, 3, pool)
    for _ in range(rng.randrange(20, 45)):
        value = rng.choice(
            [
                lambda inner: [inner, *rng.choices(pool, k=2)],
                lambda inner: (rng.choice(pool), inner),
                lambda inner: {"before": rng.choice(pool), "inner": inner, "after": [inner]},
                lambda inner: {(1, (2, Plain())): inner, frozenset([(3,)]): 4},
                lambda inner: Plain(inner=inner, other=rng.choice(pool)),
                lambda inner: MyList([inner, inner]),
            ]
        )(value)
        pool.append(value)
    return value


def blob(data):
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)


def case(name, data, text=""):
    blob(name.encode())
    blob(data)
    blob(text.encode("utf-8", "surrogatepass"))


def pickles():
    for number, obj in enumerate(builtin()):
        for protocol in range(6):
            # Below these protocols the types are calls.
            text = repr(obj) if protocol == 5 else ""
            case("built-in %d at %d" % (number, protocol), pickle.dumps(obj, protocol), text)
    for group in (cyclic, instances):
        for number, obj in enumerate(group()):
            for protocol in range(6):
                try:
                    data = pickle.dumps(obj, protocol)
                except (TypeError, pickle.PicklingError, RecursionError):
                    continue
                case("%s %d at %d" % (group.__name__, number, protocol), data)
    for protocol in range(6):
        out = io.BytesIO()
        Persistent(out, protocol).dump([Plain(), Plain(), "id"])
        case("persistent at %d" % protocol, out.getvalue())
    buffers = [pickle.PickleBuffer(b"one"), pickle.PickleBuffer(bytearray(b"two"))]
    case("buffers", pickle.dumps(buffers, 5, buffer_callback=lambda buffer: None))
    case("buffers in band", pickle.dumps(buffers, 5))
    rng = random.Random(7)
    for number in range(int(sys.argv[2])):
        obj = random_object(rng, 4, [])
        for protocol in range(6):
            case("random %d at %d" % (number, protocol), pickle.dumps(obj, protocol))
    for number in range(int(sys.argv[2]) // 4):
        obj = deep_object(rng)
        for protocol in range(6):
            case("deep %d at %d" % (number, protocol), pickle.dumps(obj, protocol))


pickles()
