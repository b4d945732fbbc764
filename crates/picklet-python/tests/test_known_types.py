"""Objects that are written without asking them: instances, dates and times, Decimals, arrays.

Stock pickle asks each of them for its ``__reduce_ex__``; the bytes are to be the same.
"""

import copyreg
import datetime
import decimal
import gc
import io
import pickle
import subprocess
import sys

import picklet
import pytest
from hypothesis import given
from hypothesis import strategies as st

np = pytest.importorskip("numpy")

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
UTC = datetime.UTC
SEOUL = datetime.timezone(datetime.timedelta(hours=9), "서울")


def same_as_stock(obj):
    for protocol in PROTOCOLS:
        assert picklet.compat.dumps(obj, protocol) == pickle.dumps(obj, protocol), protocol
        file = io.BytesIO()
        picklet.compat.dump(obj, file, protocol)
        assert file.getvalue() == pickle.dumps(obj, protocol), protocol
        # What is smaller loads to the same, and stock writes that as it writes the original.
        again = pickle.loads(picklet.dumps(obj, protocol=protocol))
        stock = pickle.loads(pickle.dumps(obj, protocol))
        assert pickle.dumps(stock, 4) == pickle.dumps(again, 4)


MOMENTS = [
    datetime.datetime(2026, 11, 26, 14, 29, 40, 123456),
    datetime.datetime(1, 1, 1),
    datetime.datetime.max,
    datetime.datetime(2026, 10, 25, 2, 30, fold=1),
    datetime.datetime(2026, 12, 1, fold=1, tzinfo=UTC),
    datetime.datetime(2026, 12, 1, tzinfo=SEOUL),
    datetime.date(2026, 11, 26),
    datetime.date.max,
    datetime.time(14, 29),
    datetime.time.max,
    datetime.time(2, fold=1),
    datetime.time(2, fold=1, tzinfo=UTC),
    datetime.time(2, tzinfo=SEOUL),
    datetime.timedelta(0),
    datetime.timedelta(days=-1, seconds=86399, microseconds=999999),
    datetime.timedelta.min,
    datetime.timedelta.max,
    UTC,
    SEOUL,
    datetime.timezone(datetime.timedelta(0)),
    datetime.timezone(datetime.timedelta(0), "UTC"),
    datetime.timezone.min,
]
DECIMALS = [
    decimal.Decimal(text)
    for text in ("0", "-0", "0E+3", "1.50", "-1E-400", "NaN", "-sNaN123", "Infinity", "9" * 300)
]
SHAPES = [(), (0,), (1,), (3,), (0, 2), (2, 3), (2, 1, 2), (1, 2, 1, 2), (1,) * 32]
NUMBERS = "?bBhHiIlLqQefdgFDG"


@pytest.mark.parametrize("obj", [*MOMENTS, *DECIMALS], ids=repr)
def test_each_has_the_bytes_of_stock(obj):
    same_as_stock(obj)
    same_as_stock([obj, obj, (obj,), {"key": obj}])


def test_what_objects_share_is_shared():
    delta = UTC.utcoffset(None)
    same_as_stock([UTC, delta, datetime.datetime(2026, 1, 1, tzinfo=UTC), delta])
    same_as_stock([delta, UTC, [UTC] * 2, "datetime", "timezone", "1.5", decimal.Decimal("1.5")])


