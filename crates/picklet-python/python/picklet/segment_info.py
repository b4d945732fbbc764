"""What a mapped function can be told about its segment.

A module of its own, because the package must not import the worker's, which
is a program.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SegmentInfo"]


class SegmentInfo:
    """What a function with a second argument is told about its segment."""

    __slots__ = ("first_item", "index", "items", "name", "path", "window")

    name: str
    """Its file's name without ``.pickle``."""
    index: int
    """Its place among the segments, from 0."""
    first_item: int | None
    """The number of its first item in the whole data set; None where unknown."""
    items: int | None
    """How many items it has; None where unknown."""
    path: str
    """Its file."""

    window: Any
    """Its place in an array, as the manifest has it, where it is a tile; else None."""

    def __init__(
        self,
        name: str,
        index: int,
        first_item: int | None,
        items: int | None,
        path: str,
        window: Any = None,
    ) -> None:
        """Keep what the engine knows of the segment."""
        self.name = name
        self.index = index
        self.first_item = first_item
        self.items = items
        self.path = path
        self.window = window

    def __repr__(self) -> str:
        """Show all but the path."""
        return (
            f"SegmentInfo(name={self.name!r}, index={self.index}, "
            f"first_item={self.first_item}, items={self.items}, window={self.window!r})"
        )
