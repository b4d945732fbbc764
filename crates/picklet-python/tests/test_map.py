"""Segments.map: every form of function, every way to fail, and going on where it stopped."""

import functools
import importlib.util
import json
import operator
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import types

import mapped
import picklet
import pytest

WAYS = [0, 1, 2]


@pytest.fixture
def tens():
    return picklet.split(range(30), "in", count=10)


def add(number, segment):
    return [number + n for n in segment]


def make_closure(number):
    def closure(segment):
        return add(number, segment)

    return closure


FORMS = {
    "a function of a module": (mapped.total, [45, 145, 245]),
    "a function of this test": (functools.partial(add, 0), None),
    "a builtin": (sum, [45, 145, 245]),
    "a lambda": (lambda segment: max(segment), [9, 19, 29]),
    "a closure": (make_closure(0), None),
    "a partial": (functools.partial(operator.getitem, [[]]), None),
    "a static method": (mapped.Method.static, [10, 10, 10]),
    "a class method": (mapped.Method.scaled, [30, 30, 30]),
    "a bound method": (mapped.Method().bound, [30, 30, 30]),
    "an object that can be called": (mapped.Method(), [-10, -10, -10]),
    "a class": (tuple, None),
    "an operator": (operator.itemgetter(2), [2, 12, 22]),
}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("form", [f for f in FORMS if f != "a partial"])
def test_any_function_will_do(form, workers, tens):
    function, expected = FORMS[form]
    out = tens.map(function, "out", workers=workers)
    assert list(out) == (expected or [function(segment) for segment in tens])
    assert [path.name for path in out.paths] == [path.name for path in tens.paths]


def test_a_module_that_workers_cannot_find_travels_with_its_code(tens, tmp_path):
    source = tmp_path / "elsewhere.py"
    source.write_text("FACTOR = 4\ndef scale(s):\n    return [n * FACTOR for n in s]\n")
    spec = importlib.util.spec_from_file_location("elsewhere", source)
    module = importlib.util.module_from_spec(spec)
    sys.modules["elsewhere"] = module
    try:
        spec.loader.exec_module(module)
        assert tens.map(module.scale, "out", workers=1).load() == [n * 4 for n in range(30)]
        made = types.ModuleType("made_by_hand")
        exec("def double(s):\n    return [n * 2 for n in s]\n", made.__dict__)
        sys.modules["made_by_hand"] = made
        assert tens.map(made.double, "two", workers=1).load() == [n * 2 for n in range(30)]
    finally:
        sys.modules.pop("elsewhere", None)
        sys.modules.pop("made_by_hand", None)


def test_sys_path_of_this_process_reaches_the_workers(tens, tmp_path, monkeypatch):
    (tmp_path / "모듈들").mkdir()
    (tmp_path / "모듈들" / "only_here.py").write_text("def first(s):\n    return s[0]\n")
    monkeypatch.syspath_prepend(tmp_path / "모듈들")
    import only_here

    assert list(tens.map(only_here.first, "out", workers=2)) == [0, 10, 20]


def test_each_worker_is_another_process(tens):
    ids = set(tens.map(mapped.process_id, "out", workers=2))
    assert os.getpid() not in ids
    assert len(ids) in (1, 2)
    assert set(tens.map(mapped.process_id, "here", workers=0)) == {os.getpid()}


@pytest.mark.parametrize("workers", WAYS)
def test_a_second_argument_is_told_about_the_segment(workers, tens):
    told = list(tens.map(mapped.told, "out", workers=workers))
    assert told[1] == ("data-00001", 1, 10, 10, "data-00001.pickle")
    assert list(tens.map(mapped.told_by_keyword, "k", workers=workers)) == [0, 1, 2]


