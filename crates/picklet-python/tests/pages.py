"""The runnable blocks of the documentation's pages, and how they are run.

A page's blocks run in order in one empty folder. A `text` block after one that was run is what it
prints, with `...` for what differs from run to run. `<!-- skip: REASON -->` before a block leaves
it out; `<!-- engines -->` leaves it to `make test-engines`. What a block leaves running (`command &`)
is ended with its page. The package is not imported here, so
that the pages can be run against a wheel that is installed elsewhere.
"""

import contextlib
import doctest
import os
import re
import signal
import subprocess
from pathlib import Path

BLOCK = re.compile(
    r"^(?:<!-- (skip: [^>]+|engines) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL
)


def blocks(text):
    """(mark, language, code, what it prints or None) of each block that can be run."""
    found = BLOCK.findall(text)
    following = [*found, ("", "", "")][1:]
    for (mark, language, code), (_, next_language, shown) in zip(found, following, strict=True):
        if language in ("python", "sh"):
            yield mark, language, code, shown if next_language == "text" else None


def run_page(text, folder, python, engines=False):
    """Runs a page's blocks in `folder` with the interpreter `python`, and gives how many ran.

    Those marked `engines` run too where the engines are installed, as `engines` says.
    """
    path = os.pathsep.join([str(Path(python).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONIOENCODING": "utf-8"}
    same = doctest.OutputChecker().check_output
    count, started = 0, []
    try:
        for mark, language, code, shown in blocks(text):
            if mark.startswith("skip") or (mark == "engines" and not engines):
                continue
            command = [python, "-"] if language == "python" else ["bash", "-eu"]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, encoding="utf-8", cwd=folder, env=environment, start_new_session=True,
            )  # fmt: skip
            started.append(process.pid)
            stdout, stderr = process.communicate(code, timeout=120)
            assert process.returncode == 0, f"{code}\n{stdout}\n{stderr}"
            if shown is not None:
                assert same(shown, stdout, doctest.ELLIPSIS), f"{code}\n{stdout}"
            count += 1
    finally:
        for group in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
    return count
