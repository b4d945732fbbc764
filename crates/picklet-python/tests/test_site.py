"""Every block of the tutorial and of the how-to pages runs, and prints what the page shows.

A page's blocks run in order in one empty folder. A `text` block after one that was run is what it
prints, with `...` for what differs from run to run. `<!-- skip: REASON -->` before a block leaves
it out; `<!-- engines -->` leaves it to `make test-engines`.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = sorted([*DOCS.glob("tutorial*.md"), *DOCS.glob("how-to/*.md")])
BLOCK = re.compile(
    r"^(?:<!-- (skip: [^>]+|engines) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(page):
    """(mark, language, code, what it prints or None) of each block that can be run."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    following = [*found[1:], ("", "", "")]
    for (mark, language, code), (_, next_language, shown) in zip(found, following, strict=True):
        if language in ("python", "sh"):
            yield mark, language, code, shown if next_language == "text" else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_runs_and_prints_what_the_page_shows(page, tmp_path):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8"}
    same = doctest.OutputChecker().check_output
    count = 0
    for mark, language, code, shown in blocks(page):
        if mark:
            continue
        command = [sys.executable, "-"] if language == "python" else ["bash", "-eu"]
        done = subprocess.run(
            command, input=code, text=True, encoding="utf-8", cwd=tmp_path, env=environment,
            capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        if shown is not None:
            assert same(shown, done.stdout, doctest.ELLIPSIS), f"{code}\n{done.stdout}"
        count += 1
    assert count > 0


def test_the_korean_tutorial_has_the_same_code_and_the_same_output():
    english, korean = (
        [
            (language, re.sub(r"\s+#.*$", "", code, flags=re.MULTILINE), shown)
            for _, language, code, shown in blocks(DOCS / name)
        ]
        for name in ("tutorial.md", "tutorial.ko.md")
    )
    assert korean == english
