"""Splitting files, streams and what only flows; merging; the program inside the package."""

import collections
import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
import threading

import picklet
import pytest

ROWS = [{"이름": f"손님 {n}", "점수": [n] * (n % 7)} for n in range(500)]
SOURCES = {
    "list": ROWS,
    "tuple": tuple(range(500)),
    "dict": {f"열쇠 {n}": row for n, row in enumerate(ROWS)},
    "set": set(range(500)),
    "frozenset": frozenset(range(500)),
    "OrderedDict": collections.OrderedDict((n, n) for n in range(500)),
}


@pytest.mark.parametrize("cut", [{"count": 100}, {"size": 900}, {"parts": 3}, {}], ids=str)
@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", SOURCES)
def test_a_pickle_file_is_split_merged_and_read(name, protocol, cut):
    source = SOURCES[name]
    path = pathlib.Path("큰 파일.pickle")
    path.write_bytes(pickle.dumps(source, protocol))
    segments = picklet.split(path, "조각", **cut)
    stock = [pickle.loads(p.read_bytes()) for p in segments.paths]
    assert {type(segment) for segment in stock} == {type(source)}
    assert segments.load() == source
    assert len(segments.items) == 500
    segments.merge("합친 것.pickle")
    assert pickle.loads(pathlib.Path("합친 것.pickle").read_bytes()) == source
    out = io.BytesIO()
    segments.merge(out)
    assert pickle.loads(out.getvalue()) == source
    assert sorted(os.listdir()) == sorted(["조각", "큰 파일.pickle", "합친 것.pickle"])


def test_items_of_a_split_file_are_read_one_by_one():
    pathlib.Path("rows.pickle").write_bytes(pickle.dumps(ROWS))
    items = picklet.split("rows.pickle", "out", count=64).items
    assert items[321] == ROWS[321]
    assert items[60:200:7] == ROWS[60:200:7]


@pytest.mark.parametrize("kind", ["file", "BytesIO", "raw", "pipe"])
def test_an_open_file_is_split_from_where_it_stands(kind, tmp_path):
    data = pickle.dumps(ROWS)
    path = tmp_path / "rows.pickle"
    path.write_bytes(b"header" + data)
    if kind == "pipe":
        read, write = os.pipe()

        def feed():
            with open(write, "wb") as file:
                file.write(data)

        feeder = threading.Thread(target=feed)
        feeder.start()
        with open(read, "rb") as file:
            segments = picklet.split(file, "out", count=200)
        feeder.join()
    else:
        opened = io.BytesIO(path.read_bytes())
        if kind != "BytesIO":
            opened = open(path, "rb", buffering=0 if kind == "raw" else -1)  # noqa: SIM115
        with opened as file:
            file.seek(6)
            segments = picklet.split(file, "out", count=200)
    assert segments.load() == ROWS


def test_what_a_stream_raises_is_raised():
    class Broken:
        def read(self, size):
            raise ConnectionResetError("선이 끊겼습니다")

    with pytest.raises(ConnectionResetError, match="끊겼"):
        picklet.split(Broken(), "out", count=1)

    class Text:
        def read(self, size):
            return "text"

    with pytest.raises(TypeError, match="'rb'"):
        picklet.split(Text(), "out", count=1)


def test_a_file_of_many_pickles_gives_lists_of_its_objects():
    with open("stream.pickle", "wb") as file:
        for row in ROWS:
            pickle.dump(row, file)
    segments = picklet.split("stream.pickle", "out", count=200)
    assert segments.load() == ROWS
    assert [len(segment) for segment in segments] == [200, 200, 100]


def test_json_lines_are_split():
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    pathlib.Path("rows.jsonl").write_text(text, encoding="utf-8")
    assert picklet.split("rows.jsonl", "out", count=200).load() == ROWS


