"""numpy in safe loads: ordinary arrays load, and the pickles that crash numpy are refused."""

import datetime
import pickle
import subprocess
import sys

import graphs
import picklet
import picklet.compat
import pytest
from picklet import _picklet

np = pytest.importorskip("numpy")

ARRAYS = {
    "ints": np.arange(10),
    "floats": np.linspace(0, 1, 7, dtype="f4"),
    "big-endian": np.arange(5, dtype=">i4"),
    "matrix": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "slice": np.arange(12).reshape(3, 4)[:, ::2],
    "empty": np.empty((0, 3)),
    "no dimensions": np.array(5),
    "bools": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "strings": np.array(["a", "bcd", "日"]),
    "bytes": np.array([b"a", b"bcd"]),
    "objects": np.array([1, "a", None, [1, 2]], dtype=object),
    "object matrix": np.array([[1, None], ["x", 2.5]], dtype=object),
    "datetimes": np.array(["2020-01-01", "NaT"], dtype="M8[ns]"),
    "timedeltas": np.array([1, 2], dtype="m8[25s]"),
    "structured": np.array([(1, 2.5, "ab")], dtype=[("a", "i4"), ("b", "f8"), ("c", "U3")]),
    "aligned": np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "nested": np.zeros(2, dtype=[("p", [("x", "f4"), ("y", ">i2")]), ("q", "i8", (2, 3))]),
    "offsets": np.zeros(
        2, dtype={"names": ["a"], "formats": ["i4"], "offsets": [4], "itemsize": 16}
    ),
    "void": np.zeros(2, dtype="V7"),
    "float16": np.zeros(3, dtype="f2"),
    "large": np.arange(100_000),
    "records": np.rec.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "record dtype": np.zeros(2, dtype=np.dtype((np.record, [("a", "i4")]))),
    "structured with objects": np.array([(1, "x"), (2, None)], dtype=[("a", "i8"), ("b", "O")]),
}
MASKED = {
    "masked": np.ma.array([1, 2, 3], mask=[0, 1, 0]),
    "nothing masked": np.ma.array([[1.5, 2.5]]),
    "masked objects": np.ma.array([1, "x"], mask=[0, 1], dtype=object),
    "masked structure": np.ma.array([(1, 2.5)], mask=[(0, 1)], dtype=[("a", "i4"), ("b", "f8")]),
    "fill value": np.ma.array([1, 2], mask=[1, 0], fill_value=-7),
}
SCALARS = [np.float64(1.5), np.int32(7), np.bool_(True), np.str_("x"), np.datetime64("2020-01-01"),
           np.complex64(1j), np.bytes_(b"ab"), np.float32(2)]  # fmt: skip
DTYPES = [array.dtype for array in ARRAYS.values()]


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_load_without_a_word(name, protocol):
    array = ARRAYS[name]
    for dumps in (pickle.dumps, _picklet.dumps):
        loaded = _picklet.loads(dumps(array, protocol))
        stock = pickle.loads(pickle.dumps(array, protocol))
        assert loaded.dtype == stock.dtype
        assert loaded.shape == stock.shape
        assert loaded.flags.f_contiguous == stock.flags.f_contiguous
        assert repr(loaded) == repr(stock)
        assert loaded.tobytes() == stock.tobytes() or loaded.dtype == object


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("name", MASKED)
def test_masked_arrays_load_without_a_word(name, protocol):
    array = MASKED[name]
    data = pickle.dumps([array, array], protocol)
    ours, stock = _picklet.loads(data), pickle.loads(data)
    assert ours[0] is ours[1]
    assert type(ours[0]) is type(stock[0])
    assert repr(ours[0]) == repr(stock[0])
    assert repr(ours[0].mask) == repr(stock[0].mask)
    assert ours[0].fill_value == stock[0].fill_value


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
def test_scalars_and_dtypes_load_without_a_word(protocol):
    assert _picklet.loads(pickle.dumps(SCALARS, protocol)) == SCALARS
    assert _picklet.loads(pickle.dumps(DTYPES, protocol)) == DTYPES
    both = [np.arange(3), np.arange(3, dtype=">i8"), np.arange(3.0), {"a": np.arange(2)}]
    loaded = _picklet.loads(pickle.dumps(both, protocol))
    stock = pickle.loads(pickle.dumps(both, protocol))
    assert [array.dtype for array in loaded[:3]] == [array.dtype for array in stock[:3]]


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_compat_writes_the_bytes_of_c_pickle(name, protocol):
    array = ARRAYS[name]
    assert _picklet.compat_dumps(array, protocol) == pickle.dumps(array, protocol)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_matrices_load_without_a_word():
    matrix = np.matrix([[1, 2]])
    loaded = _picklet.loads(pickle.dumps(matrix))
    assert type(loaded) is np.matrix
    assert loaded.tolist() == matrix.tolist()


