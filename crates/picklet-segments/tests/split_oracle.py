"""The oracle of the split tests: makes pickles of random object graphs with
stock pickle, and checks segments of them with stock pickle.

    make FOLDER SEED COUNT    writes FOLDER/*.pickle
    check FOLDER              FOLDER/NAME.pickle against FOLDER/NAME.*/
"""

import collections
import datetime
import decimal
import enum
import io
import os
import pickle
import pickletools
import random
import sys


class Plain:
    pass


class Slotted:
    __slots__ = ("a", "b")

    def __getstate__(self):
        return None, {"a": self.a, "b": self.b}

    def __setstate__(self, state):
        self.a, self.b = state[1]["a"], state[1]["b"]


class Stated:
    def __init__(self, x):
        self.x = x

    def __reduce__(self):
        return (Stated, (0,), {"x": self.x})


class ListLike(list):
    pass


class DictLike(dict):
    pass


class Color(enum.Enum):
    RED = 1
    BLUE = 2


Point = collections.namedtuple("Point", "x y")


class Gapped(pickle._Pickler):
    """Numbers the memo 5, 8, 11, …"""

    def memoize(self, obj):
        if self.fast:
            return
        index = len(self.memo) * 3 + 5
        if self.bin:
            op = b"q" + bytes([index]) if index < 256 else b"r" + index.to_bytes(4, "little")
        else:
            op = b"p%d\n" % index
        self.write(op)
        self.memo[id(obj)] = index, obj


def gapped(value, protocol):
    out = io.BytesIO()
    Gapped(out, protocol).dump(value)
    return out.getvalue()


def unframed(data):
    out, last = b"", 0
    for op, _arg, at in pickletools.genops(data):
        if op.name == "FRAME":
            out += data[last:at]
            last = at + 9
    return out + data[last:]


class Graph:
    def __init__(self, rng, sharing):
        self.rng = rng
        self.pool = []
        self.hashable = []
        self.sharing = sharing

    def atom(self):
        r = self.rng
        return r.choice(
            [
                lambda: None,
                lambda: True,
                lambda: False,
                lambda: r.randrange(-3, 300),
                lambda: r.getrandbits(40) - (1 << 39),
                lambda: r.getrandbits(r.randrange(1, 3000)),
                lambda: r.random(),
                lambda: "".join(r.choice("abcdéß漢😀\n'\"\\") for _ in range(r.randrange(12))),
                lambda: "s" * r.randrange(400),
                lambda: "lone \udc80 half",
                lambda: r.randbytes(r.randrange(20)),
                lambda: r.randbytes(r.randrange(400)),
                lambda: bytearray(r.randbytes(r.randrange(20))),
                lambda: datetime.date(2000 + r.randrange(30), 3, 4),
                lambda: Color.RED,
                lambda: decimal.Decimal(r.randrange(1000)) / 7,
                lambda: complex(r.random(), 2),
                lambda: collections.OrderedDict,
                lambda: len,
                lambda: range(r.randrange(9)),
            ]
        )()

    def shared(self, pool):
        if pool and self.rng.random() < self.sharing:
            if self.rng.random() < 0.5:
                return True, pool[self.rng.randrange(min(len(pool), 4))]
            return True, self.rng.choice(pool)
        return False, None

    def value(self, depth=0):
        r = self.rng
        found, value = self.shared(self.pool)
        if found:
            return value
        if depth > 4 or r.random() < 0.5:
            value = self.atom()
            if r.random() < 0.3:
                self.pool.append(value)
            return value

        def few():
            return r.randrange(r.choice([2, 4, 6]))

        kind = r.randrange(12)
        if kind == 0:
            value = []
            self.pool.append(value)  # cycles through what it holds
            value.extend(self.value(depth + 1) for _ in range(few()))
        elif kind == 1:
            value = {}
            self.pool.append(value)
            for _ in range(few()):
                value[self.key()] = self.value(depth + 1)
        elif kind == 2:
            value = tuple(self.value(depth + 1) for _ in range(few()))
        elif kind == 3:
            value = {self.key() for _ in range(few())}
        elif kind == 4:
            value = frozenset(self.key() for _ in range(few()))
        elif kind == 5:
            value = Plain()
            self.pool.append(value)
            value.a, value.b = self.value(depth + 1), self.value(depth + 1)
        elif kind == 6:
            value = Slotted()
            value.a, value.b = self.value(depth + 1), self.value(depth + 1)
        elif kind == 7:
            value = Stated(0)
            self.pool.append(value)
            value.x = self.value(depth + 1)
        elif kind == 8:
            value = ListLike()
            self.pool.append(value)
            value.extend(self.value(depth + 1) for _ in range(few()))
            value.note = self.value(depth + 1)
        elif kind == 9:
            value = DictLike({self.key(): self.value(depth + 1)})
        elif kind == 10:
            value = Point(self.value(depth + 1), self.value(depth + 1))
        else:  # a tuple that holds itself
            inner = []
            value = (inner,) * 1 if r.random() < 0.5 else (inner, 1, 2, 3, 4)
            inner.append(value)
        self.pool.append(value)
        return value

    def key(self):
        found, value = self.shared(self.hashable)
        if found:
            return value
        r = self.rng
        value = r.choice(
            [
                lambda: "".join(r.choice("abcdefgh") for _ in range(r.randrange(1, 9))),
                lambda: r.randrange(1 << 34),
                lambda: (r.randrange(99), "k%d" % r.randrange(999)),
                lambda: Point(r.randrange(99), 5),
                lambda: frozenset([r.randrange(9)]),
                lambda: r.randbytes(5),
            ]
        )()
        self.hashable.append(value)
        return value


