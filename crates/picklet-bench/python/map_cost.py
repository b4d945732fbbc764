"""What a map costs, side by side in one interleaved run: picklet and the ways people know.

    python map_cost.py [--records 3000000] [--rounds 3] [--segments 100000] [--folder DIR]

- A cheap and a costly function over a pickle of dict records, from the pickle to saved pickles, on
  two workers: speed as a ratio to the plain loop, and the peak memory of all processes together.
- Tiny segments, a quarter, half and all of so many: what each one costs beyond its function, and
  whether that grows with their number. Also on a disk that fsyncs, where `--folder` names one.

Every way is measured or the run ends: `make bench` installs the peers.
"""

import argparse
import importlib.util
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import evidence
from whole_process import interleave, report

HERE = Path(__file__).parent
PEERS = {"joblib": "joblib", "dask.bag": "dask", "ray": "ray"}
COMMAND = "python crates/picklet-bench/python/map_cost.py"

#: Segments that the records are cut into.
SEGMENTS = 30


def make(source, count):
    """Write the records."""
    records = [
        {"id": n, "name": f"customer {n}", "amount": n % 997, "items": [n % 7, n % 11]}
        for n in range(count)
    ]
    with open(source, "wb") as file:
        pickle.dump(records, file)


def race(folder, count, rounds):
    """Measure all ways over the same pickle, with the cheap and with the costly function."""
    source, out = folder / "records.pickle", folder / "out"
    # In a process of its own: a process's peak memory begins with that of the one it comes from.
    code = f"import pathlib, map_cost; map_cost.make(pathlib.Path({str(source)!r}), {count})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE)
    for function, words in (("cheap", "adds a field"), ("costly", "takes some 20 us")):
        ways = ["plain loop", "ProcessPoolExecutor.map", *PEERS, "picklet"]
        given = [str(source), str(out), str(count // SEGMENTS or 1), function]
        script = str(HERE / "map_cost_ways.py")
        commands = {way: [sys.executable, script, way, *given] for way in ways}
        # What runs for so long needs no warming up.
        results = interleave(
            commands, rounds, lambda _: shutil.rmtree(out, ignore_errors=True), warm_up=0
        )
        shutil.rmtree(out, ignore_errors=True)
        title = f"Map a {function} function ({words} a record) over {count:,} dict records"
        command = f"{COMMAND} --records {count}"
        report(f"map-{function}-{count}", title, command, results, "plain loop")
        ours = sum(results["picklet"].peak)
        best = min(sum(runs.peak) for way, runs in results.items() if way != "picklet")
        print(f"picklet's peak memory is {ours / best:.2f} of the best peer's")


def tiny(folder, segments, rounds):
    """Measure tiny segments, and print what each costs."""
    sizes = [max(1, segments // 4), max(1, segments // 2), segments]
    sources = {size: folder / f"tiny-{size}" for size in sizes}
    for size, source in sources.items():
        code = "import sys, picklet; picklet.split(range(int(sys.argv[1])), sys.argv[2], count=1)"
        subprocess.run([sys.executable, "-c", code, str(size), str(source)], check=True)
    out = folder / "out"
    script = str(HERE / "map_cost_ways.py")
    commands = {
        size: [sys.executable, script, "tiny", str(source), str(out), "1", "same"]
        for size, source in sources.items()
    }
    # No segment at all: what a map costs before and after its segments.
    none = folder / "tiny-0"
    subprocess.run(
        [sys.executable, "-c", "import sys, picklet; picklet.split([], sys.argv[1])", str(none)],
        check=True,
    )
    commands[0] = [sys.executable, script, "tiny", str(none), str(out), "1", "same"]
    results = interleave(commands, rounds, lambda _: shutil.rmtree(out, ignore_errors=True))
    for path in (*sources.values(), none, out):
        shutil.rmtree(path, ignore_errors=True)
    each = {
        size: [
            (whole - start) / size
            for whole, start in zip(results[size].seconds, results[0].seconds, strict=True)
        ]
        for size in sizes
    }
    title = f"Cost of a tiny segment among {segments:,}, on two workers"
    print(f"\n{title}")
    rows = []
    for size, costs in each.items():
        ratios = [cost / first for cost, first in zip(costs, each[sizes[0]], strict=True)]
        cell = evidence.Cell.of(ratios, f"{sorted(costs)[len(costs) // 2] * 1e3:.2f} ms")
        rows.append((f"{size:,} segments", [cell]))
        print(f"{size:>9,} segments {cell.text:>10} each   {cell.ratio:.2f} of the first row's")
    evidence.record(
        f"map-tiny-{'disk' if fsyncs(folder) else 'memory'}", title, COMMAND,
        ["cost of one, against the first row"], rows, baseline=rows[0][0], better=["less"],
        note="Wall time beyond an empty map's, over the number of segments.",
    )  # fmt: skip


def fsyncs(folder):
    """Tell whether fsync does anything where the folder is."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True
    )
    return kind.stdout.strip() not in ("tmpfs", "ramfs")


def main():
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--segments", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: RAM)")
    options = parser.parse_args()
    if missing := [name for name, module in PEERS.items() if not importlib.util.find_spec(module)]:
        sys.exit(f"not installed: {', '.join(missing)}; run  pip install --group bench")
    folder = options.folder or (Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    with tempfile.TemporaryDirectory(prefix="map-cost-", dir=folder) as work:
        if options.records:
            race(Path(work), options.records, options.rounds)
        if options.segments:
            tiny(Path(work), options.segments, options.rounds)


if __name__ == "__main__":
    main()
