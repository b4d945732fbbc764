"""Every example in a docstring of the package runs and prints what it says."""

import doctest
import importlib
import pickle
import pkgutil

import picklet
import pytest

MODULES = sorted(
    f"picklet.{found.name}"
    for found in pkgutil.iter_modules(picklet.__path__)
    if found.name != "__main__"
)


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in ["picklet", *MODULES]:
        module = importlib.import_module(name)
        yield from (found for found in finder.find(module, name) if found.examples)


@pytest.mark.parametrize("example", [*examples()], ids=lambda example: example.name)
def test_examples_run(example):
    result = doctest.DocTestRunner(verbose=False).run(example)
    assert result.failed == 0


def test_everything_that_is_given_out_is_documented():
    ours = [name for name in picklet.__all__ if not hasattr(pickle, name)]
    assert [name for name in ours if not getattr(picklet, name).__doc__] == []


def test_all_is_all():
    public = {name for name in vars(picklet) if not name.startswith("_")}
    submodules = {name.removeprefix("picklet.") for name in MODULES}
    assert public - submodules - {"annotations"} == set(picklet.__all__) - submodules
