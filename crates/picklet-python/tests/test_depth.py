"""Nesting: RecursionError at the interpreter's limit, and never the end of the process."""

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


def test_any_depth_is_read():
    levels = 300_000
    data = b"\x80\x04" + b"]" * levels + b"a" * (levels - 1) + b"."
    for loads in (picklet.loads, picklet.compat.loads):
        value, seen = loads(data), 1
        while value:
            [value] = value
            seen += 1
        assert seen == levels
