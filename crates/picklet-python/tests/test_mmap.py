"""`load(file, mmap=True)`: arrays that view the file."""

import io
import pickle
import subprocess
import sys

import numpy as np
import picklet
import pytest


def saved(obj, protocol=5, before=b"", behind=b""):
    with open("data.pickle", "wb") as file:
        file.write(before + pickle.dumps(obj, protocol) + behind)
    return open("data.pickle", "rb")


@pytest.mark.parametrize("protocol", range(6))
def test_values_are_those_of_a_load_that_copies(protocol):
    obj = {
        "numbers": np.arange(10_000, dtype="f8").reshape(100, 100),
        "order": np.asfortranarray(np.arange(6000).reshape(60, 100)),
        "few": np.arange(3),
        "bytes": b"x" * 10_000,
        "more": bytearray(10_000),
        "text": "가" * 10_000,
    }
    with saved(obj, protocol, b"head", b"tail") as file:
        file.seek(4)
        loaded = picklet.load(file, mmap=True)
        assert file.read() == b"tail"
    for name, value in obj.items():
        assert type(loaded[name]) is type(value)
        assert np.array_equal(loaded[name], value)
    assert loaded["order"].flags.f_contiguous


def test_changing_an_array_leaves_the_file_and_other_loads_as_they_are():
    with saved(np.zeros(10_000)) as file:
        one = picklet.load(file, mmap=True)
        file.seek(0)
        other = picklet.load(file, mmap=True)
    one[:] = 7
    assert not other.any()
    with open("data.pickle", "rb") as file:
        assert not pickle.load(file).any()


def test_the_array_keeps_its_map_when_the_file_is_closed_and_gone():
    import os

    with saved([np.arange(100_000)]) as file:
        [array] = picklet.load(file, mmap=True)
    os.remove("data.pickle")
    assert array.sum() == 99_999 * 50_000


def test_arrays_are_read_when_they_are_used():
    saved(np.zeros(64 << 20, dtype="u1")).close()
    # Anonymous memory alone: pages of the file are nobody's.
    code = """
import sys, numpy, picklet
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
before = anonymous()
with open("data.pickle", "rb") as file:
    array = picklet.load(file, mmap=sys.argv[1] == "map")
print(anonymous() - before)
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    taken = {}
    for how in ("map", "copy"):
        run = [sys.executable, "-c", code, how]
        taken[how] = int(subprocess.run(run, check=True, capture_output=True).stdout)
    assert taken["copy"] > 60 << 10
    assert taken["map"] < 8 << 10


def test_a_safe_load_stays_safe():
    import shlex

    with saved([shlex.split]) as file, pytest.raises(picklet.UntrustedGlobalError):
        picklet.load(file, mmap=True)
    with saved([shlex.split]) as file:
        assert picklet.load(file, mmap=True, trust=True) == [shlex.split]


def test_what_is_no_file_on_disk_is_refused():
    with pytest.raises(TypeError, match="mmap=True needs a file on disk"):
        picklet.load(io.BytesIO(pickle.dumps(1)), mmap=True)
    with open("empty", "wb"):
        pass
    with open("empty", "rb") as file, pytest.raises(EOFError):
        picklet.load(file, mmap=True)
    with saved(1) as file:
        picklet.load(file, mmap=True)
        with pytest.raises(EOFError):
            picklet.load(file, mmap=True)
    whole = pickle.dumps(np.arange(5000), 5)
    with open("cut", "wb") as file:
        file.write(whole[:-5000])
    with open("cut", "rb") as file, pytest.raises(pickle.UnpicklingError, match="truncated"):
        picklet.load(file, mmap=True)