@pytest.mark.parametrize("workers", WAYS)
def test_a_failure_names_the_segment_its_items_and_the_traceback(workers, tens):
    with pytest.raises(picklet.SegmentError) as caught:
        tens.map(mapped.fail_on_7, "out", workers=workers)
    error = caught.value
    assert error.segment == "data-00000.pickle"
    assert error.items == range(10)
    assert error.reason == "LookupError: 칠은 안 됩니다"
    assert "in fail_on_7" in error.traceback
    assert "segment data-00000 (items 0 to 9): LookupError: 칠은 안 됩니다" in str(error)
    assert "in fail_on_7" in str(error)
    assert pickle.loads(pickle.dumps(error)).items == range(10)
    if workers == 0:
        assert isinstance(error.__cause__, LookupError)


def test_what_was_finished_stays_and_the_next_run_does_the_rest(tens):
    runs = pathlib.Path("runs").absolute()
    runs.mkdir()

    def count_and_fail(segment):
        with open(runs / f"{segment[0]}", "a") as file:
            file.write("x")
        if segment[0] == 20 and not (runs / "fixed").exists():
            raise ValueError("not yet")
        return segment

    with pytest.raises(picklet.SegmentError, match="not yet"):
        tens.map(count_and_fail, "out", workers=1)
    assert picklet.open("out").load() == list(range(20))
    (runs / "fixed").touch()
    assert tens.map(count_and_fail, "out", workers=2).load() == list(range(30))
    assert [(runs / name).read_text() for name in ("0", "10", "20")] == ["x", "x", "xx"]
    tens.map(count_and_fail, "out", workers=1)
    assert (runs / "0").read_text() == "x"
    tens.map(count_and_fail, "out", workers=1, version="2")
    assert (runs / "0").read_text() == "xx"
    tens.map(count_and_fail, "out", workers=1, version="2")
    assert (runs / "0").read_text() == "xx"
    tens.map(count_and_fail, "out", workers=1, version="2", resume=False)
    assert (runs / "0").read_text() == "xxx"


@pytest.mark.parametrize("workers", WAYS)
def test_one_segment_alone_is_replayed_whether_it_is_done_or_not(workers, tens):
    with pytest.warns(UserWarning, match="1 of 3"):
        tens.map(mapped.fail_on_7, "out", workers=1, on_error="quarantine")
    record = pathlib.Path("out/.picklet/quarantine/data-00000.json")
    replay = json.loads(record.read_bytes())["replay"]
    where = os.fspath(tens.path)
    assert replay == f"picklet.open({where!r}).map(fail_on_7, 'out', only=[\"data-00000\"])"
    again = tens.map(mapped.process_id, "out", workers=workers, only=["data-00000"])
    assert not record.exists()
    assert list(again)[1:] == [list(range(10, 20)), list(range(20, 30))]
    assert isinstance(again[0], int)
    tens.map(len, "out", workers=workers, only=["data-00001.pickle"])
    assert picklet.open("out")[1] == 10


def test_a_changed_segment_is_mapped_anew_and_the_others_are_not(tens):
    first = tens.map(mapped.process_id, "out", workers=1).load()
    again = picklet.split([*range(10), -1, *range(11, 30)], "in", count=10, overwrite=True)
    second = again.map(mapped.process_id, "out", workers=1).load()
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("on_error", ["skip", "quarantine"])
def test_a_segment_that_fails_can_be_left_out_with_a_warning(on_error, workers, tens):
    with pytest.warns(UserWarning, match="1 of 3 segments failed.*칠은") as caught:
        out = tens.map(mapped.fail_on_7, "out", workers=workers, on_error=on_error)
    assert caught[0].filename == __file__
    assert out.load() == list(range(10, 30))
    assert [path.name for path in out.paths] == ["data-00001.pickle", "data-00002.pickle"]
    kept = list((out.path / ".picklet").glob("quarantine/*"))
    assert bool(kept) == (on_error == "quarantine")


