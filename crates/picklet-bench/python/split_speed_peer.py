"""What splitting is measured against: load, slice and dump with stock pickle, collector off.

python split_speed_peer.py SOURCE OUT SEGMENTS
"""

import gc
import pickle
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def everything(file):
    """Load what is in the file: one pickle, or a list of many."""
    data = pickle.load(file)
    if file.tell() == Path(file.name).stat().st_size:
        return data
    found = [data]
    while True:
        try:
            found.append(pickle.load(file))
        except EOFError:
            return found


def main(source, out, segments):
    """Split."""
    gc.disable()
    out.mkdir(parents=True, exist_ok=True)
    with open(source, "rb") as file:
        data = everything(file)
    count = -(-len(data) // segments)
    for number, start in enumerate(range(0, len(data), count)):
        with open(out / f"data-{number:05}.pickle", "wb") as file:
            pickle.dump(data[start : start + count], file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
