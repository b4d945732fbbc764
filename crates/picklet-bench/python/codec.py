"""The codec beside the standard library's C pickle, in this process and interpreter.

    python crates/picklet-bench/python/codec.py [SECONDS-PER-PAYLOAD]

Every figure is a ratio: stock's time divided by picklet's, above 1 where
picklet is faster. The calls are interleaved, so that whatever else the machine
does hits both, and each side counts with the best of its rounds. A load pays
for freeing the object before it. ``loads`` reads stock's own pickle; ``own``
reads picklet's; ``safe`` reads stock's under the default policy. ``-`` stands
where the safe load has no business: classes of this file.
"""

from __future__ import annotations

import datetime
import decimal
import io
import pickle
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import picklet
import picklet.compat


@dataclass
class Point:
    """Something that pickles through ``copyreg.__reduce_ex__``."""

    x: int
    y: float
    name: str


def payloads() -> Iterable[tuple[str, Any]]:
    """Give the names and the objects."""
    yield (
        "records",
        [
            {"id": i, "name": f"user {i}", "email": f"u{i}@example.com", "score": i / 7, "ok": True}
            for i in range(5000)
        ],
    )
    yield "ints", list(range(1000, 31000))
    yield "floats", [i / 7 for i in range(30000)]
    yield "unique strings", [f"string {i}" for i in range(30000)]
    yield "str-key dict", {f"key {i}": i for i in range(20000)}
    yield "small tuples", [(i, i + 1, "x") for i in range(15000)]
    yield "nested", [[[i, [i + 1]], {"a": [i]}] for i in range(5000)]
    yield "one record", {"id": 1, "name": "user", "email": "u@example.com", "tags": ["a", "b"]}
    yield "dataclasses", [Point(i, i / 7, f"p{i}") for i in range(3000)]
    yield "datetimes", [datetime.datetime(2020, 1, 1, i % 24, i % 60) for i in range(3000)]
    yield "decimals", [decimal.Decimal(i) / 7 for i in range(3000)]
    try:
        import numpy as np
    except ImportError:
        return
    yield "small arrays", [np.arange(i % 50, dtype="f8") for i in range(2000)]
    yield "8 MB array", np.arange(1 << 20, dtype="f8")


def best_of(seconds: float, calls: list[Callable[[], Any]]) -> list[float]:
    """Give each call's best time, over rounds that take ``seconds`` together."""
    best = [float("inf")] * len(calls)
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for at, call in enumerate(calls):
            begin = time.perf_counter()
            kept = call()
            del kept
            best[at] = min(best[at], time.perf_counter() - begin)
        rounds += 1
    return best


def main() -> None:
    """Print the table and the geometric means."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    columns = ["dumps", "compat", "dump", "loads", "own", "safe", "load"]
    print(f"Python {sys.version.split()[0]}; stock's time / picklet's, best of interleaved rounds")
    print(f"{'':16}{'bytes':>10}  " + "".join(f"{column:>9}" for column in columns))
    table: dict[str, list[float]] = {column: [] for column in columns}
    for name, obj in payloads():
        stock, own = pickle.dumps(obj), picklet.dumps(obj)

        def dumping(dump: Callable[..., Any], obj: Any = obj) -> Callable[[], Any]:
            return lambda: dump(obj, io.BytesIO())

        def loading(load: Callable[[Any], Any], data: bytes = stock) -> Callable[[], Any]:
            return lambda: load(io.BytesIO(data))

        calls: list[Callable[[], Any]] = [
            lambda obj=obj: pickle.dumps(obj),  # type: ignore[misc]
            lambda obj=obj: picklet.dumps(obj),  # type: ignore[misc]
            lambda obj=obj: picklet.compat.dumps(obj),  # type: ignore[misc]
            dumping(pickle.dump),
            dumping(picklet.dump),
            lambda data=stock: pickle.loads(data),  # type: ignore[misc]
            lambda data=stock: picklet.compat.loads(data),  # type: ignore[misc]
            lambda data=own: picklet.compat.loads(data),  # type: ignore[misc]
            loading(pickle.load),
            loading(picklet.compat.load),
        ]
        safe = name != "dataclasses"
        if safe:
            calls.append(lambda data=stock: picklet.loads(data))  # type: ignore[misc]
        t = best_of(seconds, calls)
        row = {
            "dumps": t[0] / t[1],
            "compat": t[0] / t[2],
            "dump": t[3] / t[4],
            "loads": t[5] / t[6],
            "own": t[5] / t[7],
            "load": t[8] / t[9],
        }
        if safe:
            row["safe"] = t[5] / t[10]
        cells = [f"{row[column]:9.2f}" if column in row else f"{'-':>9}" for column in columns]
        print(f"{name:16}{len(stock):10,}  " + "".join(cells), flush=True)
        for column, ratio in row.items():
            table[column].append(ratio)
    means = "".join(f"{statistics.geometric_mean(table[column]):9.2f}" for column in columns)
    print(f"{'geometric mean':28}{means}")


if __name__ == "__main__":
    main()
