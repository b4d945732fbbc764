"""Whether the segments are what their manifest says, and what to do when not."""

from __future__ import annotations

import os
from typing import NamedTuple

from picklet import _picklet

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
    """Segments that are gone, and why: the run that made them, resumed, makes them anew.
    What was left of a damaged file is in ``.picklet/quarantine``."""
    taken_in: list[str]
    """Files that the damaged manifest did not name any more, and the new one does."""
    left_alone: list[str]
    """Files that nobody knows, left where they are."""


def repair(path: str | os.PathLike[str]) -> Repaired:
    """Make the segments directory at ``path`` whole again with what is there.

    The manifest is rebuilt from the files, and damaged files are set aside.
    It is for directories that :func:`picklet.open` cannot open, too.

    >>> import picklet
    >>> segments = picklet.split(range(9), "nines", count=3)
    >>> _ = segments.paths[1].write_bytes(b"damage")
    >>> picklet.repair("nines").lost.keys()
    dict_keys(['data-00001.pickle'])
    >>> list(picklet.open("nines"))
    [[0, 1, 2], [6, 7, 8]]
    """
    report = _picklet.repair(path)
    return Repaired(dict(report["lost"]), report["taken_in"], report["left_alone"])


def verify(directory: _picklet.Directory) -> Verified:
    """Compare the length and digest of every file with the manifest's."""
    report = _picklet.verify(directory)
    return Verified(
        report["segments"],
        report["bytes"],
        dict(report["damaged"]),
        report["missing"],
        report["extra"],
    )
