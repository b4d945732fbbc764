"""Every block of the READMEs runs as written, in order, in one empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"^```(python|sh)( skip)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(name):
    """The runnable blocks of one README: (language, text); blocks marked `skip` are left out."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return [(language, code) for language, skip, code in BLOCK.findall(text) if not skip]


def without_comments(code):
    return re.sub(r"\s+#.*$", "", code, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_every_block_runs_as_written(name, tmp_path):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8"}
    printed = []
    for language, code in blocks(name):
        command = [sys.executable, "-"] if language == "python" else ["bash", "-eu"]
        done = subprocess.run(
            command, input=code, text=True, encoding="utf-8", cwd=tmp_path, env=environment,
            capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        printed.append(done.stdout)
    assert len(printed) >= 7
    assert printed[0] == "{'name': 'John', 'age': 30, 'city': 'New York'}\n"
    assert printed[1] == printed[2] == "".join(f"SEGMENT{i}\n" for i in range(1, 6))
    names = [f"segment{i}.pickle" for i in range(1, 6)]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.pickle")) == names


def test_the_korean_readme_has_the_same_code():
    english = [(language, without_comments(code)) for language, code in blocks("README.md")]
    korean = [(language, without_comments(code)) for language, code in blocks("README.ko.md")]
    assert korean == english
