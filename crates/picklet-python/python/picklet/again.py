"""The call that makes anew what is lost of its result, as text for the manifest."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["call", "map_call"]

_LONGEST = 200
"""Characters of an argument at most: a list of a million names is told as ``...``."""


def call(function: str, *given: Any, **options: Any) -> str:
    """Write a call as a person would: options that are None are left out.

    >>> call("picklet.split", "big.pickle", "in", count=100, name=None, resume=True)
    "picklet.split('big.pickle', 'in', count=100, resume=True)"
    >>> call("picklet.split", (n for n in range(3)), "in", names=["a", "b"])
    "picklet.split(<generator>, 'in', names=['a', 'b'])"
    """
    words = [_word(value) for value in given]
    words += [f"{name}={_word(value)}" for name, value in options.items() if value is not None]
    return f"{function}({', '.join(words)})"


def map_call(
    directory: str,
    function: Callable[..., Any],
    out: str,
    form: str | dict[str, int],
    **options: Any,
) -> str:
    """Write the call of ``Segments.map``, or of its kin that ``form`` says."""
    method = _METHODS.get(form, "map") if isinstance(form, str) else "map_items"
    batch = None if isinstance(form, str) else form["batch"]
    called = f"picklet.open({directory!r}).{method}"
    return call(called, function, out, batch=batch, **options)


_METHODS = {"items": "map_items", "filter": "filter", "reduce": "reduce"}


def _word(value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if callable(value):
        return str(getattr(value, "__qualname__", None) or f"<{type(value).__name__}>")
    plain = isinstance(value, (str, bytes, bool, int, float)) or (
        isinstance(value, (list, tuple)) and all(isinstance(one, (str, int)) for one in value)
    )
    if not plain:
        return f"<{getattr(value, 'name', None) or type(value).__name__}>"
    text = repr(value)
    return text if len(text) <= _LONGEST else "..."
