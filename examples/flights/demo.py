"""picklet's main job on real data: split, map, save, load.

Run it with `make demo`. It prints each command before it runs it, and after it
the time it took and the peak memory of its largest process.
"""

import os
import pickle
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PICKLET = ROOT / "target" / "release" / "picklet"


def step(title, *command):
    """Run one command, show what it prints, and measure it."""
    words = [str(word) for word in command]
    words = [os.path.relpath(word) if os.path.isabs(word) else word for word in words]
    print(f"\n\033[1m{title}\033[0m" if sys.stdout.isatty() else f"\n{title}")
    print(f"$ {shlex.join(words)}", flush=True)
    began = time.perf_counter()
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(HERE)})
    # wait4 and not wait: the kernel's figure also covers the workers that the command waited for.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"that step failed with exit code {process.returncode}")
    print(f"  [{seconds:.2f} s, largest process {usage.ru_maxrss / 1024:,.0f} MiB]", flush=True)
    return seconds, usage.ru_maxrss


def main():
    """Run the demo in demo-out/ of the current folder."""
    out = Path.cwd() / "demo-out"
    data, segments, delays, plain = (
        out / name for name in ("data", "segments", "delays", "plain.pickle")
    )
    for made in (segments, delays):
        shutil.rmtree(made, ignore_errors=True)
    plain.unlink(missing_ok=True)

    source, airlines = data / "flights.pickle", data / "airlines.pickle"
    python = sys.executable
    if not (source.exists() and airlines.exists()):
        step("Get a real table and pickle it with stock pickle", python, HERE / "fetch.py", data)
    step("What is in it? (nothing is loaded)", PICKLET, "info", source)
    step("Split it without loading it", PICKLET, "split", source, "-o", segments, "--size", "4MB")
    step(
        "Map a function over the segments, on two workers",
        *(PICKLET, "map", segments, "-o", delays),
        *("--call", "delays:process_segment", "-j", "2", "--python", python),
    )
    step("The saved segments", PICKLET, "ls", delays)
    step("Load them back with plain pickle", python, HERE / "load_back.py", delays, airlines)
    step("Read one item of 336,776 without loading the rest", PICKLET, "get", segments, "123456")

    step("For comparison: the same with plain pickle", python, HERE / "plain.py", source, plain)
    # The two answers must be one: a demo that prints a wrong table is worse than none.
    expected = pickle.loads(plain.read_bytes())
    found = {}
    for path in delays.glob("*.pickle"):
        for carrier, (count, delay) in pickle.loads(path.read_bytes()).items():
            before = found.get(carrier, (0, 0))
            found[carrier] = (before[0] + count, before[1] + delay)
    if found != expected:
        sys.exit("the mapped segments and the plain loop disagree")
    print("\nThe mapped segments and the plain loop agree on all airlines.")
    print(f"Everything is in {os.path.relpath(out)}/: look at it with  picklet ls demo-out/delays")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(str(error))