def test_shared_and_recursive_arrays_keep_their_sharing():
    array = np.arange(4)
    loaded = _picklet.loads(pickle.dumps([array, array, {"again": array}]))
    assert loaded[0] is loaded[1] is loaded[2]["again"]
    recursive = np.array([None, 1], dtype=object)
    recursive[0] = recursive
    for protocol in graphs.PROTOCOLS:
        loaded = _picklet.loads(pickle.dumps(recursive, protocol))
        assert loaded[0] is loaded


def test_out_of_band_arrays_view_their_buffers():
    array = np.arange(1000)
    buffers = []
    data = _picklet.dumps(array, 5, buffer_callback=buffers.append)
    loaded = _picklet.loads(data, buffers=buffers)
    assert np.shares_memory(loaded, array)


def crafted(state, text="V8", size=8):
    """An array of bytes whose dtype gets the given state."""

    class Dtype:
        def __reduce__(self):
            return np.dtype, (text, False, True), state

    class Array:
        def __reduce__(self):
            reconstruct = np.zeros(1).__reduce__()[0]
            return reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), Dtype(), False, b"A" * size)

    return pickle.dumps(Array(), 2)


OBJECT = np.dtype("O")
INT = np.dtype("i8")
CRASHERS = {
    # The flags of the state say that there are no objects, the field says there is one.
    "hidden object field": crafted((3, "|", None, ("a",), {"a": (OBJECT, 0)}, 8, 1, 0)),
    "object subarray": crafted((3, "|", (OBJECT, (1,)), None, None, 8, 1, 0)),
    "field beyond the item": crafted((3, "|", None, ("a",), {"a": (INT, 1000)}, 8, 1, 0)),
    "item larger than its bytes": crafted((3, "|", None, None, None, 1 << 30, 1, 0)),
    "negative item": crafted((3, "|", None, None, None, -8, 1, 0)),
    "field without a name": crafted((3, "|", None, ("a",), {}, 8, 1, 0)),
    "object by its letter": crafted((3, "|", None, None, None, -1, -1, 63), "O8"),
}


@pytest.mark.parametrize("name", CRASHERS)
def test_crafted_dtypes_are_refused(name):
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        _picklet.loads(CRASHERS[name])


def test_the_hidden_object_field_does_crash_stock_pickle():
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())['a'])"
    done = subprocess.run(
        [sys.executable, "-c", code], input=CRASHERS["hidden object field"], capture_output=True
    )
    assert done.returncode != 0


def test_a_field_that_lies_over_an_object_is_refused():
    fields = {"a": (OBJECT, 0), "b": (INT, 4)}
    data = crafted((3, "|", None, ("a", "b"), fields, 16, 1, 63), "V16", 16)
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        _picklet.loads(data)


ARRAY_STATES = {
    "too few bytes": (1, (1000,), INT, False, b"A" * 8),
    "negative shape": (1, (-1,), INT, False, b"A" * 8),
    "overflowing shape": (1, (1 << 62, 1 << 62, 0), INT, False, b""),
    "objects as bytes": (1, (1,), OBJECT, False, b"A" * 8),
    "too few objects": (1, (3,), OBJECT, False, [1]),
    "dtype that is none": (1, (1,), "O", False, b"A" * 8),
    "short state": (1, (1,), INT, False),
    "bytes as a list": (1, (1,), INT, False, [1]),
}


@pytest.mark.parametrize("name", ARRAY_STATES)
def test_crafted_array_states_are_refused(name):
    class Array:
        def __reduce__(self):
            reconstruct = np.zeros(1).__reduce__()[0]
            return reconstruct, (np.ndarray, (0,), b"b"), ARRAY_STATES[name]

    with pytest.raises(pickle.UnpicklingError):
        _picklet.loads(pickle.dumps(Array()))


