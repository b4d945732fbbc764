"""What `make bench` measured, kept as JSON and written as a page.

    python evidence.py [--into docs]

Each benchmark hands its tables to `record`, which puts one JSON file for each into `target/bench/`.
Run as a program, this module turns them into `docs/benchmarks.md` and one SVG plot a table. A cell
is always a ratio against a peer measured in the same interleaved run, with the lowest and the
highest ratio of the rounds beside the median; no cell is a time of its own.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "target" / "bench"


@dataclass
class Cell:
    """A ratio: the median of the rounds, their lowest and highest, and what to say beside it."""

    ratio: float
    low: float
    high: float
    text: str = ""

    @classmethod
    def of(cls, ratios, text=""):
        """Make the cell of a list of ratios, one a round."""
        return cls(statistics.median(ratios), min(ratios), max(ratios), text)


def record(name, title, command, columns, rows, *, baseline=None, better=None, note=""):
    """Keep a table in `target/bench/NAME.json`.

    `rows` is a list of `(row's name, [Cell or None, one a column])`. `better` says for each column
    whether `more` (speed, the default) or `less` (memory) wins. With `baseline`, rows are ways to
    do one job, that row's ratios are 1, and rows whose name begins with `picklet` are held against
    all others; without, rows are payloads, and each ratio stands for picklet against the peer that
    the column names.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    table = {
        "name": name,
        "title": title,
        "command": command,
        "columns": columns,
        "better": better or ["more"] * len(columns),
        "baseline": baseline,
        "note": note,
        "machine": machine(),
        "rows": [[row, [cell and asdict(cell) for cell in cells]] for row, cells in rows],
    }
    text = json.dumps(table, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")


#: What profiles show of the losses; `perf record` of the benchmark that each part names.
WHY = """\
What profiles show of these:

- *Writing, the Rust crate* (`cargo bench -p picklet-bench --bench peers`). serde-pickle writes the same
  opcodes into the same kind of buffer, and no memo. A float takes picklet 16 instructions: a check of
  the room, the byte order, two stores; the longest chain of them is the buffer's length, which is
  loaded and stored for each value. So there is no third of serde-pickle's time to be had, and what
  is left are the first buffer, the frame's header and the table of names: some 60 ns a pickle, which
  only a pickle of a few hundred bytes shows.
- *Writing a `Value`*. It gives the bytes that it was read from, a MEMOIZE for each str and container
  among them; serde-pickle's values have no memo to write. What is left of a loss are small pickles: the
  graph of a nested one is looked up node by node, and one of a few bytes is a buffer and a header.
- *The reader alone* takes about 4 ns an opcode: one indirect branch, and checks of the argument. On
  records, where an opcode has 4 bytes, that is 0.9 GB/s.
- *ints and floats, from Python*. C pickle takes some 15 ns for a number, and of that which is left a
  third is reading the object: marshal, which writes no memo and looks at no frames, takes as long as
  picklet. So numbers are three to four times as fast, and texts, records and instances more than that.
- *Decimals and arrays, safe loads from Python*. Both unpicklers call the class with the same tuple, which
  is most of the time; the safe load has looked at each argument before. Dates and times are made
  without the call.
- *Split and merge* read each opcode and copy it, with the digest of what they write; a copy with a
  digest reads none.
- *A stream of records*. Its segments are lists, so that one `pickle.load` reads one of them. In the stream
  the memo numbers of each pickle begin at 0, and in a list they go on: each opcode has to be read, and
  most numbers change, so that it is split at the speed of records. Byte strings are hopped over.
"""


def machine():
    """What the figures were measured on, in a line."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=False)
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} processors, {memory:.0f} GiB; "
        f"Linux {platform.release().split('-')[0]}; Python {platform.python_version()}; "
        f"{' '.join(rustc.stdout.split()[:2])}"
    )


def load():
    """Every table that was recorded, in the order of their names."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]


def written(cell):
    """A cell as the table shows it: the median, the spread where there is one, and the text."""
    if cell is None:
        return "-"
    spread = "" if cell["low"] == cell["high"] else f" ({cell['low']:.2f} to {cell['high']:.2f})"
    text = f", {cell['text']}" if cell["text"] else ""
    return f"{cell['ratio']:.2f}{spread}{text}"


def losses(table):
    """A line for each row in which picklet is behind somewhere."""
    behind = {}
    for at, column in enumerate(table["columns"]):
        sign = 1 if table["better"][at] == "more" else -1
        named = [(row, cells[at]) for row, cells in table["rows"] if cells[at]]
        if table["baseline"] is None:
            peers = [(row, cell, 1.0, "the peer") for row, cell in named]
        else:
            ours = [(row, cell) for row, cell in named if row.startswith("picklet")]
            others = [(row, cell) for row, cell in named if not row.startswith("picklet")]
            if not others:
                continue
            best, held = max(others, key=lambda pair: sign * pair[1]["ratio"])
            peers = [(row, cell, held["ratio"], best) for row, cell in ours]
        for row, cell, against, peer in peers:
            # What rounds to the same is no loss.
            if sign * round(cell["ratio"] / against, 2) < sign:
                said = f"{column} {cell['ratio'] / against:.2f} of {peer}"
                behind.setdefault(row, []).append(said)
    return [f"{row}: {', '.join(places)}" for row, places in behind.items()]


def plot(table, path):
    """Draw the table's first column, or all of a table of payloads, as points on a log scale.

    Points and not bars: a bar begins somewhere, and a logarithmic scale has no zero to begin at.
    """
    import matplotlib

    matplotlib.use("svg")
    # The same bytes for the same figures: no date, no random ids.
    matplotlib.rcParams.update({"svg.hashsalt": "picklet", "svg.fonttype": "none"})
    from matplotlib import pyplot, ticker

    payloads = table["baseline"] is None
    columns = range(len(table["columns"]) if payloads else 1)
    rows = table["rows"]
    figure, axes = pyplot.subplots(figsize=(8, 1 + 0.32 * len(rows)))
    for at in columns:
        cells = [(place, cells[at]) for place, (_, cells) in enumerate(rows) if cells[at]]
        colors = [
            "#d1495b" if row.startswith("picklet") else "#66727c"
            for row, cells in rows
            if cells[at]
        ]
        for (place, cell), color in zip(cells, colors, strict=True):
            spread = [[cell["ratio"] - cell["low"]], [cell["high"] - cell["ratio"]]]
            axes.errorbar(
                [cell["ratio"]],
                [place + (at - (len(columns) - 1) / 2) * 0.7 / len(columns)],
                xerr=spread,
                fmt="o",
                color=f"C{at}" if payloads else color,
                label=table["columns"][at] if payloads and place == cells[0][0] else None,
            )
    axes.set_yticks(range(len(rows)), [row for row, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xscale("log")
    # At least from a half to twice, so that there are ticks to read by.
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.45), max(high, 2.2))
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(axis="x", color="#dddddd")
    axes.axvline(1, color="#444444", linewidth=1)
    if len(columns) > 1:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    else:
        axes.set_xlabel(table["columns"][0])
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)


