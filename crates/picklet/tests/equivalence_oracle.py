"""Judges, for tests/equivalence.rs, whether two pickles mean the same to CPython.

`equivalence_oracle.py make COUNT SEED`: writes pickles that C's pickler did not write as they
are and that C's unpickler loads, as blobs: a little-endian u32 length, bytes.
`equivalence_oracle.py judge FILE`: reads blobs in pairs, a pickle and what was made of it, and
prints the number and the reason of each pair that differs.

Nothing that a pickle names is imported: every name becomes a class of its own that records what
is done with it.
"""

import _compat_pickle
import collections
import copyreg
import io
import pickle
import pickletools
import random
import resource
import struct
import sys

# A mutated memo index may ask C for gigabytes.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
sys.setrecursionlimit(3000)

BUFFERS = [bytearray(b"buffer %d" % number) for number in range(64)]
copyreg.add_extension("ext", "One", 1)
copyreg.add_extension("ext", "Two", 0x200)


class Thing:
    """Whatever a pickle names: remembers how it was made and what was done to it, in order."""

    log = None

    def __new__(cls, *args, **keywords):
        self = object.__new__(cls)
        object.__setattr__(self, "made", args)
        object.__setattr__(self, "keywords", keywords)
        object.__setattr__(self, "done", [])
        Thing.log.append(("made", cls.__qualname__, len(args), len(keywords)))
        object.__setattr__(self, "seq", len(Thing.log))
        return self

    def __init__(self, *args, **keywords):
        pass

    def record(self, what, *values):
        Thing.log.append((what, type(self).__qualname__))
        self.done.append((what, *values))

    def __call__(self, *args):
        self.record("called")
        return Thing(*args)

    def __setstate__(self, state):
        self.record("state", state)

    def __setitem__(self, key, value):
        self.record("item", key, value)

    def append(self, item):
        self.record("append", item)

    def extend(self, items):
        for item in items:
            self.record("append", item)

    def add(self, item):
        self.record("add", item)


class Harmless(pickle.Unpickler):
    def __init__(self, data):
        super().__init__(io.BytesIO(data), buffers=iter(BUFFERS))
        self.classes = {}

    def find_class(self, module, name):
        # Which protocols map names is not the matter here: both spellings are one name.
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        Thing.log.append(("import", module, name))
        key = module + "." + name
        if key not in self.classes:
            self.classes[key] = type(key.replace("\0", "0"), (Thing,), {})
        return self.classes[key]

    def persistent_load(self, pid):
        return Thing("persistent", pid)


def load(data):
    Thing.log = []
    copyreg._extension_cache.clear()
    value = Harmless(data).load()
    return value, Thing.log


def order(value, depth=0):
    """A key that puts the members of equal sets into one order."""
    if isinstance(value, tuple) and depth < 4:
        return ("tuple", [order(item, depth + 1) for item in value].__repr__())
    if isinstance(value, frozenset) and depth < 4:
        return ("frozenset", sorted(order(item, depth + 1) for item in value).__repr__())
    if isinstance(value, Thing):
        return ("Thing", "%s %09d" % (type(value).__qualname__, value.seq))
    return (type(value).__name__, repr(value))


