"""Writes cases for tests/pickletools.rs to stdout.

A case is five blobs, each a little-endian u32 length and bytes: the pickle, the arguments
(indent,annotate), what pickletools.dis prints, how it ends ('' or 'Error: text'), and what
pickletools.optimize gives (b'!' and the error where it raises, b'=' and the bytes else), and,
where it gave bytes, what it gives for those.
"""

import collections
import datetime
import decimal
import fractions
import io
import pickle
import pickletools
import random
import struct
import sys
import uuid
import warnings

warnings.simplefilter("ignore")
COUNT = int(sys.argv[1])
rng = random.Random(20260)


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y


class Persistent(pickle.Pickler):
    def persistent_id(self, obj):
        return "id " + repr(obj.x) if isinstance(obj, Point) else None


def objects():
    shared = ["shared", b"bytes"]
    loop = []
    loop.append((loop, {"self": loop}))
    yield from (None, True, False, 0, -1, 255, 256, 65535, 65536, 2**31, -(2**31) - 1, 2**63)
    yield from (-(2**63), 2**64, 10**100, -(10**400), 0.0, -0.0, 1e16, 1e-5, 5e-324, 1.5e300)
    yield from (float("inf"), float("-inf"), float("nan"), 1 / 3, 2.5, 123456789.125)
    yield from ("", "abc", "it's", 'a "quoted"', 'it\'s "both"', "\t\r\n\\ \x00\x7f\x80\xad")
    yield from ("é한😀", "\u2028\ue000\U000e0001", "\ud83d", "\ude00\ud83d", "x" * 300)
    yield from (b"", b"abc", b"it's", b"\x00\xff\n\\'\"", bytes(range(256)), b"y" * 300)
    yield from (bytearray(b""), bytearray(b'it\'s "x"\x00'), bytearray(b"it's"), b"z" * 70000)
    yield from ([], (), {}, set(), frozenset(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), loop)
    yield [shared, shared, (shared, shared)]
    yield {"a": 1, 2: [3, 4.5], (5,): {6, 7}, None: frozenset([8])}
    yield [Point(1, 2), Point("a", None), Point]
    yield [datetime.datetime(2020, 1, 2, 3, 4, 5), datetime.date(1, 1, 1), datetime.timedelta(3)]
    yield [decimal.Decimal("1.50"), fractions.Fraction(1, 3), uuid.UUID(int=5), 1j]
    yield [collections.OrderedDict(a=1), collections.deque([1, 2], 5), collections.Counter("aab")]
    yield [range(5), slice(1, 2), ValueError("x", 1), collections.defaultdict(list, a=[1])]
    yield list(range(1001))
    yield {i: str(i) for i in range(1001)}
    yield [[i, "text %d" % i] for i in range(9000)]
    yield "big" * 30000
    yield ["big" * 30000, "small", b"b" * 65536, b"c" * 65537, [b"d" * 65530, 1, "x"]]
    yield [[[[[[]]]]], ((((),),),)]


def pickles():
    for obj in objects():
        for protocol in range(6):
            yield pickle.dumps(obj, protocol)
            if protocol in (0, 2, 4):
                yield pickle._dumps(obj, protocol)
    for protocol in range(6):
        out = io.BytesIO()
        Persistent(out, protocol).dump([Point(1, 2), Point(3, 4)])
        yield out.getvalue()
    yield pickle.dumps([pickle.PickleBuffer(b"oob")], 5, buffer_callback=lambda b: None)
    yield pickle.dumps([pickle.PickleBuffer(bytearray(b"oob"))], 5, buffer_callback=lambda b: None)


