"""How functions travel: by name where a fresh interpreter finds the same one, else with code."""

import functools
import json
import operator
import os.path
import pickle
import sys
import types

import mapped
import pytest
from picklet import functions

BY_NAME = {
    "mapped:total": mapped.total,
    "mapped:Method.static": mapped.Method.static,
    "builtins:len": len,
    "posixpath:join": os.path.join,
    "json:dumps": json.dumps,
    "builtins:dict": dict,
}
BY_CODE = {
    "a lambda": lambda segment: segment,
    "a partial": functools.partial(operator.add, 1),
    "an object": mapped.Method(),
    "a bound method": mapped.Method().bound,
    "a bound method of a builtin": [].append,
}


@pytest.mark.parametrize("name", BY_NAME)
def test_what_can_be_imported_goes_by_name(name):
    assert functions.describe(BY_NAME[name]) == {"call": name}


@pytest.mark.parametrize("what", BY_CODE)
def test_what_cannot_goes_with_its_code(what):
    described = functions.describe(BY_CODE[what])
    assert callable(pickle.loads(bytes.fromhex(described["cloudpickle"])))


def test_a_name_that_means_something_else_now_is_not_trusted(monkeypatch):
    original = mapped.total
    monkeypatch.setattr(mapped, "total", lambda segment: "another")
    assert list(functions.describe(original)) == ["cloudpickle"]


def test_what_lives_in_main_goes_with_its_code(monkeypatch):
    main = types.ModuleType("__main__")
    exec("def f(s):\n    return s", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert list(functions.describe(main.f)) == ["cloudpickle"]


def test_a_decorated_function_is_found_by_its_name():
    assert functions.by_name(functools.wraps(mapped.total)(lambda s: 0)) is None
