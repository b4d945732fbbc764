"""Splitting what lives in this process: every kind of source, cut and named in every way."""

import collections
import datetime
import io
import itertools
import pickle
import tracemalloc
import weakref

import picklet
import pytest

CITY = {f"도시{n}": {"인구": n * 1000, "id": n} for n in range(25)}

SOURCES = {
    "list": [*range(25)],
    "tuple": tuple(range(25)),
    "dict": CITY,
    "set": set(range(25)),
    "frozenset": frozenset(range(25)),
    "OrderedDict": collections.OrderedDict(sorted(CITY.items(), reverse=True)),
    "Counter": collections.Counter("아버지가 방에 들어가신다"),
    "defaultdict": collections.defaultdict(list, {n: [n] for n in range(25)}),
    "deque": collections.deque(range(25), maxlen=100),
    "list of one": [None],
    "empty list": [],
    "empty tuple": (),
    "empty dict": {},
    "empty set": set(),
}
CUTS = [
    {"count": 4},
    {"count": 100},
    {"size": 60},
    {"size": "1kB"},
    {"parts": 3},
    {"parts": 99},
    {},
]


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("name", SOURCES)
def test_segments_are_of_the_source_s_type_and_join_to_it(name, cut):
    source = SOURCES[name]
    segments = picklet.split(source, "out", **cut)
    stock = [pickle.loads(path.read_bytes()) for path in segments.paths]
    assert {type(segment) for segment in stock} == {type(source)}
    assert stock == list(segments)
    joined = segments.load()
    assert joined == source
    assert type(joined) is type(source)
    if isinstance(source, dict):
        assert [*joined.items()] == [*source.items()]
    assert len(segments.items) == len(source)
    if "count" in cut:
        assert [len(s) for s in stock[:-1]] == [cut["count"]] * (len(stock) - 1)
    if "parts" in cut:
        assert len(stock) == max(1, min(cut["parts"], len(source)))
        assert max(map(len, stock)) - min(map(len, stock)) <= 1


@pytest.mark.parametrize("cut", [{"count": 4}, {"size": 60}, {}], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        lambda: (n for n in range(25)),
        lambda: iter(range(25)),
        lambda: range(25),
        lambda: dict.fromkeys(range(25)).keys(),
        lambda: map(int, "12345"),
    ],
)
def test_any_iterable_gives_lists(make, cut):
    segments = picklet.split(make(), "out", **cut)
    assert segments.kind == "list"
    assert segments.load() == list(make())


def test_a_generator_is_never_held_whole():
    class Item:
        def __init__(self, n):
            self.n = n

        def __reduce__(self):
            return int, (self.n,)

    alive = weakref.WeakSet()
    most = 0

    def items():
        nonlocal most
        for n in range(1000):
            item = Item(n)
            alive.add(item)
            most = max(most, len(alive))
            yield item
            del item

    segments = picklet.split(items(), "out", count=10)
    assert len(segments) == 100
    assert picklet.open("out", trust=True).load() == list(range(1000))
    assert most <= 20


def test_memory_does_not_grow_with_a_generator():
    blocks = (bytes(100_000) for _ in range(400))
    tracemalloc.start()
    try:
        picklet.split(blocks, "out", size="1MB")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("size", [200, 1000, 5000])
def test_a_segment_ends_soon_after_the_item_that_reaches_the_size(size):
    rows = [{"이름": f"손님 {n}", "점수": [n] * (n % 7)} for n in range(2000)]
    segments = picklet.split(rows, "out", size=size)
    sizes = [path.stat().st_size for path in segments.paths]
    largest_item = 120
    assert all(size <= length <= size + largest_item for length in sizes[:-1])
    assert segments.load() == rows


def test_a_large_item_is_a_segment_by_itself():
    segments = picklet.split([b"x" * 1000] * 3, "out", size=100)
    assert [len(segment) for segment in segments] == [1, 1, 1]


def test_names_from_a_list():
    words = ["하늘", "바다 둘", "산.pickle"]
    segments = picklet.split(words, "out", count=1, names=words)
    assert [path.name for path in segments.paths] == ["하늘.pickle", "바다 둘.pickle", "산.pickle"]
    assert picklet.open("out")[1] == ["바다 둘"]


def test_names_from_a_function_of_the_item_or_of_the_number():
    rows = [{"id": "ㄱ"}, {"id": "ㄴ"}]
    by_item = picklet.split(rows, "a", count=1, names=lambda row: row["id"])
    assert [path.stem for path in by_item.paths] == ["ㄱ", "ㄴ"]
    by_number = picklet.split(range(10), "b", count=4, names=lambda n: f"조각 {n + 1}")
    assert [path.stem for path in by_number.paths] == ["조각 1", "조각 2", "조각 3"]


def test_numbered_names_begin_with_the_given_name():
    segments = picklet.split(range(3), "out", count=1, name="관측")
    assert [path.name for path in segments.paths] == [f"관측-0000{n}.pickle" for n in range(3)]


