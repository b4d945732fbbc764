"""Arrays and tables: cut into rows along their first axis, and joined again."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["cutter", "join", "rows"]


def cutter(source: Any) -> Callable[[int, int], Any] | None:
    """Give what cuts rows out of an array or a table; None for what is neither.

    That is numpy's arrays, pandas' frames, series and indexes, and scipy's sparse
    matrices: what has an ``iloc``, or a shape, a type and rows that are sliced.
    """
    if hasattr(source, "iloc"):
        return lambda start, stop: source.iloc[start:stop]
    if not (hasattr(source, "shape") and hasattr(source, "dtype")):
        return None
    name = type(source).__name__
    if not source.shape:
        raise TypeError(f"a {name} of no axes has no rows to split")
    if not hasattr(source, "__getitem__"):
        raise TypeError(f"a {name} has no rows that can be cut out; split its .tocsr()")
    return lambda start, stop: source[start:stop]


def join(parts: list[Any]) -> Any:
    """Join arrays or tables along their first axis."""
    first = parts[0]
    if len(parts) == 1:
        return first
    package = type(first).__module__.partition(".")[0]
    if package == "pandas":
        pandas = importlib.import_module("pandas")
        return pandas.concat(parts) if hasattr(first, "iloc") else first.append(parts[1:])
    if package == "scipy":
        return importlib.import_module("scipy.sparse").vstack(parts, format=first.format)
    return importlib.import_module("numpy").concatenate(parts)


def rows(segment: Any) -> Iterable[Any]:
    """Give the rows of an array or a table, each on its own."""
    if hasattr(segment, "iloc"):
        return (segment.iloc[place] for place in range(len(segment)))
    return (segment[place] for place in range(segment.shape[0]))
