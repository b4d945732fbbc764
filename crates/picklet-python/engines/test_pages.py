"""The pages whose blocks need an engine or a server run here whole."""

import sys

import pytest
from pages import blocks, run_page
from test_site import DOCS, TEXTS

PAGES = [
    path for path, text in TEXTS.items() if any(mark == "engines" for mark, *_ in blocks(text))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_block_runs_and_prints_what_the_page_shows(page, tmp_path):
    assert run_page(TEXTS[page], tmp_path, sys.executable, engines=True) > 0
