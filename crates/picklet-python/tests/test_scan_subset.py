"""What a load imports and calls is a part of what a scan reported, on random programs.

The callables of `recorded` write down each call, state and growth as it happens, whoever makes
them: Python's own audit and profile events tell of no calls that C makes. Imports come from the
audit event that each import of a global raises. `PICKLET_CASES=200000` runs that many programs.
"""

import collections
import copyreg
import os
import random
import sys

import picklet
import pytest
import recorded

CASES = int(os.environ.get("PICKLET_CASES", "2000"))
LISTED = ["function", "other", "maker", "Plain", "Setter", "Grower"]
SECRET = ["secret", "Secret"]
BUILTIN = [
    ("builtins", "set"), ("builtins", "bytearray"), ("builtins", "complex"), ("builtins", "range"),
    ("builtins", "getattr"), ("builtins", "len"), ("builtins", "type"), ("_codecs", "encode"),
    ("collections", "OrderedDict"), ("collections", "deque"), ("collections", "Counter"),
    ("collections", "defaultdict"), ("datetime", "date"), ("datetime", "timedelta"),
    ("fractions", "Fraction"), ("uuid", "UUID"), ("types", "SimpleNamespace"),
    ("copyreg", "_reconstructor"), ("builtins", "object"), ("os", "getcwd"), ("operator", "add"),
]  # fmt: skip
ATTRIBUTES = ["a", "args", "__setstate__", "append", "extend", "__class__"]


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


class Program:
    """Writes one random pickle, as pieces that can be moved about."""

    def __init__(self, random_):
        self.random = random_
        self.memo = 0
        self.pieces = [random_.choice([b"\x80\x04", b"\x80\x02", b"\x80\x05", b""])]
        self.value(4)
        self.pieces.append(b".")

    def put(self, *pieces):
        self.pieces.extend(pieces)

    def values(self, depth, most):
        for _ in range(self.random.randrange(most + 1)):
            self.value(depth)

    def glob(self, depth=0):
        kind = self.random.random()
        if kind < 0.85:
            module, name = "recorded", self.random.choice(LISTED)
        elif kind < 0.9:
            module, name = "recorded", self.random.choice(SECRET)
        else:
            module, name = self.random.choice(BUILTIN)
        way = self.random.randrange(3)
        if way == 0:
            self.put(f"c{module}\n{name}\n".encode())
        elif way == 1:
            self.put(text(module), text(name), b"\x93")
        else:
            # By the memo, under numbers of their own.
            self.put(
                text(module),
                b"q\xf0",
                b"0",
                text(name),
                b"q\xf1",
                b"0",
                b"h\xf0",
                b"h\xf1",
                b"\x93",
            )

    def arguments(self, depth):
        self.put(b"(")
        self.values(depth, 3)
        self.put(b"t")

    def value(self, depth):
        kinds = [self.plain] if depth <= 0 else [
            self.plain, self.glob, self.call, self.call, self.call, self.new, self.new_ex, self.inst,
            self.obj, self.build, self.build, self.grow, self.grow, self.remember, self.recall,
            self.container, self.thrown_away,
        ]  # fmt: skip
        self.random.choice(kinds)(depth - 1)

    def plain(self, depth):
        self.put(self.random.choice(
            [b"N", b"K\x01", b"\x88", b"C\x01x", b"]", b"}", b")", b"\x8f", b"G?\xf0\x00\x00\x00\x00\x00\x00",
             text(self.random.choice(ATTRIBUTES)), text("latin1"), b"J\xff\xff\xff\xff"]
        ))  # fmt: skip

    def call(self, depth):
        if self.random.random() < 0.75:
            self.glob()
        else:
            self.value(depth)
        self.arguments(depth)
        self.put(b"R")

    def new(self, depth):
        self.glob()
        self.put(b")")
        self.put(b"\x81")

    def new_ex(self, depth):
        self.glob()
        self.put(b")", b"}", b"\x92")

    def inst(self, depth):
        self.put(b"(")
        self.values(depth, 2)
        self.put(f"irecorded\n{self.random.choice(LISTED + SECRET)}\n".encode())

    def obj(self, depth):
        self.put(b"(")
        self.glob()
        self.values(depth, 2)
        self.put(b"o")

    def state(self, depth):
        self.put(b"}")
        for _ in range(self.random.randrange(3)):
            self.put(text(self.random.choice(ATTRIBUTES)))
            self.value(depth)
            self.put(b"s")
        if self.random.random() < 0.2:
            self.put(b"}", b"\x86")

    def made(self, *names):
        """An object of one of these classes."""
        name = self.random.choice(names)
        way = self.random.choice([b")\x81", b")R", b")}\x92"])
        self.put(b"crecorded\n" + name.encode() + b"\n", way)

    def build(self, depth):
        if self.random.random() < 0.7:
            self.made("Setter", "Plain", "Grower")
        else:
            self.value(depth)
        self.state(depth)
        self.put(b"b")

    def grow(self, depth):
        if self.random.random() < 0.7:
            self.made("Grower")
        else:
            self.value(depth)
        way = self.random.randrange(4)
        if way == 0:
            self.value(depth)
            self.put(b"a")
        elif way == 1:
            self.put(b"(")
            self.values(depth, 2)
            self.put(self.random.choice([b"e", b"\x90"]))
        elif way == 2:
            self.put(text("a"))
            self.value(depth)
            self.put(b"s")
        else:
            self.put(b"(", text("a"))
            self.value(depth)
            self.put(b"u")

    def remember(self, depth):
        self.value(depth)
        self.put(b"q" + bytes([self.memo % 200]))
        self.memo += 1

    def recall(self, depth):
        if not self.memo:
            return self.plain(depth)
        self.put(b"h" + bytes([self.random.randrange(self.memo) % 200]))

    def container(self, depth):
        self.put(b"(")
        self.values(depth, 3)
        self.put(self.random.choice([b"t", b"l", b"t"]))

    def thrown_away(self, depth):
        self.value(depth)
        self.put(b"0")
        self.plain(depth)

    def bytes(self):
        """The pickle; a fifth of them with pieces lost, doubled or in another order."""
        pieces = list(self.pieces)
        if self.random.random() < 1 / 5:
            for _ in range(self.random.randrange(1, 3)):
                at = self.random.randrange(len(pieces))
                other = self.random.randrange(len(pieces))
                how = self.random.randrange(3)
                if how == 0:
                    del pieces[at]
                elif how == 1:
                    pieces.insert(at, pieces[other])
                else:
                    pieces[at], pieces[other] = pieces[other], pieces[at]
                if not pieces:
                    break
        return b"".join(pieces)