def difference(one, other):
    """Where two values differ in content or in what is shared, or None."""
    seen, back = {}, {}
    keep = []
    open_pairs = [(one, other, "$")]
    while open_pairs:
        a, b, path = open_pairs.pop()
        if isinstance(a, type) and isinstance(b, type):
            if a.__qualname__ != b.__qualname__:
                return "%s: class %s is %s" % (path, a.__qualname__, b.__qualname__)
            continue
        if type(a) is not type(b) and not (isinstance(a, Thing) and isinstance(b, Thing)):
            return "%s: %s is %s" % (path, type(a), type(b))
        if isinstance(a, float):
            if struct.pack("<d", a) != struct.pack("<d", b) and not (a != a and b != b):
                return "%s: %r is %r" % (path, a, b)
            continue
        if a is None or isinstance(a, (int, str, bytes)):
            if a != b:
                return "%s: %.50r is %.50r" % (path, a, b)
            continue
        if id(a) in seen or id(b) in back:
            if seen.get(id(a)) != id(b):
                return "%s: shared otherwise (%s)" % (path, type(a).__name__)
            continue
        if a != ():
            seen[id(a)], back[id(b)] = id(b), id(a)
        keep.append((a, b))
        if isinstance(a, Thing):
            if type(a).__qualname__ != type(b).__qualname__:
                return "%s: a %s is a %s" % (path, type(a).__qualname__, type(b).__qualname__)
            parts = [(x.made, x.keywords, tuple(x.done)) for x in (a, b)]
            for left, right, name in zip(*parts, ("args", "keywords", "done"), strict=False):
                left, right = [list(x.items() if name == "keywords" else x) for x in (left, right)]
                if len(left) != len(right):
                    return "%s.%s: %d are %d" % (path, name, len(left), len(right))
                for number, (x, y) in enumerate(zip(left, right, strict=False)):
                    where = "%s.%s[%d]" % (path, name, number)
                    # These tuples are the recorder's, not the pickle's.
                    if name == "args":
                        open_pairs.append((x, y, where))
                    else:
                        open_pairs.extend(zip(x, y, [where] * len(x), strict=False))
        elif isinstance(a, (bytearray, memoryview)):
            if bytes(a) != bytes(b):
                return "%s: %r is %r" % (path, bytes(a), bytes(b))
        else:
            if isinstance(a, dict):
                a, b = [[x for pair in d.items() for x in pair] for d in (a, b)]
            elif isinstance(a, (set, frozenset)):
                a, b = sorted(a, key=order), sorted(b, key=order)
            if len(a) != len(b):
                return "%s: %d items are %d" % (path, len(a), len(b))
            open_pairs.extend(
                (x, y, "%s[%d]" % (path, n)) for n, (x, y) in enumerate(zip(a, b, strict=False))
            )
    return None


class Old:
    """Pickled by Python 2's means: INST, OBJ, STRING, names of Python 2."""


def hand_made():
    yield from (
        b"(imodule\nName\np0\n(dp1\nS'x'\np2\nI1\nsb.",
        b"(imodule\nName\nI1\nS'two'\nib.",
        b"(lp0\n(imodule\nName\np1\n(dp2\nS'a'\nS'b\\x41\\n'\nsbag1\na.",
        b"(cmodule\nName\nK\x01K\x02o}U\x01xK\x01sb.",
        b"ccopy_reg\n_reconstructor\n(cmodule\nName\nc__builtin__\nobject\nNtR(dS'k'\nL5L\nsb.",
        b"c__builtin__\nset\n((lp0\nI1\naI2\natR.",
        b"(dp0\nVkey\n(I1\nI2\ntp1\nsVother\ng1\ns.",
        b"]2a.",
        b"](K\x012K\x02e.",
        b"]q\x00]q\x01h\x00ah\x01\x860h\x00h\x01\x86.",
        b"(K\x01K\x02K\x03(d}(K\x04K\x05u\x86.",
        b"cm\nf\n(]q\x00tRq\x01h\x00h\x01ah\x00\x86.",
        b"cm\nf\n)Rq\x00cm\ng\nh\x00\x85R0h\x00.",
        b"cm\nf\n)Rq\x00cm\nf\n)R0h\x00.",
        b"cm\nf\n)R2\x86.",
        b"cm\nf\ncm\nC\n)R2\x85R0N.",
        b"cm\nC\n)Rcm\ng\n)R0}K\x01K\x02sb.",
        b"\x80\x05\x97\x940\x97\x98h\x00\x86.",
        b"Pid\nPid\n\x86.",
        b"Pid\nQ2\x86.",
        b"\x82\x01)R\x83\x00\x02)\x81\x86.",
        b"NN(K\x01K\x020)1K\x05.",
        b"\x80\x02](\x80\x04K\x01\x8c\x01xe.",
        b"\x80\x00c__builtin__\nxrange\n\x8c\x01x\x85R.",
        b"}(K\x01cm\nf\n)RK\x01cm\ng\n)R\x88cm\nh\n)Ru.",
        b"\x8f(cm\nf\n)RK\x01G?\xf0\0\0\0\0\0\0\x90.",
        b"](cm\nf\n)Rcm\ng\n)ReK\x00K\x07s.",
    )


