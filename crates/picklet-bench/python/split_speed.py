"""Splitting, merging and cutting anew beside stock pickle and beside a plain copy.

    python split_speed.py [--rounds 5] [--size 100] [--folder DIR] [--only NAME]

For each payload, in interleaved rounds of whole processes that may use one core:

- `picklet split` into 16 segments against load, slice and dump with stock pickle, the cyclic
  collector off;
- `picklet split`, `merge` and `resplit` against a copy of the file with one xxh3 digest;
- `picklet split` on all cores against itself on one.

Ratios are of processor time, but for the last, which is of wall time. The collector's absence and
the copy's digest make both peers as fast as they can be.
"""

import argparse
import os
import pickle
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import evidence
import main_job

HERE = Path(__file__).resolve().parent
RELEASE = HERE.parents[2] / "target" / "release"
PICKLET, COPY = RELEASE / "picklet", RELEASE / "copy_with_digest"
SEGMENTS = 16


class Customer:
    """An instance with a dict, as most pickled instances are."""

    def __init__(self, record):
        """Take the record's fields."""
        self.__dict__.update(record)


def instances(count):
    """Instances of a class."""
    return [Customer(record) for record in main_job.records(count)]


def texts(count):
    """Flat data: texts of about 40 letters."""
    chance = random.Random(7)
    return [f"order {chance.randrange(10**30):030} shipped" for _ in range(count)]


def numbers(count):
    """Flat data: floats."""
    chance = random.Random(7)
    return [chance.random() for _ in range(count)]


def arrays(count):
    """A list of byte strings of 1 MB, as large arrays are pickled."""
    chance = random.Random(7)
    return [chance.randbytes(1_000_000) for _ in range(count)]


def stream(file, size):
    """Pickles of 3,000 records each, one after another."""
    records = list(main_job.records(30_000))
    while file.tell() < size:
        for at in range(0, len(records), 3_000):
            pickle.dump(records[at : at + 3_000], file)


def stream_of_arrays(file, size):
    """Pickles of a dict with a byte string of 1 MB, one after another."""
    chance = random.Random(7)
    for number in range(size // 1_000_000):
        pickle.dump({"number": number, "data": chance.randbytes(1_000_000)}, file)


PAYLOADS = {
    "records": (lambda n: list(main_job.records(n)), 58),
    "instances": (instances, 66),
    "texts": (texts, 53),
    "floats": (numbers, 9),
    "large byte strings": (arrays, 1_000_005),
    "stream of records": (stream, None),
    "stream of byte strings": (stream_of_arrays, None),
}


def write(name, path, megabytes):
    """Write a payload of about so many megabytes."""
    make, each = PAYLOADS[name]
    with open(path, "wb") as file:
        if each is None:
            make(file, megabytes * 10**6)
        else:
            pickle.dump(make(megabytes * 10**6 // each), file)


def cost(command, core=None):
    """Run a command; return its processor time and its wall time in seconds."""
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    began = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, preexec_fn=pin)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {command}")
    return usage.ru_utime + usage.ru_stime, wall


def measure(source, work, rounds):
    """Run everything in turn; return the ratios of each column, one a round."""
    core = min(os.sched_getaffinity(0))
    out, anew, merged = work / "out", work / "anew", work / "merged.pickle"
    peer = [sys.executable, HERE / "split_speed_peer.py", source, out, SEGMENTS]
    split = [PICKLET, "split", source, "-o", out, "--parts", SEGMENTS, "--shared", "copy"]
    ratios = [[] for _ in range(5)]
    size = source.stat().st_size
    for round_number in range(rounds + 1):

        def clean():
            shutil.rmtree(out, ignore_errors=True)
            shutil.rmtree(anew, ignore_errors=True)
            merged.unlink(missing_ok=True)

        clean()
        copy, _ = cost([COPY, source, merged], core)
        clean()
        stock, _ = cost(peer, core)
        clean()
        both, side_by_side = cost(split)
        clean()
        one, alone = cost(split, core)
        again, _ = cost([PICKLET, "resplit", out, "-o", anew, "--parts", 11], core)
        join, _ = cost([PICKLET, "merge", out, "-o", merged], core)
        larger = merged.stat().st_size / size
        if round_number:
            columns = (stock / one, copy / one, copy / join, copy / again, alone / side_by_side)
            for held, ratio in zip(ratios, columns, strict=True):
                held.append(ratio)
    speed = size / 1e9
    print(
        f"  {speed / one:.2f} GB/s split, {speed / join:.2f} merge, {speed / again:.2f} resplit, "
        f"{speed / copy:.2f} copy with digest in the last round's processor time; merged "
        f"{larger:.3f} of the source; both cores {both / one:.2f} of one core's time",
        flush=True,
    )
    return ratios


COLUMNS = [
    "split against stock load, slice, dump",
    "split against a copy with digest",
    "merge against a copy with digest",
    "resplit against a copy with digest",
    "split on all cores against one",
]


def main():
    """Measure every payload; print and record the table."""
    parser = argparse.ArgumentParser(description="what splitting costs beside its peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=100, help="megabytes of each payload")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: RAM)")
    parser.add_argument("--only", default="", help="payloads whose name has this in it")
    options = parser.parse_args()
    folder = options.folder or (Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    rows = []
    with tempfile.TemporaryDirectory(dir=folder) as work:
        source = Path(work) / "source.pickle"
        for name in (name for name in PAYLOADS if options.only in name):
            # In a process of its own, so that its memory goes with it.
            code = (
                f"import split_speed; split_speed.write({name!r}, {str(source)!r}, {options.size})"
            )
            subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE)
            print(name, flush=True)
            ratios = measure(source, Path(work), options.rounds)
            for column, held in zip(COLUMNS, ratios, strict=True):
                spread = f"({min(held):.2f} to {max(held):.2f})"
                print(f"  {statistics.median(held):>7.2f} {spread:<18} {column}", flush=True)
            rows.append((name, [evidence.Cell.of(held) for held in ratios]))
    command = f"python crates/picklet-bench/python/split_speed.py --rounds {options.rounds}"
    note = (
        f"Payloads of {options.size} MB, segments in a RAM-backed folder; ratios of processor time "
        "on one core, the last of wall time."
    )
    title = "Split, merge and cut anew"
    evidence.record("split-speed", title, command, COLUMNS, rows, note=note)


if __name__ == "__main__":
    main()
