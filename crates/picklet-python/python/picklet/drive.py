"""The program's driver of clusters: ``python -m picklet.drive``.

It takes a request as one line of JSON on standard input and answers with lines
of JSON on standard output: ``{"progress": [...]}``, ``{"segment": name}``,
``{"failure": [name, why]}``, and in the end ``{"report": ...}`` or ``{"error":
...}``. What others print goes to standard error. The end of standard input is
the wish that it end: the program was interrupted, or is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from picklet import mapping

__all__ = ["main"]

#: Seconds that clusters may take to come down before this process ends without them.
LONGEST_END = 30.0


class _Heard:
    """Tells the program what the engine tells."""

    def __init__(self, say: Callable[..., None]) -> None:
        self._say = say

    def __call__(self, *state: Any) -> None:
        self._say(progress=state)

    def segment(self, file: str) -> None:
        self._say(segment=file)

    def failure(self, file: str, message: str) -> None:
        self._say(failure=[file, message])


def _end_with_input(over: threading.Event) -> None:
    while sys.stdin.readline():
        pass
    if over.is_set():
        return
    # As Ctrl-C does, so that a cluster that was started here is taken down.
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(LONGEST_END)
    os._exit(130)


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGINT, signal.default_int_handler)
    over = threading.Event()
    threading.Thread(target=_end_with_input, args=(over,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**line: Any) -> None:
        print(json.dumps(line), file=answers, flush=True)

    try:
        report = mapping.on_engine(request, _Heard(say))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        say(error=" ".join(f"{error}".split()) or type(error).__name__)
    else:
        say(report=report)
    finally:
        over.set()


if __name__ == "__main__":
    main()
