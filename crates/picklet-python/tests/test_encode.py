"""What picklet writes: C pickle's bytes where it must, and always what stock pickle loads."""

import copyreg
import io
import pickle
import pickletools
import re

import graphs
import pytest
from hypothesis import HealthCheck, given, settings
from picklet import _picklet

SPECIMENS = graphs.specimens()


def outcome(function, *args, **kwargs):
    """The result, or the error's type and message."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("name", SPECIMENS)
def test_compat_dumps_gives_the_bytes_of_c_pickle(name, protocol):
    obj = SPECIMENS[name]
    wanted = outcome(pickle.dumps, obj, protocol)
    assert outcome(_picklet.compat_dumps, obj, protocol) == wanted


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("name", SPECIMENS)
def test_compat_dump_writes_the_bytes_of_c_pickle(name, protocol):
    obj = SPECIMENS[name]
    file = io.BytesIO()
    if isinstance(outcome(_picklet.compat_dump, obj, file, protocol), tuple):
        pytest.skip("this object does not pickle at this protocol")
    assert file.getvalue() == pickle.dumps(obj, protocol)


@given(graphs.values)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_compat_dumps_gives_the_bytes_of_c_pickle_for_generated_graphs(obj):
    for protocol in graphs.PROTOCOLS:
        assert _picklet.compat_dumps(obj, protocol) == pickle.dumps(obj, protocol)


@given(graphs.values)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_stock_pickle_loads_what_dumps_writes_to_the_same_graph(obj):
    for protocol in graphs.PROTOCOLS:
        ours = _picklet.dumps(obj, protocol)
        stock = pickle.dumps(obj, protocol)
        assert len(ours) <= len(stock)
        loaded = pickle.loads(ours)
        assert graphs.signature(loaded) == graphs.signature(pickle.loads(stock))


@pytest.mark.parametrize("name", SPECIMENS)
def test_the_python_pickler_module_can_take_native_output_apart(name):
    pickletools.dis(_picklet.dumps(SPECIMENS[name], 5), out=io.StringIO())


@pytest.mark.parametrize("pad", range(24))
def test_frames_end_where_those_of_c_pickle_end(pad):
    nested = ["x" * pad, *([[i], {"a": [i, (i,)]}, (i, [i, i])] for i in range(6000))]
    lists = ["x" * pad, *([i, i] for i in range(30_000))]
    for obj in (nested, lists, {"k": lists, **{i: [i, i] for i in range(3000)}}):
        assert _picklet.compat_dumps(obj, 4) == pickle.dumps(obj, 4)


def test_native_output_leaves_out_memo_opcodes_that_nothing_refers_to():
    records = [{"id": i, "name": f"n{i}"} for i in range(100)]
    ours = _picklet.dumps(records)
    assert len(ours) < 0.9 * len(pickle.dumps(records))
    assert pickle.loads(ours) == records


def test_keys_of_split_dicts_are_shared_although_their_reference_count_is_one():
    class Local:
        pass

    objects = [Local() for _ in range(3)]
    for obj in objects:
        setattr(obj, "".join(["dyn", "amic"]), 1)
    dicts = [vars(obj) for obj in objects]
    for protocol in graphs.PROTOCOLS:
        assert _picklet.compat_dumps(dicts, protocol) == pickle.dumps(dicts, protocol)


def test_extension_codes_are_written():
    for code in (0x12, 0x1234, 0x12345678):
        copyreg.add_extension("graphs", "WithReduce", code)
        try:
            for protocol in graphs.PROTOCOLS:
                obj = [graphs.WithReduce(1), graphs.WithReduce]
                assert _picklet.compat_dumps(obj, protocol) == pickle.dumps(obj, protocol)
        finally:
            copyreg.remove_extension("graphs", "WithReduce", code)


def test_buffers_leave_through_the_callback():
    data = bytearray(b"abc" * 10)
    obj = [pickle.PickleBuffer(data), pickle.PickleBuffer(b"readonly"), pickle.PickleBuffer(data)]
    for answer in (False, True, None):
        ours, stock = [], []

        def keep(where, answer=answer):
            return lambda buffer: (where.append(bytes(buffer)), answer)[1]

        written = _picklet.compat_dumps(obj, 5, buffer_callback=keep(ours))
        assert written == pickle.dumps(obj, 5, buffer_callback=keep(stock))
        assert ours == stock
    assert _picklet.compat_dumps(obj, 5) == pickle.dumps(obj, 5)
    with pytest.raises(ValueError, match="protocol"):
        _picklet.dumps(obj, 4, buffer_callback=ours.append)
    with pytest.raises(pickle.PicklingError):
        _picklet.dumps(obj, 4)


def test_deep_nesting_is_a_recursion_error():
    deep = []
    for _ in range(200_000):
        deep = [deep]
    for dumps in (_picklet.dumps, _picklet.compat_dumps):
        with pytest.raises(RecursionError):
            dumps(deep)
    while deep:
        deep = deep.pop()


class IntPairs:
    def __iter__(self):
        return self

    def __next__(self):
        return 1


class Unpicklable:
    def __init__(self, returns):
        self.returns = returns

    def __reduce__(self):
        return self.returns


@pytest.mark.parametrize(
    "returns",
    [
        None,
        3,
        (),
        (1,),
        (1, ()),
        (int, 5),
        (int, (), None, [1]),
        (int, (), None, None, [1]),
        (int, (), None, None, None, 5),
        (int, (), None, None, None, None, None),
        "no such name",
        (int, (), None, None, IntPairs()),
        (copyreg.__newobj__, ()),
        (copyreg.__newobj__, (1,)),
        (copyreg.__newobj__, (int,)),
        (copyreg.__newobj_ex__, (int,)),
        (copyreg.__newobj_ex__, (1, (), {})),
        (copyreg.__newobj_ex__, (int, [], {})),
        (copyreg.__newobj_ex__, (int, (), [])),
        (lambda: 1, ()),
    ],
    # Without addresses, which are others in each process.
    ids=lambda returns: re.sub(r" at 0x\w+", "", repr(returns)),
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_bad_reduce_values_are_refused_as_c_pickle_refuses_them(returns, protocol):
    wanted = outcome(pickle.dumps, Unpicklable(returns), protocol)
    assert outcome(_picklet.compat_dumps, Unpicklable(returns), protocol)[0] == wanted[0]


def test_a_hook_that_changes_the_container_is_seen():
    class Shrinks:
        def __reduce__(self):
            items.clear()
            return int, ()

    items = [Shrinks(), "gone", ["also gone"]]
    assert pickle.loads(_picklet.dumps(items)) == [0]

    class Grows:
        def __reduce__(self):
            table["new"] = 1
            return int, ()

    table = {"a": Grows(), "b": 2}
    with pytest.raises(RuntimeError, match="changed size"):
        _picklet.dumps(table)


def test_a_hook_that_fetches_objects_already_written_shares_them():
    inner = [1]

    class Refers:
        def __reduce__(self):
            return list, ((holder[0], holder[0]),)

    holder = [[2, 3], Refers()]
    loaded = pickle.loads(_picklet.dumps(holder))
    assert loaded[1][0] is loaded[0]
    assert loaded[1][1] is loaded[0]
    assert inner == [1]


def test_dump_streams_large_values_in_several_writes():
    sizes = []

    class Sink:
        def write(self, data):
            sizes.append(len(data))

    _picklet.dump([graphs.Plain(), *(f"text {i}" * 20 for i in range(50_000))], Sink())
    assert len(sizes) > 20
    assert max(sizes) < 1_000_000


def test_an_error_of_the_file_reaches_the_caller():
    class Full:
        def write(self, data):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        _picklet.dump([1, 2, 3], Full())
    with pytest.raises(TypeError, match="write"):
        _picklet.dump([1], object())


@pytest.mark.parametrize("pad", range(12))
def test_runs_of_numbers_close_frames_where_c_pickle_does(pad):
    numbers = [n * 37 % 70_000 - 100 for n in range(30_000)]
    mixed = [n if n % 3 else n / 7 for n in numbers]
    rare = [2**40 if n % 911 == 0 else True if n % 613 == 0 else n for n in numbers]
    for items in (numbers, mixed, rare, [n / 7 for n in range(9000)]):
        for obj in (
            ["x" * pad, *items],
            ("x" * pad, *items),
            [("x" * pad, n, n / 7, "x") for n in items],
        ):
            for protocol in (2, 4, 5):
                assert _picklet.compat_dumps(obj, protocol) == pickle.dumps(obj, protocol)


def test_texts_at_one_place_of_many_tuples():
    words = ["same", "other", "same" * 80, "서울"]
    obj = [(n, words[n % 7 % 4], str(n % 5), words[0], {words[n % 3]: n}, [n]) for n in range(3000)]
    for protocol in (2, 4, 5):
        assert _picklet.compat_dumps(obj, protocol) == pickle.dumps(obj, protocol)
    assert pickle.dumps(pickle.loads(_picklet.dumps(obj)), 4) == pickle.dumps(
        pickle.loads(pickle.dumps(obj)), 4
    )
