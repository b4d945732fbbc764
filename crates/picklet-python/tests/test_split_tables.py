"""Splitting what is one object: arrays, tables, and what must be loaded for it."""

import collections
import io
import pathlib
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import picklet
import pytest
import scipy.sparse

PLACES = ["서울", "부산", None]
FRAME = pd.DataFrame(
    {
        "n": np.arange(1000),
        "text": [f"손님 {n}" for n in range(1000)],
        "kind": pd.Categorical(["a", "b"] * 500),
        "day": pd.date_range("2026-01-01", periods=1000, freq="h", tz="Asia/Seoul"),
        "place": [PLACES[n % 3] for n in range(1000)],
    }
)
TABLES = {
    "frame": FRAME,
    "indexed": FRAME.set_index(["kind", "n"]),
    "series": FRAME["text"],
    "index": pd.Index(FRAME["text"]),
    "array": np.arange(3000.0).reshape(1000, 3),
    "fortran": np.asfortranarray(np.arange(3000.0).reshape(1000, 3)),
    "objects": np.array([None, "둘", 3.0, (4,)] * 250, dtype=object),
    "permuted": np.arange(6000).reshape(2, 1000, 3).transpose(1, 0, 2),
}


def equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b, check_freq=False)
    elif isinstance(a, pd.Series):
        pd.testing.assert_series_equal(a, b, check_freq=False)
    elif isinstance(a, pd.Index):
        pd.testing.assert_index_equal(a, b)
    else:
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def rows(table, start, stop):
    return table.iloc[start:stop] if hasattr(table, "iloc") else table[start:stop]


@pytest.mark.parametrize("cut", [{"count": 300}, {"size": "1kB"}, {"parts": 3}, {}], ids=str)
@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("form", ["live", "file"])
def test_tables_and_arrays_are_split_along_their_first_axis(form, name, cut):
    table = TABLES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if form == "live":
            segments = picklet.split(table, "out", **cut)
        else:
            pathlib.Path("table.pickle").write_bytes(pickle.dumps(table))
            segments = picklet.split("table.pickle", "out", **cut)
    assert segments.kind == "array"
    at = 0
    for path in segments.paths:
        part = pickle.loads(path.read_bytes())
        equal(rows(table, at, at + len(part)), part)
        at += len(part)
    assert at == len(table) == len(segments.items)
    equal(table, segments.load())
    assert len(segments) == {"count": 4, "parts": 3}.get(next(iter(cut), ""), len(segments))
    if "size" in cut and name != "index":
        assert len(segments) > 1


@pytest.mark.parametrize("name", ["array", "fortran", "objects"])
def test_rows_are_read_one_by_one(name):
    array = TABLES[name]
    items = picklet.split(array, "out", count=64).items
    np.testing.assert_array_equal(items[321], array[321])
    np.testing.assert_array_equal(items[-1], array[-1])
    rows, expected = items[60:200:7], array[60:200:7]
    assert len(rows) == len(expected)
    for row, of_numpy in zip(rows, expected, strict=True):
        np.testing.assert_array_equal(row, of_numpy)


def test_rows_of_frames_are_series():
    items = picklet.split(FRAME, "out", count=64).items
    pd.testing.assert_series_equal(items[321], FRAME.iloc[321])
    assert [row["n"] for row in items[60:70]] == list(range(60, 70))


def test_sparse_matrices_are_split_and_joined():
    matrix = scipy.sparse.random(500, 40, 0.1, format="csr", random_state=1)
    segments = picklet.split(matrix, "out", count=200)
    assert len(segments) == 3
    joined = segments.load()
    assert (joined != matrix).nnz == 0
    with pytest.raises(TypeError, match="no rows"):
        picklet.split(np.array(1.5), "other", count=2)


def test_what_is_loaded_to_be_sliced_is_said():
    pathlib.Path("frame.pickle").write_bytes(pickle.dumps(FRAME))
    with pytest.warns(UserWarning, match=r"pandas\.DataFrame.*loaded, and sliced in Python"):
        picklet.split("frame.pickle", "out", count=400)
    pathlib.Path("array.pickle").write_bytes(pickle.dumps(TABLES["array"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picklet.split("array.pickle", "array", count=400)


def test_a_file_that_can_seek_is_loaded_from_where_it_stood_and_a_pipe_is_refused():
    data = pickle.dumps(FRAME)
    file = io.BytesIO(b"header" + data)
    file.seek(6)
    with pytest.warns(UserWarning, match="loaded"):
        equal(FRAME, picklet.split(file, "out", count=400).load())

    class Pipe(io.RawIOBase):
        def __init__(self):
            self.rest = io.BytesIO(data)

        def readable(self):
            return True

        def readinto(self, buffer):
            return self.rest.readinto(buffer)

    with pytest.raises(picklet.UnpicklingError, match="a path or a file that can seek"):
        picklet.split(Pipe(), "other", count=400)


class Own:
    pass


def test_what_is_loaded_is_loaded_safely_and_must_have_rows():
    pathlib.Path("own.pickle").write_bytes(pickle.dumps(Own()))
    with pytest.raises(picklet.UntrustedGlobalError):
        picklet.split("own.pickle", "out", count=1)
    with pytest.raises(picklet.UnpicklingError, match="no items"):
        picklet.split("own.pickle", "out", count=1, trust=True)
    pathlib.Path("users.pickle").write_bytes(pickle.dumps(collections.UserList(range(10))))
    with pytest.warns(UserWarning, match="loaded"):
        segments = picklet.split("users.pickle", "out", count=4, trust=True)
    assert segments.load() == list(range(10))
    pathlib.Path("number.pickle").write_bytes(pickle.dumps(7))
    with pytest.raises(picklet.UnpicklingError, match="an int"):
        picklet.split("number.pickle", "other")


def program(*arguments):
    command = [sys.executable, "-m", "picklet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_has_python_slice_what_it_cannot_cut():
    pathlib.Path("표.pickle").write_bytes(pickle.dumps(FRAME))
    done = program("split", "표.pickle", "-o", "조각", "--count", "300")
    assert done.returncode == 0, done.stderr
    assert "4 segments, 1,000 items" in done.stdout
    assert "loaded, and sliced in Python" in done.stderr
    equal(FRAME, picklet.open("조각").load())
    refused = program("split", "표.pickle", "-o", "조각", "--count", "300")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "not empty" in refused.stderr
    pathlib.Path("own.pickle").write_bytes(pickle.dumps(Own()))
    refused = program("split", "own.pickle", "-o", "다른", "--count", "3")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "own.pickle" in refused.stderr
    assert "Own" in refused.stderr
    missing = program("split", "표.pickle", "-o", "없다", "--python", "/no/python")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "/no/python" in missing.stderr


def test_arrays_are_merged_and_cut_anew():
    array = TABLES["fortran"]
    segments = picklet.split(array, "out", count=300)
    segments.merge("merged.pickle")
    equal(array, pickle.loads(pathlib.Path("merged.pickle").read_bytes()))
    anew = segments.resplit("anew", parts=7)
    assert len(anew) == 7
    equal(array, anew.load())
