"""pandas in safe loads: ordinary frames load, and states that crash pandas are refused."""

import copyreg
import pickle
import subprocess
import sys
import warnings

import graphs
import pytest
from picklet import _picklet

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")

offsets = pd.offsets
VALUES = {
    "frame": pd.DataFrame({
        "int": [1, 2], "float": [1.5, None], "str": ["x", None], "bool": [True, False],
        "time": pd.to_datetime(["2020-01-01", "2021-01-01"]), "cat": pd.Categorical(["u", "v"]),
    }),
    "extension arrays": pd.DataFrame({
        "int": pd.array([1, None], dtype="Int64"), "float": pd.array([1.5, None], dtype="Float32"),
        "bool": pd.array([True, None], dtype="boolean"),
        "str": pd.array(["a", None], dtype="string"),
        "period": pd.period_range("2020-01", periods=2, freq="D"),
        "interval": pd.arrays.IntervalArray.from_breaks([0, 1, 2]),
        "zone": pd.date_range("2020", periods=2, tz="Asia/Seoul"),
        "delta": pd.to_timedelta([1, 2], unit="h"), "sparse": pd.arrays.SparseArray([0, 1]),
    }),
    "multi-index": pd.DataFrame(
        np.arange(4.0).reshape(2, 2), columns=["p", "q"],
        index=pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None]),
    ),
    "interleaved": pd.DataFrame({"a": [1], "b": [1.0], "c": [2], "d": [2.0]}),
    "sliced": pd.DataFrame(np.arange(12).reshape(3, 4), columns=list("abcd"))[["d", "a"]].iloc[::2],
    "empty": pd.DataFrame(),
    "objects": pd.DataFrame({"a": pd.Series([1, "x", [1], {"y": 2}], dtype=object)}),
    "series": pd.Series([1, 2, 3], name=("a", 1)),
    "indexes": [
        pd.Index(["a", "b"]), pd.Index([3, 1]), pd.Index([1, "a"]), pd.RangeIndex(3),
        pd.CategoricalIndex(["a", "b"], ordered=True), pd.interval_range(0, 3),
        pd.date_range("2020", periods=3, freq="MS", tz="UTC"), pd.timedelta_range("1D", periods=2),
        pd.period_range("2020-01", periods=2, freq="M"),
        pd.interval_range(pd.Timestamp("2020"), periods=2),
    ],
    "scalars": [
        pd.Timestamp("2020-01-01 12:00:00.123456789"), pd.Timestamp("2020", tz="Asia/Seoul"),
        pd.Timedelta("1D"), pd.Period("2020-01", "M"), pd.Interval(0, 1), pd.NaT, pd.NA,
    ],
    "strings": [
        pd.array(["a", None], dtype="string[python]"), pd.array(["a"], dtype="string[pyarrow]"),
    ],
    "sparse": [pd.arrays.SparseArray([0, 1]), pd.arrays.SparseArray([0, 1, 1], kind="block")],
    "arrow": [
        pd.array([1, None], dtype="int64[pyarrow]"),
        pd.Series([pd.Timestamp("2020")], dtype="timestamp[ns][pyarrow]"),
    ],
    "dtypes": [
        pd.CategoricalDtype(["a"]), pd.DatetimeTZDtype("ns", "UTC"), pd.PeriodDtype("D"),
        pd.IntervalDtype("int64"), pd.SparseDtype("int64"), pd.Int64Dtype(), pd.StringDtype(),
        pd.BooleanDtype(),
    ],
    "offsets": [
        offsets.Day(2), offsets.MonthEnd(), offsets.BusinessHour(), offsets.CustomBusinessDay(),
        offsets.QuarterBegin(startingMonth=2), offsets.Week(weekday=1), offsets.Easter(),
        offsets.FY5253(weekday=1, startingMonth=2), pd.DateOffset(months=1),
        offsets.SemiMonthEnd(), offsets.WeekOfMonth(weekday=1), offsets.YearEnd(),
    ],
}  # fmt: skip
VALUES["attributes"] = VALUES["interleaved"].copy()
VALUES["attributes"].attrs["source"] = "sensor"


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("name", VALUES)
def test_pandas_loads_without_a_word(name, protocol):
    value = VALUES[name]
    for data in (pickle.dumps(value, protocol), _picklet.dumps(value, protocol)):
        ours, stock = _picklet.loads(data), pickle.loads(data)
        assert repr(ours) == repr(stock)
        assert type(ours) is type(stock)
        if isinstance(stock, pd.DataFrame):
            pd.testing.assert_frame_equal(ours, stock)
            assert ours.attrs == stock.attrs
            ours["new"] = 1
            assert ours.shape[1] == stock.shape[1] + 1


class Call:
    """Pickles as a call, and a state if there is one."""

    def __init__(self, callable, args, *state):
        self.parts = (callable, args, *state)

    def __reduce__(self):
        return self.parts


class New:
    """Pickles as an object made of a class without a call, and its state."""

    def __init__(self, of, state):
        self.of, self.state = of, state

    @property
    def __class__(self):
        return self.of

    def __reduce_ex__(self, protocol):
        return copyreg.__newobj__, (self.of,), self.state


def manager(places, rows=2):
    from pandas.core.internals.managers import BlockManager

    axes = [pd.RangeIndex(rows), pd.RangeIndex(3)]
    blocks = [{"values": np.zeros((2, 3)), "mgr_locs": place} for place in places]
    state = (axes, [], [], {"0.14.1": {"axes": axes, "blocks": blocks}})
    frame = {"_mgr": New(BlockManager, state), "_typ": "dataframe", "_metadata": [], "attrs": {},
             "_flags": {"allows_duplicate_labels": True}}  # fmt: skip
    return New(pd.DataFrame, frame)


