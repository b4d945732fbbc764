"""``python -m picklet.slicing``: what the program's ``split`` has Python do.

It takes a request as JSON on standard input, the arguments of :func:`picklet.split`,
and answers with one line of JSON on standard output: ``{"warnings": [...]}`` or
``{"error": ...}``. What others print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import warnings

from picklet.splitting import split

__all__ = ["main"]


def main() -> None:
    """Answer one request."""
    request = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    answer: dict[str, object]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            split(**request)
        said = [str(warning.message) for warning in caught if warning.category is UserWarning]
        answer = {"warnings": said}
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        answer = {"error": " ".join(f"{error}".split()) or type(error).__name__}
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
