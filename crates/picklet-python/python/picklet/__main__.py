"""``python -m picklet``: the program that ``picklet`` is, run in this interpreter."""

from __future__ import annotations

import signal
import sys

from picklet import _picklet

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process, and exit with the program's code."""
    # Python's handler only notes the signal for the next bytecode, and there is none
    # until the program has ended.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.stdout.flush()
    sys.exit(_picklet.run(["picklet", *sys.argv[1:]], sys.executable))


if __name__ == "__main__":
    main()
