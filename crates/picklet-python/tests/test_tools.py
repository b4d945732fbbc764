"""dis and optimize give what pickletools gives, as functions of bytes."""

import collections
import io
import pickle
import pickletools

import picklet
import pytest

OBJECTS = [
    None,
    {"이름": [1, 2.5, "서울", b"\x00", {"집합"}], "짝": (1, (2, (3,)))},
    collections.OrderedDict(a=1, b=[collections.Counter("abca")]),
    [["같은 글"] * 3] * 3,
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("obj", OBJECTS, ids=range(len(OBJECTS)))
def test_dis_and_optimize_are_pickletools(obj, protocol):
    data = pickle.dumps(obj, protocol)
    printed = io.StringIO()
    pickletools.dis(data, printed)
    assert picklet.dis(data) == printed.getvalue()
    assert picklet.dis(bytearray(data)) == printed.getvalue()
    assert picklet.optimize(data) == pickletools.optimize(data)
    assert picklet.optimize(memoryview(data)) == pickletools.optimize(data)
    printed = io.StringIO()
    pickletools.dis(data, printed, indentlevel=2)
    assert picklet.dis(data, indent=2) == printed.getvalue()


def test_annotations_say_what_each_opcode_does():
    assert "Push an empty dict." in picklet.dis(pickle.dumps({}), annotate=True)


@pytest.mark.parametrize("data", [b"", b"not a pickle", b"\x80\x04", b"\x80\x04]\x94(K\x01", b"("])
def test_what_is_no_pickle_is_an_unpickling_error(data):
    for look in (picklet.dis, picklet.optimize):
        with pytest.raises(picklet.UnpicklingError) as caught:
            look(data)
        assert "\n" not in str(caught.value)


def test_too_many_open_marks_are_an_error():
    with pytest.raises(picklet.UnpicklingError, match="1000"):
        picklet.dis(b"(" * 2000 + b".")


def test_what_is_not_bytes_is_a_type_error():
    for look in (picklet.dis, picklet.optimize, picklet.loads):
        with pytest.raises(TypeError):
            look("text")
