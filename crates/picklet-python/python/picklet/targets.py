"""Where to cut and what to call the pieces: what ``split`` and ``resplit`` take alike."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable
from typing import Any, Literal, SupportsIndex

from picklet import _picklet

__all__ = ["Names", "Target", "existing_of", "file_options", "list_of_names"]

Names = Iterable[str] | Callable[[Any], str]

DEFAULT_SIZE = 64_000_000
"""Bytes a segment when the caller names no target."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Where to cut: exactly one of the three is set."""

    count: int | None
    size: int | None
    parts: int | None

    @classmethod
    def of(
        cls, count: SupportsIndex | None, size: int | str | None, parts: SupportsIndex | None
    ) -> Target:
        """Check that at most one is given; none means segments of 64 MB."""
        given = [value for value in (count, size, parts) if value is not None]
        if len(given) > 1:
            raise ValueError("give one of count=, size= and parts=, not several")
        if not given:
            size = DEFAULT_SIZE
        return cls(_positive("count", count), _bytes(size), _positive("parts", parts))


def existing_of(resume: bool, overwrite: bool) -> Literal["resume", "overwrite", "refuse"]:
    """Say what to do with what the output directory holds."""
    if resume and overwrite:
        raise ValueError("give resume=True or overwrite=True, not both")
    return "resume" if resume else "overwrite" if overwrite else "refuse"


def file_options(
    target: Target,
    name: str,
    names: Names | None,
    shared: str,
    compress: str | None,
    sha256: bool,
    existing: str,
    made_by: str,
) -> dict[str, Any]:
    """Give the options of a cut that Rust makes."""
    return {
        **dataclasses.asdict(target),
        "name": name,
        "names": names if names is None or callable(names) else list_of_names(names),
        "shared": shared,
        "compress": compress,
        "sha256": bool(sha256),
        "existing": existing,
        "made_by": made_by,
    }


def list_of_names(names: Iterable[str]) -> list[str]:
    """Give the names as a list; refuse what is no list of strings."""
    if isinstance(names, str):
        raise TypeError("names= takes one name for each segment; name= is what all begin with")
    listed = list(names)
    if wrong := [name for name in listed if not isinstance(name, str)]:
        raise TypeError(f"names= takes strings, and {wrong[0]!r} is none")
    return listed


def _positive(name: str, value: SupportsIndex | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool):
        raise TypeError(f"{name}= takes a number")
    if (number := operator.index(value)) < 1:
        raise ValueError(f"{name}= takes a number of at least 1, not {number}")
    return number


def _bytes(size: int | str | None) -> int | None:
    return _picklet.parse_size(size) if isinstance(size, str) else _positive("size", size)
