"""Reading a segments directory: segments, items, what is lazy and what is refused."""

import pathlib
import pickle
import shutil

import picklet
import pytest


@pytest.fixture
def hundred():
    return picklet.split(range(100), "숫자", count=30)


def test_it_is_a_lazy_sequence_of_what_the_files_hold(hundred):
    assert len(hundred) == 4
    assert hundred[0] == list(range(30))
    assert hundred[-1] == list(range(90, 100))
    assert [len(segment) for segment in hundred] == [30, 30, 30, 10]
    assert [segment[0] for segment in reversed(hundred)] == [90, 60, 30, 0]
    assert bool(hundred)


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_a_pickle_of_it_is_its_place_and_its_rules(hundred, protocol, tmp_path, monkeypatch):
    named = picklet.open("숫자", allow=["shop.Order"])
    pickled = pickle.dumps((named, named.items), protocol)
    monkeypatch.chdir(tmp_path.parent)  # where a worker stands is not where it was opened
    again, items = pickle.loads(pickled)
    assert again.load() == list(range(100))
    assert items[77] == 77
    assert again._policy == named._policy
    with pytest.raises(picklet.UntrustedGlobalError):
        picklet.loads(pickled)


def test_slices_are_lazy_too(hundred):
    hundred.paths[2].unlink()
    some = hundred[1:]
    assert len(some) == 3
    assert some[0] == hundred[1]
    assert some[-1] == hundred[3]
    assert [s[0] for s in hundred[::-3]] == [90, 0]
    assert some[1:][1:][0][0] == 90
    with pytest.raises(picklet.SegmentError, match="missing"):
        some[1]
    assert "3 of" in repr(some)


def test_nothing_is_kept_so_each_load_is_a_new_object(hundred):
    assert hundred[0] is not hundred[0]
    assert hundred[0] == hundred[0]


@pytest.mark.parametrize("index", [4, -5, 10**30])
def test_a_segment_that_is_not_there_is_an_index_error(hundred, index):
    with pytest.raises(IndexError):
        hundred[index]


def test_paths_are_plain_pickles(hundred):
    assert hundred.path == pathlib.Path("숫자").absolute()
    assert [path.parent for path in hundred.paths] == [hundred.path] * 4
    assert pickle.loads(hundred.paths[3].read_bytes()) == list(range(90, 100))


def test_repr_loads_nothing(hundred):
    for path in hundred.paths:
        path.unlink()
    text = repr(hundred)
    assert "4 segments of list, 100 items" in text
    assert "숫자" in text
    assert "100 items" in repr(hundred.items)


