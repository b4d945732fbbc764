"""The codec beside the standard library's C pickle, in this process and interpreter.

    python crates/picklet-bench/python/codec.py [--seconds S] [--sizes 1k,100k,10M] [--only NAME,…]
    python crates/picklet-bench/python/codec.py --memory [--sizes 10M]

Every figure is a ratio: stock's time divided by the other's, above 1 where the
other is faster. The calls are interleaved, so that whatever else the machine
does hits both, and a figure is the median of the rounds' ratios, in processor
time; the page of benchmarks shows their lowest and highest too. A load pays for everything that it puts off: the collection of young
objects that the collector would have made meanwhile, and freeing the object.

``dumps`` and ``dump`` are picklet's own, ``compat`` the drop-in with stock's
bytes; ``loads`` and ``load`` read stock's pickle, ``own`` picklet's, ``safe``
stock's under the default policy. ``marshal``, ``msgspec`` and ``orjson`` write
(>) and read (<) less than pickle can: they are the floor, where they can
hold the payload at all. ``-`` stands where something has no business.

``--memory`` prints the peak of a process of its own for each, in stock's: below 1
where picklet needs less.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import decimal
import gc
import io
import json
import marshal
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import evidence
import picklet
import picklet.compat

Call = Callable[[], Any]


@dataclass
class Point:
    """Something that pickles through ``copyreg.__reduce_ex__``."""

    x: int
    y: float
    name: str


def record(i: int) -> dict[str, Any]:
    """Give a row of a table."""
    name, email = f"user {i}", f"u{i}@example.com"
    return {"id": i, "name": name, "email": email, "score": i / 7, "ok": True}


def arrays(n: int) -> list[Any]:
    """Give small numpy arrays."""
    import numpy as np

    return [np.arange(i % 50, dtype="f8") for i in range(n)]


def array(n: int) -> Any:
    """Give one numpy array of n numbers."""
    import numpy as np

    return np.arange(n, dtype="f8")


# Name: (what makes n items, bytes of an item in stock's pickle, roughly).
SEVEN: dict[str, tuple[Callable[[int], Any], int]] = {
    "records": (lambda n: [record(i) for i in range(n)], 58),
    "ints": (lambda n: list(range(1000, n + 1000)), 4),
    "floats": (lambda n: [i / 7 for i in range(n)], 9),
    "unique strings": (lambda n: [f"string {i}" for i in range(n)], 15),
    "str-key dict": (lambda n: {f"key {i}": i for i in range(n)}, 15),
    "small tuples": (lambda n: [(i, i + 1, "x") for i in range(n)], 11),
    "nested": (lambda n: [[[i, [i + 1]], {"a": [i]}] for i in range(n)], 28),
}
OBJECTS: dict[str, tuple[Callable[[int], Any], int]] = {
    "dataclasses": (lambda n: [Point(i, i / 7, f"p{i}") for i in range(n)], 36),
    "datetimes": (
        lambda n: [datetime.datetime(2020, 1, 1, i % 24, i % 60, i % 59) for i in range(n)],
        19,
    ),
    "decimals": (lambda n: [decimal.Decimal(i) / 7 for i in range(n)], 37),
    "small arrays": (arrays, 230),
    "one array": (array, 8),
}
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 10**6, "10M": 10**7, "100M": 10**8}


def rounds_of(seconds: float, calls: dict[str, Call], repeat: int) -> dict[str, list[float]]:
    """Give each call's processor time in each of the rounds, which take ``seconds`` together."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.process_time() + seconds
    rounds = 0
    while rounds < 3 or time.process_time() < end:
        for name, call in calls.items():
            gc.collect(0)
            begin = time.process_time()
            kept = [call() for _ in range(repeat)]
            # What the collector would have looked at meanwhile, had it not been paused.
            gc.collect(0)
            del kept
            times[name].append(time.process_time() - begin)
        rounds += 1
    return times


