"""``Segments.map`` and its kin: hand a function and a directory to the engine.

The engine (in Rust) decides who runs what, and keeps the books. Worker
processes run ``picklet.worker``; with ``workers=0`` or ``threads=`` the same
code runs here, and with ``executor=`` or ``engine=`` on somebody else's workers.
"""

from __future__ import annotations

import copy
import json
import math
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex, TypedDict

from picklet import _picklet, again
from picklet.errors import SegmentError
from picklet.functions import describe
from picklet.policy import LoadRules
from picklet.progress import Bar

if TYPE_CHECKING:
    from picklet.clusters import Engine, Maker

__all__ = ["MapOptions", "Names", "OnError", "Progress", "run"]

OnError = Literal["raise", "skip", "quarantine"]
Names = Iterable[str] | Callable[[int], str]


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
    bytes: int = 0
    """Bytes of the segments that are done or failed."""
    total_bytes: int | None = None
    """Bytes of the segments that this run has to do."""


class MapOptions(TypedDict, total=False):
    """The keyword arguments that all maps take; :meth:`picklet.Segments.map` tells of them."""

    workers: SupportsIndex | None
    threads: SupportsIndex | None
    executor: Maker | None
    engine: Engine | None
    address: str | None
    on_error: OnError
    retries: SupportsIndex
    timeout: float | None
    resume: bool
    version: str | None
    only: Iterable[str] | None
    names: Names | None
    compress: Literal["zstd", "gzip"] | None
    progress: bool | Callable[[Progress], Any] | None


def run(
    directory: _picklet.Directory,
    policy: LoadRules,
    function: Callable[..., Any],
    out: str | os.PathLike[str],
    form: str | dict[str, int],
    given: MapOptions,
) -> None:
    """Run the function over each segment; raise ``SegmentError`` as ``on_error`` says."""
    if not callable(function):
        raise TypeError(f"map takes a function, not {type(function).__name__}")
    if unknown := given.keys() - MapOptions.__annotations__.keys():
        raise TypeError(f"map got an unexpected keyword argument {min(unknown)!r}")
    workers = _count("workers", given.get("workers"))
    threads = _count("threads", given.get("threads"))
    if threads == 0:
        raise ValueError("threads= takes a number of at least 1; workers=0 runs in this thread")
    version = given.get("version")
    on_error = given.get("on_error", "raise")
    options = {
        "workers": workers,
        "on_error": on_error,
        "retries": _count("retries", given.get("retries", 0)),
        "timeout": _seconds(given.get("timeout")),
        "resume": bool(given.get("resume", True)),
        "version": None if version is None else str(version),
        "only": _only(given.get("only")),
        "names": _names(given.get("names"), len(directory.entries)),
        "call": _call(directory.location, function, os.fspath(out), form, version),
        "compress": given.get("compress"),
        "made_by": again.map_call(
            directory.location,
            function,
            os.fspath(out),
            form,
            version=version,
            names=given.get("names"),
            compress=given.get("compress"),
        ),
    }
    elsewhere = [name for name in ("executor", "engine") if given.get(name) is not None]
    if elsewhere and (threads is not None or workers == 0):
        raise ValueError(f"give {elsewhere[0]}=, or threads= or workers=0, which run here")
    if threads is not None and workers:
        raise ValueError("give threads= or workers=, not both")
    where = os.fspath(out)
    with Bar.of(given.get("progress"), Progress) as heard:
        if elsewhere:
            fleet = _workers(function, form, policy)
            report = _elsewhere(directory, fleet, where, form, given, options, heard)
            _raise_or_warn(json.loads(report), on_error, None)
            return
        if given.get("address") is not None:
            raise ValueError("address= is an engine's; give engine= as well")
        local = None
        if threads is not None or workers == 0:
            local = here = _InProcess(function, form, policy)
            told = json.dumps(form)
            report = _level(
                directory, where, form, options,
                lambda d, o, op: _picklet.map_in_process(d, o, here, told, threads, op, heard),
            )  # fmt: skip
        else:
            fleet = _workers(function, form, policy)
            report = _level(
                directory, where, form, options,
                lambda d, o, op: _picklet.map(d, o, fleet, op, heard),
            )  # fmt: skip
        _raise_or_warn(json.loads(report), on_error, local)


