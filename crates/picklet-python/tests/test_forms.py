"""The forms of a mapped function: of items, batches, pairs, generators and reductions."""

import collections
import operator
import pathlib
import random

import mapped
import picklet
import pytest

WAYS = {"here": {"workers": 0}, "threads": {"threads": 2}, "processes": {"workers": 2}}


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


@pytest.fixture
def tens():
    return picklet.split(range(30), "in", count=10)


def test_items_of_every_container_go_through_the_function(way, tens):
    assert tens.map_items(lambda n: n + 1, "a", **way).load() == list(range(1, 31))
    pairs = picklet.split({"a": 1, "b": 2, "c": 3}, "pairs", count=2)
    turned = pairs.map_items(lambda pair: (pair[1], pair[0]), "b", **way)
    assert turned.load() == {1: "a", 2: "b", 3: "c"}
    tuples = picklet.split((1, 2, 3), "tuples", count=2)
    assert tuples.map_items(str, "c", **way).load() == ("1", "2", "3")


def test_batches_have_the_size_that_was_asked_for_and_may_give_any_number(way, tens):
    sizes = tens.map_items(lambda some: [len(some)], "a", batch=4, **way)
    assert list(sizes) == [[4, 4, 2]] * 3
    twice = tens.map_items(lambda some: (n for n in some for _ in "ab"), "b", batch=7, **way)
    assert twice.load() == [n for n in range(30) for _ in "ab"]
    pairs = picklet.split({n: n for n in range(5)}, "pairs", count=3)
    doubled = pairs.map_items(lambda some: {k: v * 2 for k, v in some.items()}, "c", batch=2, **way)
    assert doubled.load() == {n: n * 2 for n in range(5)}


def test_filter_keeps_items_and_the_kind_of_container(way, tens):
    assert tens.filter(lambda n: n % 7 == 0, "a", **way).load() == [0, 7, 14, 21, 28]
    pairs = picklet.split({"a": 1, "b": 2, "c": 3}, "pairs", count=2)
    assert pairs.filter(lambda pair: pair[1] > 1, "b", **way).load() == {"b": 2, "c": 3}
    some = picklet.split({1, 2, 3, 4}, "sets", count=2)
    assert some.filter(lambda n: n > 2, "c", **way).load() == {3, 4}


