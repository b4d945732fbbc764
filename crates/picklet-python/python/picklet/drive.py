"""The program's driver of clusters: ``python -m picklet.drive``.

It takes a request as JSON on standard input and answers with lines of JSON on
standard output: ``{"progress": [...]}``, and in the end ``{"report": ...}`` or
``{"error": ...}``. What others print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from picklet import mapping

__all__ = ["main"]


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**line: Any) -> None:
        print(json.dumps(line), file=answers, flush=True)

    try:
        report = mapping.on_engine(request, lambda *state: say(progress=state))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        say(error=" ".join(f"{error}".split()) or type(error).__name__)
    else:
        say(report=report)


if __name__ == "__main__":
    main()
