"""How a function travels to the workers: by its name, or by its code.

A worker imports a function by ``module:name`` when it can find the same one
there. What has no such name (a lambda, a closure, a partial, and everything
that lives in ``__main__``) goes as code, by cloudpickle. Workers never import
``__main__``, so scripts need no guard.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["by_code", "by_name", "describe"]


def describe(function: Callable[..., Any]) -> dict[str, str]:
    """Give what a worker needs to have ``function``.

    Either ``{"call": "module:name"}`` or ``{"cloudpickle": hexadecimal digits}``.

    >>> import os.path
    >>> describe(os.path.join)
    {'call': 'posixpath:join'}
    >>> list(describe(lambda segment: segment))
    ['cloudpickle']
    """
    name = by_name(function)
    return {"call": name} if name else {"cloudpickle": by_code(function).hex()}


def by_name(function: Callable[..., Any]) -> str | None:
    """Give ``module:name`` if importing the module gives this very function, else None."""
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if module in ("__main__", "__mp_main__") or "<" in name or not _can_be_found(module):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    # Bound methods are made anew at each look: equal, but not the same object.
    return f"{module}:{name}" if found is function else None


def by_code(function: Callable[..., Any]) -> bytes:
    """Pickle ``function`` with its code, its globals and what it closes over.

    A module that no worker could import (it was made by hand, or loaded from
    a path outside ``sys.path``) travels by value too.
    """
    import cloudpickle  # type: ignore[import-untyped]

    owner = sys.modules.get(getattr(function, "__module__", None) or "__main__")
    if owner is None or owner.__name__ == "__main__" or _can_be_found(owner.__name__):
        return bytes(cloudpickle.dumps(function))
    return _with_module(function, owner)


def _with_module(function: Callable[..., Any], owner: ModuleType) -> bytes:
    import cloudpickle

    known = owner.__name__ in cloudpickle.list_registry_pickle_by_value()
    if not known:
        cloudpickle.register_pickle_by_value(owner)
    try:
        return bytes(cloudpickle.dumps(function))
    finally:
        if not known:
            cloudpickle.unregister_pickle_by_value(owner)


def _can_be_found(module: str) -> bool:
    """Tell whether a fresh interpreter with this ``sys.path`` finds the module.

    Looks and imports nothing: ``importlib.util.find_spec`` would answer from
    ``sys.modules``, where modules made by hand are too.
    """
    if module in sys.builtin_module_names or module in sys.stdlib_module_names:
        return True
    path: Any = None
    whole = ""
    for part in module.split("."):
        whole = f"{whole}.{part}" if whole else part
        try:
            spec = next(
                (
                    spec
                    for finder in sys.meta_path
                    if hasattr(finder, "find_spec")
                    and (spec := finder.find_spec(whole, path)) is not None
                ),
                None,
            )
        except (ImportError, AttributeError, ValueError):
            return False
        if spec is None:
            return False
        path = spec.submodule_search_locations
    origin = getattr(sys.modules.get(module), "__file__", None)
    return not isinstance(spec, importlib.machinery.ModuleSpec) or origin in (None, spec.origin)
