"""Attributes by which objects tell numpy and pickle what may be done with them.

numpy takes the address in `__array_interface__` for memory, and pickle calls a `__setstate__` that
an object has of its own: pickles of nothing but listed names made the interpreter read where they
said. Each is loaded in a process of its own, so that a crash would be seen as one.
"""

import subprocess
import sys

import picklet
import pytest

pytest.importorskip("numpy")


def text(value):
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def dtype(kind, state=b"NNN", size=-1, flags=0, built=True):
    made = b"cnumpy\ndtype\n" + text(kind) + b"\x89\x88\x87R"
    if not built:
        return made
    size = size.to_bytes(4, "little", signed=True)
    return (
        made
        + b"(K\x03"
        + text("|")
        + state
        + b"J"
        + size
        + b"J"
        + size
        + bytes([0x4B, flags])
        + b"tb"
    )


def data(count):
    return b"c_codecs\nencode\n" + text("A" * count) + text("latin1") + b"\x86R"


def namespace(**attributes):
    pairs = b"".join(text(name) + value for name, value in attributes.items())
    return b"ctypes\nSimpleNamespace\n)R}(" + pairs + b"ub"


ADDRESS = (
    b"}("
    + text("version") + b"K\x03"
    + text("data") + b"\x8a\x06\xef\xbe\xad\xde\x00\x00\x89\x86"
    + text("shape") + b"K\x01\x85"
    + text("typestr") + text("<f8")
    + b"u"
)  # fmt: skip


def array(kind, items, count=1):
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85"
        + text("b") + b"tR(K\x01K" + bytes([count]) + b"\x85" + kind + b"\x89" + items + b"tb"
    )  # fmt: skip


def masked(fill_value):
    return (
        b"cnumpy.ma.core\n_mareconstruct\n(cnumpy.ma\nMaskedArray\ncnumpy\nndarray\nK\x00\x85"
        + text("b") + b"tR(K\x01K\x01\x85" + dtype("f8") + b"\x89" + data(8) + data(1) + fill_value + b"tb"
    )  # fmt: skip


def structure(first, second, size=16, flags=0x1B):
    names = text("a") + text("b") + b"\x86"
    fields = b"}(" + text("a") + first + b"K\x00\x86" + text("b") + second + b"K\x08\x86u"
    return dtype("V16", b"N" + names + fields, size, flags)


OBJECT = dtype("O8", flags=0x3F)
FLOATS = dtype("V8", dtype("f8") + b"K\x01\x85\x86NN", 8)
TOWER = b"]" + b"2\x86" * 25
CRASHES = {
    "a fill value with an address": masked(namespace(__array_interface__=ADDRESS)),
    "a fill value with a method": masked(namespace(__array__=b"czoneinfo\nZoneInfo\n")),
    "an item of a structure with an address": array(
        structure(OBJECT, FLOATS), b"](N" + namespace(__array_interface__=ADDRESS) + b"\x86e"
    ),
    "an item of a structure whose text never ends": array(
        structure(OBJECT, dtype("U2", size=8)), b"](N" + TOWER + b"\x86e"
    ),
    "an exception that sets its state by another's method": (
        b"cbuiltins\nException\n)R}" + text("__setstate__") + b"cnumpy\nndarray\nsb}" + text("a") + b"K\x01sb"
    ),
    "a structure that gets objects when an array lies over it": (
        structure(dtype("i8"), dtype("i8"), flags=0) + b"q\x010" + array(b"h\x01", data(16)) + b"0h\x01"
        b"(K\x03" + text("|") + b"N" + text("a") + text("b") + b"\x86}(" + text("a") + OBJECT + b"K\x00\x86"
        + text("b") + dtype("i8") + b"K\x08\x86uK\x10K\x01K\x1btb"
    ),
    "an array over bytes that become a structure": (
        dtype("V16", built=False) + b"q\x010" + array(b"h\x01", data(16)) + b"0h\x01(K\x03" + text("|")
        + b"N" + text("a") + text("b") + b"\x86}(" + text("a") + OBJECT + b"K\x00\x86"
        + text("b") + dtype("i8") + b"K\x08\x86uK\x10K\x01K\x1btb"
    ),
    "a number that is said to be an object": dtype("f8", flags=0x3F),
    "a number with fields": dtype("f8", b"N" + text("a") + b"\x85}" + text("a") + OBJECT + b"K\x00\x86s"),
}  # fmt: skip

LOAD = """
import pickle, sys
import picklet
try:
    picklet.loads(sys.stdin.buffer.read())
except pickle.UnpicklingError as error:
    print(error)
"""


@pytest.mark.parametrize("name", CRASHES)
def test_no_attribute_tells_numpy_where_to_read(name):
    pickled = b"\x80\x02" + CRASHES[name] + b"."
    ran = subprocess.run(
        [sys.executable, "-c", LOAD], input=pickled, capture_output=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr[-500:]
    assert b"state" in ran.stdout or b"arguments" in ran.stdout, (ran.stdout, ran.stderr[-500:])
    assert picklet.scan(pickled).verdict != "clean"


def test_the_parts_that_the_attacks_are_made_of_are_listed():
    """So that each attack is refused for what it does, and not for how it is spelled."""
    import numpy

    for harmless in [
        masked(b"N"),
        masked(b"G" + bytes(8)),
        array(structure(OBJECT, FLOATS), b"](NG" + bytes(8) + b"\x85\x86e"),
        array(structure(OBJECT, dtype("U2", size=8)), b"](N" + text("ab") + b"\x86e"),
        array(structure(dtype("i8"), dtype("i8"), flags=0), data(16)),
        b"cbuiltins\nException\n)R}" + text("__notes__") + b"]" + text("a note") + b"asb",
        namespace(name=text("x")),
    ]:
        pickled = b"\x80\x02" + harmless + b"."
        assert picklet.scan(pickled).verdict == "clean", pickled
        picklet.loads(pickled)
    value = numpy.array([(None, "ab"), (3, "c")], dtype=[("a", "O"), ("b", "U2")])
    assert picklet.loads(picklet.dumps(value)).tolist() == value.tolist()