HAND_MADE = [
    b"",
    b".",
    b"N",
    b"N.",
    b"NN.",
    b"I00\n.",
    b"I01\n.",
    b"I1\n.",
    b"I 1_0 \n.",
    b"I0x10\n.",
    b"I\n.",
    b"I1__0\n.",
    b"I1\r\n.",
    b"I" + b"9" * 4301 + b"\n.",
    b"I" + b"9" * 4300 + b"\n.",
    b"I" + b"a" * 300 + b"\n.",
    b"I-5\n.",
    b"I+5\n.",
    b"I12",
    b"L5L\n.",
    b"L5LL\n.",
    b"L-0\n.",
    b"L123456789012345678901234567890L\n.",
    b"L\n.",
    b"LL\n.",
    b"L\xe9\n.",
    b"F1.5\n.",
    b"Finf\n.",
    b"Fnan\n.",
    b"F-Infinity\n.",
    b"F 1_0.5e3 \n.",
    b"F1__0\n.",
    b"Fx\n.",
    b"F.5\n.",
    b"F5.\n.",
    b"F.\n.",
    b"F1e400\n.",
    b"F1e-400\n.",
    b"F\n.",
    b"F0x1p3\n.",
    b"F1_\n.",
    b"S'abc'\n.",
    b'S"abc"\n.',
    b"S'abc\"\n.",
    b"Sabc\n.",
    b"S\n.",
    b"S'\n.",
    b"S'a\\x41\\n\\101'\n.",
    b"S'\\x4'\n.",
    b"S'abc\\'\n.",
    b"S'\\xff'\n.",
    b"S'\xe9'\n.",
    b"S'\\q\\\\'\n.",
    b"S'\\777'\n.",
    b"S'abc",
    b"U\x03abc.",
    b"U\x02\xe9\xff.",
    b"U\x05ab.",
    b"T\x02\0\0\0ab.",
    b"T\xff\xff\xff\xff.",
    b"T\x02\0\0.",
    b"T\x09\0\0\0ab.",
    b"Vabc\n.",
    b"V\\u00e9\\U0001f600\n.",
    b"V\xe9\n.",
    b"V\\x41\n.",
    b"V\\\\u0041\n.",
    b"V\\u00\n.",
    b"V\\U0011ffff\n.",
    b"V\\U0001\n.",
    b"Va\\\n.",
    b"V\\ud83d\\ude00\n.",
    b"V\\u\n.",
    b"V\\u00g0\n.",
    b"V\n.",
    b"V",
    b"X\x02\0\0\0\xc3\xa9.",
    b"X\x01\0\0\0\xff.",
    b"X\x02\0\0\0\xc3\x28.",
    b"X\x01\0\0\0\xc3.",
    b"X\x03\0\0\0\xed\xa0\x80.",
    b"X\x02\0\0\0\xed\xa0.",
    b"X\x04\0\0\0\xf0\x9f\x98\x28.",
    b"X\x03\0\0\0\xf0\x9f\x98.",
    b"X\x03\0\0\0\xe2\x28\xa1.",
    b"X\x03\0\0\0\xe2\x82\x28.",
    b"X\x04\0\0\0a\xf5\x80\x80.",
    b"X\x02\0\0\0\xc0\x80.",
    b"X\x09\0\0\0ab.",
    b"X\x04\0\0\0\xf4\x90\x80\x80.",
    b"X\x03\0\0\0\xe0\x80\x80.",
    b"X\x06\0\0\0\xed\xa0\xbd\xed\xb8\x80.",
    b"\x8c\x01\x80.",
    b"\x8d\x02\0\0\0\0\0\0\0ab.",
    b"\x8d\x02\0\0\0\0\0\0\x80ab.",
    b"\x8d\x09\0\0\0\0\0\0\0ab.",
    b"\x8e\x02\0\0\0\0\0\0\0ab.",
    b"\x96\x02\0\0\0\0\0\0\0ab.",
    b"\x96\x07\0\0\0\0\0\0\0ab.",
    b"B\x02\0\0\0ab.",
    b"B\xff\xff\xff\xffab.",
    b"C\x02ab.",
    b"C\x03ab.",
    b"\x8a\x00.",
    b"\x8a\x01\xff.",
    b"\x8a\x09\0\0\0\0\0\0\0\0\x01.",
    b"\x8a\x05a.",
    b"\x8b\x01\0\0\0\xff.",
    b"\x8b\xff\xff\xff\xff.",
    b"\x8b\x10\0\0\0a.",
    b"\x8b" + struct.pack("<i", 1786) + b"\x7f" * 1786 + b".",
    b"\x8b" + struct.pack("<i", 1785) + b"\x7f" * 1785 + b".",
    b"J\xff\xff\xff\xff.",
    b"J\xff.",
    b"K",
    b"M\x01.",
    b"M\x01\x02.",
    b"G\x3f\xf8\0\0\0\0\0\0.",
    b"G\x3f.",
    b"cos\nsystem\n.",
    b"cos\n",
    b"c\xe9\nx\n.",
    b"ca\\x41\nb\\n\n.",
    b"c\n\n.",
    b"cit's\nx\n.",
    b"(ios\nsystem\n.",
    b"(K\x01K\x02ios\nsystem\n.",
    b"(cos\nsystem\nK\x01o.",
    b"(o.",
    b"ios\nx\n.",
    b"cos\nsystem\nK\x01\x85R.",
    b"Pid\n.",
    b"P\\x41\n.",
    b"P\xff\n.",
    b"P\n.",
    b"Nq\0Q.",
    b"Q.",
    b"\x82\x05.",
    b"\x83\x05\x01.",
    b"\x84\xff\xff\xff\xff.",
    b"\x84\x05\0\0\0.",
    b"\x82\0.",
    b"\x97.",
    b"\x97\x98.",
    b"\x98.",
    b"N2.",
    b"N20.",
    b"2.",
    b"0.",
    b"(0N.",
    b"N(0.",
    b"N(10.",
    b"N(N1.",
    b"(N\x85t.",
    b"(\x85t.",
    b"((\x86.",
    b"(e.",
    b"](e.",
    b"](K\x01K\x02e.",
    b"]K\x01a.",
    b"]a.",
    b"a.",
    b"}(K\x01K\x02u.",
    b"}(K\x01u.",
    b"}K\x01K\x02s.",
    b"\x8f(K\x01\x90.",
    b"(K\x01\x91.",
    b"(t.",
    b"(l.",
    b"(d.",
    b"(K\x01K\x02d.",
    b"t.",
    b"Np0\n0g0\n.",
    b"Np0\np0\n.",
    b"g0\n.",
    b"h\x05.",
    b"j\x05\0\0\0.",
    b"p0\n.",
    b"(p0\n.",
    b"Np00\ng00\n.",
    b"Np00\n0g0\n.",
    b"Np01\n0h\x01.",
    b"Np-1\n0g-1\n.",
    b"Np123456789012345678901234567890\n0g123456789012345678901234567890\n.",
    b"Npx\n.",
    b"K\x01r\xff\xff\xff\xff0j\xff\xff\xff\xff.",
    b"N\x94\x94.",
    b"\x94.",
    b"(\x94.",
    b"Nq\x01\x94.",
    b"Nq\0\x94.",
    b"]\x94h\x00a.",
    b"N\x940]\x940h\x01.",
    b"\x80\x02N.",
    b"\x80\x09N.",
    b"\x80.",
    b"N\x80\x04.",
    b"\x80\x04\x80\x03N.",
    b"\x80\x06Nq\0h\0\x86.",
    b"\x95\x01\0\0\0\0\0\0\0N.",
    b"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.",
    b"\x95\0",
    b"N\x93.",
    b"\x8c\x02os\x8c\x06system\x93.",
    b"N)\x81.",
    b"N)}\x92.",
    b"NNb.",
    b"Nb.",
    b"\xff.",
    b"!.",
    b"N.trailing",
    b"(" * 900 + b"N" + b"1" * 900 + b"N.",
    b"\x80\x04]\x94K\x01ah\x00\x86.",
]