BAD_ENDS = {
    "an exception that does not pickle": (mapped.raise_strange, {}, "Strange"),
    "sys.exit": (mapped.exit_now, {}, "SystemExit"),
    "death": (mapped.die, {}, "SIGKILL"),
    "a hang": (mapped.hang, {"timeout": 0.3}, "timeout|0.3|longer"),
    "what does not pickle": (mapped.give_what_does_not_pickle, {}, "lambda"),
}


@pytest.mark.parametrize("what", BAD_ENDS)
def test_every_bad_end_is_told_and_none_hangs(what, tens):
    function, options, told = BAD_ENDS[what]
    with pytest.raises(picklet.SegmentError, match=told):
        tens.map(function, "out", workers=2, **options)


def test_retries_run_the_function_again(tens):
    once = pathlib.Path("once").absolute()

    def fail_the_first_time(segment):
        if segment[0] == 10 and not once.exists():
            once.touch()
            raise OSError("the network was away")
        return segment

    assert tens.map(fail_the_first_time, "out", workers=1, retries=1).load() == list(range(30))


def test_what_workers_print_comes_to_standard_error(tens, capsys):
    assert list(tens.map(mapped.chatter, "out", workers=2)) == [10, 10, 10]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("서울에서 서울에서 서울에서") == 3
    assert printed.err.count("to stderr") == 3
    assert printed.err.count("to descriptor 1") == 3


@pytest.mark.parametrize("workers", WAYS)
def test_progress_is_told_after_each_segment(workers, tens):
    heard = []
    tens.map(len, "out", workers=workers, progress=heard.append)
    assert [p.done for p in heard if p.done] == [1, 2, 3]
    size = sum(path.stat().st_size for path in tens.paths)
    assert heard[-1] == picklet.Progress(3, 3, 30, failed=0, bytes=size, total_bytes=size)
    heard.clear()
    tens.map(len, "out", workers=workers, progress=heard.append)
    assert all(p.total == 0 for p in heard)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_progress_raises_ends_the_map_and_what_was_finished_stays(workers, tens):
    def stop(progress):
        if progress.done == 1:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        tens.map(len, "out", workers=workers, progress=stop)
    assert 1 <= len(picklet.open("out")) <= 3
    assert list(tens.map(len, "out", workers=1)) == [10, 10, 10]


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_in_the_function_s_process_ends_the_map(workers, tens, tmp_path):
    """As a person does it: the signal goes to the whole group of processes."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import pathlib, time, picklet
        def slow(segment):
            if segment[0] > 0 and not pathlib.Path('go').exists():
                pathlib.Path(f'started').touch()
                time.sleep(3600)
            return segment
        segments = picklet.open('in')
        try:
            print(segments.map(slow, 'out', workers={workers}).load())
        except KeyboardInterrupt:
            print('interrupted')
        """)
    )
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(tmp_path / "started", process)
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert printed == "interrupted\n"
    assert picklet.open("out")[0] == list(range(10))
    (tmp_path / "go").touch()
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{list(range(30))}\n", done.stderr


def wait_for(path, process):
    """Wait until a process has made a file."""
    pause = threading.Event()
    for _ in range(6000):
        if path.exists():
            return
        assert process.poll() is None, "the process ended before"
        pause.wait(0.01)
    raise AssertionError(f"{path} did not appear")


def test_the_interpreter_is_free_while_workers_run(tens):
    """Another thread of Python runs while map waits; without that this would not end."""
    go = pathlib.Path("go").absolute()
    timer = threading.Timer(0.2, go.touch)
    timer.start()

    def wait_for_go(segment):
        pause = threading.Event()
        for _ in range(6000):
            if go.exists():
                return True
            pause.wait(0.01)
        return False

    assert all(tens.map(wait_for_go, "out", workers=2))


