"""Mutated pickles under Python's debug allocator.

It fills freed memory with a pattern and guards the edges of each block, so
that a use after a free, a double free or a write past the end ends the process.
``PICKLET_MUTATIONS`` says how many cases (20,000 if it does not).
"""

import os
import subprocess
import sys
from pathlib import Path

CASES = int(os.environ.get("PICKLET_MUTATIONS", "20000"))


def test_mutated_pickles_neither_corrupt_memory_nor_leak_it():
    script = Path(__file__).with_name("mutated_loads.py")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", script, str(CASES), "7"],
        env={**os.environ, "PYTHONMALLOC": "debug", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    loaded, added = map(int, done.stdout.split())
    assert loaded > CASES // 20, "hardly any mutated pickle loads: the cases test nothing"
    # One block lost in a hundred cases would be a leak on some error path.
    assert added < CASES // 100