def test_it_does_not_move_with_the_working_directory(hundred, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert hundred[0][:3] == [0, 1, 2]


def test_items_one_by_one_and_in_slices(hundred):
    items = hundred.items
    numbers = list(range(100))
    assert len(items) == 100
    assert [items[i] for i in (0, 29, 30, 59, 60, 99)] == [0, 29, 30, 59, 60, 99]
    assert [items[-1], items[-100]] == [99, 0]
    for part in (
        slice(None), slice(5, 95), slice(28, 32), slice(None, None, -1), slice(90, 2, -7),
        slice(0, 100, 33), slice(50, 50), slice(99, 200), slice(-3, None),
    ):  # fmt: skip
        assert items[part] == numbers[part]
    assert list(items) == numbers
    assert list(reversed(items)) == numbers[::-1]
    assert 57 in items
    assert 100 not in items
    assert items.at(31) == 31


@pytest.mark.parametrize("index", [100, -101])
def test_an_item_that_is_not_there_is_an_index_error(hundred, index):
    with pytest.raises(IndexError, match="there are 100"):
        hundred.items[index]


def test_an_item_is_read_without_the_other_segments(hundred):
    hundred.paths[0].unlink()
    hundred.paths[2].write_bytes(b"damaged")
    assert hundred.items[45] == 45
    assert hundred.items[31:59:9] == [31, 40, 49, 58]
    with pytest.raises(picklet.SegmentError):
        hundred.items[0]
    with pytest.raises(picklet.SegmentError):
        hundred.items[75]


def test_items_of_dicts_are_found_by_key():
    source = {f"열쇠{n}": n for n in range(20)} | {3: "number", None: "none", (1, 2): "pair"}
    items = picklet.split(source, "out", count=6).items
    assert items["열쇠17"] == 17
    assert items[3] == "number"
    assert items[None] == "none"
    assert items[1, 2] == "pair"
    assert "열쇠0" in items
    assert 0 not in items
    assert items.at(0) == ("열쇠0", 0)
    assert items.at(-1) == ((1, 2), "pair")
    assert list(items) == list(source.items())
    with pytest.raises(KeyError, match="nothing"):
        items["nothing"]
    with pytest.raises(TypeError, match="unhashable"):
        items[[1]]


def test_items_of_tuples_and_sets():
    assert picklet.split(tuple("가나다라"), "t", count=3).items[3] == "라"
    found = picklet.split({1, 2, 3}, "s", count=2).items
    assert {found[0], found[1], found[2]} == {1, 2, 3}


def test_where_segments_are_objects_each_is_an_item():
    sums = picklet.split(range(10), "in", count=4).map(sum, "out", workers=0)
    assert sums.kind == "objects"
    assert sums.load() == [6, 22, 17]
    assert list(sums.items) == [6, 22, 17]
    assert sums.items[1] == 22
    assert 17 in sums.items


def test_a_folder_of_pickles_without_a_manifest_is_readable(tmp_path):
    (tmp_path / "plain").mkdir()
    for n in (10, 9, 2):
        (tmp_path / "plain" / f"d-{n}.pickle").write_bytes(pickle.dumps({"n": n}))
    found = picklet.open(tmp_path / "plain")
    assert [segment["n"] for segment in found] == [2, 9, 10]
    assert found.kind == "objects"
    assert found.items[2] == {"n": 10}


def test_segments_can_be_moved(hundred, tmp_path):
    shutil.move("숫자", "옮긴 곳")
    assert picklet.open("옮긴 곳").load() == list(range(100))


class Point:
    def __init__(self, x):
        self.x = x

    def __eq__(self, other):
        return isinstance(other, Point) and self.x == other.x

    __hash__ = None


def test_segments_are_loaded_safely_and_by_the_given_policy():
    point = f"{__name__}.Point"
    segments = picklet.split([Point(1), Point(2)], "out", count=1)
    for load in (lambda: segments[0], segments.load, lambda: segments.items[1]):
        with pytest.raises(picklet.UntrustedGlobalError) as caught:
            load()
        assert point in caught.value.names
    for policy in ({"allow": [point]}, {"allow": point}, {"trust": True}):
        opened = picklet.open("out", **policy)
        assert opened.load() == [Point(1), Point(2)]
        assert opened.items[1] == Point(2)
        mapped = opened.map(lambda points: points, "mapped", workers=1, resume=False)
        assert mapped.load() == [Point(1), Point(2)]
    assert picklet.split([Point(3)], "three", allow=[point])[0] == [Point(3)]


def test_a_worker_loads_by_the_policy_too():
    picklet.split([Point(1)], "in")
    with pytest.raises(picklet.SegmentError, match="UntrustedGlobalError") as caught:
        picklet.open("in").map(len, "out", workers=1)
    assert "Point" in caught.value.reason


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda path: None, FileNotFoundError),
        (lambda path: path.mkdir(), FileNotFoundError),
        (lambda path: path.write_bytes(b"x"), NotADirectoryError),
    ],
)
def test_what_is_no_segments_directory_is_told(make, error, tmp_path):
    make(tmp_path / "여기")
    with pytest.raises(error, match="여기"):
        picklet.open("여기")


def test_a_damaged_manifest_is_told_with_the_way_out(hundred):
    manifest = hundred.path / "segments.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"items": 30', b'"items": 31', 1))
    with pytest.raises(picklet.SegmentsError, match="repair"):
        picklet.open("숫자")
    assert picklet.repair("숫자").lost == {}
    assert picklet.open("숫자").load() == list(range(100))