TOPS = [
    "list",
    "tuple",
    "dict",
    "set",
    "frozenset",
    "OrderedDict",
    "defaultdict",
    "Counter",
    "deque",
    "bounded",
]


def top(graph, kind, count):
    if kind in ("set", "frozenset"):
        items = [graph.key() for _ in range(count)]
        return set(items) if kind == "set" else frozenset(items)
    if kind in ("dict", "OrderedDict", "defaultdict"):
        pairs = [(graph.key(), graph.value()) for _ in range(count)]
        if kind == "defaultdict":
            return collections.defaultdict(list, pairs)
        return dict(pairs) if kind == "dict" else collections.OrderedDict(pairs)
    if kind == "Counter":
        return collections.Counter({graph.key(): n for n in range(count)})
    items = [graph.value() for _ in range(count)]
    if kind == "tuple":
        return tuple(items)
    if kind == "deque":
        return collections.deque(items)
    if kind == "bounded":
        return collections.deque(items, maxlen=100000)
    return items


def writers(protocol):
    yield "c", lambda v: pickle.dumps(v, protocol)
    yield "py", lambda v: pickle._dumps(v, protocol)
    yield "optimized", lambda v: pickletools.optimize(pickle.dumps(v, protocol))
    if protocol < 4:
        yield "gapped", lambda v: gapped(v, protocol)
    else:
        yield "unframed", lambda v: unframed(pickle.dumps(v, protocol))