@pytest.mark.parametrize("shape", SHAPES, ids=repr)
@pytest.mark.parametrize("code", NUMBERS)
def test_arrays_have_the_bytes_of_stock(code, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(code)
    same_as_stock(array)
    same_as_stock([array, np.asfortranarray(array), array, {"array": array.T.copy()}])


def test_texts_and_bytes_that_arrays_refer_to_may_be_met_elsewhere():
    one = np.array([7], "u1")
    empty = np.array([], "f8")
    same_as_stock([b"b", one, one.copy(), b"\x07", empty, empty.copy(), b"", "<", "|", "numpy"])
    same_as_stock([one, empty, "dtype", "f8", "u1", b"b", b"", b"\x07", "|", "<"])
    same_as_stock([np.dtype("f8"), empty])
    same_as_stock([empty.dtype, np.ndarray, np.dtype])


def test_arrays_that_are_not_plain():
    structured = np.zeros(3, [("a", "i4"), ("b", "f8")])
    same_as_stock(
        [
            np.arange(10.0)[::2],
            np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
            np.arange(3, dtype=">i4"),
            structured,
            structured["b"],
            np.array(["서울", "abc"]),
            np.array([b"x"]),
            np.array(["2026-11-26"], "M8[D]"),
            np.array([1], "m8[s]"),
            np.broadcast_to(np.float64(1), (3, 3)),
            np.dtype("f8").newbyteorder(">"),
            np.zeros(2, np.dtype("f8", metadata={"unit": "m"})),
        ]
    )
    # Nothing that is told by its address: stock's bytes differ from those of what it loads.
    objects = np.array([1, "a", None, [2]], object)
    assert picklet.compat.dumps([objects, objects], 4) == pickle.dumps([objects, objects], 4)


def test_subclasses_are_asked():
    class Array(np.ndarray):
        def __reduce_ex__(self, protocol):
            return (str, ("asked",))

    assert pickle.loads(picklet.dumps(np.zeros(2).view(Array))) == "asked"
    assert pickle.loads(picklet.dumps([np.zeros(2), np.zeros(2).view(Array)]))[1] == "asked"


def test_dtypes_that_are_equal_and_not_the_same():
    loaded = [pickle.loads(pickle.dumps(np.zeros(2), 4)) for _ in range(3)]
    same_as_stock([*loaded, np.zeros(2), loaded[0]])


@pytest.mark.parametrize("size", [65533, 65535, 65536, 65537, 200_000])
def test_arrays_around_the_size_of_a_frame(size):
    same_as_stock([np.zeros(size, "u1"), "after", np.ones(size, "u1"), np.zeros(size // 8)])


def test_many_arrays_and_moments_over_several_frames():
    many = [(np.arange(n % 7), MOMENTS[n % 17], DECIMALS[n % 9], {"n": n}) for n in range(3000)]
    same_as_stock(many)


def test_a_long_dump_to_a_file_is_the_same():
    day = datetime.timedelta(days=1)
    many = [[datetime.datetime(2026, 1, 1) + n * day, np.full(5, n)] for n in range(80_000)]
    file = io.BytesIO()
    picklet.compat.dump(many, file, 4)
    assert file.getvalue() == pickle.dumps(many, 4)


def test_copyregs_table_and_a_picklers_own_come_first():
    def reduce(obj):
        return (str, ("told otherwise",))

    for obj in (datetime.date(2026, 1, 1), decimal.Decimal(1), np.zeros(2)):
        copyreg.pickle(type(obj), reduce)
        try:
            assert pickle.loads(picklet.dumps([obj, obj])) == ["told otherwise"] * 2
        finally:
            del copyreg.dispatch_table[type(obj)]
        pickler = picklet.compat.Pickler(file := io.BytesIO())
        pickler.dispatch_table = {type(obj): reduce}
        pickler.dump([obj])
        assert pickle.loads(file.getvalue()) == ["told otherwise"]
        assert pickle.loads(picklet.dumps([obj]))[0] is not None


def test_a_stand_in_for_datetime_is_not_mistaken(monkeypatch):
    class Frozen(datetime.datetime):
        pass

    moment = datetime.datetime(2026, 1, 1)
    monkeypatch.setattr(datetime, "datetime", Frozen)
    for dumps in (pickle.dumps, picklet.dumps, picklet.compat.dumps):
        with pytest.raises(pickle.PicklingError, match="not the same object"):
            dumps([moment])


zones = st.sampled_from([None, UTC, SEOUL])
atoms = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=3),
    st.binary(max_size=2),
    st.datetimes(timezones=zones),
    st.times(timezones=zones),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.builds(
        lambda code, shape: np.ones(shape, code),
        st.sampled_from("?bHidFq"),
        st.lists(st.integers(0, 3), max_size=4).map(tuple),
    ),
)


@given(st.lists(atoms, min_size=1, max_size=6), st.data())
def test_graphs_that_share_such_objects(objects, data):
    pool = list(objects)
    for _ in range(data.draw(st.integers(0, 6))):
        some = data.draw(st.lists(st.sampled_from(range(len(pool))), max_size=4))
        items = [pool[at] for at in some]
        make = data.draw(st.sampled_from([list, tuple, lambda items: dict(enumerate(items))]))
        pool.append(make(items))
    for protocol in (2, 3, 4, 5):
        assert picklet.compat.dumps(pool, protocol) == pickle.dumps(pool, protocol)
    ours, stock = pickle.loads(picklet.dumps(pool)), pickle.loads(pickle.dumps(pool))
    assert pickle.dumps(ours, 4) == pickle.dumps(stock, 4)


FINALISER = """
import gc, pickle, picklet, sys

class Plain:
    def __init__(self, n):
        self.n, self.items = n, [n]

class Garbage:
    def __init__(self):
        self.me = self
    def __del__(self):
        data.clear()

data = [Plain(n) for n in range(2000)]
picklet.dumps(Plain(0))
gc.disable()
gc.collect()
Garbage()
gc.set_threshold(int(sys.argv[1]))
gc.enable()
pickled = {dumps}(data)
assert gc.isenabled()
print(len(pickle.loads(pickled)))
"""


@pytest.mark.parametrize("threshold", [20, 200, 700])
@pytest.mark.parametrize("dumps", ["picklet.dumps", "picklet.compat.dumps"])
def test_a_finaliser_that_empties_the_list_being_written(dumps, threshold):
    # The collector counts the dicts that instances are given, and runs finalisers: Python code
    # in the middle of a dump that believes there is none.
    script = FINALISER.replace("{dumps}", dumps)
    command = [sys.executable, "-X", "utf8", "-c", script, str(threshold)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    # All of it, or as with stock what was there until then.
    assert int(done.stdout) <= 2000


def test_the_collector_is_as_it_was():
    class File:
        def write(self, data):
            self.seen = gc.isenabled()
            return len(data)

    many = [{"n": n, "text": "x" * 50} for n in range(200_000)]
    for was in (True, False):
        (gc.enable if was else gc.disable)()
        try:
            file = File()
            picklet.dump(many, file)
            picklet.dumps([1])
            assert (file.seen, gc.isenabled()) == (was, was)
        finally:
            gc.enable()


def call(name, *args):
    """The opcodes that call ``datetime.name`` with arguments pickled one by one."""
    parts = [pickle.dumps(arg, 3)[2:-1] for arg in args]
    return b"cdatetime\n" + name.encode() + b"\n(" + b"".join(parts) + b"tR"


def outcome(loads, data):
    try:
        value = loads(data)
    except Exception as error:
        return type(error).__name__
    return [(type(item), repr(item), getattr(item, "fold", 0)) for item in value]


VALID = {
    "datetime": (datetime.datetime(2026, 11, 26).__reduce_ex__(4)[1],),
    "date": (datetime.date(2026, 11, 26).__reduce_ex__(4)[1],),
    "time": (datetime.time(1, 2).__reduce_ex__(4)[1],),
    "timedelta": ((1, 2, 3),),
}
numbers = st.sampled_from([0, 1, -1, 59, 60, 86399, 86400, 999_999, 10**6, 10**9, -(10**9), 2**40])
near = st.binary(min_size=10, max_size=10).map(lambda tail: bytes([7, 234, 11]) + tail[3:])
states = {
    "datetime": st.tuples(st.one_of(near, st.binary(max_size=12), st.text(max_size=10))),
    "date": st.tuples(st.one_of(near.map(lambda state: state[:4]), st.binary(max_size=5))),
    "time": st.tuples(st.one_of(st.binary(min_size=6, max_size=6), st.binary(max_size=7))),
    "timedelta": st.tuples(numbers, numbers, st.one_of(numbers, st.booleans(), st.floats(0, 9))),
}


@given(st.sampled_from(sorted(VALID)), st.data())
def test_states_of_every_kind_load_as_stock_loads_them(name, data):
    # The first call goes the usual way, the second need not.
    [valid] = VALID[name]
    args = data.draw(states[name])
    if name in ("datetime", "time") and data.draw(st.booleans()):
        args += (data.draw(st.sampled_from([UTC, SEOUL, None, "UTC"])),)
    pickled = b"\x80\x04(" + call(name, *valid) + call(name, *args) + b"l."
    stock = outcome(pickle.loads, pickled)
    assert outcome(picklet.compat.loads, pickled) == stock
    safe = outcome(picklet.loads, pickled)
    # A safe load may refuse a call that stock makes, and nothing else.
    assert safe in (stock, "UnpicklingError"), (safe, stock)
    if isinstance(stock, list):
        exact = [type(arg) in (bytes, int, type(None), datetime.timezone) for arg in args]
        assert safe == stock or not all(exact)


@pytest.mark.parametrize("obj", MOMENTS, ids=repr)
def test_moments_are_loaded_as_stock_loads_them(obj):
    others = [datetime.datetime(2026, 2, 28, 23, 59, 59), obj, datetime.date(2026, 12, 28), obj]
    for protocol in PROTOCOLS:
        data = pickle.dumps([*others, datetime.timedelta(1), *others], protocol)
        stock = pickle.loads(data)
        for loads in (picklet.loads, picklet.compat.loads):
            ours = loads(data)
            assert repr(ours) == repr(stock)
            assert pickle.dumps(ours, 4) == pickle.dumps(stock, 4)
