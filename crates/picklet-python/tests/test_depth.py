"""Nesting: RecursionError at the interpreter's limit, and never the end of the process."""

import datetime
import decimal
import pickle
import subprocess
import sys

import picklet
import picklet.compat
import pytest

DEEP = """
import os, sys, threading
import picklet, picklet.compat

class Plain:
    pass

class Reduced:
    def __init__(self, inner):
        self.inner = inner
    def __reduce__(self):
        return Reduced, (self.inner,)

def plain(inner):
    outer = Plain()
    outer.inner = inner
    return outer

wraps = {
    "lists": lambda inner: [inner],
    "tuples": lambda inner: (inner,),
    "dicts": lambda inner: {"inner": inner},
    "instances": plain,
    "calls": Reduced,
    "mixed": lambda inner: [{"inner": (plain(inner),)}],
}
sys.setrecursionlimit(10**7)
value = None
for _ in range(int(sys.argv[2])):
    value = wraps[sys.argv[1]](value)

def run():
    for dumps in (picklet.dumps, picklet.compat.dumps):
        try:
            print(len(dumps(value)) > int(sys.argv[2]))
        except RecursionError:
            print(sys.version_info >= (3, 12))
    sys.stdout.flush()

if sys.argv[3] == "thread":
    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
else:
    run()
# Without taking the value apart, which is deep as well.
os._exit(0)
"""


@pytest.mark.parametrize("where", ["thread", "main"])
@pytest.mark.parametrize("kind", ["lists", "tuples", "dicts", "instances", "calls", "mixed"])
def test_a_raised_limit_allows_more_levels_than_the_stack_has_room_for(kind, where):
    # From 3.12 on the interpreter has a limit of its own for what C calls, which nothing raises.
    command = [sys.executable, "-c", DEEP, kind, "150000", where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "True\nTrue\n"), done.stderr


def deepest(dumps):
    """How many lists within one another are pickled at the interpreter's own limit."""
    value, levels = [], 1
    while True:
        try:
            dumps(value)
        except RecursionError:
            return levels
        value, levels = [value], levels + 1


def test_the_usual_limit_is_no_lower_than_for_c_pickle():
    stock = deepest(pickle.dumps)
    assert deepest(picklet.compat.dumps) == deepest(picklet.dumps) >= stock


def room():
    """How many calls of a Python function the interpreter lets this thread make in one another."""
    levels = 0

    def further():
        nonlocal levels
        levels += 1
        further()

    try:
        further()
    except RecursionError:
        return levels


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


class Unpicklable:
    def __reduce__(self):
        raise ValueError("no")


def test_the_levels_that_were_counted_are_given_back():
    before = room()
    for _ in range(50):
        for dumps in (picklet.dumps, picklet.compat.dumps):
            dumps([nested(300), (1, (2, {"a": [3]})), {"b": ({},)}])
            with pytest.raises(RecursionError):
                dumps(nested(10**6))
            with pytest.raises(ValueError, match="no"):
                dumps([nested(300), Unpicklable()])
    assert room() == before


def test_what_runs_after_a_deep_item_has_the_room_that_its_own_depth_leaves():
    class File:
        def __init__(self):
            self.data, self.room = b"", []

        def write(self, data):
            self.data += bytes(data)
            self.room.append(room())

    deep = nested(sys.getrecursionlimit() // 3)
    # Sent in pieces, and each time after an item that was much deeper than the list.
    items = [part for i in range(100_000) for part in ([i], f"{i} " * 30)]
    value = [deep, *items, b"x" * 100_000, deep, bytearray(b"x" * 100_000)]
    files = {}
    for name, dump in (("own", picklet.dump), ("compat", picklet.compat.dump)):
        file = files[name] = File()
        dump(value, file, 5)
        assert len(file.room) > 10
        assert max(file.room) - min(file.room) < 20
        assert pickle.loads(file.data) == value
    assert files["compat"].data == pickle.dumps(value, 5)


def test_after_an_item_at_the_limit_others_are_written_as_c_pickle_writes_them():
    np = pytest.importorskip("numpy")
    deep = nested(deepest(pickle.dumps) - 3)
    moment = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    others = [moment, decimal.Decimal("1.5"), np.arange(3), 1 << 100, "가나", "\ud800", {1, 2}]
    value = [deep, *others]
    for protocol in (4, 5):
        assert picklet.compat.dumps(value, protocol) == pickle.dumps(value, protocol)
        again = pickle.loads(picklet.dumps(value, protocol))
        assert again[1:3] == value[1:3]
        assert again[4:] == value[4:]


def test_any_depth_is_read():
    levels = 300_000
    data = b"\x80\x04" + b"]" * levels + b"a" * (levels - 1) + b"."
    for loads in (picklet.loads, picklet.compat.loads):
        value, seen = loads(data), 1
        while value:
            [value] = value
            seen += 1
        assert seen == levels
