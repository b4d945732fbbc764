"""What a map costs, side by side in one interleaved run: picklet and the ways people know.

python map_cost.py [RECORDS] [ROUNDS]

A cheap and a costly function over a pickle of dict records, from pickle to
saved pickles, on two cores. joblib, dask and ray take part where they are
installed, and those that are not are named. Reports medians of ratios to the
plain loop, and the peak memory of all processes together.
"""

import importlib.util
import pickle
import shutil
import sys
import tempfile
from pathlib import Path

from whole_process import interleave, table

HERE = Path(__file__).parent
PEERS = {"joblib": "joblib", "dask.bag": "dask", "ray": "ray"}


def make(source, count):
    """Write the records."""
    records = [
        {"id": n, "name": f"customer {n}", "amount": n % 997, "items": [n % 7, n % 11]}
        for n in range(count)
    ]
    with open(source, "wb") as file:
        pickle.dump(records, file)


def main(count, rounds):
    """Measure, and print a table for each function."""
    folder = Path(tempfile.mkdtemp(prefix="map-cost-"))
    try:
        source = folder / "records.pickle"
        make(source, count)
        there = [name for name, module in PEERS.items() if importlib.util.find_spec(module)]
        for name in PEERS.keys() - set(there):
            print(f"NOT MEASURED: {name} is not installed")
        for function in ("cheap", "costly"):
            ways = ["plain loop", "ProcessPoolExecutor.map", *there, "picklet"]
            words = [str(source), str(folder / "out"), str(count // 30 or 1), function]
            script = str(HERE / "map_cost_ways.py")
            commands = {way: [sys.executable, script, way, *words] for way in ways}
            results = interleave(
                commands, rounds, lambda _: shutil.rmtree(folder / "out", ignore_errors=True)
            )
            print(f"\n{function} function, {count:,} records:")
            print("\n".join(table(results, "plain loop")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [3_000_000, 3][len(given) :]))
