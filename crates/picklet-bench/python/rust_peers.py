"""The Rust crate beside serde-pickle and deser-pickle, for the page of benchmarks.

    python rust_peers.py [--megabytes 10]

Runs `cargo bench --bench peers` and `--bench peers_memory`, which print what they measure, and
records their rows.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import evidence

PEERS = ["serde-pickle", "deser-pickle"]


def rows_of(bench, megabytes):
    """Run one benchmark, and give its rows."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        command = ["cargo", "bench", "--quiet", "--package", "picklet-bench", "--bench", bench]
        environment = {**os.environ, "PICKLET_BENCH_RESULTS": str(results)}
        subprocess.run([*command, "--", str(megabytes)], check=True, env=environment)
        return [json.loads(line) for line in results.read_text().splitlines()]


def size_of(row):
    """How large a payload is, for a title."""
    return "1 kB" if row["bytes"] < 10_000 else f"{row['bytes'] / 1e6:.0f} MB"


def name_of(row):
    """What a row of a table is called."""
    return f"{row['payload']}, {row['way']}, {size_of(row)}"


def main():
    """Run both, and record them."""
    parser = argparse.ArgumentParser(description="the Rust crate beside its peers")
    parser.add_argument("--megabytes", type=int, default=10, help="of the larger payloads")
    options = parser.parse_args()
    command = "python crates/picklet-bench/python/rust_peers.py"

    speeds = []
    for row in rows_of("peers", options.megabytes):
        if row["ratios"]:
            cells = [evidence.Cell.of(ratios) for ratios in row["ratios"]]
            speeds.append((name_of(row), cells + [None] * (len(PEERS) - len(cells))))
    evidence.record(
        "rust-speed", "The Rust crate: the peer's time divided by picklet's", command, PEERS, speeds,
        note="serde-pickle and deser-pickle write no memo, so what they write is smaller work: "
        "sharing and identity are lost. Their values drop what picklet's `Value` keeps.",
    )  # fmt: skip

    memory = []
    for row in rows_of("peers_memory", options.megabytes):
        cells = []
        for counted in ("allocations", "peaks"):
            own, *others = row[counted]
            ratios = [evidence.Cell.of([own / max(1, other)]) for other in others]
            cells += ratios + [None] * (len(PEERS) - len(ratios))
        memory.append((name_of(row), cells))
    columns = [f"{what}, {peer}" for what in ("allocations", "peak bytes") for peer in PEERS]
    evidence.record(
        "rust-memory", "The Rust crate: picklet's memory divided by the peer's", command, columns,
        memory, better=["less"] * len(columns),
        note="Counted by the allocator, so the same in every run.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
