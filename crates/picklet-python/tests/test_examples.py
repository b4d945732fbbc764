"""The examples that every release must run as written, in the ways people run scripts."""

import os
import pickle
import subprocess
import sys
import textwrap

import pytest

SAVE_AND_LOAD = """
import picklet as pickle
data = {'name': 'John', 'age': 30, 'city': 'New York'}
with open('data.pickle', 'wb') as f: pickle.dump(data, f)
with open('data.pickle', 'rb') as f: print(pickle.load(f))
"""

SEGMENTS_IN_A_LOOP = """
import picklet as pickle

def process_segment(segment):
    return {'segment': segment, 'letters': len(segment)}

data = ['segment1', 'segment2', 'segment3', 'segment4', 'segment5']
for segment in data:
    processed_data = process_segment(segment)
    with open(f'{segment}.pickle', 'wb') as f: pickle.dump(processed_data, f)
for segment in data:
    with open(f'{segment}.pickle', 'rb') as f: print(pickle.load(f))
"""

SEGMENTS_IN_PARALLEL = """
import picklet

def process_one(segment):
    return {'segment': segment[0], 'letters': len(segment[0])}

data = ['segment1', 'segment2', 'segment3', 'segment4', 'segment5']
picklet.split(data, 'in', count=1, names=data).map(process_one, 'out', workers=2)
for loaded_data in picklet.open('out'): print(loaded_data)
"""

PROCESSED = [{"segment": f"segment{n}", "letters": 8} for n in range(1, 6)]


def in_korean(text):
    for english, korean in [
        ("segment1", "서울"), ("segment2", "부산"), ("segment3", "대구 광역시"),
        ("segment4", "인천"), ("segment5", "광주"), ("'in'", "'입력'"), ("'out'", "'출력 폴더'"),
        ("process_one", "글자_세기"), ("letters", "글자수"),
    ]:  # fmt: skip
        text = text.replace(english, korean)
    return text


def run(text, way, folder):
    """Run a script in one of the ways people do; give what it printed."""
    text = textwrap.dedent(text)
    script = folder / "스크립트 1.py"
    script.write_text(text, encoding="utf-8")
    command, given = {
        "script": ([sys.executable, str(script)], None),
        "standard input": ([sys.executable, "-"], text),
        "-c": ([sys.executable, "-c", text], None),
        "interactive": ([sys.executable, "-i", "-q"], text + "\n"),
    }[way]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        command, input=given, cwd=folder, env=environment,
        capture_output=True, text=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if way != "interactive":
        assert done.stderr == ""
    return done.stdout


WAYS = ["script", "standard input", "-c"]


@pytest.mark.parametrize("way", WAYS)
def test_save_and_load(way, tmp_path):
    assert run(SAVE_AND_LOAD, way, tmp_path) == "{'name': 'John', 'age': 30, 'city': 'New York'}\n"
    stock = pickle.loads((tmp_path / "data.pickle").read_bytes())
    assert stock == {"name": "John", "age": 30, "city": "New York"}


@pytest.mark.parametrize("way", WAYS)
def test_segments_in_a_loop(way, tmp_path):
    printed = run(SEGMENTS_IN_A_LOOP, way, tmp_path)
    assert printed == "".join(f"{result}\n" for result in PROCESSED)
    for n, result in enumerate(PROCESSED, 1):
        assert pickle.loads((tmp_path / f"segment{n}.pickle").read_bytes()) == result


@pytest.mark.parametrize("way", WAYS)
def test_segments_in_parallel_without_a_main_guard(way, tmp_path):
    printed = run(SEGMENTS_IN_PARALLEL, way, tmp_path)
    assert printed == "".join(f"{result}\n" for result in PROCESSED)
    for n, result in enumerate(PROCESSED, 1):
        assert pickle.loads((tmp_path / "out" / f"segment{n}.pickle").read_bytes()) == result


def test_segments_in_parallel_from_an_interactive_session(tmp_path):
    printed = run(SEGMENTS_IN_PARALLEL.replace(": print", ":\n    print"), "interactive", tmp_path)
    assert all(str(result) in printed for result in PROCESSED)


@pytest.mark.parametrize("way", WAYS)
def test_segments_in_korean_in_korean_folders(way, tmp_path):
    folder = tmp_path / "프로젝트 하나"
    folder.mkdir()
    printed = run(in_korean(SEGMENTS_IN_PARALLEL), way, folder)
    assert printed.splitlines()[2] == "{'segment': '대구 광역시', '글자수': 6}"
    segment = (folder / "출력 폴더" / "대구 광역시.pickle").read_bytes()
    assert pickle.loads(segment) == {"segment": "대구 광역시", "글자수": 6}


def test_classes_of_the_script_are_carried_to_the_workers_and_back(tmp_path):
    text = """
    import dataclasses
    import picklet

    FACTOR = 10

    @dataclasses.dataclass
    class Point:
        x: int

    def scale(points):
        return [Point(point.x * FACTOR) for point in points]

    names = ['__main__.Point']
    source = [Point(1), Point(2), Point(3)]
    segments = picklet.split(source, 'points', count=2, allow=names)
    print(segments.map(scale, 'scaled', workers=1).load())
    """
    assert run(text, "script", tmp_path) == "[Point(x=10), Point(x=20), Point(x=30)]\n"