def page(tables, today):
    """The page's Markdown."""
    machines = sorted({table["machine"] for table in tables})
    yield "# Benchmarks\n"
    yield (
        "Made by `make bench`, which measures each thing beside its peers in one run: every round runs\n"
        "all of them in turn, and a figure is the median of the rounds' ratios with the lowest and the\n"
        "highest behind it. A ratio of speed above 1 means faster than the peer that has 1, a ratio of\n"
        "memory below 1 means less. Times are not given: they would be this machine's, not yours.\n"
    )
    yield f"Written on {today}. Measured on:\n"
    yield "\n".join(f"- {machine}" for machine in machines) + "\n"
    yield "## Where picklet loses\n"
    lost = [(table["title"], lines) for table in tables if (lines := losses(table))]
    for title, lines in lost:
        yield f"{title}\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"
    if not lost:
        yield "Nowhere in this run.\n"
    else:
        yield WHY
    for table in tables:
        yield f"## {table['title']}\n"
        yield f"`{table['command']}`\n"
        if table["note"]:
            yield table["note"] + "\n"
        heads = ["", *table["columns"]]
        lines = [heads, ["---", *["---:"] * len(table["columns"])]]
        lines += [[row, *map(written, cells)] for row, cells in table["rows"]]
        yield "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
        yield f"![{table['title']}](benchmarks/{table['name']}.svg)\n"


def main():
    """Write the page and its plots."""
    parser = argparse.ArgumentParser(description="write the page of what was measured")
    parser.add_argument("--into", type=Path, default=ROOT / "docs")
    into = parser.parse_args().into
    tables = load()
    if not tables:
        sys.exit(f"nothing was measured yet: no JSON file in {RESULTS}; `make bench` makes them")
    plots = into / "benchmarks"
    plots.mkdir(parents=True, exist_ok=True)
    for old in plots.glob("*.svg"):
        old.unlink()
    for table in tables:
        plot(table, plots / f"{table['name']}.svg")
    text = "\n".join(page(tables, date.today().isoformat()))
    (into / "benchmarks.md").write_text(text, encoding="utf-8")
    print(f"{into / 'benchmarks.md'}: {len(tables)} tables")


if __name__ == "__main__":
    main()