def test_names_of_a_file_s_segments():
    pathlib.Path("rows.pickle").write_bytes(pickle.dumps(ROWS))
    by = picklet.split("rows.pickle", "a", count=200, names=lambda n: f"조각 {n}")
    assert [p.stem for p in by.paths] == ["조각 0", "조각 1", "조각 2"]
    listed = picklet.split("rows.pickle", "b", count=200, names=["ㄱ", "ㄴ", "ㄷ"])
    assert [p.stem for p in listed.paths] == ["ㄱ", "ㄴ", "ㄷ"]

    def wrong(n):
        raise LookupError("이름이 없습니다")

    with pytest.raises(LookupError, match="이름이"):
        picklet.split("rows.pickle", "c", count=200, names=wrong)


def test_objects_shared_between_segments_are_told_of():
    shared = ["shared"]
    pathlib.Path("shared.pickle").write_bytes(pickle.dumps([shared, shared, shared, shared]))
    with pytest.warns(UserWarning, match="share"):
        warned = picklet.split("shared.pickle", "a", count=2)
    assert warned.load() == [shared] * 4
    assert picklet.split("shared.pickle", "b", count=2, shared="copy").load() == [shared] * 4
    with pytest.raises(picklet.UnpicklingError, match="share"):
        picklet.split("shared.pickle", "c", count=2, shared="error")
    with pytest.raises(ValueError, match="shared="):
        picklet.split("shared.pickle", "d", count=2, shared="maybe")


@pytest.mark.parametrize(
    "data",
    [b"", b"this is no pickle", pickle.dumps(ROWS)[:-200], pickle.dumps(42), b"\x80\x04\xff."],
)
def test_bad_files_are_told_of_in_one_line_and_leave_no_segments(data, tmp_path):
    pathlib.Path("나쁜.pickle").write_bytes(data)
    with pytest.raises(picklet.UnpicklingError, match=r"나쁜\.pickle") as caught:
        picklet.split("나쁜.pickle", "out", count=100)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*.pickle"))


def test_a_file_that_is_not_there_is_told_of():
    with pytest.raises(FileNotFoundError, match="없는"):
        picklet.split("없는.pickle", "out")


def program(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "picklet", *arguments],
        capture_output=True, text=True, encoding="utf-8", timeout=120, **options,
    )  # fmt: skip


def test_the_program_is_in_the_package():
    pathlib.Path("rows.pickle").write_bytes(pickle.dumps(ROWS))
    pathlib.Path("jobs.py").write_text("def count(segment):\n    return len(segment)\n")
    done = program("split", "rows.pickle", "-o", "in", "--count", "200")
    assert done.returncode == 0, done.stderr
    # No --python: the interpreter that runs the program is the workers', too.
    done = program("map", "in", "-o", "out", "--call", "jobs:count", "-j", "2")
    assert done.returncode == 0, done.stderr
    assert list(picklet.open("out")) == [200, 200, 100]
    assert program("--help").stdout.startswith("Split, process and reload")
    assert program("split", "nothing.pickle", "-o", "x").returncode == 2
    assert program("no-such-command").returncode == 2


def test_the_console_script_is_the_program():
    script = pathlib.Path(sys.executable).with_name("picklet")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("picklet "), done.stderr


def test_a_file_that_is_not_there_is_named_as_it_was_given():
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '없는 파일.pickle'$"):
        picklet.split("없는 파일.pickle", "out")


@pytest.mark.parametrize("cut", [{"count": 70}, {"size": 900}, {"parts": 3}], ids=str)
@pytest.mark.parametrize("name", SOURCES)
def test_segments_are_cut_anew_without_being_merged(name, cut):
    source = SOURCES[name]
    pathlib.Path("source.pickle").write_bytes(pickle.dumps(source))
    segments = picklet.split("source.pickle", "in", count=64)
    anew = segments.resplit("out", names=lambda index: f"새 {index}", **cut)
    assert anew.load() == source
    assert {type(pickle.loads(p.read_bytes())) for p in anew.paths} == {type(source)}
    assert anew.paths[1].name == "새 1.pickle"
    assert segments.load() == source
    with pytest.raises(FileExistsError, match="overwrite=True"):
        segments.resplit("out", **cut)
    assert segments.resplit("out", overwrite=True, count=1000).load() == source
    with pytest.raises(ValueError, match="another directory"):
        segments.resplit("in", overwrite=True)