def test_names_of_the_outputs(tens):
    listed = tens.map(len, "a", workers=1, names=["하나", "둘", "셋"])
    assert [path.stem for path in listed.paths] == ["하나", "둘", "셋"]
    assert [p.stem for p in tens.map(len, "b", workers=0, names=lambda i: f"n{i}").paths] == [
        "n0", "n1", "n2",
    ]  # fmt: skip


MISTAKES = {
    "no function": (lambda s: s.map(3, "out"), TypeError, "function"),
    "into itself": (lambda s: s.map(len, "in"), ValueError, "input and the output"),
    "workers below 0": (lambda s: s.map(len, "out", workers=-1), ValueError, "workers="),
    "retries below 0": (lambda s: s.map(len, "out", retries=-1), ValueError, "retries="),
    "timeout of 0": (lambda s: s.map(len, "out", timeout=0), ValueError, "timeout="),
    "timeout that is no time": (lambda s: s.map(len, "out", timeout=float("nan")), ValueError, "t"),
    "timeout without workers": (
        lambda s: s.map(len, "out", workers=0, timeout=1), ValueError, "timeout",
    ),
    "on_error": (lambda s: s.map(len, "out", on_error="ignore"), ValueError, "quarantine"),
    "too few names": (lambda s: s.map(len, "out", names=["a"]), ValueError, "names"),
    "one string of names": (lambda s: s.map(len, "out", names="abc"), TypeError, "one name"),
    "a segment that is not there": (
        lambda s: s.map(len, "out", only=["nowhere"]), ValueError, "no segment \"nowhere\"",
    ),
    "one string of segments": (lambda s: s.map(len, "out", only="data-00000"), TypeError, "list"),
    "names that repeat": (lambda s: s.map(len, "out", names=["a"] * 3), ValueError, "same"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_mistakes_are_told_before_anything_runs(what, tens, tmp_path):
    call, error, message = MISTAKES[what]
    with pytest.raises(error, match=message):
        call(tens)
    assert not (tmp_path / "out").exists()


def test_a_function_that_cannot_be_imported_there_is_told(tens, tmp_path):
    (tmp_path / "fragile.py").write_text(
        "import os\n"
        "if 'FRAGILE' in os.environ: raise ImportError('이 모듈은 안 됩니다')\n"
        "def f(s): return s\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import fragile

        os.environ["FRAGILE"] = "1"
        with pytest.raises(ValueError, match="이 모듈은 안 됩니다"):
            tens.map(fragile.f, "out", workers=1)
    finally:
        os.environ.pop("FRAGILE", None)
        sys.path.remove(str(tmp_path))
        sys.modules.pop("fragile", None)


def test_equal_results_give_equal_files(tens):
    one = tens.map(mapped.total, "one", workers=1)
    two = tens.map(mapped.total, "two", workers=2)
    assert [p.read_bytes() for p in one.paths] == [p.read_bytes() for p in two.paths]


def test_maps_can_be_chained():
    data = [f"segment{n}" for n in range(1, 6)]
    out = (
        picklet.split(data, "a", count=1, names=data)
        .map(lambda s: [s[0].upper()], "b", workers=2)
        .map(lambda s: [f"{s[0]}!"], "c", workers=1)
    )
    assert out.load() == [f"SEGMENT{n}!" for n in range(1, 6)]
    assert out.kind == "list"


def test_results_that_are_no_lists_are_not_run_together():
    """A pair or a dict of figures from each segment stays one result."""
    tens = picklet.split(range(30), "in", count=10)
    ends = tens.map(lambda s: (min(s), max(s)), "t", workers=1)
    assert ends.load() == [(0, 9), (10, 19), (20, 29)]
    assert tens.map(lambda s: {"n": len(s)}, "d", workers=1).load() == [{"n": 10}] * 3
    by_key = picklet.split({n: n for n in range(30)}, "keys", count=10)
    doubled = by_key.map(lambda d: {k: v * 2 for k, v in d.items()}, "doubled", workers=1)
    assert doubled.load() == {n: n * 2 for n in range(30)}