def random_object(rng, depth, pool):
    if pool and rng.random() < 0.2:
        return rng.choice(pool)
    kind = rng.randrange(13 if depth else 7)
    if kind == 0:
        value = rng.choice([None, True, False])
    elif kind < 3:
        value = rng.choice(
            [rng.randrange(300), rng.randrange(-(2**40), 2**40), rng.getrandbits(90)]
        )
    elif kind == 3:
        value = rng.choice([rng.random(), 1.0, -0.0, float("inf"), float("nan")])
    elif kind == 4:
        value = "".join(rng.choice("abé한😀\n\\'\ud800") for _ in range(rng.randrange(6)))
    elif kind == 5:
        value = bytes(rng.randrange(256) for _ in range(rng.randrange(6)))
    elif kind == 6:
        value = bytearray(b"ba%d" % rng.randrange(9))
    else:
        items = [random_object(rng, depth - 1, pool) for _ in range(rng.randrange(5))]
        keys = [rng.choice([number, "k%d" % number, (number, "k")]) for number in range(len(items))]
        if kind in (7, 8):
            value = items
        elif kind == 9:
            value = tuple(items)
        elif kind == 10:
            value = dict(zip(keys, items, strict=False))
        elif kind == 11:
            value = rng.choice([set, frozenset])(keys)
        else:
            value = Old()
            value.__dict__.update(zip(map(str, keys), items, strict=False))
    pool.append(value)
    if isinstance(value, list) and rng.random() < 0.1:
        value.append(rng.choice(pool))
    return value


def others_of(rng, obj):
    """Pickles of `obj` that are not as C's pickler writes them."""
    for protocol in range(6):
        data = pickle.dumps(obj, protocol)
        yield data
        yield pickletools.optimize(data)
        out = io.BytesIO()
        pickle._Pickler(out, protocol).dump(obj)
        yield out.getvalue()
        if protocol >= 2:
            yield data[2:]
            yield bytes([0x80, rng.randrange(6)]) + data[2:]


CODES = {op.name: op.code.encode("latin-1") for op in pickletools.opcodes}
ARGUMENTS = {
    "int4": lambda rng: struct.pack("<i", rng.randrange(9)),
    "uint1": lambda rng: bytes([rng.randrange(9)]),
    "uint2": lambda rng: struct.pack("<H", rng.randrange(9)),
    "uint4": lambda rng: struct.pack("<I", rng.randrange(9)),
    "float8": lambda rng: struct.pack(">d", float(rng.randrange(4))),
    "decimalnl_short": lambda rng: b"%d\n" % rng.randrange(6),
    "decimalnl_long": lambda rng: b"%dL\n" % rng.randrange(6),
    "stringnl": lambda rng: b"'s%d'\n" % rng.randrange(4),
    "stringnl_noescape": lambda rng: b"pid%d\n" % rng.randrange(4),
    "stringnl_noescape_pair": lambda rng: b"m\nName%d\n" % rng.randrange(4),
    "unicodestringnl": lambda rng: b"u%d\n" % rng.randrange(4),
    "floatnl": lambda rng: b"%d.5\n" % rng.randrange(4),
    "string1": lambda rng: b"\x02b%d" % rng.randrange(4),
    "string4": lambda rng: b"\x02\0\0\0b%d" % rng.randrange(4),
    "bytes1": lambda rng: b"\x02b%d" % rng.randrange(4),
    "bytes4": lambda rng: b"\x02\0\0\0b%d" % rng.randrange(4),
    "bytes8": lambda rng: b"\x02\0\0\0\0\0\0\0b%d" % rng.randrange(4),
    "bytearray8": lambda rng: b"\x02\0\0\0\0\0\0\0b%d" % rng.randrange(4),
    "unicodestring1": lambda rng: b"\x02u%d" % rng.randrange(4),
    "unicodestring4": lambda rng: b"\x02\0\0\0u%d" % rng.randrange(4),
    "unicodestring8": lambda rng: b"\x02\0\0\0\0\0\0\0u%d" % rng.randrange(4),
    "long1": lambda rng: bytes([1, rng.randrange(256)]),
    "long4": lambda rng: b"\x01\0\0\0" + bytes([rng.randrange(256)]),
}
PUSHES = ["NONE", "BININT1", "SHORT_BINUNICODE", "NEWTRUE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"]