def backed(kind, *state):
    from pandas._libs import arrays

    return Call(arrays.__pyx_unpickle_NDArrayBacked, (kind, 82904607, None), *state)


def arrow(kind, length, buffers, offset=0):
    data = (pa.lib.type_for_alias(kind), length, 0, offset, buffers, [], None)
    return Call(pa.lib._restore_array, (data,))


def buffer(data):
    return None if data is None else pa.py_buffer(data)


def multi(codes):
    from pandas.core.indexes.base import _new_Index

    levels = [pd.Index([1, 2])]
    return Call(_new_Index, (pd.MultiIndex, {"levels": levels, "codes": [codes], "names": [None]}))


INT64 = np.dtype("i8")
OUT_OF_BOUNDS = np.array([5_000_000_000, 5_000_000_001])
BAD = {
    "blocks beyond the frame": manager([OUT_OF_BOUNDS]),
    "a slice beyond the frame": manager([slice(1 << 40, (1 << 40) + 2, 1)]),
    "negative places": manager([-OUT_OF_BOUNDS]),
    "rows in two blocks": manager([np.array([0, 1]), np.array([0, 1])], rows=4),
    "a row in no block": manager([np.array([0, 0])]),
    "too many places": manager([np.array([0, 1, 2])], rows=3),
    "no blocks": manager([]),
    "codes beyond the categories": backed(
        pd.Categorical, (np.array([100_000_000], "i4"), pd.CategoricalDtype(["a"]), {})
    ),
    "negative codes": backed(
        pd.Categorical, (np.array([-9], "i1"), pd.CategoricalDtype(["a"]), {})
    ),
    "codes without categories": backed(
        pd.Categorical, (np.array([0], "i1"), pd.CategoricalDtype(), {})
    ),
    "codes of a multi-index beyond its levels": multi(np.array([100], "i1")),
    "an array without its state": backed(pd.arrays.DatetimeArray),
    "an index of an array without its state": Call(
        pd.core.indexes.base._new_Index,
        (pd.DatetimeIndex, {"data": backed(pd.arrays.DatetimeArray)}),
    ),
    "times that are objects": backed(
        pd.arrays.DatetimeArray, (np.array([None]), np.dtype("M8[ns]"), {})
    ),
    "times of another unit": backed(
        pd.arrays.DatetimeArray,
        (np.array([0], "M8[s]"), pd.DatetimeTZDtype("ns", "UTC"), {}),
    ),
    "strings that are numbers": backed(
        pd.arrays.StringArray, (np.array([1]), pd.StringDtype("python"), {})
    ),
    "a mask that is too short": New(
        pd.arrays.IntegerArray, {"_data": np.arange(3), "_mask": np.zeros(1, bool)}
    ),
    "a mask of numbers": New(
        pd.arrays.IntegerArray, {"_data": np.arange(3), "_mask": np.arange(3)}
    ),
    "sparse values without places": New(
        pd.arrays.SparseArray,
        {"_sparse_index": Call(type(pd.arrays.SparseArray([0, 1]).sp_index),
                               (2, np.array([1], "i4"))),
         "_sparse_values": np.arange(9), "_dtype": pd.SparseDtype("int64")},
    ),
    "arrow strings whose offsets lie": arrow(
        "large_string", 1, [None, buffer(np.array([0, 1 << 40]).tobytes()), buffer(b"x")]
    ),
    "an arrow array without buffers": arrow("large_string", 5, []),
    "an arrow array longer than its buffers": arrow("int64", 1 << 30, [None, buffer(b"12345678")]),
    "an arrow array of nested type": arrow("large_string", 0, [None] * 4),
    "a frame over a series' manager": New(
        pd.DataFrame, {"_mgr": pd.Series([1])._mgr, "_typ": "dataframe", "_metadata": []}
    ),
    "a frame with another attribute": New(
        pd.DataFrame, {"_mgr": pd.DataFrame({"a": [1]})._mgr, "columns": 1}
    ),
    "a frame without a state": New(pd.DataFrame, None),
    "an index of a module's class": Call(pd.core.indexes.base._new_Index, (dict, {"data": 1})),
    "a unit that there is not": Call(
        pd._libs.tslibs.timestamps._unpickle_timestamp, (1, None, None, 99)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_crafted_pandas_states_are_refused(name):
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        _picklet.loads(pickle.dumps(BAD[name], 4))


@pytest.mark.parametrize(
    "name",
    [
        "blocks beyond the frame",
        "negative places",
        "an arrow array without buffers",
    ],
)
def test_what_is_refused_does_crash_stock_pickle(name):
    code = "import pickle, sys; value = pickle.loads(sys.stdin.buffer.read()); print(repr(value))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        input=pickle.dumps(BAD[name], 4),
        capture_output=True,
    )
    assert done.returncode < 0, done.stderr[-300:]


def test_what_a_pickle_says_was_computed_is_computed_anew():
    array = pd.array([1, 2], dtype="Int64")
    state = {"_data": np.array([1, 2]), "_mask": np.zeros(2, bool), "_cache": {"dtype": "none"}}
    loaded = _picklet.loads(pickle.dumps(New(pd.arrays.IntegerArray, state), 4))
    assert loaded.dtype == array.dtype


def test_a_user_class_inside_a_frame_needs_its_allow():
    frame = pd.DataFrame({"a": pd.Series([graphs.Plain(1)], dtype=object)})
    data = pickle.dumps(frame)
    with pytest.raises(_picklet.UntrustedGlobalError) as caught:
        _picklet.loads(data)
    assert caught.value.names == ("graphs.Plain",)
    assert _picklet.loads(data, allow="graphs.Plain")["a"][0].value == 1


def test_pandas_loads_with_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in VALUES.values():
            _picklet.loads(_picklet.dumps(value))
