"""Whether the segments are what their manifest says, and what to do when not."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from picklet import _picklet
from picklet.mapping import Progress
from picklet.progress import Bar

__all__ = ["Repaired", "Verified", "repair"]


class Verified(NamedTuple):
    """What :meth:`picklet.Segments.verify` has found."""

    segments: int
    """How many segments there should be."""
    bytes: int
    """How many bytes were read."""
    damaged: dict[str, str]
    """Files that are not what the manifest says, and what is wrong with each."""
    missing: list[str]
    """Files that are not there."""
    extra: list[str]
    """Pickles in the directory that the manifest does not name. Nothing is wrong with that."""

    @property
    def good(self) -> bool:
        """Whether every segment is there and whole."""
        return not self.damaged and not self.missing


class Repaired(NamedTuple):
    """What :func:`picklet.repair` has done."""

    lost: dict[str, str]
    """Segments that are gone, and why: the run that made them, resumed, makes them anew."""
    taken_in: list[str]
    """Files that the damaged manifest did not name any more, and the new one does."""
    left_alone: list[str]
    """Files that nobody knows, left where they are."""
    quarantined: dict[str, str]
    """Where what was left of a damaged file is now, in ``.picklet/quarantine``."""
    way_back: list[str]
    """What to do to get back what is lost, a line each: the call or the command that made it."""


def repair(
    path: str | os.PathLike[str],
    *,
    progress: bool | Callable[[Progress], Any] | None = None,
) -> Repaired:
    """Make the segments directory at ``path`` whole again with what is there.

    Every segment is parsed; nothing is loaded. The manifest and the indexes of
    items are rebuilt from the files, and damaged files are set aside. It is for
    directories that :func:`picklet.open` cannot open, too. ``progress`` is as
    for :meth:`picklet.Segments.map`.

    >>> import picklet
    >>> segments = picklet.split(range(9), "nines", count=3)
    >>> _ = segments.paths[1].write_bytes(b"damage")
    >>> repaired = picklet.repair("nines")
    >>> repaired.lost.keys()
    dict_keys(['data-00001.pickle'])
    >>> print(repaired.way_back[0])
    to make anew what is lost, where it was run first: \
picklet.split(<range>, 'nines', count=3, resume=True)
    >>> list(picklet.open("nines"))
    [[0, 1, 2], [6, 7, 8]]
    """
    with Bar.of(progress, Progress, "repair") as heard:
        report = _picklet.repair(path, heard)
    return Repaired(
        dict(report["lost"]),
        report["taken_in"],
        report["left_alone"],
        {file: str(place) for file, place in report["quarantined"]},
        report["way_back"],
    )


def verify(
    directory: _picklet.Directory,
    deep: bool,
    progress: bool | Callable[[Progress], Any] | None,
) -> Verified:
    """Compare the length and digest of every file with the manifest's."""
    with Bar.of(progress, Progress, "verify") as heard:
        report = _picklet.verify(directory, deep, heard)
    return Verified(
        report["segments"],
        report["bytes"],
        dict(report["damaged"]),
        report["missing"],
        report["extra"],
    )
