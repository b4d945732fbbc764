"""`dumps(deterministic=True)`: equal data gives equal bytes, whatever made it what it is."""

import os
import pickle
import random
import subprocess
import sys

import graphs
import picklet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=300)
)
hashable = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=5).map(tuple) | st.frozensets(inner, max_size=5),
    max_leaves=10,
)
data = st.recursive(
    hashable | st.binary().map(bytearray) | st.sets(hashable, max_size=6),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashable, inner, max_size=5)
    ),
    max_leaves=25,
)


def dumps(obj, protocol=None):
    return picklet.dumps(obj, protocol, deterministic=True)


def rebuilt(obj, seen, rnd):
    """The same data with the same sharing of mutable objects, of other parts in another order."""
    ty = type(obj)
    if id(obj) in seen and ty in (list, dict, set, bytearray):
        return seen[id(obj)][1]
    if ty is str:
        return "".join(list(obj)) if len(obj) != 1 else obj
    if ty is bytes:
        return bytes(bytearray(obj))
    if ty is tuple:
        return tuple([rebuilt(item, seen, rnd) for item in obj])
    if ty is frozenset:
        items = [rebuilt(item, seen, rnd) for item in obj]
        rnd.shuffle(items)
        return frozenset(items)
    if ty not in (list, dict, set, bytearray):
        return obj
    new = ty()
    seen[id(obj)] = obj, new
    if ty is list:
        new.extend([rebuilt(item, seen, rnd) for item in obj])
    elif ty is dict:
        for key, value in obj.items():
            new[rebuilt(key, seen, rnd)] = rebuilt(value, seen, rnd)
    elif ty is set:
        items = [rebuilt(item, seen, rnd) for item in obj]
        rnd.shuffle(items)
        for filler in range(300):
            new.add(("filler", filler))
        new.update(items)
        for filler in range(300):
            new.discard(("filler", filler))
    else:
        new.extend(obj)
    return new


@given(data, st.integers())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_equal_data_gives_equal_bytes_that_stock_pickle_loads(obj, seed):
    again = rebuilt([obj, obj], {}, random.Random(seed))
    for protocol in (4, 5):
        pickled = dumps([obj, obj], protocol)
        assert dumps(again, protocol) == pickled
        loaded = pickle.loads(pickled)
        assert loaded == [obj, obj]
        assert [type(item) for item in loaded] == [type(obj)] * 2
        if type(obj) in (list, dict, set, bytearray):
            assert loaded[0] is loaded[1]
        assert dumps(loaded, protocol) == pickled
        assert picklet.loads(pickled) == [obj, obj]


def test_only_mutable_objects_are_shared_by_identity():
    one, other = ["x"], ["x"]
    assert dumps([one, one]) != dumps([one, other])
    assert dumps([one, other]) == dumps([["x"], ["x"]])
    pair = (1, "a")
    assert dumps([pair, pair]) == dumps([(1, "a"), (int("1"), "a")])
    # A tuple is what its items are, these very ones.
    assert dumps([(one,), (one,)]) == dumps([(one,)] * 2)
    assert dumps([(one,), (other,)]) != dumps([(one,), (one,)])


def test_types_and_order_tell_data_apart():
    for one, other in [
        (1, 1.0), (1, True), (0.0, -0.0), ("a", b"a"), ([1], (1,)), ({1}, frozenset({1})),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (bytearray(b"a"), b"a"), ("1", 1),
    ]:  # fmt: skip
        assert dumps(one) != dumps(other)


@pytest.mark.parametrize("protocol", [4, 5])
def test_cycles_and_long_containers_come_back(protocol):
    cycle = [1]
    cycle.append((cycle, {"self": cycle}))
    loaded = pickle.loads(dumps(cycle, protocol))
    assert loaded[1][0] is loaded
    assert loaded[1][1]["self"] is loaded
    through = ([],)
    through[0].append(through)
    loaded = pickle.loads(dumps(through, protocol))
    assert loaded[0][0] is loaded
    four = ([], 1, 2, 3)
    four[0].append(four)
    assert pickle.loads(dumps(four, protocol))[0][0][1:] == (1, 2, 3)
    for size in (999, 1000, 1001, 2500):
        long = [list(range(size)), {i: str(i) for i in range(size)}, set(range(size))]
        assert pickle.loads(dumps(long, protocol)) == long
    large = ["x" * 70_000, b"y" * 70_000, bytearray(200_000), "가" * 70_000, 1 << 5000]
    assert pickle.loads(dumps(large, protocol)) == large


def test_sets_in_sets_cost_no_more_than_their_size():
    nested = frozenset({"x"})
    for level in range(60):
        nested = frozenset({nested, (level, nested)})
    pickled = dumps(nested)
    assert len(pickled) < 60 * 40
    # By their bytes: comparing the sets themselves takes 2**60 steps.
    assert dumps(pickle.loads(pickled)) == pickled


def test_another_process_with_another_hash_seed_gives_the_same_bytes():
    code = (
        "import sys, picklet; words = [f'word {i}' for i in range(500)];"
        "data = {'set': set(words), 'pairs': frozenset((w, len(w)) for w in words)};"
        "sys.stdout.buffer.write(picklet.dumps(data, deterministic=True))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("obj", "name"),
    [
        (graphs.Plain(), "graphs.Plain"),
        ([graphs.Colour.RED], "graphs.Colour"),
        (1j, "complex"),
        ({1: range(3)}, "range"),
        ({graphs.GrowingList: 1}, "type"),
        (graphs.GrowingList(), "graphs.GrowingList"),
        (frozenset({1j}), "complex"),
        ((1, len), "builtin_function_or_method"),
    ],
)
def test_other_types_are_refused_by_name(obj, name):
    with pytest.raises(pickle.PicklingError, match=name):
        dumps(obj)


def test_it_needs_protocol_4_and_no_callback():
    with pytest.raises(ValueError, match="protocol 4 or 5"):
        dumps([], 3)
    with pytest.raises(ValueError, match="buffer_callback"):
        picklet.dumps([], 5, deterministic=True, buffer_callback=print)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        dumps(deep)
    while deep:
        deep = deep.pop()
