"""Writes crates/picklet-codec/src/policy/sklearn.rs: the classes of scikit-learn that the policy lists.

    python testdata/policy/list_sklearn.py > crates/picklet-codec/src/policy/sklearn.rs

A class is listed if making an object of it and giving it its state runs nothing but what every
estimator runs: it is written in Python, `__new__`, `__reduce__`, `__reduce_ex__`, `__setattr__`
and `__getattribute__` are `object`'s, it has no `__del__`, and its `__setstate__` is
`BaseEstimator`'s (which compares versions, warns, and updates `__dict__`), or it has none. The
last column of the table that goes to standard error says which of these a class left out breaks.
"""

import importlib
import inspect
import sys
import warnings

warnings.simplefilter("ignore")

import sklearn  # noqa: E402
from sklearn.base import BaseEstimator  # noqa: E402
from sklearn.utils import all_estimators  # noqa: E402

# Modules whose classes estimators are made of, besides the estimators themselves.
PARTS = [
    "sklearn.gaussian_process.kernels",
    "sklearn.neural_network._stochastic_optimizers",
    "sklearn.ensemble._hist_gradient_boosting.binning",
    "sklearn.calibration",
    "sklearn.gaussian_process._gpc",
    "sklearn._loss.link",
]
OBJECTS = ["__new__", "__reduce__", "__reduce_ex__", "__setattr__", "__getattribute__"]


def broken(cls):
    """What keeps a class out of the policy."""
    for name in OBJECTS:
        if getattr(cls, name) is not getattr(object, name):
            yield f"own {name}"
    if hasattr(cls, "__del__"):
        yield "own __del__"
    setter = getattr(cls, "__setstate__", None)
    if setter is not None and setter is not BaseEstimator.__setstate__:
        yield "own __setstate__"
    try:
        inspect.getsource(cls)
    except (OSError, TypeError):
        yield "not written in Python"
    if any(base.__module__.split(".")[0] not in ("sklearn", "builtins", "abc") for base in cls.__mro__):
        yield "a base of another package"
    if any(base in (dict, list, tuple, set, str) for base in cls.__mro__):
        yield "a built-in container"


def classes():
    """Every class to look at, once."""
    found = {cls for _, cls in all_estimators()}
    for module in PARTS:
        for _, cls in inspect.getmembers(importlib.import_module(module), inspect.isclass):
            if cls.__module__ == module:
                found.add(cls)
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


def main():
    listed = []
    for cls in classes():
        why = sorted(broken(cls))
        print(cls.__module__, cls.__qualname__, ", ".join(why) or "listed", sep="\t", file=sys.stderr)
        if not why:
            listed.append((cls.__module__, cls.__qualname__))
    print("//! The `sklearn` policy: scikit-learn's estimators, and the trees in them.")
    print("//!")
    print("//! Written by `testdata/policy/list_sklearn.py`, which says what a class is looked at for")
    print(f"//! before it is listed, from scikit-learn {sklearn.__version__}: {len(listed)} classes.")
    print()
    print("use super::shape::{Args, Entry, Kind, Makes, Sound, State, call, each, mention};")
    print()
    print("const fn estimator() -> Entry {")
    print('    mention("", "").remade_with(State::Attributes).making(Makes::Estimator)')
    print("}")
    print()
    print("/// Estimators, kernels and the like, each by its exact name.")
    print("#[rustfmt::skip]")
    print("pub(super) static ESTIMATORS: &[Entry] = &each(estimator(), [")
    for module, name in listed:
        print(f'    ("{module}", "{name}"),')
    print("]);")
    print(TREE, end="")


TREE = '''
const TREE_STATE: Kind = Kind::Keys(&[
    ("max_depth", Kind::Int),
    ("node_count", Kind::Int),
    ("nodes", Kind::Made(Makes::Array)),
    ("values", Kind::Made(Makes::Array)),
]);

/// Decision trees, whose nodes name each other by number: the loader checks them.
pub(super) static TREES: &[Entry] = &[call(
    "sklearn.tree._tree",
    "Tree",
    &[Args::Exactly(&[Kind::Int, Kind::Made(Makes::Array), Kind::Int])],
)
.with_state(State::Is(TREE_STATE))
.needing_state()
.making(Makes::Estimator)
.checked(Sound::Tree)];
'''

if __name__ == "__main__":
    main()