@pytest.mark.parametrize(
    "names",
    [["a", "a"], ["a", "../b"], ["a", "b/c"], ["a", ""], ["a", ".."], ["a", "b\n"],
     ["가", "가"], ["a", "segments.json"]],
)  # fmt: skip
def test_names_that_could_do_harm_are_refused_before_anything_is_written(names, tmp_path):
    with pytest.raises(ValueError, match="name"):
        picklet.split([1, 2], "out", count=1, names=names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_too_few_or_too_many_names_are_refused_before_anything_is_written(names, tmp_path):
    with pytest.raises(ValueError, match=r"names and 2 segments"):
        picklet.split([1, 2], "out", count=1, names=names)
    assert list(tmp_path.iterdir()) == []


def test_a_generator_that_outlasts_its_names_leaves_what_was_finished():
    with pytest.raises(ValueError, match="more segments than the 2 names"):
        picklet.split(iter(range(3)), "out", count=1, names=["a", "b"])
    assert picklet.open("out").load() == [0, 1]
    picklet.split(iter(range(3)), "out", count=1, names=["a", "b", "c"], resume=True)
    assert picklet.open("out").load() == [0, 1, 2]


def test_function_names_that_repeat_are_refused():
    with pytest.raises(ValueError, match="same file"):
        picklet.split([1, 2], "out", count=1, names=lambda item: "same")


BAD = {
    "two targets": (lambda: picklet.split([1], "out", count=1, size=1), ValueError, "one of"),
    "count of 0": (lambda: picklet.split([1], "out", count=0), ValueError, "at least 1"),
    "count below 0": (lambda: picklet.split([1], "out", count=-1), ValueError, "at least 1"),
    "count that is no number": (lambda: picklet.split([1], "out", count="1"), TypeError, "str"),
    "count of True": (lambda: picklet.split([1], "out", count=True), TypeError, "number"),
    "a bare M": (lambda: picklet.split([1], "out", size="64M"), ValueError, "64MB.*64MiB"),
    "no size": (lambda: picklet.split([1], "out", size="viel"), ValueError, "64MB"),
    "size of 0": (lambda: picklet.split([1], "out", size=0), ValueError, "at least 1"),
    "parts of a generator": (
        lambda: picklet.split(iter([1]), "out", parts=2), TypeError, "length is known",
    ),
    "resume and overwrite": (
        lambda: picklet.split([1], "out", resume=True, overwrite=True), ValueError, "not both",
    ),
    "a number": (lambda: picklet.split(5, "out"), TypeError, "no items"),
    "None": (lambda: picklet.split(None, "out"), TypeError, "no items"),
    "bytes": (lambda: picklet.split(b"\x80\x04].", "out"), TypeError, "BytesIO"),
    "a text file": (lambda: picklet.split(io.StringIO("x"), "out"), TypeError, "'rb'"),
    "names as one string": (
        lambda: picklet.split([1], "out", count=1, names="ab"), TypeError, "one name for each",
    ),
    "a name that is no string": (
        lambda: picklet.split([1], "out", count=1, names=[1]), TypeError, "1 is none",
    ),
    "a bad name": (lambda: picklet.split([1], "out", name="a/b"), ValueError, "slash"),
    "what does not pickle": (
        lambda: picklet.split([lambda: 0], "out"), (pickle.PicklingError, AttributeError), "lambda",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_mistakes_are_told(what):
    call, error, message = BAD[what]
    with pytest.raises(error, match=message):
        call()


def test_a_data_frame_is_not_taken_for_its_column_names():
    pandas = pytest.importorskip("pandas")
    segments = picklet.split(pandas.DataFrame({"a": [1, 2]}), "out", count=1)
    assert [segment["a"].tolist() for segment in segments] == [[1], [2]]
    with pytest.raises(TypeError, match="no rows"):
        picklet.split(pandas.Series([1]).to_numpy().sum(), "other")


def test_a_directory_that_is_not_empty_is_refused():
    picklet.split([1, 2], "out", count=1)
    with pytest.raises(FileExistsError, match=r"resume=True.*overwrite=True"):
        picklet.split([3], "out")
    assert picklet.open("out").load() == [1, 2]
    assert picklet.split([3], "out", overwrite=True).load() == [3]
    assert len(picklet.open("out").paths) == 1


def test_a_directory_of_someone_else_s_files_is_never_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("important")
    for how in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(FileExistsError, match=r"thesis\.txt"):
            picklet.split([1], "out", **how)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "important"


def broken_after(n, source):
    yield from itertools.islice(source, n)
    raise OSError("the line went dead")


def test_what_was_finished_stays_when_the_source_fails_and_resume_goes_on():
    with pytest.raises(OSError, match="went dead"):
        picklet.split(broken_after(25, range(100)), "out", count=10)
    kept = picklet.open("out")
    assert kept.load() == list(range(20))
    before = [path.stat().st_mtime_ns for path in kept.paths]
    segments = picklet.split(iter(range(100)), "out", count=10, resume=True)
    assert segments.load() == list(range(100))
    assert [path.stat().st_mtime_ns for path in segments.paths[:2]] == before


def test_resume_with_another_source_gives_the_other_source():
    picklet.split([1, 2, 3, 4, 5, 6], "out", count=2)
    assert picklet.split([1, 2, 9], "out", count=2, resume=True).load() == [1, 2, 9]
    segments = picklet.split([7, 8], "out", count=1, names=["b", "a"], resume=True)
    assert segments.load() == [7, 8]
    assert sorted(path.name for path in segments.path.glob("*.pickle")) == ["a.pickle", "b.pickle"]


def test_resume_does_not_mix_kinds():
    picklet.split([1, 2], "out", count=1)
    with pytest.raises(picklet.SegmentsError, match="overwrite=True"):
        picklet.split({1: 2}, "out", count=1, resume=True)


def test_sharing_inside_a_segment_is_kept():
    shared = [1]
    segments = picklet.split([shared, shared, shared], "out", count=2)
    first, second = segments[0]
    assert first is second


def test_items_of_every_data_type_come_back():
    rows = [
        {"때": datetime.datetime(2026, 11, 23, 20, 0, tzinfo=datetime.UTC), "값": n * 1.5,
         "크다": 1 << 200, "바이트": b"\x00\xff", "없음": None, "집합": {n}, "짝": (n, -n)}
        for n in range(50)
    ]  # fmt: skip
    assert picklet.split(rows, "out", count=7).load() == rows
