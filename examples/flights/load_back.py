"""Load the results with the standard library's pickle, and print them.

picklet is not imported here: every segment is a plain pickle.

Usage: python load_back.py DIRECTORY AIRLINES
"""

import pickle
import sys
from collections import Counter
from pathlib import Path


def main(directory, airlines):
    """Add up the totals of every segment, and print the ten largest airlines."""
    names = pickle.loads(airlines.read_bytes())
    flights, minutes = Counter(), Counter()
    for path in sorted(directory.glob("*.pickle")):
        with open(path, "rb") as f:
            totals = pickle.load(f)
        for carrier, (count, delay) in totals.items():
            flights[carrier] += count
            minutes[carrier] += delay
    print(f"{'airline':<28}{'flights':>9}{'mean delay on arrival':>24}")
    for carrier, count in flights.most_common(10):
        print(f"{names[carrier]:<28}{count:>9,}{minutes[carrier] / count:>16.1f} minutes")


if __name__ == "__main__":
    assert "picklet" not in sys.modules
    main(Path(sys.argv[1]), Path(sys.argv[2]))
