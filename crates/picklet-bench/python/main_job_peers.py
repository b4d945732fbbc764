"""What picklet is measured against: the same jobs as people write them with stock pickle.

python main_job_peers.py split|loop|pool SOURCE OUT COUNT
"""

import gc
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from main_job_function import process_segment


def slices(source, count):
    """Load the whole pickle and yield its slices of `count` items."""
    with open(source, "rb") as f:
        data = pickle.load(f)
    for start in range(0, len(data), count):
        yield data[start : start + count]


def save(out, number, segment):
    """Save one segment as its own pickle."""
    with open(out / f"data-{number:05}.pickle", "wb") as f:
        pickle.dump(segment, f)


def main(job, source, out, count):
    """Do one job."""
    out.mkdir(parents=True, exist_ok=True)
    if job == "split":
        gc.disable()  # the faster way for stock, so that the comparison is with its best
        for number, segment in enumerate(slices(source, count)):
            save(out, number, segment)
    elif job == "loop":
        for number, segment in enumerate(slices(source, count)):
            save(out, number, process_segment(segment))
    elif job == "pool":
        with ProcessPoolExecutor(2) as pool:
            done = pool.map(process_segment, slices(source, count))
            for number, segment in enumerate(done):
                save(out, number, segment)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