def mutated(seed_pickles):
    while True:
        data = bytearray(rng.choice(seed_pickles))
        for _ in range(rng.randint(1, 4)):
            if not data:
                break
            kind = rng.random()
            at = rng.randrange(len(data))
            if kind < 0.4:
                data[at] = rng.randrange(256)
            elif kind < 0.6:
                del data[at : at + rng.randint(1, 3)]
            elif kind < 0.8:
                data[at:at] = bytes(rng.choice(CODES) for _ in range(rng.randint(1, 3)))
            else:
                other = rng.choice(seed_pickles)
                cut = rng.randrange(len(other))
                data[at:at] = other[cut : cut + rng.randint(1, 20)]
        yield bytes(data)


CODES = [ord(op.code) for op in pickletools.opcodes]


def made_up():
    """Opcodes drawn from the table, with arguments that mostly hold."""
    while True:
        out = bytearray()
        for _ in range(rng.randint(1, 25)):
            op = rng.choice(pickletools.opcodes)
            if op.name == "STOP":
                continue
            out += op.code.encode("latin-1")
            name = op.arg.name if op.arg else None
            body = bytes(rng.choice(b"abc'\\\xc3\xa9\x00 01") for _ in range(rng.randint(0, 6)))
            if name is None:
                pass
            elif name in ("uint1", "uint2", "uint4", "int4", "uint8", "float8"):
                size = int(name[-1])
                out += bytes(rng.choice((0, 0, 1, 2, 3, 255)) for _ in range(size))
            elif name in ("decimalnl_short", "decimalnl_long"):
                out += (
                    rng.choice([b"0", b"1", b"2", b"01", b"-7", b"12L", b"99999999999999999999"])
                    + b"\n"
                )
            elif name == "floatnl":
                out += rng.choice([b"1", b"-2.5e10", b"nan", b"1e22"]) + b"\n"
            elif name == "stringnl":
                out += repr(body)[1:].encode() + b"\n"
            elif name == "unicodestringnl":
                out += body.replace(b"\n", b"") + b"\n"
            elif name == "stringnl_noescape":
                out += b"name\n"
            elif name == "stringnl_noescape_pair":
                out += b"mod\nname\n"
            elif name[-1] == "1":
                out += bytes([len(body)]) + body
            elif name[-1] == "4":
                out += struct.pack("<I", len(body)) + body
            else:
                out += struct.pack("<Q", len(body)) + body
        yield bytes(out) + b"."