def test_a_damaged_segment_is_named_and_the_others_stay_readable(hundred):
    path = hundred.paths[1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(picklet.SegmentError, match=r"data-00001\.pickle") as caught:
        hundred[1]
    assert caught.value.segment == "data-00001.pickle"
    assert hundred[2] == list(range(60, 90))


def test_verify_finds_damage_and_repair_sets_it_aside(hundred):
    assert hundred.verify() == (4, hundred.verify().bytes, {}, [], [])
    assert hundred.verify().good
    hundred.paths[1].write_bytes(b"not what it was")
    hundred.paths[3].unlink()
    found = hundred.verify()
    assert not found.good
    assert list(found.damaged) == ["data-00001.pickle"]
    assert found.missing == ["data-00003.pickle"]
    repaired = hundred.repair()
    assert sorted(repaired.lost) == ["data-00001.pickle", "data-00003.pickle"]
    assert len(hundred) == 2
    assert hundred.verify().good
    assert picklet.open("숫자").load() == [*range(30), *range(60, 90)]


def test_deep_verify_parses_what_no_digest_vouches_for(hundred):
    assert hundred.verify(deep=True).good
    # Without a manifest only the pickles themselves can tell.
    (hundred.path / "segments.json").unlink()
    shutil.rmtree(hundred.path / ".picklet")
    hundred.paths[2].write_bytes(pickle.dumps([1, 2]) + b"more")
    plain = picklet.open("숫자")
    assert plain.verify().good
    found = plain.verify(deep=True)
    assert list(found.damaged) == ["data-00002.pickle"]
    assert "4 bytes follow its end" in found.damaged["data-00002.pickle"]


def test_verify_and_repair_tell_how_far_they_are(hundred):
    heard: list[picklet.Progress] = []
    hundred.verify(progress=heard.append)
    assert (heard[-1].done, heard[-1].total, heard[-1].failed) == (4, 4, 0)
    assert heard[-1].bytes == heard[-1].total_bytes == hundred.verify().bytes
    hundred.paths[0].write_bytes(b"damage")
    heard.clear()
    hundred.repair(progress=heard.append)
    assert (heard[-1].done, heard[-1].failed) == (3, 1)

    def stop(_state: picklet.Progress) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        hundred.verify(progress=stop)


def test_repair_says_what_to_run_to_get_back_what_is_lost(hundred):
    pathlib.Path("source.pickle").write_bytes(pickle.dumps(list(range(100))))
    for segments, source in [
        (hundred, "<range>"),
        (picklet.split("source.pickle", "from file", count=30), "'source.pickle'"),
    ]:
        segments.paths[1].write_bytes(b"damage")
        repaired = segments.repair()
        assert repaired.quarantined["data-00001.pickle"].endswith(
            ".picklet/quarantine/data-00001.pickle"
        )
        [line] = repaired.way_back
        assert f"picklet.split({source}, " in line
        assert line.endswith("count=30, resume=True)")
    assert line.endswith(
        "run first: picklet.split('source.pickle', 'from file', count=30, resume=True)"
    )
    picklet.split("source.pickle", "from file", count=30, resume=True)
    assert picklet.open("from file").load() == list(range(100))
    mapped = picklet.open("from file").map(sum, "sums", workers=0, version="1")
    mapped.paths[2].unlink()
    [line] = mapped.repair().way_back
    assert ".map(sum, 'sums', version='1')" in line
    assert line.endswith("version='1')")
    hundred.append([100], name="more")
    (hundred.path / "more.pickle").unlink()
    assert "append it again" in hundred.repair().way_back[-1]


def test_append_adds_a_segment_of_the_same_kind(hundred):
    hundred.append([100, 101])
    hundred.append([102], name="끝")
    assert [path.name for path in hundred.paths[-2:]] == ["data-00004.pickle", "끝.pickle"]
    assert hundred.load() == list(range(103))
    assert picklet.open("숫자").items[102] == 102
    with pytest.raises(TypeError, match="kind list, not dict"):
        hundred.append({})
    with pytest.raises(ValueError, match=r"slash|dot"):
        hundred.append([1], name="../x")