def on_engine(request: dict[str, Any], heard: Callable[..., Any]) -> dict[str, Any]:
    """Map as the program's request says; give the report."""
    given: MapOptions = {"engine": request["engine"], "address": request["address"]}
    options = {
        "workers": request["workers"],
        "on_error": request["on_error"],
        "retries": request["retries"],
        "timeout": None,
        "resume": request["resume"],
        "version": request["version"],
        "only": request["only"],
        "names": None,
        "call": None,
        "compress": request["compress"],
        "made_by": request.get("made_by"),
    }
    fleet = {
        "python": sys.executable,
        "sys_path": request["sys_path"] + _sys_path(),
        "form": json.dumps(request["form"]),
        "call": request["call"],
        "cloudpickle": None,
        "allow": request["allow"],
        "trust": request["trust"],
    }
    directory = _picklet.Directory(request["input"])
    form = request["form"]
    report = _elsewhere(directory, fleet, request["out"], form, given, options, heard)
    whole: dict[str, Any] = json.loads(report)
    return whole


def _elsewhere(
    directory: _picklet.Directory,
    fleet: dict[str, Any],
    out: str,
    form: str | dict[str, int],
    given: MapOptions,
    options: dict[str, Any],
    heard: Callable[..., Any] | None,
) -> str:
    """Map on somebody else's workers."""
    # Not before they are asked for: importing them takes a while.
    from picklet.clusters import connect
    from picklet.executors import drive

    cluster = connect(
        given.get("executor"), given.get("engine"), given.get("address"), options["workers"]
    )
    try:
        return _level(
            directory, out, form, options, lambda d, o, op: drive(cluster, d, o, fleet, op, heard)
        )
    finally:
        cluster.close()


def _level(
    directory: _picklet.Directory,
    out: str,
    form: str | dict[str, int],
    options: dict[str, Any],
    step: Callable[[_picklet.Directory, str, dict[str, Any]], str],
) -> str:
    """Map once, or for a reduction once for each level of its tree."""
    if form != "reduce":
        return step(directory, out, options)
    # The levels are emptied before the first of them, not before each.
    inner = {**options, "resume": True}
    return _picklet.reduce(
        directory,
        out,
        options,
        lambda i, o: step(_picklet.Directory(i), os.fspath(o), inner),
    )


def _workers(
    function: Callable[..., Any], form: str | dict[str, int], policy: LoadRules
) -> dict[str, Any]:
    if not sys.executable:
        raise RuntimeError("sys.executable is not known here; map with workers=0")
    return {
        "python": sys.executable,
        "sys_path": _sys_path(),
        "form": json.dumps(form),
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

    def __init__(
        self, function: Callable[..., Any], form: str | dict[str, int], policy: LoadRules
    ) -> None:
        from picklet.worker import Worker

        self.worker = Worker.in_process(function, form, policy._asdict())
        self.raised: BaseException | None = None

    def __call__(self, task: str, output: str) -> str:
        # A copy, because several threads may be here.
        worker = copy.copy(self.worker)
        worker.output = json.loads(output)
        answer = worker.process(json.loads(task))
        if isinstance(worker.raised, KeyboardInterrupt):
            raise worker.raised
        if worker.raised is not None:
            self.raised = worker.raised
        return json.dumps(answer)


def _raise_or_warn(report: dict[str, Any], on_error: str, local: _InProcess | None) -> None:
    if not (failed := report["failed"]):
        return
    errors = [_error(failure) for failure in failed]
    if on_error == "raise":
        raise errors[0] from (local.raised if local else None)
    shown = "; ".join(str(error.args[0]) for error in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    warnings.warn(
        f"{len(errors)} of {report['segments']} segments failed and are left out: {shown}{more}",
        stacklevel=5,
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


def _names(names: Names | None, length: int) -> list[str] | None:
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError("names= takes one name for each segment")
    return [names(index) for index in range(length)] if callable(names) else list(names)


def _only(only: Iterable[str] | None) -> list[str] | None:
    if isinstance(only, str):
        raise TypeError("only= takes a list of segments' names")
    return None if only is None else [str(name) for name in only]


def _call(
    where: str,
    function: Callable[..., Any],
    out: str,
    form: str | dict[str, int],
    version: str | None,
) -> str:
    """Give the call that maps so, for the records of what failed."""
    name = getattr(function, "__qualname__", type(function).__name__)
    method, more = "map", ""
    if isinstance(form, dict):
        method, more = "map_items", f", batch={form['batch']}"
    elif form in ("items", "filter"):
        method = {"items": "map_items", "filter": "filter"}[form]
    if version is not None:
        more += f", version={str(version)!r}"
    return f"picklet.open({where!r}).{method}({name}, {out!r}{more})"