def blob(data):
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)


def ending(error):
    return f"{type(error).__name__}: {error}"


def case(data, indent, annotate):
    out = io.StringIO()
    end = ""
    try:
        pickletools.dis(io.BytesIO(data), out, None, indent, annotate)
    except Exception as error:
        end = ending(error)
    try:
        small = b"=" + pickletools.optimize(data)
    except Exception as error:
        small = b"!" + ending(error).encode("utf-8", "backslashreplace")
    blob(data)
    blob(b"%d,%d" % (indent, annotate))
    # A slip in this text up to 3.12, corrected since.
    listing = out.getvalue().replace("using found-byte length", "using four-byte length")
    blob(listing.encode("utf-8"))
    blob(end.encode("utf-8", "backslashreplace"))
    blob(small)
    # What comes out goes in once more.
    if small.startswith(b"="):
        try:
            blob(b"=" + pickletools.optimize(small[1:]))
        except Exception as error:
            blob(b"!" + ending(error).encode("utf-8", "backslashreplace"))


seeds = list(pickles())
for data in seeds + HAND_MADE:
    case(data, 4, 0)
    if len(data) < 5000:
        case(data, 4, 30)
        case(data, 1, 5)
short = [data for data in seeds + HAND_MADE if 0 < len(data) < 2000]
for _, first, second in zip(range(COUNT), mutated(short), made_up(), strict=False):
    case(first, 4, 0)
    case(second, 2, 30)
