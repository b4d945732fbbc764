"""A map on somebody else's executor or cluster.

The conductor (in Rust) says what is to run and keeps the books. At most two
calls a worker are begun at a time; the answers are small, because workers
read and publish segments themselves. When a worker dies, what had begun is
suspected and run alone, and what had not is begun again at no charge.
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from typing import Any

from picklet import _picklet, remote
from picklet.clusters import Cluster

__all__ = ["drive"]

#: Calls begun for each worker: one runs, and the next one waits beside it.
WINDOW = 2

#: Seconds until Ctrl-C and progress are looked at again.
LONGEST_WAIT = 0.2

#: Seconds that calls which died together may take to say so.
LAST_WORDS = 30.0

#: How often a task may lose its worker before it begins; a function whose import ends the worker
#: never begins.
LOST_AT_NO_CHARGE = 5

#: Seconds that workers may take to come up and look at the store.
PROBE_WAIT = 300.0


def drive(
    cluster: Cluster,
    directory: _picklet.Directory,
    out: str | os.PathLike[str],
    fleet: dict[str, Any],
    options: dict[str, Any],
    heard: Callable[..., Any] | None,
) -> str:
    """Map on the cluster; give the report as JSON."""
    if options["timeout"] is not None:
        raise ValueError(
            "timeout= needs workers of picklet's own, which it can kill; leave out executor= and "
            "engine="
        )
    seats = cluster.workers * WINDOW
    books = _picklet.Conductor(directory, out, fleet["form"], seats, options, heard)
    try:
        books.set_workers(cluster.workers)
        output = json.loads(books.output())
        if books.tasks():
            _probe(cluster, directory, output, min(cluster.workers, books.tasks()))
            _Drive(cluster, books, output, _hello(fleet, output)).run()
        return books.finish()
    finally:
        books.close()


def _hello(fleet: dict[str, Any], output: dict[str, Any]) -> str:
    which = "call" if fleet["call"] is not None else "cloudpickle"
    return json.dumps(
        {
            "protocol": _protocol(),
            "function": {which: fleet[which]},
            "form": json.loads(fleet["form"]),
            "sys_path": fleet["sys_path"],
            "policy": {"allow": fleet["allow"], "trust": fleet["trust"]},
            "output": output,
        }
    )


def _protocol() -> int:
    from picklet.worker import PROTOCOL_VERSION

    return PROTOCOL_VERSION


def _probe(
    cluster: Cluster, directory: _picklet.Directory, output: dict[str, Any], count: int
) -> None:
    """Ask workers whether they reach the store, before anything runs."""
    first = directory.entries[0]
    path = os.path.join(os.fspath(directory.location), first.file)
    told = json.dumps(output)
    asked = [cluster.submit(remote.probe, path, str(first.bytes), told) for _ in range(count)]
    done, late = wait(asked, timeout=PROBE_WAIT)
    if late:
        raise RuntimeError(f"no worker answered within {PROBE_WAIT:.0f} seconds")
    if wrong := [told for future in done if (told := future.result())]:
        raise RuntimeError(
            f"{wrong[0]}; put the input and the output where every worker reaches them"
        )


class _Drive:
    def __init__(
        self, cluster: Cluster, books: _picklet.Conductor, output: dict[str, Any], hello: str
    ) -> None:
        self.cluster = cluster
        self.books = books
        self.output = output
        self.hello = hello
        #: How often each task was lost.
        self.lost: Counter[int] = Counter()
        #: The calls that were begun, with their seat and task.
        self.begun: dict[Future[str], tuple[int, int]] = {}

    def run(self) -> None:
        """Do what the books ask for until they are through."""
        try:
            while not self.books.is_over():
                for seat, task in self.books.orders():
                    if task is None:
                        self._forget(seat)
                    else:
                        self._begin(seat, task)
                if self.books.is_over():
                    break
                patience = self.books.patience(LONGEST_WAIT)
                if not self.begun:
                    time.sleep(patience)
                    continue
                done, _ = wait(self.begun, timeout=patience, return_when=FIRST_COMPLETED)
                self._hear(done)
        finally:
            for future in self.begun:
                future.cancel()

    def _begin(self, seat: int, task: str) -> None:
        number = json.loads(task)["task"]
        try:
            future = self.cluster.submit(remote.run_task, self.hello, task)
        except BaseException as error:
            if not self.cluster.is_death(error):
                raise
            # It broke between two looks: this task had not begun.
            self.books.lost(seat)
            self._broken([])
            return
        self.begun[future] = seat, number

    def _forget(self, seat: int) -> None:
        for future, (held, _) in list(self.begun.items()):
            if held == seat:
                future.cancel()
                del self.begun[future]

    def _hear(self, done: set[Future[str]]) -> None:
        dead = []
        for future in done:
            seat, number = self.begun.pop(future)
            error = _error(future)
            if error is None:
                self.books.answer(seat, future.result())
            elif self.cluster.is_death(error):
                dead.append((seat, number, error))
            else:
                raise error
        if not dead:
            return
        if self.cluster.dies_together:
            self._broken(dead)
            return
        for seat, number, error in dead:
            self._settle(seat, number, error, self._unmark(number))

    def _broken(self, dead: list[tuple[int, int, BaseException]]) -> None:
        """One worker died, and with it every call. Those that had begun are suspected."""
        done, late = wait(self.begun, timeout=LAST_WORDS)
        for future in done | late:
            seat, number = self.begun.pop(future)
            error = _error(future) if future in done else CancelledError()
            if error is None:
                self.books.answer(seat, future.result())
            else:
                dead.append((seat, number, error))
        begun = [number for _, number, _ in dead if self._unmark(number)]
        if not self.cluster.renew():
            numbers = ", ".join(map(str, begun)) or "unknown"
            raise RuntimeError(
                f"a worker died and took the executor with it (tasks that ran: {numbers}); give a "
                "function that makes executors, so that the map can go on: "
                "executor=lambda: ProcessPoolExecutor(4)"
            ) from (dead[0][2] if dead else None)
        for seat, number, error in dead:
            self._settle(seat, number, error, number in begun)

    def _settle(self, seat: int, number: int, error: BaseException, begun: bool) -> None:
        """Blame a task that had begun; let one that had not begin again, but not without end."""
        self.lost[number] += 1
        if not begun and self.lost[number] <= LOST_AT_NO_CHARGE:
            self.books.lost(seat)
            return
        name = type(error).__name__
        text = "".join(traceback.format_exception_only(type(error), error))
        message = "the worker process ended (crashed, was killed, or ran out of memory)"
        self.books.died(seat, name, message, text[-16384:])

    def _unmark(self, number: int) -> bool:
        """Tell whether the task had begun, and forget it. Where that cannot be seen, it had."""
        if "://" in self.output["directory"]:
            return True
        try:
            os.unlink(remote.marker(self.output, number))
        except OSError:
            return False
        return True


def _error(future: Future[str]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return error
