"""Every block of the site's pages runs, and prints what the page shows."""

import re
import sys
from pathlib import Path

import pytest
from pages import blocks, run_page

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
TEXTS = {path: path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
# Pages of which every block is left to `make test-engines` have nothing to run here.
PAGES = [path for path, text in TEXTS.items() if any(not mark for mark, *_ in blocks(text))]
TRANSLATED = sorted(DOCS.rglob("*.ko.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_runs_and_prints_what_the_page_shows(page, tmp_path):
    assert run_page(TEXTS[page], tmp_path, sys.executable) > 0


@pytest.mark.parametrize("korean", TRANSLATED, ids=lambda page: page.name)
def test_a_translation_has_the_same_code_and_the_same_output(korean):
    english = korean.with_name(korean.name.replace(".ko.md", ".md"))
    of_english, of_korean = (
        [
            (language, re.sub(r"\s+#.*$", "", code, flags=re.MULTILINE), shown)
            for _, language, code, shown in blocks(TEXTS[page])
        ]
        for page in (english, korean)
    )
    assert of_korean == of_english


def test_both_pages_of_the_tutorial_are_translated():
    assert [page.name for page in TRANSLATED] == ["tutorial-cluster.ko.md", "tutorial.ko.md"]


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    named = set(re.findall(r"([\w./-]+\.md)$", navigation, re.MULTILINE))
    pages = {str(page.relative_to(DOCS)) for page in TEXTS}
    assert named == pages
