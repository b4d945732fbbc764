"""`picklet scan` beside the scanners that Python has, on honest pickles of small tuples.

    python scan.py --peers PYTHON [--rounds 3] [--tuples 1000000] [--picklet PROGRAM]

PYTHON is an interpreter that has the scanners (`make bench` makes one of its own, since they bring
what no test needs). Each round runs every scanner once, as a process of its own; figures are
processor time (user and system, all threads), so that whatever else the machine does is not counted,
and the process's own peak memory.

Three tables: all scanners on a tenth of the tuples, since the slowest need minutes for all; the
faster ones on all; and `picklet scan` alone on one, two and four times as many, which shows what its
time and its memory do when the file grows.
"""

import argparse
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import evidence

HERE = Path(__file__).resolve().parent
PICKLET = HERE.parents[2] / "target" / "release" / "picklet"
PEERS = ["picklescan", "modelscan", "genops"]
SLOW_PEERS = ["modelaudit", "fickling"]


def write(path, count):
    """Pickle a list of `count` tuples of three."""
    with open(path, "wb") as file:
        pickle.dump([(i, i * 0.5, f"name {i}") for i in range(count)], file, 4)


def run(command):
    """Run a command; return its processor seconds, its peak bytes, and what it said."""
    read, write_end = os.pipe()
    process = subprocess.Popen(command, stdout=write_end, stderr=subprocess.DEVNULL)
    os.close(write_end)
    with open(read, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {command}\n{said}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, said


def interleave(commands, rounds):
    """Run `{name: command}` in turn; return `{name: [(seconds, bytes, said), one a round]}`."""
    results = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            results[name].append(run(command))
    return results


def column(results, baseline, at, invert):
    """Ratios of every command's figure `at` to the baseline's, a list a command."""
    base = [one[at] for one in results[baseline]]
    for name, runs in results.items():
        ratios = [b / one[at] if invert else one[at] / b for b, one in zip(base, runs, strict=True)]
        yield name, ratios


def report(name, title, command, results, baseline, size, note):
    """Print a table of speed and memory, and record it."""
    speed = dict(column(results, baseline, 0, invert=True))
    memory = dict(column(results, baseline, 1, invert=False))
    rows = []
    print(f"\n{title}")
    for way, runs in results.items():
        rate = size[way] / statistics.median(one[0] for one in runs) / 1e6
        peak = statistics.median(one[1] for one in runs) / 2**20
        cells = [
            evidence.Cell.of(speed[way], f"{rate:,.1f} MB/s"),
            evidence.Cell.of(memory[way], f"{peak:,.0f} MiB"),
        ]
        print(
            f"{way:<24}{cells[0].ratio:>10,.2f}x ({cells[0].low:,.2f}-{cells[0].high:,.2f})"
            f"{rate:>12,.1f} MB/s{peak:>10,.0f} MiB   {runs[0][2].splitlines()[-1][:60]}"
        )
        rows.append((way, cells))
    columns = ["speed, by processor time", "peak memory"]
    evidence.record(
        *(name, title, command, columns, rows),
        baseline=baseline,
        better=["more", "less"],
        note=note,
    )


def main():
    """Write the pickles, run the scanners, print and record the tables."""
    parser = argparse.ArgumentParser(description="measure picklet scan beside other scanners")
    parser.add_argument("--peers", required=True, help="an interpreter that has the scanners")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tuples", type=int, default=1_000_000)
    parser.add_argument("--picklet", type=Path, default=PICKLET)
    options = parser.parse_args()
    folder = "/dev/shm" if Path("/dev/shm").is_dir() else None
    peers_script = str(HERE / "scan_peers.py")
    command = f"python crates/picklet-bench/python/scan.py --rounds {options.rounds} --peers PYTHON"

    with tempfile.TemporaryDirectory(dir=folder) as work:

        def source(count):
            path = Path(work) / f"{count}.pickle"
            if not path.exists():
                # In a process of its own, whose memory goes with it.
                code = f"import scan; scan.write({str(path)!r}, {count})"
                subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE)
            return path

        def against(peers, count):
            path = source(count)
            commands = {peer: [options.peers, peers_script, peer, str(path)] for peer in peers} | {
                "picklet scan": [str(options.picklet), "scan", "-j1", str(path)]
            }
            return commands, path.stat().st_size

        for name, peers, count in [
            ("scan-all", PEERS + SLOW_PEERS, options.tuples // 10),
            ("scan", PEERS, options.tuples),
        ]:
            commands, size = against(peers, count)
            title = f"Scan a pickle of {count:,} small tuples"
            results = interleave(commands, options.rounds)
            sizes = dict.fromkeys(results, size)
            note = f"{size / 1e6:,.1f} MB; whole processes, picklet on one thread."
            report(name, title, command, results, "picklescan", sizes, note)

        grow, sizes = {}, {}
        for times in (1, 2, 4):
            path = source(options.tuples * times)
            way = f"picklet scan, {times}x"
            grow[way] = [str(options.picklet), "scan", "-j1", str(path)]
            sizes[way] = path.stat().st_size
        title = "Scan a file one, two and four times as large"
        note = (
            "A ratio of memory of 1 means that the larger file took no more. A process's peak begins "
            "with that of the Python that starts it, some 16 MiB."
        )
        results = interleave(grow, options.rounds)
        report("scan-growth", title, command, results, next(iter(grow)), sizes, note)


if __name__ == "__main__":
    main()
