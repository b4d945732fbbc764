"""Measure commands as whole processes, side by side.

Every round runs each command once, in turn, so that a machine whose speed
drifts slows all of them; what is reported is the median of the rounds' ratios,
never a time of its own.
"""

import os
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import evidence


@dataclass
class Runs:
    """What one command cost, a value a round: seconds of wall time, bytes of memory."""

    seconds: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)


def family(pid):
    """Return the process ids of a process and all of its descendants (Linux's /proc)."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting.extend(parents.get(found[-1], []))
    return found


def proportional_bytes(pids):
    """Return the memory of several processes, shared pages counted once (PSS)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def run(command, every=0.02):
    """Run one command; return its seconds and the peak memory of all its processes in bytes.

    The memory is sampled `every` so many seconds; a peak between two samples is
    missed, which is why the largest single process's own peak is a floor under it.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak, done = 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(every):
            peak = max(peak, proportional_bytes(family(process.pid)))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {command}")
    return seconds, max(peak, usage.ru_maxrss * 1024)


def interleave(commands, rounds, before=lambda name: None, warm_up=1):
    """Run `{name: command}` in turn, `warm_up` rounds first; return `{name: Runs}`."""
    results = {name: Runs() for name in commands}
    for round_number in range(1 - warm_up, rounds + 1):
        for name, command in commands.items():
            before(name)
            seconds, peak = run(command)
            if round_number > 0:
                results[name].seconds.append(seconds)
                results[name].peak.append(peak)
    return results


def report(name, title, command, results, baseline, note=""):
    """Print the results under their title, and record them for the page of benchmarks."""
    print(f"\n{title}")
    print(*table(results, baseline), sep="\n", flush=True)
    base = results[baseline]
    rows = [
        (
            way,
            [
                evidence.Cell.of([b / s for b, s in zip(base.seconds, runs.seconds, strict=True)]),
                evidence.Cell.of(
                    [m / b for b, m in zip(base.peak, runs.peak, strict=True)],
                    f"{statistics.median(runs.peak) / 2**20:,.0f} MiB",
                ),
            ],
        )
        for way, runs in results.items()
    ]
    columns, better = ["speed", "peak memory of all processes"], ["more", "less"]
    evidence.record(
        name, title, command, columns, rows, baseline=baseline, better=better, note=note
    )


def table(results, baseline):
    """Format the results as lines; `baseline` names the command that has ratio 1."""
    base = results[baseline]
    lines = [f"{'':<34}{'median':>9}{'speed':>8}{'(min-max)':>15}{'peak memory':>14}{'ratio':>8}"]
    for name, runs in results.items():
        speeds = [b / s for b, s in zip(base.seconds, runs.seconds, strict=True)]
        memory = statistics.median(runs.peak)
        lines.append(
            f"{name:<34}{statistics.median(runs.seconds):>7.2f} s"
            f"{statistics.median(speeds):>7.2f}x{f'({min(speeds):.2f}-{max(speeds):.2f})':>15}"
            f"{memory / 2**20:>10,.0f} MiB{memory / statistics.median(base.peak):>7.2f}x"
        )
    return lines