def peers(obj: Any) -> dict[str, Call]:
    """Give what writes and reads the payload in other formats, without loss or not."""
    calls: dict[str, Call] = {}

    def add(name: str, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> None:
        try:
            data = write(obj)
            read(data)
        except (TypeError, ValueError, OverflowError):
            return
        calls[f"{name}>"] = lambda: write(obj)
        calls[f"{name}<"] = lambda: read(data)

    add("marshal", marshal.dumps, marshal.loads)
    try:
        import msgspec
    except ImportError:
        pass
    else:
        add("msgspec", msgspec.msgpack.encode, msgspec.msgpack.decode)
    try:
        import orjson
    except ImportError:
        pass
    else:
        add("orjson", orjson.dumps, orjson.loads)
    return calls


def calls_of(obj: Any, stock: bytes, own: bytes) -> dict[str, Call]:
    """Give every call that is timed."""
    calls: dict[str, Call] = {
        "stock>": lambda: pickle.dumps(obj),
        "dumps": lambda: picklet.dumps(obj),
        "compat": lambda: picklet.compat.dumps(obj),
        "stock dump": lambda: pickle.dump(obj, io.BytesIO()),
        "dump": lambda: picklet.dump(obj, io.BytesIO()),
        "stock<": lambda: pickle.loads(stock),
        "loads": lambda: picklet.compat.loads(stock),
        "own": lambda: picklet.compat.loads(own),
        "stock load": lambda: pickle.load(io.BytesIO(stock)),
        "load": lambda: picklet.compat.load(io.BytesIO(stock)),
    }
    try:
        picklet.loads(stock)
        calls["safe"] = lambda: picklet.loads(stock)
    except picklet.UntrustedGlobalError:
        pass
    return calls | peers(obj)


AGAINST = {
    "dumps": "stock>", "compat": "stock>", "dump": "stock dump",
    "loads": "stock<", "own": "stock<", "safe": "stock<", "load": "stock load",
    "marshal>": "stock>", "msgspec>": "stock>", "orjson>": "stock>",
    "marshal<": "stock<", "msgspec<": "stock<", "orjson<": "stock<",
}  # fmt: skip

# What of it the page of benchmarks shows, and under which heads; the floors are no peers.
OURS = {
    "dumps": "dumps", "compat": "compat.dumps", "dump": "dump", "loads": "compat.loads",
    "own": "compat.loads of picklet's own", "safe": "safe loads", "load": "compat.load",
}  # fmt: skip


def payloads(size: int, only: set[str]) -> dict[str, Any]:
    """Give the payloads of about ``size`` bytes by name."""
    made = {}
    for name, (make, each) in (SEVEN | OBJECTS).items():
        if only and name not in only:
            continue
        try:
            made[name] = make(max(1, size // each))
        except ImportError:
            continue
    return made


def ratios_of(times: dict[str, list[float]], column: str) -> list[float]:
    """Give a column's ratio in each round; none where there is no such call."""
    pairs = zip(times[AGAINST[column]], times.get(column, []), strict=False)
    return [stock / other for stock, other in pairs]


def speed(sizes: list[str], seconds: float, only: set[str]) -> None:
    """Print a table for each size, and the geometric means over the seven payloads."""
    print(f"Python {sys.version.split()[0]}; stock's time / the other's")
    of_sizes: list[dict[str, float]] = []
    for size in sizes:
        print(f"\n{size:16}{'bytes':>12}  " + "".join(f"{column:>10}" for column in AGAINST))
        table: dict[str, list[float]] = {column: [] for column in AGAINST}
        rows: list[tuple[str, list[evidence.Cell | None]]] = []
        for name, obj in payloads(SIZES[size], only).items():
            stock, own = pickle.dumps(obj), picklet.dumps(obj)
            times = rounds_of(seconds, calls_of(obj, stock, own), max(1, 50_000 // len(stock)))
            ratios = {column: ratios_of(times, column) for column in AGAINST}
            medians = {
                column: statistics.median(found) for column, found in ratios.items() if found
            }
            cells = "".join(
                f"{medians[column]:10.2f}" if column in medians else f"{'-':>10}"
                for column in AGAINST
            )
            print(f"{name:16}{len(stock):12,}  {cells}", flush=True)
            rows.append((name, [evidence.Cell.of(ratios[c]) if ratios[c] else None for c in OURS]))
            if name in SEVEN:
                for column, median in medians.items():
                    table[column].append(median)
        whole = SEVEN.keys() <= {name for name, _ in rows}
        if whole and all(len(medians) in (0, len(SEVEN)) for medians in table.values()):
            means = {c: statistics.geometric_mean(found) for c, found in table.items() if found}
            cells = "".join(f"{means.get(column, 0):10.2f}" for column in AGAINST)
            print(f"{'geometric mean':16}{'of the seven':>12}  {cells}", flush=True)
            mean = [evidence.Cell.of([means[column]]) for column in OURS]
            rows.append(("geometric mean of the first seven", list(mean)))
            of_sizes.append(means)
        evidence.record(
            f"codec-speed-{list(SIZES).index(size)}-{size}",
            f"From Python, pickles of about {size}B: C pickle's time divided by picklet's",
            f"python crates/picklet-bench/python/codec.py --sizes {size}",
            list(OURS.values()),
            rows,
        )
    if len(of_sizes) > 1:
        overall = (
            statistics.geometric_mean([m[c] for m in of_sizes])
            if all(c in m for m in of_sizes)
            else 0
            for c in AGAINST
        )
        print(
            f"\n{'geometric mean':16}{'of all sizes':>12}  "
            + "".join(f"{mean:10.2f}" for mean in overall)
        )


def peak(name: str, size: str, how: str) -> int:
    """Give what one call adds to the peak of this process, in KiB."""
    module: Any = picklet.compat if "picklet" in how else pickle
    if "loads" in how:
        # Pickled by another process: making the objects would be a peak of this one.
        ask = json.dumps([name, size])
        run = [sys.executable, __file__, "--pickle", ask]
        data = subprocess.run(run, check=True, capture_output=True).stdout
        call = partial(module.loads, data)
        module.loads(pickle.dumps([*payloads(1000, {name}).values()]))
    else:
        [obj] = payloads(SIZES[size], {name}).values()
        call = partial(module.dumps, obj)
    gc.collect()
    # What was freed is given back, and the peak begins anew (Linux's proc, `clear_refs`).
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    kept = call()
    del kept
    return resident("VmHWM") - before


def resident(what: str) -> int:
    """Give a line of this process's status, in KiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))


def memory(sizes: list[str], only: set[str]) -> None:
    """Print the peaks of dumps and loads, each in a process of its own."""
    print(f"Python {sys.version.split()[0]}; picklet's peak / stock's")
    for size in sizes:
        rows: list[tuple[str, list[evidence.Cell | None]]] = []
        for name in SEVEN | OBJECTS:
            if only and name not in only:
                continue
            peaks = {}
            for how in ("stock dumps", "picklet dumps", "stock loads", "picklet loads"):
                ask = json.dumps([name, size, how])
                run = [sys.executable, __file__, "--peak", ask]
                peaks[how] = int(subprocess.run(run, check=True, capture_output=True).stdout)
            ratios = [
                peaks[f"picklet {way}"] / max(1, peaks[f"stock {way}"])
                for way in ("dumps", "loads")
            ]
            print(f"{size:6}{name:16}  dumps {ratios[0]:6.2f}  loads {ratios[1]:6.2f}", flush=True)
            rows.append((name, [evidence.Cell.of([ratio]) for ratio in ratios]))
        evidence.record(
            f"codec-memory-{list(SIZES).index(size)}-{size}",
            f"From Python, pickles of about {size}B: picklet's peak memory divided by C pickle's",
            f"python crates/picklet-bench/python/codec.py --memory --sizes {size}",
            ["compat.dumps", "compat.loads"],
            rows,
            better=["less", "less"],
        )


def main() -> None:
    """Parse the arguments, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each payload")
    parser.add_argument("--sizes", default="", help=f"of {', '.join(SIZES)}; all but 100M")
    parser.add_argument("--only", default="", help="names of payloads, separated by commas")
    parser.add_argument("--memory", action="store_true", help="peaks in place of times")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--pickle", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    only = {name for name in arguments.only.split(",") if name}
    sizes = [size for size in arguments.sizes.split(",") if size]
    if unknown := [size for size in sizes if size not in SIZES]:
        parser.error(f"no such size: {', '.join(unknown)}; there are {', '.join(SIZES)}")
    if unknown := sorted(only - (SEVEN | OBJECTS).keys()):
        parser.error(f"no such payload: {', '.join(unknown)}")
    if arguments.pickle:
        name, size = json.loads(arguments.pickle)
        [obj] = payloads(SIZES[size], {name}).values()
        pickle.dump(obj, sys.stdout.buffer)
    elif arguments.peak:
        print(peak(*json.loads(arguments.peak)))
    elif arguments.memory:
        memory(sizes or ["10M"], only)
    else:
        speed(sizes or [size for size in SIZES if size != "100M"], arguments.seconds, only)


if __name__ == "__main__":
    main()
