"""Tiles of a large picture, beside what people use: time and peak memory of whole processes.

    python tiles.py [--side 8192] [--tile 512] [--rounds 3] [--program picklet]

Each makes pickles of all tiles of one RGB picture, without overlap (patchify has none at the
ends). All run in turn within each round, so that what else the machine does hits all alike;
every one is a process of its own, whose peak memory is the operating system's word (ru_maxrss).
Peers that are not installed are named and left out: pip install tifffile zarr patchify tiler.

picklet syncs every tile to the disk, digests it and writes a manifest; the others do not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAVE = """
import os, pickle, sys
source, out, tile = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.makedirs(out)
def save(number, block):
    with open(f"{out}/{number:05}.pickle", "wb") as file:
        pickle.dump(block, file, 4)
"""

SLICED = """
side = whole.shape[0]
number = 0
for row in range(0, side, tile):
    for column in range(0, side, tile):
        save(number, numpy.ascontiguousarray(whole[row:row + tile, column:column + tile]))
        number += 1
"""

PEERS = {
    "numpy mmap": "import numpy\nwhole = numpy.load(source, mmap_mode='r')" + SLICED,
    "numpy load": "import numpy\nwhole = numpy.load(source)" + SLICED,
    "tifffile memmap": "import numpy, tifffile\nwhole = tifffile.memmap(source + '.tif')" + SLICED,
    "zarr": "import numpy, zarr\nwhole = zarr.open(source + '.zarr', mode='r')" + SLICED,
    "patchify": """
import numpy
from patchify import patchify
patches = patchify(numpy.load(source), (tile, tile, 3), step=tile)
number = 0
for row in patches[:, :, 0]:
    for block in row:
        save(number, numpy.ascontiguousarray(block))
        number += 1
""",
    "tiler": """
import numpy
from tiler import Tiler
whole = numpy.load(source)
tiler = Tiler(whole.shape, (tile, tile, 3), channel_dimension=2)
for number, block in tiler(whole):
    save(number, block)
""",
}


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds and megabytes of one process."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {command}")
    return time.perf_counter() - began, usage.ru_maxrss / 1000


def picture(side: int, folder: Path) -> None:
    """A picture in each form that a peer reads, written row by row."""
    import numpy

    path = folder / "picture.npy"
    whole = numpy.lib.format.open_memmap(path, "w+", "u1", (side, side, 3))
    for row in range(0, side, 512):
        rows = min(512, side - row)
        whole[row : row + rows] = numpy.random.default_rng(row).integers(
            0, 256, (rows, side, 3), dtype="u1"
        )
    whole.flush()
    if has("tifffile"):
        import tifffile

        tifffile.imwrite(f"{path}.tif", whole, photometric="rgb")
    if has("zarr"):
        import zarr

        store = zarr.create_array(
            f"{path}.zarr", shape=whole.shape, chunks=(512, 512, 3), dtype="u1", compressors=None
        )
        store[:] = whole


def has(module: str) -> bool:
    """Whether a peer is installed and runs."""
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True)
    return done.returncode == 0


def main() -> None:
    """Measure all in turn; print a table, and JSON with --json."""
    options = argparse.ArgumentParser()
    options.add_argument("--side", type=int, default=8192)
    options.add_argument("--tile", type=int, default=512)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--program", default="picklet")
    options.add_argument("--folder", help="where to work; a temporary folder")
    options.add_argument("--json", action="store_true")
    options.add_argument("--make", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.make:
        picture(asked.side, Path(asked.make))
        return
    folder = Path(tempfile.mkdtemp(prefix="picklet-bench-", dir=asked.folder))
    try:
        # In a process of its own: a child's peak counts from that of the process that starts it.
        make = [sys.executable, __file__, "--side", str(asked.side), "--make", str(folder)]
        subprocess.run(make, check=True)
        source = folder / "picture.npy"
        table = rounds(asked, folder, source)
        if asked.json:
            print(json.dumps(table))
    finally:
        shutil.rmtree(folder)


def rounds(asked: argparse.Namespace, folder: Path, source: Path) -> dict[str, list[float]]:
    """Median seconds and peak megabytes of each."""
    out = folder / "out"
    tile = str(asked.tile)
    commands = {
        "picklet": [
            asked.program, "split", str(source), "-o", str(out), "--tile", f"{tile}x{tile}",
        ]
    }  # fmt: skip
    for name, code in PEERS.items():
        module = name.split()[0]
        if has(module):
            commands[name] = [sys.executable, "-c", SAVE + code, str(source), str(out), tile]
        else:
            print(f"SKIPPED: {module} is not installed", file=sys.stderr)
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(asked.rounds):
        for name, command in commands.items():
            figures[name].append(measured(command))
            shutil.rmtree(out)
    table = {
        name: [
            round(statistics.median(seconds for seconds, _ in runs), 2),
            round(max(memory for _, memory in runs), 1),
        ]
        for name, runs in figures.items()
    }
    for name, (seconds, memory) in table.items():
        if not asked.json:
            print(f"{name:16} {seconds:8.2f} s {memory:9.1f} MB")
    return table


if __name__ == "__main__":
    main()