def test_an_array_in_use_cannot_be_given_another_state():
    class Twice:
        def __reduce__(self):
            reconstruct = np.zeros(1).__reduce__()[0]
            return reconstruct, (np.ndarray, (0,), b"b"), (1, (1,), INT, False, b"A" * 8)

    data = pickle.dumps(Twice(), 2)
    state = pickle.dumps((1, (2,), INT, False, b"B" * 16), 2)[2:-1]
    with pytest.raises(pickle.UnpicklingError):
        _picklet.loads(data[:-1] + state + b"b.")


def test_a_dtype_in_use_cannot_be_given_another_state():
    dtype = pickle.dumps(np.dtype("i8"), 2)
    state = pickle.dumps((3, "<", None, None, None, -1, -1, 0), 2)[2:-1]
    with pytest.raises(pickle.UnpicklingError):
        _picklet.loads(dtype[:-1] + state + b"b.")


def test_dates_inside_object_arrays_load():
    array = np.array([datetime.date(2020, 1, 2), None], dtype=object)
    assert _picklet.loads(pickle.dumps(array)).tolist() == array.tolist()


@pytest.mark.parametrize("dumps", [picklet.dumps, picklet.compat.dumps])
def test_nothing_is_copied_out_of_band_either_way(dumps):
    array = np.arange(100_000, dtype="f8")
    buffers = []
    data = dumps(array, 5, buffer_callback=buffers.append)
    assert len(data) < 1000
    assert np.shares_memory(np.frombuffer(buffers[0]), array)
    for loads in (picklet.loads, picklet.compat.loads):
        assert np.shares_memory(loads(data, buffers=buffers), array)


def test_dtypes_of_this_machine_come_back_native():
    for dtype in (np.dtype("u4"), np.dtype("f8"), np.dtype("M8[ns]"), np.dtype(">i2")):
        for obj in (dtype, np.zeros(2, dtype)):
            data = pickle.dumps(obj)
            loaded, stock = picklet.loads(data), pickle.loads(data)
            assert repr(loaded) == repr(stock)
            assert getattr(loaded, "dtype", loaded).byteorder == (
                getattr(stock, "dtype", stock).byteorder
            )


@pytest.mark.skipif(not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"),
                    reason="numpy 1 has no strings of any length")  # fmt: skip
@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
def test_strings_of_any_length_load_by_the_policy(protocol):
    for options in ({}, {"na_object": None}, {"na_object": float("nan")}, {"coerce": False}):
        dtype = np.dtypes.StringDType(**options)
        strings = ["", "짧다", "long " * 100, "\U0001f600"]
        if "na_object" in options:
            strings.append(options["na_object"])
        array = np.array([strings, strings], dtype)
        for dumps in (pickle.dumps, _picklet.dumps):
            again, kind = _picklet.loads(dumps([array, dtype], protocol))
            assert again.dtype == kind == dtype
            assert repr(again.tolist()) == repr(array.tolist())


@pytest.mark.skipif(not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"),
                    reason="numpy 1 has no strings of any length")  # fmt: skip
def test_strings_of_any_length_are_made_of_strings_alone_and_stand_alone():
    make = "cnumpy._core._internal\n_convert_to_stringdtype_kwargs\n(I01\ntR"
    array = "cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR"
    # numpy would ask each of these for its text, which takes for ever where lists share lists.
    laughs = "".join(f"(lp{n}\ng{n - 1}\nag{n - 1}\na" for n in range(1, 60))
    deep = f"{array}(I1\n(I1\nt{make}I00\n((lp0\n{laughs}ltb."
    with pytest.raises(pickle.UnpicklingError, match="ndarray"):
        _picklet.loads(deep.encode())
    with pytest.raises(pickle.UnpicklingError):
        _picklet.loads(f"cnumpy._core.multiarray\nscalar\n({make}V0123456789abcdef\ntR.".encode())
    structure = (
        f"cnumpy\ndtype\n(VV16\nI00\nI01\ntR(I3\nV|\nN(Va\nt(dVa\n({make}I0\ntsI16\nI1\nI27\ntb."
    )
    with pytest.raises(pickle.UnpicklingError, match="dtype"):
        _picklet.loads(structure.encode())
