"""The memory that `picklet split` takes, beside the bound that it promises.

    python split_memory.py [--size 200MB] [--program PICKLET] [--folder DIR] [--only NAME]

Sources of several shapes are written without making their objects, split from a
file and from a pipe (through a spool file), and the peak memory of the process
(`ru_maxrss`) is compared with

    64 MiB + 0.3 % of the source + 100 bytes for each shared object that a
    segment takes from before it + 300 bytes for each segment.

The exit code is 1 when one of them is over. `--size 8GB` measures what the bound
is about; the files are removed.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICKLET = Path(__file__).resolve().parents[3] / "target" / "release" / "picklet"
UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}


def repeated(file, unit, size):
    """Write `unit` again and again until `size` bytes; return how often."""
    block = unit * (2**20 // len(unit) + 1)
    blocks = max(1, size // len(block))
    for _ in range(blocks):
        file.write(block)
    return blocks * (len(block) // len(unit))


def tuple_of_small(file, size):
    """A tuple of ints: one MARK, no batches."""
    file.write(b"\x80\x04(")
    repeated(file, b"K\x01", size)
    file.write(b"t.")


def list_in_one_batch(file, size):
    """A list whose items are all in one batch."""
    file.write(b"\x80\x04](")
    repeated(file, b"M\x01\x02", size)
    file.write(b"e.")


def records(file, size):
    """A list of dicts as pickle writes them, memo numbers written out."""
    file.write(b"\x80\x02]q\x00(}q\x01X\x02\x00\x00\x00idq\x02K\x01s")
    number = 3
    while file.tell() < size:
        out = bytearray()
        for _ in range(1000):
            out += b"}r" + number.to_bytes(4, "little") + b"(h\x02J" + bytes(4) + b"u"
            number += 1
        file.write(out + b"e(")
    file.write(b"e.")


def references(file, size):
    """Items that point at 200,000 lists before them."""
    file.write(b"\x80\x04](")
    file.write(b"]\x94" * 200_000)
    chance, out = random.Random(7), bytearray()
    for _ in range(500_000):
        out += b"j" + chance.randrange(200_000).to_bytes(4, "little")
    while file.tell() < size:
        file.write(out)
    file.write(b"e.")
    return 200_000


def large_items(file, size):
    """A list of byte strings of 3 MB."""
    file.write(b"\x80\x04](")
    repeated(file, b"B" + (3_000_000).to_bytes(4, "little") + bytes(3_000_000), size)
    file.write(b"e.")


def small_pickles(file, size):
    """Pickles of two dicts each, one after another."""
    pickle = b"\x80\x04](}\x94\x8c\x02id\x94K\x01s}\x94h\x01K\x02se."
    repeated(file, pickle, size)


def framed_pickles(file, size):
    """Pickles of 50 MB of dicts in frames, one after another."""
    record = b"}\x94h\x01K\x02s"
    frame = b"\x95" + (9_100 * len(record)).to_bytes(8, "little") + record * 9_100
    while file.tell() < size:
        file.write(b"\x80\x04](}\x94\x8c\x02id\x94K\x01s")
        # Piece by piece: a child's peak begins with its parent's.
        for _ in range(800):
            file.write(frame)
        file.write(b"e.")


SHAPES = {
    "tuple of small items": (tuple_of_small, "64MB"),
    "list in one batch": (list_in_one_batch, "64MB"),
    "records, numbered memo": (records, "64MB"),
    "records, tiny segments": (records, None),
    "shared objects": (references, "20MB"),
    "large items": (large_items, "64MB"),
    "one segment": (large_items, "100GB"),
    "stream of small pickles": (small_pickles, "64MB"),
    "stream of large pickles": (framed_pickles, "64MB"),
}


def bound(size, shared, segments):
    """The bytes of memory that a split may take."""
    return (64 << 20) + 3 * size // 1000 + 100 * shared + 300 * segments


def split(program, source, out, how, piped):
    """Split; return the report and the peak memory in bytes."""
    command = [program, "split", "-" if piped else source, "-o", out, "--json", "--shared", "copy"]
    with open(source, "rb") as stdin:
        process = subprocess.Popen(
            [*map(str, command), *how], stdin=stdin if piped else None, stdout=subprocess.PIPE
        )
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"exit code {process.returncode}: {command}")
    return json.loads(text), usage.ru_maxrss * 1024


def main():
    """Measure every shape; print a table; exit with 1 if one is over its bound."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="200MB", help="bytes of each source, as 200MB or 8GB")
    parser.add_argument("--program", type=Path, default=PICKLET)
    parser.add_argument("--folder", type=Path, default=None, help="where to write")
    parser.add_argument("--only", help="shapes whose name has this in it")
    options = parser.parse_args()
    size = int(options.size[:-2]) * UNITS[options.size[-2:]]
    over = 0
    print(f"{'':<26}{'source':>10}{'segments':>10}{'file':>10}{'pipe':>10}{'bound':>10}")
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        os.environ["TMPDIR"] = work  # where the spool file goes
        source, out = Path(work) / "source.pickle", Path(work) / "out"
        for name, (write, segment) in SHAPES.items():
            if options.only and options.only not in name:
                continue
            with open(source, "wb") as file:
                shared = write(file, size) or 0
            bytes_ = source.stat().st_size
            # Tiny ones, but no more than a few thousand: each is a file.
            how = ["--size", segment or str(max(20_000, bytes_ // 3000))]
            peaks = []
            for piped in (False, True):
                report, peak = split(options.program, source, out, how, piped)
                shutil.rmtree(out)
                peaks.append(peak)
            most = bound(bytes_, shared, report["segments"])
            mib = [f"{value / 2**20:>6,.0f} MiB" for value in (*peaks, most)]
            print(
                f"{name:<26}{bytes_ / 1e6:>7,.0f} MB{report['segments']:>10}{''.join(mib)}",
                flush=True,
            )
            over += max(peaks) > most
    if over:
        sys.exit(f"{over} over the bound")


if __name__ == "__main__":
    main()
