"""What a load may import: policies as values, and what ``open`` carries along to each segment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from picklet import _picklet

__all__ = ["Allow", "LoadRules", "Policy"]


class Policy:
    """The globals that a load may import, beyond Python's, numpy's and pandas' data.

    ``policies`` are built-in ones by name (``"torch"``, ``"sklearn"``; ``"data"`` is always part of
    it), ``allow`` holds names such as ``"shop.Order"``, or ``"shop.models.*"`` for all that is
    defined in a module. A strict policy holds no whole modules, and a scan under it takes
    whatever it cannot vouch for as dangerous.

    A policy is what ``allow=`` takes, and policies are joined by ``|``:

    >>> import picklet
    >>> policy = picklet.Policy(allow=["shop.Order"]) | picklet.Policy(allow=["shop.Item"])
    >>> policy
    Policy(allow=['shop.Item', 'shop.Order'])
    >>> picklet.loads(picklet.dumps([1, 2]), allow=policy)
    [1, 2]
    """

    __slots__ = ("_names", "_strict")
    _names: tuple[str, ...]
    _strict: bool

    def __init__(
        self, *policies: str, allow: Iterable[str] | str = (), strict: bool = False
    ) -> None:
        """Check the names; ``ValueError`` for what is none."""
        text = [allow] if isinstance(allow, str) else list(allow)
        self._take(_picklet.policy_of(list(policies), text, strict))

    def _take(self, parts: tuple[list[str], bool]) -> None:
        names, strict = parts
        self._names, self._strict = tuple(names), strict

    @classmethod
    def _of(cls, parts: tuple[list[str], bool]) -> Policy:
        policy = cls.__new__(cls)
        policy._take(parts)
        return policy

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Policy:
        """The policy in a TOML file with the keys ``policies``, ``allow`` and ``strict``."""
        return cls._of(_picklet.policy_read(os.fspath(path)))

    @classmethod
    def from_toml(cls, text: str) -> Policy:
        """The policy that a TOML text describes.

        >>> import picklet
        >>> picklet.Policy.from_toml("allow = ['shop.Order']")
        Policy(allow=['shop.Order'])
        """
        return cls._of(_picklet.policy_from_toml(text))

    def to_toml(self) -> str:
        """The TOML text of the policy, for a file.

        >>> import picklet
        >>> print(picklet.Policy(allow=["shop.Order"]).to_toml(), end="")
        allow = [
            "shop.Order",
        ]
        """
        return _picklet.policy_to_toml(list(self._names), self._strict)

    @property
    def strict(self) -> bool:
        """Whether the policy is strict."""
        return self._strict

    def __iter__(self) -> Iterator[str]:
        """The names of built-in policies besides ``data``, and then what was allowed."""
        return iter(self._names)

    def __or__(self, other: Policy) -> Policy:
        """All that either lists; strict if either is."""
        if not isinstance(other, Policy):
            return NotImplemented
        names = [*self._names, *other._names]
        builtin = [name for name in names if "." not in name]
        listed = [name for name in names if "." in name]
        return Policy(*builtin, allow=listed, strict=self._strict or other._strict)

    def __eq__(self, other: object) -> bool:
        """Policies are equal that list the same."""
        if not isinstance(other, Policy):
            return NotImplemented
        return (self._names, self._strict) == (other._names, other._strict)

    def __hash__(self) -> int:
        """As equality has it."""
        return hash((self._names, self._strict))

    def __repr__(self) -> str:
        """The call that makes the policy."""
        parts = [repr(name) for name in self._names if "." not in name]
        listed = [name for name in self._names if "." in name]
        if listed:
            parts.append(f"allow={listed!r}")
        if self._strict:
            parts.append("strict=True")
        return f"Policy({', '.join(parts)})"


Allow: TypeAlias = Policy | Iterable[str] | str | os.PathLike[str] | None
"""What ``allow=`` takes: names, a policy, or the path of a TOML file."""


class LoadRules(NamedTuple):
    """The ``allow=`` and ``trust=`` of a load."""

    allow: tuple[str, ...] = ()
    trust: bool = False

    @classmethod
    def of(cls, allow: Allow, trust: bool) -> LoadRules:
        """Check the arguments: a lone string is one name, not its letters."""
        return cls(tuple(_picklet.policy_names(allow)), bool(trust))

    def loads(self, data: bytes) -> Any:
        """Load one pickle under these rules."""
        return _picklet.loads(data, allow=self.allow, trust=self.trust)