def test_an_error_names_the_item_or_where_its_batch_begins(way, tens):
    with pytest.raises(picklet.SegmentError, match=r"\(item 17\): ZeroDivisionError"):
        tens.map_items(lambda n: 1 // (n - 17), "a", **way)
    with pytest.raises(picklet.SegmentError, match=r"\(item 15\): ZeroDivisionError"):
        tens.map_items(lambda some: [1 // (n - 17) for n in some], "b", batch=5, **way)


def parts(segment):
    for start in range(0, len(segment), 4):
        yield segment[start : start + 4]


def test_each_thing_that_a_generator_yields_is_a_segment(way, tens):
    out = tens.map(parts, "out", **way)
    assert list(out) == [list(range(n, min(n + 4, 10 * (n // 10) + 10)))
                         for t in (0, 10, 20) for n in range(t, t + 10, 4)]  # fmt: skip
    assert out.load() == list(range(30))
    assert [path.name for path in out.paths][:4] == [
        "data-00000-00000.pickle", "data-00000-00001.pickle", "data-00000-00002.pickle",
        "data-00001-00000.pickle",
    ]  # fmt: skip


def test_a_generator_may_yield_more_than_was_foreseen_and_nothing_at_all(way, tens):
    def some(segment):
        yield from segment * 5 if segment[0] == 10 else ()

    assert list(tens.map(some, "out", **way)) == list(range(10, 20)) * 5


def test_what_a_generator_yielded_is_kept_whole_or_made_anew(way, tens):
    runs = pathlib.Path("runs").absolute()

    def some(segment):
        with open(runs, "a") as file:
            file.write(f"{segment[0]} ")
        count = 3
        if segment[0] == 10 and runs.read_text().split().count("10") == 1:
            raise ValueError("not yet")
        for n in range(count):
            yield [segment[0] + n]

    with pytest.raises(picklet.SegmentError, match="not yet"):
        tens.map(some, "out", **way)
    assert tens.map(some, "out", **way).load() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    again = runs.read_text().split()
    assert (again.count("0"), again.count("10"), again.count("20") < 3) == (1, 2, True)
    (pathlib.Path("out") / "data-00000-00001.pickle").unlink()
    assert tens.map(some, "out", **way).load() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert runs.read_text().split()[len(again) :] == ["0"]

    def fewer(segment):
        yield segment[0]

    assert list(tens.map(fewer, "out", version="2", **way)) == [0, 10, 20]
    assert len(list(pathlib.Path("out").glob("*.pickle"))) == 3


def test_a_reduction_keeps_the_order_and_has_any_number_of_levels(way):
    for count in (1, 4, 5, 17):
        letters = [chr(0xAC00 + n) for n in range(count)]
        segments = picklet.split(letters, f"in{count}", count=1)
        joined = segments.reduce(operator.add, f"out{count}", **way)
        assert joined == letters
        assert picklet.open(f"out{count}").load() == letters


def test_a_reduction_makes_anew_only_what_depends_on_a_change():
    calls = pathlib.Path("calls").absolute()

    def add(a, b):
        with open(calls, "a") as file:
            file.write("x")
        return a + b

    def reduce():
        calls.write_text("")
        result = picklet.open("in").reduce(add, "out", workers=1)
        return result, len(calls.read_text())

    picklet.split(range(17), "in", count=1)
    assert reduce() == (list(range(17)), 16)
    assert reduce() == (list(range(17)), 0)
    picklet.split([-1, *range(1, 17)], "in", count=1, overwrite=True)
    result, made = reduce()
    assert result[0] == -1
    assert made == 3 + 3 + 1
    assert picklet.open("in").reduce(add, "out", workers=1, resume=False)[0] == -1


def test_a_reduction_of_a_bad_pair_is_told(way, tens):
    with pytest.raises(picklet.SegmentError, match="TypeError"):
        tens.reduce(lambda a, b: a + 1, "out", **way)


def test_shuffle_gives_every_item_once_in_the_order_of_its_seed(tens):
    orders = [list(tens.shuffle(seed)) for seed in range(5)]
    assert all(sorted(order) == list(range(30)) for order in orders)
    assert len({tuple(order) for order in orders}) == 5
    assert orders[3] == list(tens.shuffle(3)) == list(picklet.open("in").shuffle(3))
    assert len(tens.shuffle(1)) == 30
    one = list(tens.shuffle(1, buffer=1))
    assert {tuple(sorted(one[n : n + 10])) for n in (0, 10, 20)} == {
        tuple(range(n, n + 10)) for n in (0, 10, 20)
    }
    state = random.getstate()
    list(tens.shuffle(1))
    assert random.getstate() == state
    with pytest.raises(ValueError, match="buffer="):
        tens.shuffle(1, buffer=0)


def test_threads_are_of_this_process_and_several(tens):
    ids = tens.map(mapped.thread_and_process, "out", threads=2)
    assert {process for _, process in ids} == {mapped.process_id(None)}
    assert mapped.process_id(None) == ids[0][1]


MISTAKES = {
    "batch of 0": (lambda s: s.map_items(len, "out", batch=0), ValueError, "batch="),
    "unknown option": (lambda s: s.filter(len, "out", worker=1), TypeError, "worker"),
    "threads of 0": (lambda s: s.map(len, "out", threads=0), ValueError, "threads="),
    "threads and workers": (lambda s: s.map(len, "out", threads=1, workers=1), ValueError, "both"),
    "names of a reduction": (
        lambda s: s.reduce(len, "out", names=["a", "b", "c"]), ValueError, "names",
    ),
    "timeout of threads": (lambda s: s.map(len, "out", threads=1, timeout=1), ValueError, "timeout"),
    "engine": (lambda s: s.map(len, "out", engine="dusk"), ValueError, "'dask', 'ray', 'spark'"),
    "address alone": (lambda s: s.map(len, "out", address="tcp://x"), ValueError, "engine="),
    "no executor": (lambda s: s.map(len, "out", executor=3), TypeError, "Executor"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_told_before_anything_runs(what, tens, tmp_path):
    call, error, message = MISTAKES[what]
    with pytest.raises(error, match=message):
        call(tens)
    assert not list((tmp_path / "out").glob("*.pickle"))


def test_counts_of_words(way):
    lines = ["to be", "or not", "to be", "that is", "the question"] * 3
    counts = picklet.split(lines, "in", count=2).map(
        lambda lines: collections.Counter(" ".join(lines).split()), "counts", **way
    )
    assert counts.reduce(operator.add, "sum", **way)["to"] == 6
