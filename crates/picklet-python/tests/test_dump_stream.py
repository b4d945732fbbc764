"""Dumps to a file of more than is kept in memory: frames leave while the object is walked."""

import collections
import dataclasses
import datetime
import fractions
import pickle
import subprocess
import sys

import graphs
import picklet
import picklet.compat
import pytest
from hypothesis import HealthCheck, given, settings

CAP = 8 * 1024 * 1024
"""Bytes that a dump keeps before it streams."""
LARGE = b"\xff" * (CAP + 1)


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Sink:
    """A file that says how it was written to."""

    def __init__(self, then=lambda: None):
        self.chunks, self.then = [], then

    def write(self, chunk):
        self.chunks.append(bytes(bytearray(chunk)))  # a copy: nothing more refers to the object
        self.then()

    def getvalue(self):
        return b"".join(self.chunks)


def records(count):
    return [
        {"id": n, "name": f"이름 {n}", "tags": [n, (n, "x")], "ok": n % 2 == 0}
        for n in range(count)
    ]


def shared():
    table, name = {"a": 1, "b": [2]}, "a name of its own " * 3
    return [[table, name, n, (table, name)] for n in range(600_000)]


def looped():
    root = {"items": [[n] for n in range(2_000_000)]}
    root["items"].append(root)
    root["items"].append(root["items"])
    return root


SHAPES = {
    "records": lambda: records(250_000),
    "ints": lambda: list(range(3_000_000)),
    "a tuple": lambda: tuple(range(3_000_000)),
    "a set": lambda: {f"member {n}" for n in range(600_000)},
    "a dict of dicts": lambda: {f"key {n}": {"n": n, f"own {n}": None} for n in range(300_000)},
    "keys of every kind": lambda: {(n, f"k{n}"): [n] for n in range(500_000)} | {LARGE: 1, "ㄱ" * 70_000: 2},
    "shared": shared,
    "looped": looped,
    "instances": lambda: [Point(n, n / 7) for n in range(400_000)],
    "large values": lambda: [LARGE, "x" * 70_000, "é" * 70_000, "한" * 70_000, LARGE[:70_000], LARGE],
    "large and small": lambda: [[n, b"%d" % n * 20_000, "s" * n] for n in range(300)] * 2,
    "bytearrays": lambda: [bytearray(LARGE), bytearray(b"x" * 70_000), frozenset(range(100))],
    "nested lists": lambda: [[[m] * 3 for m in range(900)] for n in range(2_000)],
    "dates at the end": lambda: [*range(3_000_000), datetime.date(2020, 1, 1)],
    "an ordered dict": lambda: [*range(3_000_000), collections.OrderedDict(a=1)],
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_a_large_dump_writes_the_bytes_of_c_pickle(name):
    obj = SHAPES[name]()
    for protocol in (2, 4, 5):
        wanted = pickle.dumps(obj, protocol)
        sink = Sink()
        picklet.compat.dump(obj, sink, protocol)
        assert sink.getvalue() == wanted
        sink = Sink()
        picklet.dump(obj, sink, protocol)
        assert sink.getvalue() == picklet.dumps(obj, protocol)
        assert len(wanted) > CAP


def test_a_large_dump_holds_little_of_what_it_writes():
    for name in ("records", "ints", "a tuple", "a dict of dicts", "nested lists", "shared"):
        sink = Sink()
        picklet.dump(SHAPES[name](), sink)
        assert max(map(len, sink.chunks)) < 1 << 20, name
        assert len(sink.chunks) > 8, name


@given(graphs.values, graphs.values)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_graphs_are_the_same_when_frames_leave_between_them(first, second):
    pause = "y" * 70_000
    obj = [LARGE, first, pause, second, {"again": first, pause: [second, pause], "first": LARGE}]
    for protocol in (4, 5):
        sink = Sink()
        picklet.compat.dump(obj, sink, protocol)
        assert sink.getvalue() == pickle.dumps(obj, protocol)
    sink = Sink()
    picklet.dump(obj, sink)
    loaded = pickle.loads(sink.getvalue())
    assert graphs.signature(loaded[1:]) == graphs.signature(pickle.loads(pickle.dumps(obj))[1:])


def test_what_write_raises_comes_out_and_nothing_more_is_written():
    calls = []

    def fails():
        calls.append(1)
        if len(calls) == 3:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        picklet.dump(list(range(3_000_000)), Sink(fails))
    assert len(calls) == 3


def test_an_object_that_gets_a_value_of_another_kind_while_it_is_written_is_refused():
    items = list(range(3_000_000))

    def change():
        items[-1] = fractions.Fraction(1, 3)

    with pytest.raises(RuntimeError, match="changed while it was pickled"):
        picklet.dump(items, Sink(change))


def test_a_dict_that_grows_while_it_is_written_is_refused():
    pairs = {f"key {n}": n for n in range(600_000)}

    def change():
        pairs[len(pairs)] = 0

    with pytest.raises(RuntimeError, match="dictionary changed size"):
        picklet.dump(pairs, Sink(change))


# What `write` may do to the object. Whatever it is, the answer is a pickle or an exception: this
# runs in a process of its own, under the debug allocator, where a freed object is not a whole one.
CHANGES = """
import gc, io, random, resource, sys
import picklet

seed = int(sys.argv[1])
random = random.Random(seed)

def make():
    inner = [[[m, "text %d" % m, ("a", m)] for m in range(1500)] for n in range(40)]
    table = {f"key {n}": [f"value {n}", {"n": n, "m": [n, n]}] for n in range(30_000)}
    return {"pad": b"x" * (8 << 20), "lists": inner, "table": table, "big": ["y" * 70_000 for _ in range(20)],
            b"k" * 70_000: [1, 2], "tuple": tuple([n, "t%d" % n] for n in range(5_000)), "end": [1]}

obj = make()

# A dump that goes on for ever ends in MemoryError, and that is no RuntimeError.
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

def change():
    for _ in range(3):
        if not {"lists", "table"} <= obj.keys():
            return
        which = random.randrange(9)
        if which == 0: obj["lists"][:] = obj["lists"][:5]
        elif which == 1: obj["lists"].clear()
        elif which == 2: obj["table"] = {}
        elif which == 3: obj["table"].clear()
        elif which == 4: [one.clear() for one in obj["lists"]]
        elif which == 5: obj["big"] = None
        elif which == 6: obj["tuple"] = ()
        elif which == 7: obj["lists"].extend([[1, 2]] * 2000)
        else: obj.clear()
    gc.collect()
    obj2 = [[bytearray(64), "z" * random.randrange(80)] for _ in range(2000)]

class Sink:
    def __init__(self): self.out, self.count = io.BytesIO(), 0
    def write(self, chunk):
        self.out.write(chunk)
        self.count += 1
        if self.count == 1 + seed % 7: change()

for protocol in (4, 5):
    for dump in (picklet.dump, picklet.compat.dump):
        obj.clear()
        obj.update(make())
        sink = Sink()
        try:
            dump(obj, sink, protocol)
        except RuntimeError:
            continue
        picklet.compat.loads(sink.out.getvalue())
print("done")
"""


@pytest.mark.parametrize("seed", range(14))
def test_nothing_that_write_changes_is_looked_at_once_it_is_gone(seed):
    command = [sys.executable, "-c", CHANGES, str(seed)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONMALLOC": "debug"}, check=False,
        timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
