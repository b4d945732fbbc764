"""Answers for tests/oracle.rs: what C pickle and pickletools make of pickles.

With `corpus` it prints pickles; else standard input: pickles, each after its length in four bytes. Standard output: a line for each.
"""

import pickle
import pickletools
import resource
import struct
import sys
import warnings

# A PUT of a huge index makes C allocate (and touch) that many entries.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))


def no_globals(event, args):
    if event == "pickle.find_class":
        raise RuntimeError("global")


def tell(value, seen=None):
    seen = {} if seen is None else seen
    kind = type(value)
    if value is None or kind in (bool, int):
        return str(value)
    if kind is float:
        return "float:" + struct.pack(">d", value).hex()
    if kind is str:
        return "str:" + value.encode("utf-8", "surrogatepass").hex()
    if kind in (bytes, bytearray):
        return kind.__name__ + ":" + value.hex()
    if kind in (tuple, frozenset) and not value:
        return "()" if kind is tuple else "frozenset()"
    if id(value) in seen:
        return "#%d" % seen[id(value)]
    number = seen[id(value)] = len(seen)
    if kind in (set, frozenset):
        return "%s#%d(%s)" % (kind.__name__, number, ",".join(sorted(map(tell, value))))
    if kind is dict:
        items = [part for pair in value.items() for part in pair]
    elif kind in (list, tuple):
        items = value
    else:
        return "unknown"
    return "%s#%d(%s)" % (kind.__name__, number, ",".join(tell(item, seen) for item in items))


def load(data):
    try:
        # `loads`, not `load`: from files C loses bytes where an opcode straddles a frame's end.
        return "= " + tell(pickle.loads(data))
    except Exception as error:
        return "! {}: {}".format(type(error).__name__, str(error).replace("\n", " ")[:80])


def ops(data):
    def word(arg):
        if arg is None:
            return "-"
        if isinstance(arg, float):
            return struct.pack(">d", arg).hex()
        if isinstance(arg, (bytes, bytearray)):
            return arg.hex()
        if isinstance(arg, str):
            return arg.encode("utf-8", "surrogatepass").hex()
        return str(arg)

    return " ".join(
        "%s:%d:%s" % (op.name, pos, word(arg)) for op, arg, pos in pickletools.genops(data)
    )


def corpus():
    """Pickles of many values at all protocols, as hex lines, then pickles by hand."""
    shared = ["shared"]
    cycle = []
    cycle.append(cycle)
    cycle.append({"self": cycle})
    values = [
        None,
        True,
        False,
        0,
        1,
        -1,
        255,
        256,
        65535,
        65536,
        2**31 - 1,
        2**31,
        -(2**31),
        -(2**31) - 1,
        2**63,
        -(2**63),
        2**64,
        10**40,
        -(10**40),
        2**2040,
        0.0,
        -0.0,
        1.5,
        1e16,
        1e-5,
        float("inf"),
        float("nan"),
        "",
        "a",
        "é",
        "한국어",
        "😀",
        "\ud83d\ude00",
        "\\\n\r\0\x1a'\"",
        "x" * 300,
        "y" * 70000,
        b"",
        b"\x00\xff",
        b"z" * 300,
        bytearray(b"abc"),
        (),
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        [],
        [1],
        list(range(1001)),
        {},
        {"a": 1},
        {i: str(i) for i in range(1001)},
        set(),
        {1, 2},
        frozenset(),
        frozenset([1, "b"]),
        [shared, shared, (shared,)],
        cycle,
        [{"id": i, "name": "user %d" % i, "score": i / 7, "tags": ["a", "b"]} for i in range(20)],
        {1: 2, 1.5: [], (1, (2, "x")): frozenset([3]), None: b"n", True: "also 1"},  # noqa: F601 (equal keys are the case)
        [[[[[[]]]]], ({}, [{}])],
        {"k" * 10: {"n": (1, [2, {"m": None}])}},
    ]
    for value in values:
        for protocol in range(6):
            print(pickle.dumps(value, protocol).hex())
            if protocol >= 4:
                print(pickletools.optimize(pickle.dumps(value, protocol)).hex())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what = sys.argv[1]
    if what == "corpus":
        corpus()
        sys.exit()
    sys.addaudithook(no_globals)
    answer = ops if what == "ops" else load
    data = sys.stdin.buffer.read()
    at = 0
    out = []
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        out.append(answer(data[at + 4 : at + 4 + length]))
        at += 4 + length
    sys.stdout.write("\n".join(out) + "\n")
