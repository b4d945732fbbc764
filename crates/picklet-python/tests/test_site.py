"""Every block of the tutorial and of the how-to pages runs, and prints what the page shows."""

import re
import sys
from pathlib import Path

import pytest
from pages import blocks, run_page

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = sorted([*DOCS.glob("tutorial*.md"), *DOCS.glob("how-to/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_runs_and_prints_what_the_page_shows(page, tmp_path):
    assert run_page(page.read_text(encoding="utf-8"), tmp_path, sys.executable) > 0


def test_the_korean_tutorial_has_the_same_code_and_the_same_output():
    english, korean = (
        [
            (language, re.sub(r"\s+#.*$", "", code, flags=re.MULTILINE), shown)
            for _, language, code, shown in blocks((DOCS / name).read_text(encoding="utf-8"))
        ]
        for name in ("tutorial.md", "tutorial.ko.md")
    )
    assert korean == english
