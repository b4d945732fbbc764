"""Mutated pickles and generated graphs under AddressSanitizer and Python's debug allocator.

    python sanitize.py [CASES [SEED]]

The codec is built by itself with `-Zsanitizer=address` (which the stable compiler takes when told
that unstable options are meant); Python runs with the C library's allocator, so that the sanitizer
sees every object. Then the same cases run once more on the same build under `PYTHONMALLOC=debug`.
"""

import os
import subprocess
import sys
from pathlib import Path

import half

HOME = half.ROOT / "target" / "sanitize"
TARGET = "x86_64-unknown-linux-gnu"


def build(sanitizer):
    """Build the codec's half; give the folder to put on the path."""
    settings = {}
    if sanitizer:
        settings = {"RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": f"-Zsanitizer={sanitizer}"}
    place = HOME / (sanitizer or "plain")
    half.build(sys.executable, place, release=True, target=TARGET, settings=settings)
    return place


def runtime():
    """The sanitizer's runtime, which must be in the process before anything else."""
    command = ["gcc", "-print-file-name=libasan.so"]
    path = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if not Path(path).is_absolute():
        sys.exit("gcc has no libasan.so; on Debian and Ubuntu:  apt install libasan8")
    return path


def run(how, place, cases, seed, settings):
    """Run the cases; whatever the sanitizer finds ends the process with its report."""
    script = half.CRATE / "tests" / "mutated_loads.py"
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONHASHSEED": "0", **settings}
    command = [sys.executable, "-X", "faulthandler", script, str(cases), str(seed)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    print(f"{how}: {cases} cases, seed {seed}, five times: ", end="")
    if done.returncode:
        print(f"exit {done.returncode}\n{done.stderr[-8000:]}")
        sys.exit(1)
    loaded, added = map(int, done.stdout.split())
    print(f"{loaded} loaded, {added} blocks of memory more after the last time", flush=True)


def main():
    """Both, one after the other."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    # The script goes through its cases five times, the last ones to see leaks.
    each = -(-cases // 5)
    sanitized = build("address")
    options = "detect_leaks=0:abort_on_error=0:allocator_may_return_null=1"
    preload = {"LD_PRELOAD": runtime(), "PYTHONMALLOC": "malloc", "ASAN_OPTIONS": options}
    run("AddressSanitizer", sanitized, each, seed, preload)
    run("debug allocator", build(""), each, seed + 1, {"PYTHONMALLOC": "debug"})


if __name__ == "__main__":
    main()
