"""Tiles of a large picture beside what people use: cut, and stitched again.

    python tiles.py [--side 8192] [--tile 512] [--overlap 32] [--rounds 3] [--folder DIR]

Three comparisons on one RGB picture of 8 bits, in interleaved rounds of whole processes:

- cut: pickles of all tiles, without overlap (patchify has none at the ends), from the form that
  each reads best;
- stitch: those tiles become a `.npy` again;
- blend: tiles with overlap become one by a Hann window, which of the peers tiler alone has.

picklet digests every tile and writes a manifest, and on a disk (`--folder`) it syncs each file; the
others do not. Peak memory is that of whole processes, mapped pages of files included.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from whole_process import interleave, report

HERE = Path(__file__).resolve().parent
PICKLET = HERE.parents[2] / "target" / "release" / "picklet"

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

CUT = {
    "numpy, loaded": "import numpy\nwhole = numpy.load(source)" + SLICED,
    "numpy, memory-mapped": "import numpy\nwhole = numpy.load(source, mmap_mode='r')" + SLICED,
    "tifffile.memmap": "import numpy, tifffile\nwhole = tifffile.memmap(source + '.tif')" + SLICED,
    "zarr slicing": "import numpy, zarr\nwhole = zarr.open(source + '.zarr', mode='r')" + SLICED,
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

LOAD = """
import numpy, pickle, sys
tiles, out, side, tile, overlap = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
def load(number):
    with open(f"{tiles}/data-{number:05}.pickle", "rb") as file:
        return pickle.load(file)
"""

STITCH = {
    "numpy, memory-mapped": """
whole = numpy.lib.format.open_memmap(out, "w+", "u1", (side, side, 3))
number = 0
for row in range(0, side, tile):
    for column in range(0, side, tile):
        whole[row:row + tile, column:column + tile] = load(number)
        number += 1
whole.flush()
""",
    "patchify": """
from patchify import unpatchify
count = side // tile
blocks = numpy.stack([load(number) for number in range(count * count)])
blocks = blocks.reshape(count, count, 1, tile, tile, 3)
numpy.save(out, unpatchify(blocks, (count * tile, count * tile, 3)))
""",
    "tiler": """
from tiler import Merger, Tiler
tiler = Tiler((side, side, 3), (tile, tile, 3), channel_dimension=2)
merger = Merger(tiler)
for number in range(len(tiler)):
    merger.add(number, load(number))
numpy.save(out, merger.merge(dtype="u1"))
""",
}

# tiler counts an overlap once, between two tiles; picklet counts it on each side of a core. So its
# tiles are picklet's if they are as large as a window, of a picture with a halo around it.
BLEND = {
    "tiler": """
from tiler import Merger, Tiler
padded, window = side + 2 * overlap, tile + 2 * overlap
tiler = Tiler(
    (padded, padded, 3), (window, window, 3), overlap=2 * overlap, channel_dimension=2
)
merger = Merger(tiler, window="hann")
for number in range(len(tiler)):
    merger.add(number, load(number))
halo = (overlap, overlap)
numpy.save(out, merger.merge(extra_padding=[halo, halo, (0, 0)], dtype="u1"))
""",
}


def picture(side, path):
    """Write a picture row by row, in each form that a peer reads."""
    import numpy
    import tifffile
    import zarr

    whole = numpy.lib.format.open_memmap(path, "w+", "u1", (side, side, 3))
    for row in range(0, side, 512):
        rows = min(512, side - row)
        noise = numpy.random.default_rng(row)
        whole[row : row + rows] = noise.integers(0, 256, (rows, side, 3), dtype="u1")
    whole.flush()
    tifffile.imwrite(f"{path}.tif", whole, photometric="rgb")
    store = zarr.create_array(
        f"{path}.zarr", shape=whole.shape, chunks=(512, 512, 3), dtype="u1", compressors=None
    )
    store[:] = whole


def main():
    """Write the picture, run the comparisons, print their tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=8192, help="a multiple of --tile")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: RAM)")
    options = parser.parse_args()
    if options.side % options.tile:
        parser.error("patchify takes whole tiles only: --side must be a multiple of --tile")
    folder = options.folder or (Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        compare(options, Path(work))


def compare(options, work):
    """Run the comparisons in the folder `work`."""
    side, tile, overlap = (str(n) for n in (options.side, options.tile, options.overlap))
    source, out, whole = work / "picture.npy", work / "out", work / "whole.npy"
    # In a process of its own: a child's peak memory begins with that of the process it comes from.
    code = f"import tiles; tiles.picture({side}, {str(source)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=HERE)
    what = (
        f"{side} x {side} RGB, {source.stat().st_size / 1e6:,.0f} MB, in tiles of {tile} x {tile}"
    )
    command = (
        f"python crates/picklet-bench/python/tiles.py --side {side} --tile {tile} "
        f"--overlap {overlap} --rounds {options.rounds}"
    )
    print(what, flush=True)

    def fresh(_name):
        shutil.rmtree(out, ignore_errors=True)
        whole.unlink(missing_ok=True)

    def picklet(*words):
        return [str(PICKLET), *map(str, words)]

    ways = {"picklet split --tile": picklet("split", source, "-o", out, "--tile", f"{tile}x{tile}")}
    for name, text in CUT.items():
        ways[name] = [sys.executable, "-c", SAVE + text, str(source), str(out), tile]
    runs = interleave(ways, options.rounds, fresh)
    report("tiles-cut", "Cut a picture into tiles", command, runs, "tifffile.memmap", what)

    def stitched(name, title, ways, baseline, mode, *cut):
        """Cut tiles once, and compare what joins them."""
        tiles = work / name
        done = [*picklet("split", source, "-o", tiles, "--tile", f"{tile}x{tile}"), *cut]
        subprocess.run(done, check=True, stdout=subprocess.DEVNULL)
        words = [str(tiles), str(whole), side, tile, overlap]
        commands = {
            f"picklet stitch --mode {mode}": picklet("stitch", tiles, "-o", whole, "--mode", mode)
        }
        for way, text in ways.items():
            commands[way] = [sys.executable, "-c", LOAD + text, *words]
        runs = interleave(commands, options.rounds, fresh)
        report(name, title, command, runs, baseline, what)
        shutil.rmtree(tiles)

    title = "Stitch tiles to a picture"
    stitched("tiles-stitch", title, STITCH, "numpy, memory-mapped", "crop")
    title = f"Blend tiles that overlap by {overlap} on each side, by a Hann window"
    # Padded on all sides, as tiler has them.
    padded = ("--overlap", overlap, "--edge", "reflect")
    stitched("tiles-blend", title, BLEND, "tiler", "hann", *padded)


if __name__ == "__main__":
    os.environ["PYTHONWARNINGS"] = "ignore"  # of the peers
    main()