def piece(rng, name):
    op = pickletools.code2op[CODES[name].decode("latin-1")]
    if op.arg is None:
        return CODES[name]
    return CODES[name] + ARGUMENTS[op.arg.name](rng)


def program(rng):
    """A pickle of random opcodes, each kept only where C still loads what there is of it."""
    out = b""
    for _ in range(rng.randrange(2, 14)):
        for _ in range(8):
            choice = rng.random()
            if choice < 0.25:
                step = piece(rng, rng.choice(PUSHES))
            elif choice < 0.4:
                step = b"cm\nName%d\n" % rng.randrange(4) + rng.choice(
                    [b")R", b")\x81", b"", b"N\x85R"]
                )
            else:
                step = piece(
                    rng, rng.choice([n for n in CODES if n not in ("STOP", "FRAME", "PROTO")])
                )
            if b"(" in step[:1] or accepts(out + step + b"."):
                out += step
                break
    return out + b"."


def without_frames(data):
    """C reads a line that straddles the end of a frame in two ways, from bytes and from a file."""
    ops = list(pickletools.genops(data))
    ends = [at for _, _, at in ops[1:]] + [len(data)]
    return b"".join(
        data[at:end] for (op, _, at), end in zip(ops, ends, strict=False) if op.name != "FRAME"
    )


def mutated(rng, data):
    data = bytearray(without_frames(data))
    for _ in range(rng.randrange(1, 4)):
        if not data:
            break
        at = rng.randrange(len(data))
        way = rng.randrange(4)
        if way == 0:
            data[at] = (
                rng.choice(b"0(1202hqjrp\x85\x86abuse.RtlodN)]}\x94")
                if rng.random() < 0.7
                else rng.randrange(256)
            )
        elif way == 1:
            del data[at : at + rng.randrange(1, 4)]
        elif way == 2:
            data[at:at] = rng.choice(
                [
                    b"0",
                    b"2",
                    b"N0",
                    b"(0",
                    b"(1",
                    b"K\x01",
                    b"cm\nf\n)R0",
                    b"cm\nf\n)R",
                    b"\x85",
                    b"2\x86",
                    b"q\x07",
                    b"h\x01",
                ]
            )
        else:
            data[at:at] = data[at : at + rng.randrange(1, 8)]
    return bytes(data)


def accepts(data):
    if len(data) > 1 << 20:
        return False
    try:
        for op, arg, _ in pickletools.genops(data):
            if op.name in ("PUT", "LONG_BINPUT") and arg > 100_000:
                return False
    except Exception:
        pass
    try:
        load(data)
    except Exception:
        return False
    return True


def blob(data):
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)


def make(count, seed):
    rng = random.Random(seed)
    for data in hand_made():
        assert accepts(data) or data.startswith(b"(imodule\nName\nI1"), data
        if accepts(data):
            blob(data)
    for _number in range(count):
        obj = random_object(rng, 3, [])
        for data in others_of(rng, obj):
            if accepts(data):
                blob(data)
            if len(data) < 2000:
                changed = mutated(rng, data)
                if accepts(changed):
                    blob(changed)
        data = program(rng)
        if accepts(data):
            blob(data)


def judge(file):
    with open(file, "rb") as f:
        data = f.read()
    at, blobs = 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        blobs.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    for number in range(0, len(blobs), 2):
        before, after = blobs[number : number + 2]
        one, one_log = load(before)
        try:
            other, other_log = load(after)
        except Exception as error:
            print(number // 2, "is refused:", repr(error))
            continue
        reason = difference(one, other)
        counts = collections.Counter(one_log), collections.Counter(other_log)
        if reason is None and counts[0] - counts[1]:
            reason = "effects lost: %s" % (counts[0] - counts[1])
        if reason is None and one_log != other_log:
            reason = "effects in another order or twice"
        if reason is not None:
            print(number // 2, reason.encode("ascii", "backslashreplace").decode())


if sys.argv[1] == "make":
    make(int(sys.argv[2]), int(sys.argv[3]))
else:
    judge(sys.argv[2])
