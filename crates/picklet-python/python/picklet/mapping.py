"""``Segments.map``: hands a function and a directory to the engine.

The engine (in Rust) decides who runs what, and keeps the books. Worker
processes run ``picklet.worker``; with ``workers=0`` the same code runs here.
"""

from __future__ import annotations

import json
import math
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, SupportsIndex

from picklet import _picklet
from picklet.errors import SegmentError
from picklet.functions import describe
from picklet.policy import LoadRules

__all__ = ["Progress", "run"]


class Progress(NamedTuple):
    """How far a map is, as ``progress=`` hears it after each segment."""

    done: int
    """Segments done in this run."""
    total: int | None
    """Segments that this run has to do: those of earlier runs are not counted."""
    items: int
    """Items in the segments that are done, as far as known."""
    failed: int
    """Segments that failed for good."""


def run(
    directory: _picklet.Directory,
    policy: LoadRules,
    function: Callable[..., Any],
    out: str | os.PathLike[str],
    *,
    form: str,
    workers: SupportsIndex | None,
    on_error: str,
    retries: SupportsIndex,
    timeout: float | None,
    resume: bool,
    version: str | None,
    names: Iterable[str] | Callable[[int], str] | None,
    progress: Callable[[Progress], Any] | None,
) -> None:
    """Run the function over each segment; raise ``SegmentError`` as ``on_error`` says."""
    if not callable(function):
        raise TypeError(f"map takes a function, not {type(function).__name__}")
    options = {
        "workers": _count("workers", workers),
        "on_error": on_error,
        "retries": _count("retries", retries),
        "timeout": _seconds(timeout),
        "resume": bool(resume),
        "version": None if version is None else str(version),
        "names": _names(names, len(directory.entries)),
    }
    heard = None if progress is None else lambda *state: progress(Progress(*state))
    local = _InProcess(function, form, policy) if options["workers"] == 0 else None
    if local is not None:
        report = _picklet.map_in_process(directory, os.fspath(out), local, options, heard)
    else:
        fleet = _workers(function, form, policy)
        report = _picklet.map(directory, os.fspath(out), fleet, options, heard)
    _raise_or_warn(json.loads(report), on_error, local)


def _workers(function: Callable[..., Any], form: str, policy: LoadRules) -> dict[str, Any]:
    if not sys.executable:
        raise RuntimeError("sys.executable is not known here; map with workers=0")
    return {
        "python": sys.executable,
        "sys_path": _sys_path(),
        "form": form,
        "call": None,
        "cloudpickle": None,
        "allow": list(policy.allow),
        "trust": policy.trust,
        **describe(function),
    }


def _sys_path() -> list[str]:
    """Give where this process imports from, as another folder's process can use it."""
    return [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]


class _InProcess:
    """Does in this process what a worker does in its own."""

    def __init__(self, function: Callable[..., Any], form: str, policy: LoadRules) -> None:
        from picklet.worker import Worker

        self.worker = Worker.in_process(function, form, policy._asdict())

    def __call__(self, task: str, output: str) -> str:
        self.worker.raised = None
        self.worker.output = json.loads(output)
        answer = self.worker.process(json.loads(task))
        if isinstance(self.worker.raised, KeyboardInterrupt):
            raise self.worker.raised
        return json.dumps(answer)


def _raise_or_warn(report: dict[str, Any], on_error: str, local: _InProcess | None) -> None:
    if not (failed := report["failed"]):
        return
    errors = [_error(failure) for failure in failed]
    if on_error == "raise":
        raise errors[0] from (local.worker.raised if local else None)
    shown = "; ".join(str(error.args[0]) for error in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    warnings.warn(
        f"{len(errors)} of {report['segments']} segments failed and are left out: {shown}{more}",
        stacklevel=4,
    )


def _error(failure: dict[str, Any]) -> SegmentError:
    first, count, item = failure["first_item"], failure["items"], failure["item"]
    items = None if first is None or count is None else range(first, first + count)
    where = failure["name"]
    if item is not None:
        where += f" (item {item})"
    elif items is not None and items:
        where += f" (items {items[0]} to {items[-1]})" if len(items) > 1 else f" (item {first})"
    message = " ".join(failure["message"].split())
    reason = f"{failure['error']}: {message}" if message else failure["error"]
    tried = f", tried {failure['tries']} times" if failure["tries"] > 1 else ""
    return SegmentError(
        f"segment {where}: {reason}{tried}",
        os.path.basename(failure["path"]),
        items,
        reason,
        failure["traceback"] or None,
    )


def _count(name: str, value: SupportsIndex | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or (number := operator.index(value)) < 0:
        raise ValueError(f"{name}= takes a number of at least 0, not {value!r}")
    return number


def _seconds(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if not (seconds := float(timeout)) > 0 or math.isinf(seconds):
        raise ValueError(f"timeout= takes a number of seconds above 0, not {timeout!r}")
    return seconds


def _names(names: Iterable[str] | Callable[[int], str] | None, length: int) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError("names= takes one name for each segment")
    return [names(index) for index in range(length)] if callable(names) else list(names)