def make(folder, seed, count):
    rng = random.Random(seed)
    for number in range(count):
        kind = TOPS[number % len(TOPS)]
        protocol = rng.randrange(6)
        sharing = rng.choice([0, 0.1, 0.4])
        graph = Graph(rng, sharing)
        size = rng.choice([0, 1, 2, 3, 4, 5, 20, 20, 60, 60, 200])
        if number % 40 < 10:
            size, protocol = rng.randrange(900, 2600), number % 6
        value = top(graph, kind, size)
        choices = list(writers(protocol))
        name, write = choices[number // 10 % len(choices)]
        try:
            data = write(value)
            same(value, pickle.loads(data))
        except (Different, AssertionError, AttributeError, TypeError, RecursionError):
            continue  # what stock pickle does not bring back either
        with open(f"{folder}/{number:04}-{kind}-p{protocol}-{name}.pickle", "wb") as file:
            file.write(data)


class Different(Exception):
    pass


IMMUTABLE = (tuple, frozenset)


def same(a, b, sharing=True, joined=False):
    """Raises Different unless the graphs of a and b are the same, sharing
    included (of all but atoms). If joined, b may share what cannot change
    where a has equal copies."""
    there, back, keep, pairs = {}, {}, [], set()
    todo = [(a, b, "")]
    while todo:
        a, b, path = todo.pop()
        if type(a) is not type(b):
            raise Different(f"{path}: {type(a)} is not {type(b)}")
        if isinstance(
            a,
            (
                type(None),
                bool,
                int,
                float,
                str,
                bytes,
                complex,
                type,
                enum.Enum,
                range,
                datetime.date,
                decimal.Decimal,
            ),
        ) or callable(a):
            if a != b and not (a != a and b != b):
                raise Different(f"{path}: {a!r} != {b!r}"[:500])
            continue
        if a == () == b or (isinstance(a, frozenset) and not a and not b):
            continue
        if not sharing:
            if (id(a), id(b)) in pairs:
                continue
            pairs.add((id(a), id(b)))
        elif id(a) in there or (id(b) in back and not (joined and isinstance(a, IMMUTABLE))):
            known = joined and isinstance(a, IMMUTABLE)
            if there.get(id(a)) != id(b) or (back.get(id(b)) != id(a) and not known):
                raise Different(f"{path}: shared otherwise than in the source: {a!r:.200}")
            continue
        there[id(a)], back[id(b)] = id(b), id(a)
        keep.append((a, b))
        if hasattr(a, "__dict__"):
            todo.append((a.__dict__, b.__dict__, path + ".__dict__"))
        if isinstance(a, Slotted):
            todo += [(a.a, b.a, path + ".a"), (a.b, b.b, path + ".b")]
        if isinstance(a, (list, tuple, collections.deque)):
            if len(a) != len(b):
                raise Different(f"{path}: {len(a)} items, not {len(b)}")
            todo += [(x, y, f"{path}[{i}]") for i, (x, y) in enumerate(zip(a, b, strict=False))]
        elif isinstance(a, dict):
            if len(a) != len(b):
                raise Different(f"{path}: {len(a)} pairs, not {len(b)}")
            for (k, v), (j, w) in zip(a.items(), b.items(), strict=False):
                todo += [(k, j, path + ".key"), (v, w, f"{path}[{k!r:.50}]")]
        elif isinstance(a, (set, frozenset)):
            if a != b:
                raise Different(f"{path}: sets differ")
        elif isinstance(a, bytearray) and a != b:
            raise Different(f"{path}: bytearrays differ")


def load(data):
    value = pickle.loads(data)
    pure = pickle._loads(data)
    if type(pure) is not type(value):
        raise Different("pickle._loads sees something else")
    return value


def slices(value, counts):
    at = 0
    if isinstance(value, dict):
        pairs = list(value.items())
        for count in counts:
            yield dict(pairs[at : at + count])
            at += count
    else:
        items = list(value)
        for count in counts:
            yield items[at : at + count]
            at += count


def check_one(source, folder):
    with open(source, "rb") as file:
        whole = pickle.load(file)
    names = sorted(n for n in os.listdir(folder) if n.endswith(".pickle"))
    parts = []
    for name in names:
        with open(f"{folder}/{name}", "rb") as file:
            data = file.read()
        part = load(data)
        if type(part) is not type(whole):
            raise Different(f"{name}: a {type(part)}, not a {type(whole)}")
        parts.append(part)
    if isinstance(whole, (set, frozenset)):
        if sum(map(len, parts)) != len(whole) or type(whole)().union(*parts) != whole:
            raise Different("the sets joined are not the source's")
        return len(parts)
    if isinstance(whole, collections.defaultdict):
        assert all(p.default_factory is whole.default_factory for p in parts)
    if isinstance(whole, collections.deque):
        assert all(p.maxlen == whole.maxlen for p in parts)
    if sum(map(len, parts)) != len(whole):
        raise Different(f"{sum(map(len, parts))} items in all, not {len(whole)}")
    for name, part, want in zip(names, parts, slices(whole, map(len, parts)), strict=False):
        got = dict(part) if isinstance(part, dict) else list(part)
        try:
            same(want, got)
        except Different as error:
            raise Different(f"{name}: {error}") from None
    return len(parts)


def same_as_parts(folder, merged):
    """The merged pickle has the sharing that each segment has."""
    parts = []
    for name in sorted(n for n in os.listdir(folder) if n.endswith(".pickle")):
        with open(f"{folder}/{name}", "rb") as file:
            parts.append(pickle.load(file))
    if isinstance(merged, (set, frozenset)):
        return
    if isinstance(merged, dict):
        want = [pair for part in parts for pair in part.items()]
        got = list(merged.items())
        same([list(pair) for pair in want], [list(pair) for pair in got], joined=True)
    else:
        same([item for part in parts for item in part], list(merged), joined=True)


def check_cut_anew(old, new):
    """The segments in new hold what those in old hold, with the sharing that each of old has."""
    parts, made = [], []
    for folder, into in ((old, parts), (new, made)):
        for name in sorted(n for n in os.listdir(folder) if n.endswith(".pickle")):
            with open(f"{folder}/{name}", "rb") as file:
                into.append(load(file.read()))
    assert all(type(part) is type(parts[0]) for part in made)
    if isinstance(parts[0], (set, frozenset)):
        whole = type(parts[0])()
        if whole.union(*made) != whole.union(*parts) or sum(map(len, made)) != sum(map(len, parts)):
            raise Different("the sets joined are not the old ones'")
        return

    def items(parts):
        return [x for part in parts for x in (part.items() if isinstance(part, dict) else part)]

    want, got = items(parts), items(made)
    if len(want) != len(got):
        raise Different(f"{len(got)} items, not {len(want)}")
    at = 0
    for part in made:
        end = at + len(part)
        if isinstance(part, dict):
            same([list(p) for p in want[at:end]], [list(p) for p in got[at:end]], joined=True)
        else:
            same(want[at:end], got[at:end], joined=True)
        at = end


def check(folder):
    sources = sorted(n for n in os.listdir(folder) if n.endswith(".pickle"))
    checked = segments = 0
    for name in sources:
        stem = name[: -len(".pickle")]
        for split in sorted(
            n for n in os.listdir(folder) if n.startswith(stem + ".") and n != name
        ):
            if not os.path.isdir(f"{folder}/{split}"):
                continue
            try:
                if ".anew" in split:
                    check_cut_anew(f"{folder}/{split[: split.index('.anew')]}", f"{folder}/{split}")
                    checked += 1
                    continue
                segments += check_one(f"{folder}/{name}", f"{folder}/{split}")
            except Exception as error:
                print(f"{split}: {type(error).__name__}: {error}"[:2000])
                sys.exit(1)
            checked += 1
            merged = f"{folder}/{split}.merged"
            if os.path.exists(merged):
                try:
                    with open(merged, "rb") as file:
                        data = file.read()
                    joined = load(data)
                    with open(f"{folder}/{name}", "rb") as file:
                        whole = pickle.load(file)
                    same(whole, joined, sharing=False)
                    if "all" in split:
                        same(whole, joined)
                    same_as_parts(f"{folder}/{split}", joined)
                except Exception as error:
                    print(f"{split} merged: {type(error).__name__}: {error}"[:2000])
                    sys.exit(1)
    print(f"checked {checked} splits, {segments} segments")


if __name__ == "__main__":
    # Under its own name, so that the classes can be imported again.
    import split_oracle

    sys.setrecursionlimit(3000)
    if sys.argv[1] == "make":
        split_oracle.make(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        split_oracle.check(sys.argv[2])
