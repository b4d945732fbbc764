"""The same answer without segments: the whole pickle in memory, in one process.

Usage: python plain.py SOURCE OUT
"""

import pickle
import sys
from pathlib import Path

from delays import process_segment

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as f:
        flights = pickle.load(f)
    Path(sys.argv[2]).write_bytes(pickle.dumps(process_segment(flights)))
