"""What can go wrong with segments.

Errors of the format itself (``UnpicklingError`` and its kin) have pickle's
names and are pickle's subclasses; they come with the codec. Errors of the
operating system are ``OSError`` as everywhere.
"""

from __future__ import annotations

__all__ = ["SegmentError", "SegmentsError"]


class SegmentsError(Exception):
    """Something is wrong with a segments directory: its manifest is damaged,
    another run writes to it, or an interrupted run of other options began it.
    """


class SegmentError(SegmentsError):
    """One segment failed: its file is damaged, or the function raised on it.

    The other segments are not concerned: those that were finished stay.
    """

    segment: str
    """The segment's file name, for instance ``data-00003.pickle``."""
    items: range | None
    """The numbers of its items, counted over all segments; None if unknown."""
    reason: str
    """What went wrong, in one line: for a function the type and the message
    of its exception."""
    traceback: str | None
    """The traceback of the function as text, from the worker; None if there is none."""

    def __init__(
        self,
        message: str,
        segment: str = "",
        items: range | None = None,
        reason: str = "",
        traceback: str | None = None,
    ) -> None:
        """Make one from the message and what is known of the segment."""
        super().__init__(message, segment, items, reason, traceback)
        self.segment = segment
        self.items = items
        self.reason = reason
        self.traceback = traceback

    def __str__(self) -> str:
        """Give the message and, below it, the worker's traceback."""
        message = str(self.args[0])
        return f"{message}\n\n{self.traceback.rstrip()}" if self.traceback else message
