"""What a load may not lose while its memo only borrows, and dicts made from templates.

Each pickle throws something away and asks the memo for it again; each is loaded
as C's unpickler loads it, under the debug allocator in ``test_mutations.py``.
"""

import gc
import io
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picklet import _picklet


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode() + b"\x94"


THROWN_AWAY = {
    "popped": b"\x80\x04" + text("first") + b"0" + text("other") + b"h\x00\x86.",
    "popped list": b"\x80\x04]\x94" + text("in it") + b"a0(h\x00h\x01t.",
    "popped with its mark": b"\x80\x04(" + text("one") + text("two") + b"1h\x00h\x01\x86.",
    "mark alone": b"\x80\x04" + text("one") + b"(0h\x00\x86.",
    "a value another takes the place of": (
        b"\x80\x04}(" + text("key") + text("old") + text("key") + text("new") + b"u"
        b"h\x00h\x01h\x02h\x03(h\x00h\x01h\x02h\x03t\x85\x85\x86."
    ),
    "a key that is there already": b"\x80\x04}" + text("k1") + b"Ns" + text("k1") + b"Nsh\x01\x86.",
    "a member that is there already": (
        b"\x80\x04\x8f(" + text("m1") + text("m1") + text("m1") + b"\x90h\x00h\x01h\x02\x87."
    ),
    "members of a frozenset": b"\x80\x04(" + text("f1") + text("f1") + b"\x91h\x00h\x01\x87.",
    "a dict of pairs": b"\x80\x04(" + text("d1") + text("v1") + text("d1") + text("v2")
    + b"dh\x00h\x01h\x02h\x03(h\x00h\x01t\x86.",
    "an index used again": b"\x80\x04" + text("one") + b"\x8c\x03twoq\x00h\x00\x86.",
    "a far index": b"\x80\x04\x8c\x03farr\x00\x30\x00\x000j\x00\x30\x00\x00.",
    "thrown away before a call": (
        b"\x80\x04" + text("gone") + b"0cbuiltins\nset\n(]tRh\x00\x86."
    ),
    "on the stack at the end": b"\x80\x04" + text("left") + b"(]\x94h\x00a.",
    "a list of its own pieces": b"\x80\x04]\x94h\x00ah\x00h\x00\x87.",
}  # fmt: skip


def outcome(function, data):
    try:
        return pickle.dumps(function(data))
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", THROWN_AWAY)
def test_what_the_memo_is_asked_for_is_there(name):
    data = THROWN_AWAY[name]
    wanted = outcome(pickle.loads, data)
    assert outcome(_picklet.compat_loads, data) == wanted
    assert outcome(_picklet.loads, data) == wanted
    assert outcome(lambda data: _picklet.compat_load(io.BytesIO(data)), data) == wanted
    # Cut anywhere, it is an error that frees everything once.
    for end in range(len(data)):
        assert outcome(_picklet.compat_loads, data[:end]) == outcome(pickle.loads, data[:end])


keys = st.sampled_from(["a", "b", "name", "id", "値", "x" * 300, 1, 2, None, 1.5, (1, 2)])
records = st.lists(
    st.lists(st.tuples(keys, st.sampled_from([1, "v", None, [], [1], ()])), max_size=7).map(dict)
    | st.just({"name": 1, "id": [2]})
    | st.just({"id": 1, "name": {"name": 3, "id": 4}}),
    max_size=40,
)


@given(records, st.sampled_from([0, 2, 4, 5]), st.booleans())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_records_of_any_shapes_are_the_dicts_that_stock_pickle_makes(obj, protocol, native):
    data = (_picklet.dumps if native else pickle.dumps)(obj, protocol)
    loaded, stock = _picklet.compat_loads(data), pickle.loads(data)
    assert loaded == stock == obj
    assert [list(record.items()) for record in loaded] == [list(r.items()) for r in stock]
    for record in loaded:
        # Each is a dict of its own, that grows, shrinks and is copied.
        record["new"] = record
        assert record.pop("new") is record
        for key in list(record):
            value = record.pop(key)
            assert key not in record
            record[key] = value
        assert dict(record) == record
    assert loaded == obj
    assert pickle.dumps(_picklet.compat_loads(data)) == pickle.dumps(stock)


def test_records_share_nothing_but_their_keys():
    data = pickle.dumps([{"id": i, "tags": [i]} for i in range(10)])
    loaded = _picklet.compat_loads(data)
    loaded[3]["id"] = "changed"
    del loaded[4]["tags"]
    loaded[5].clear()
    assert loaded[6] == {"id": 6, "tags": [6]}
    assert _picklet.compat_loads(data)[3] == {"id": 3, "tags": [3]}


def test_cycles_through_records_are_collected():
    def collected_of(loads):
        records = [{"id": i, "self": None} for i in range(50)]
        for record in records:
            record["self"] = record
        data = pickle.dumps(records)
        gc.collect()
        loads(data)
        return gc.collect()

    assert collected_of(_picklet.compat_loads) >= 50
    record = _picklet.compat_loads(pickle.dumps([{"a": i, "b": "x"} for i in range(9)]))[-1]
    assert not gc.is_tracked(record) or gc.is_tracked({"a": 1, "b": "x"})
    record = _picklet.compat_loads(pickle.dumps([{"a": i, "b": [i]} for i in range(9)]))[-1]
    assert gc.is_tracked(record)


def test_a_dict_that_others_see_keeps_being_itself():
    import types

    module = types.ModuleType("of_a_test")
    module.seen = {}
    import sys

    sys.modules["of_a_test"] = module
    try:
        one = b"(h\x01K\x01h\x02K\x02u"
        data = (
            b"\x80\x04](" + text("ignored") + text("aa") + text("bb")
            + b"}" + one + b"}" + one + b"}" + one + b"cof_a_test\nseen\n" + one + b"e."
        )  # fmt: skip
        loaded = _picklet.compat_loads(data)
        assert loaded == pickle.loads(data)
        assert loaded[-1] is module.seen
        assert module.seen == {"aa": 1, "bb": 2}
    finally:
        del sys.modules["of_a_test"]
