"""The main job beside what people write today: from one pickle to saved segments.

    python main_job.py [--rounds 5] [--records 1000000] [--folder DIR]

Two comparisons, each in interleaved rounds of whole processes:

- split: `picklet split` against load, slice and dump with stock pickle, the
  cyclic collector off;
- the whole job (split, map, save) on two workers: `picklet run` against the
  plain loop in one process and against ProcessPoolExecutor.map over slices.
"""

import argparse
import os
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from whole_process import interleave, report

HERE = Path(__file__).resolve().parent
PICKLET = HERE.parents[2] / "target" / "release" / "picklet"


def records(count):
    """Yield `count` dict records as a web shop might log them; the same at every call."""
    random_ = random.Random(2026)
    cities = ["Seoul", "Busan", "New York", "Lagos", "대구", "Zürich"]
    for number in range(count):
        yield {
            "id": number,
            "name": f"customer {random_.randrange(10**6)}",
            "city": random_.choice(cities),
            "amount": round(random_.expovariate(0.01), 2),
            "items": [random_.randrange(1000) for _ in range(random_.randrange(4))],
            "paid": random_.random() < 0.9,
        }


def write(path, count):
    """Pickle the records."""
    with open(path, "wb") as f:
        pickle.dump(list(records(count)), f)


def main():
    """Write the source, run both comparisons, print their tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: RAM)")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(HERE)  # where picklet's workers find the function
    folder = options.folder or (Path("/dev/shm") if Path("/dev/shm").is_dir() else None)

    with tempfile.TemporaryDirectory(dir=folder) as work:
        source, out = Path(work) / "records.pickle", Path(work) / "out"
        # In a process of its own: a process's peak memory begins with that of the one it comes from.
        code = f"import main_job; main_job.write({str(source)!r}, {options.records})"
        subprocess.run([sys.executable, "-c", code], check=True)
        print(
            f"{options.records:,} dict records, {source.stat().st_size / 1e6:,.0f} MB", flush=True
        )

        def fresh(_name):
            shutil.rmtree(out, ignore_errors=True)

        count = str(max(1, options.records // 20))
        peer = [sys.executable, str(HERE / "main_job_peers.py")]
        split = {
            "stock load, slice, dump": [*peer, "split", str(source), str(out), count],
            "picklet split": [str(PICKLET), "split", str(source), "-o", str(out), "--count", count],
        }
        command = f"python crates/picklet-bench/python/main_job.py --rounds {options.rounds}"
        what = f"{options.records:,} dict records, {source.stat().st_size / 1e6:,.0f} MB"
        title = "Split a pickle into 20 segments"
        runs = interleave(split, options.rounds, fresh)
        report("main-job-split", title, command, runs, next(iter(split)), what)

        job = {
            "plain loop": [*peer, "loop", str(source), str(out), count],
            "ProcessPoolExecutor.map": [*peer, "pool", str(source), str(out), count],
            "picklet run": [
                *(str(PICKLET), "run", str(source), "-o", str(out), "--count", count),
                *("--call", "main_job_function:process_segment", "-j", "2"),
                *("--python", sys.executable),
            ],
        }
        title = "Split, map a cheap function, save: the main job on two workers"
        runs = interleave(job, options.rounds, fresh)
        report("main-job", title, command, runs, next(iter(job)), what)


if __name__ == "__main__":
    main()
