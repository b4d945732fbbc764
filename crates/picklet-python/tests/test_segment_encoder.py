"""The encoder that takes a container's items one at a time."""

import pickle

import graphs
import pytest
from picklet import _picklet

SIZES = [0, 1, 2, 999, 1000, 1001, 2000, 2001]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("protocol", [4, 5])
def test_what_was_added_comes_out(size, protocol):
    for kind in (list, tuple, set):
        encoder = _picklet.SegmentEncoder(kind.__name__, protocol)
        for item in range(size):
            encoder.append(item)
        assert encoder.items == size
        before = encoder.bytes_so_far
        data = encoder.finish()
        assert len(data) - before in range(-9, 3)
        assert pickle.loads(data) == kind(range(size))
    encoder = _picklet.SegmentEncoder("dict", protocol)
    for item in range(size):
        encoder.append_pair(item, [item])
    assert pickle.loads(encoder.finish()) == {item: [item] for item in range(size)}


def test_items_share_what_they_shared():
    shared = ["x"]
    encoder = _picklet.SegmentEncoder("list")
    for item in (shared, [shared], {"k": shared}):
        encoder.append(item)
    first, second, third = pickle.loads(encoder.finish())
    assert first is second[0] is third["k"]


def test_items_that_go_away_are_not_mistaken_for_others():
    encoder = _picklet.SegmentEncoder("list")
    for number in range(5000):
        encoder.append({"id": str(number) * 3, "tags": [number]})
    loaded = pickle.loads(encoder.finish())
    assert loaded == [{"id": str(n) * 3, "tags": [n]} for n in range(5000)]


def test_objects_and_frames_pass():
    encoder = _picklet.SegmentEncoder("list")
    items = [graphs.Record(str(n), n, ["t" * 50]) for n in range(3000)] + [b"x" * 200_000]
    for item in items:
        encoder.append(item)
    assert pickle.loads(encoder.finish()) == items


def test_misuse_is_an_error():
    with pytest.raises(ValueError, match="kind"):
        _picklet.SegmentEncoder("deque")
    with pytest.raises(ValueError, match="protocol"):
        _picklet.SegmentEncoder("list", 3)
    with pytest.raises(TypeError, match="pairs"):
        _picklet.SegmentEncoder("list").append_pair(1, 2)
    with pytest.raises(TypeError, match="pairs"):
        _picklet.SegmentEncoder("dict").append(1)
    encoder = _picklet.SegmentEncoder("list")
    encoder.finish()
    with pytest.raises(ValueError, match="finished"):
        encoder.append(1)
    encoder = _picklet.SegmentEncoder("list")
    with pytest.raises(AttributeError):
        encoder.append(lambda: 1)
    with pytest.raises(ValueError, match="failed"):
        encoder.finish()
