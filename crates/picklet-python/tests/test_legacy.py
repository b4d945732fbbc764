"""Pickles of old and new numpy, pandas and Python load safely where stock pickle loads them.

They were written by those versions: ``testdata/legacy/fetch.py`` makes them again.
"""

import pickle
import warnings
from pathlib import Path

import picklet
import picklet.compat
import pytest

FOLDER = Path(__file__).resolve().parents[3] / "testdata" / "legacy" / "pickles"
FILES = sorted(FOLDER.glob("*.pickle"))


def same(ours, stock):
    """Of one type, and printed alike, part by part."""
    assert type(ours) is type(stock)
    if isinstance(stock, dict):
        assert list(ours) == list(stock)
        for key in stock:
            same(ours[key], stock[key])
    else:
        assert repr(ours) == repr(stock)
        assert getattr(ours, "dtype", None) == getattr(stock, "dtype", None)


def test_there_are_pickles_of_several_versions():
    assert len({path.name.split("-protocol")[0] for path in FILES}) >= 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_stock_pickle_loads_a_safe_load_loads(path):
    data = path.read_bytes()
    # Python 2's dates and arrays hold bytes in their text.
    encoding = "latin1" if path.name.startswith("python2") else "ASCII"
    with warnings.catch_warnings():
        # Old pandas and numpy names are deprecated, whoever loads them.
        warnings.simplefilter("ignore")
        try:
            stock = pickle.loads(data, encoding=encoding)
        except Exception as error:
            pytest.skip(f"stock pickle does not load it: {type(error).__name__}: {error}")
        same(picklet.compat.loads(data, encoding=encoding), stock)
        same(picklet.loads(data, encoding=encoding), stock)
