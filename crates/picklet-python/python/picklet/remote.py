"""What runs on the workers of somebody else's executor or cluster.

A module of its own, so that they unpickle functions by its name and import
little else. Each function takes and gives text, because what does not pickle
hangs pools.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
from typing import Any

__all__ = ["marker", "probe", "run_task"]

_lock = threading.Lock()
_worker: tuple[str, Any] | None = None


def run_task(hello: str, task: str) -> str:
    """Do one task as a worker of picklet's own does; give its answer.

    ``hello`` says what to run and how to load, ``task`` which segment.
    """
    from picklet.worker import Refusal, Worker

    told = json.loads(task)
    mark = marker(json.loads(hello)["output"], told["task"])
    # Who finds it after this process has died knows what it was doing. The folder is never made:
    # that it is gone tells the store that this map is over.
    with contextlib.suppress(OSError):
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o644))
    try:
        worker = _the_worker(hello, Worker)
        answer = worker.process(told)
    except Refusal as refusal:
        answer = {"type": "refused", "message": str(refusal)}
    finally:
        with contextlib.suppress(OSError):
            os.unlink(mark)
    return json.dumps(answer)


def _the_worker(hello: str, kind: Any) -> Any:
    """Give the worker for this ``hello``, which is kept: importing the function may take long.

    Several threads may run tasks at a time; each works on a copy.
    """
    import copy

    global _worker
    with _lock:
        if _worker is None or _worker[0] != hello:
            _worker = hello, kind(json.loads(hello))
        return copy.copy(_worker[1])


def marker(output: dict[str, Any], task: int) -> str:
    """Give the file that is there while the task runs."""
    session = os.path.join(output["directory"], ".picklet", "tmp", output["session"])
    return os.path.join(session, f"started-{task}")


def probe(path: str, size: str, output: str) -> str:
    """Look whether this worker reaches the input and the output; give what is wrong, or ''.

    ``path`` is a segment of ``size`` bytes, ``output`` where to publish, as JSON.
    """
    from picklet import _picklet

    wrong = _picklet.out_of_reach(path, int(size), output)
    return f"worker {platform.node()} (process {os.getpid()}): {wrong}" if wrong else ""
