"""What a map promises wherever its workers are: one suite for every executor and engine.

Whoever runs it gives two fixtures: ``how``, the keyword arguments of ``map``
that name the workers, and ``dies``, whether the workers are processes of their
own. Two have a default: ``survives``, whether the death of a worker leaves the
others and this process alive, and ``at``, which gives the place of a name: a
path below the current folder, or a URL.
"""

import json
import operator
import os
import pathlib
import signal

import mapped
import picklet
import pytest


@pytest.fixture
def survives(dies):
    return dies


@pytest.fixture
def at():
    return lambda name: name


@pytest.fixture
def tens(at):
    """Thirty numbers in three segments."""
    return picklet.split(range(30), at("in"), count=10)


def files(segments):
    return [entry.file for entry in segments._directory.entries]


def test_every_segment_is_mapped_by_others(how, dies, at, tens):
    out = tens.map(mapped.process_and_sum, at("out"), **how)
    assert [total for _, total in out] == [45, 145, 245]
    assert files(out) == files(tens)
    assert dies == (os.getpid() not in {process for process, _ in out})


def test_functions_travel_with_their_code(how, at, tens):
    factor = 3
    assert tens.map(lambda s: [n * factor for n in s], at("out"), **how).load() == [
        n * 3 for n in range(30)
    ]
    told = tens.map(lambda s, info: (info.name, info.first_item), at("told"), **how)
    assert list(told) == [("data-00000", 0), ("data-00001", 10), ("data-00002", 20)]


def test_every_form_of_function(how, at, tens):
    assert tens.map_items(str, at("a"), **how).load() == [str(n) for n in range(30)]
    assert tens.filter(lambda n: n % 10 == 3, at("b"), **how).load() == [3, 13, 23]
    assert tens.map_items(lambda some: [sum(some)], at("c"), batch=5, **how).load()[:2] == [10, 35]

    def halves(segment):
        yield segment[:5]
        yield segment[5:]

    assert len(tens.map(halves, at("d"), **how)) == 6
    one = picklet.split(range(9), at("ones"), count=1)
    assert one.reduce(operator.add, at("e"), **how) == list(range(9))


def test_a_failure_names_the_segment_its_items_and_the_traceback(how, at, tens):
    with pytest.raises(picklet.SegmentError) as caught:
        tens.map(mapped.fail_on_7, at("out"), **how)
    error = caught.value
    assert (error.segment, error.items) == ("data-00000.pickle", range(10))
    assert error.reason == "LookupError: 칠은 안 됩니다"
    assert "in fail_on_7" in error.traceback


def test_what_does_not_travel_ends_in_a_report(how, at, tens):
    with pytest.raises(picklet.SegmentError, match="Strange"):
        tens.map(mapped.raise_strange, at("a"), **how)
    with pytest.raises(picklet.SegmentError, match="SystemExit"):
        tens.map(mapped.exit_now, at("b"), **how)
    with pytest.raises(picklet.SegmentError, match="lambda"):
        tens.map(mapped.give_what_does_not_pickle, at("c"), **how)


def test_failures_are_skipped_with_a_warning_and_retried(how, at, tens):
    with pytest.warns(UserWarning, match="1 of 3 segments failed"):
        out = tens.map(mapped.fail_on_7, at("out"), on_error="skip", **how)
    assert out.load() == list(range(10, 30))
    once = str(pathlib.Path("once").absolute())

    def fail_once(segment):
        if 10 in segment and not os.path.exists(once):
            pathlib.Path(once).touch()
            raise OSError("the network was away")
        return segment

    assert tens.map(fail_once, at("again"), retries=1, **how).load() == list(range(30))


def test_the_next_run_does_only_what_is_left(how, at, tens):
    runs = str(pathlib.Path("runs").absolute())

    def note(segment):
        with open(runs, "a") as file:
            file.write(f"{segment[0]} ")
        if segment[0] == 20 and pathlib.Path(runs).read_text().count("20") == 1:
            raise ValueError("not yet")
        return segment

    with pytest.raises(picklet.SegmentError, match="not yet"):
        tens.map(note, at("out"), **how)
    before = pathlib.Path(runs).read_text().split()
    assert tens.map(note, at("out"), **how).load() == list(range(30))
    after = pathlib.Path(runs).read_text().split()
    assert set(after[len(before) :]) == {"0", "10", "20"} - (set(before) - {"20"})
    tens.map(note, at("out"), **how)
    tens.map(note, at("out"), workers=0)
    assert pathlib.Path(runs).read_text().split() == after


def test_a_worker_killed_in_the_middle_costs_nothing(how, survives, at, tens):
    if not survives:
        return
    many = picklet.split(range(40), at("many"), count=2)
    once = str(pathlib.Path("once").absolute())

    def die_once(segment):
        if segment[0] == 10:
            try:
                os.close(os.open(once, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return segment
            os.kill(os.getpid(), signal.SIGKILL)
        return segment

    assert many.map(die_once, at("out"), **how).load() == list(range(40))


def test_a_segment_that_kills_its_workers_is_named_and_no_other(how, survives, at, tens):
    if not survives:
        return
    many = picklet.split(range(40), at("many"), count=2)

    def die(segment):
        if segment[0] == 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return segment

    with pytest.warns(UserWarning, match="1 of 20 segments failed.*data-00005"):
        out = many.map(die, at("out"), on_error="quarantine", **how)
    assert out.load() == [n for n in range(40) if n not in (10, 11)]
    record = picklet._picklet.read_file(f"{out.location}/.picklet/quarantine/data-00005.json")
    assert json.loads(record)["first_item"] == 10


def test_workers_that_cannot_reach_the_store_are_told_at_the_start(how, dies):
    """A path through a descriptor of this process leads other processes nowhere."""
    if not dies:
        return
    picklet.split(range(30), "in", count=10)
    calls = pathlib.Path("calls").absolute()
    here = os.open(".", os.O_RDONLY)
    try:
        elsewhere = picklet.open(f"/proc/self/fd/{here}/in")
        with pytest.raises(RuntimeError, match=r"worker .*cannot open .*every worker reaches"):
            elsewhere.map(lambda s: calls.touch(), f"/proc/self/fd/{here}/out", **how)
    finally:
        os.close(here)
    with pytest.raises(RuntimeError, match=r"worker .*memory.*every worker reaches"):
        picklet.open("in").map(lambda s: calls.touch(), "memory://nowhere/else", **how)
    assert not calls.exists()


def test_progress_is_told_and_a_timeout_is_refused(how, at, tens):
    heard = []
    tens.map(len, at("out"), progress=heard.append, **how)
    assert (heard[-1].done, heard[-1].total, heard[-1].items) == (3, 3, 30)
    with pytest.raises(ValueError, match="timeout="):
        tens.map(len, at("other"), timeout=5, **how)