def watched(load):
    """What a load imported, and what happened in it."""
    found, armed = [], True

    def hook(event, args):
        if armed and event == "pickle.find_class":
            found.append(f"{args[0]}.{args[1]}")

    recorded.EVENTS.clear()
    HOOKS.append(hook)
    try:
        load()
    except (Exception, RecursionError):
        pass
    finally:
        armed = False
        HOOKS.clear()
        # A trusting load may hang attributes on functions, which are there for the next one.
        for function in (copyreg._reconstructor, recorded.function, recorded.other, recorded.maker):
            vars(function).clear()
        vars(recorded.secret).clear()
    events = collections.Counter(recorded.EVENTS)
    recorded.EVENTS.clear()
    return set(found), events


HOOKS = []
# Python keeps audit hooks for good: one for all programs.
sys.addaudithook(lambda event, args: [hook(event, args) for hook in HOOKS])


def reported(report):
    """By name: imports, and how often each was called, given a state, and made to grow."""
    imports = {f"{one.module}.{one.name}": one for one in report.imports}
    indirect = collections.Counter()
    for finding in report.findings:
        if finding.rule in ("indirect-call", "foreign-growth", "unusual-state", "changed-import"):
            indirect[finding.rule] += finding.times
    return imports, indirect


def programs(seed):
    random_ = random.Random(seed)
    for _ in range(CASES // 4 + 1):
        yield Program(random_).bytes()


@pytest.mark.parametrize("seed", range(4))
def test_a_load_by_a_policy_does_no_more_than_the_scan_reported(seed):
    allow = [f"recorded.{name}" for name in LISTED]
    seen = collections.Counter()
    for data in programs(seed):
        report = picklet.scan(data, policy=allow)
        imports, _ = reported(report)
        found, events = watched(lambda data=data: picklet.loads(data, allow=allow))
        listed = {name for name, one in imports.items() if one.listed}
        assert found <= listed, (data, found - listed)
        calls = sum(one.calls for one in imports.values())
        for (what, name), times in events.items():
            seen[what] += times
            assert "ecret" not in name, (data, events)
            name = name.removesuffix("()")
            assert name in listed, (data, name)
            # What a listed class keeps in its attributes, or a listed function gave, may call others.
            if what == "call" and not name.endswith("maker"):
                assert times <= imports[name].calls or times <= calls + sum(
                    one.states for one in imports.values()
                ), (data, events, imports)
    assert min(seen[what] for what in ("call", "state", "grow")) > CASES // 200, seen


@pytest.mark.parametrize("seed", range(4, 8))
def test_a_trusting_load_does_no_more_than_the_scan_reported(seed):
    seen = collections.Counter()
    for data in programs(seed):
        report = picklet.scan(data)
        imports, indirect = reported(report)
        found, events = watched(lambda data=data: picklet.loads(data, trust=True))
        assert found <= set(imports), (data, found)
        hidden = 0
        for (what, name), times in events.items():
            seen[what] += times
            maker = imports.get(name.removesuffix("()"))
            assert maker is not None, (data, name, report)
            if what == "call":
                counted = 0 if name.endswith("()") else maker.calls
            elif what == "state":
                counted = maker.states
            else:
                counted = 0
            hidden += max(0, times - counted)
        # What is called by no name of its own is there as a finding: one for each opcode, which may
        # call its object's method for each of many items.
        assert not hidden or sum(indirect.values()), (data, events, report)
        if events:
            assert report.verdict in ("suspicious", "dangerous"), (data, events)
        if report.verdict == "clean":
            assert not events, (data, events)
    assert min(seen[what] for what in ("call", "state", "grow")) > CASES // 100, seen


def test_what_a_policy_refuses_was_reported_before():
    """Whatever trust=True does with names that no policy lists, the safe load does nothing of it."""
    for data in programs(99):
        found, events = watched(lambda data=data: picklet.loads(data))
        assert not events, (data, events)
        assert not any(name.startswith("recorded.") for name in found), (data, found)
