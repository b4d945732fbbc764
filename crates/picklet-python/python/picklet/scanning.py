"""``picklet.scan``: what a pickle would import and call, found out without doing it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from picklet import _picklet
from picklet.policy import Allow

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Damage", "Finding", "Import", "ScanReport", "scan"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a scan found.

    ``offset`` is a byte offset in the member, or in the file where ``member`` is empty;
    ``arguments`` are written as Python writes them, as far as they are known.
    """

    rule: str
    severity: Literal["suspicious", "dangerous"]
    member: str
    offset: int
    opcode: str | None
    pickle_offset: int
    callable: str | None
    arguments: str | None
    reason: str
    times: int


@dataclass(frozen=True, slots=True)
class Import:
    """One global that a pickle names, and whether the policy lists it."""

    member: str
    module: str
    name: str
    offset: int
    times: int
    calls: int
    states: int
    listed: bool


@dataclass(frozen=True, slots=True)
class Damage:
    """What could not be read, and from which byte on."""

    member: str
    offset: int
    what: str


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan found out about one file.

    ``verdict`` is ``"clean"``, ``"suspicious"``, ``"dangerous"`` or ``"unreadable"``; a finding
    outranks what could not be read. ``suggested_policy`` is the TOML text of the policy that
    would admit the file, to be read before it is used.
    """

    path: str
    bytes: int
    verdict: Literal["clean", "suspicious", "dangerous", "unreadable"]
    formats: tuple[str, ...]
    members: int
    pickles: int
    added_policies: tuple[str, ...]
    findings: tuple[Finding, ...]
    more_findings: int
    imports: tuple[Import, ...]
    damages: tuple[Damage, ...]
    suggested_policy: str


def scan(source: str | os.PathLike[str] | Buffer, *, policy: Allow = None) -> ScanReport:
    """Say what the pickles in ``source`` would import and call. Nothing is loaded.

    ``source`` is a path, or bytes; archives in it are opened. ``policy`` takes what ``allow=``
    takes: what it lists is no finding.

    >>> import picklet, pickle, shlex
    >>> report = picklet.scan(pickle.dumps(shlex.split))
    >>> report.verdict, report.findings[0].callable
    ('suspicious', 'shlex.split')
    >>> picklet.scan(pickle.dumps(shlex.split), policy="shlex.split").verdict
    'clean'
    """
    if isinstance(source, (str, os.PathLike)):
        text, suggested = _picklet.scan_file(os.fspath(source), policy)
    else:
        text, suggested = _picklet.scan_bytes(source, policy)
    found: dict[str, Any] = json.loads(text)
    found["formats"] = tuple(found["formats"])
    found["added_policies"] = tuple(found["added_policies"])
    found["findings"] = tuple(Finding(**finding) for finding in found["findings"])
    found["imports"] = tuple(Import(**one) for one in found["imports"])
    found["damages"] = tuple(Damage(**damage) for damage in found["damages"])
    return ScanReport(**found, suggested_policy=suggested)
