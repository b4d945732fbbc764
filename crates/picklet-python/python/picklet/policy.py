"""What a load may import, carried along from ``open`` to each segment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from picklet import _picklet

__all__ = ["Policy"]


class Policy(NamedTuple):
    """The ``allow=`` and ``trust=`` of a load."""

    allow: tuple[str, ...] = ()
    trust: bool = False

    @classmethod
    def of(cls, allow: Iterable[str] | None, trust: bool) -> Policy:
        """Check the arguments: a lone string is one name, not its letters."""
        if isinstance(allow, str):
            allow = (allow,)
        return cls(tuple(allow or ()), bool(trust))

    def loads(self, data: bytes) -> Any:
        """Load one pickle under this policy."""
        return _picklet.loads(data, allow=self.allow, trust=self.trust)
