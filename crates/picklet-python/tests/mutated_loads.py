"""Loads mutated pickles, safely, a given number of them; run by ``test_mutations.py``.

    python mutated_loads.py CASES SEED

Every way to load is tried: from bytes and from a file, with stubs, twice by one
Unpickler. The same cases are gone through five times, and the memory blocks
that the last time added are printed: what is cached is cached by then, what
leaks goes on.
"""

import gc
import io
import pickle
import random
import sys

import graphs
import picklet

OPCODES = (
    b"(.0123IKMNSTUVXabcdeghijlopqrstu)]}"
    b"\x80\x81\x82\x85\x86\x87\x88\x8a\x8c\x8f\x90\x91\x92\x93\x94\x95\x96\x97\x98"
)


def seeds():
    for obj in graphs.specimens().values():
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            try:
                data = pickle.dumps(obj, protocol)
            except Exception:  # not every object pickles at every protocol
                continue
            if len(data) < 3000:
                yield data


def mutate(data, rnd):
    data = bytearray(data)
    for _ in range(rnd.choice((0, 1, 1, 2))):
        at = rnd.randrange(len(data))
        match rnd.randrange(5):
            case 0:
                data[at] = rnd.randrange(256)
            case 1:
                del data[at]
            case 2:
                data.insert(at, rnd.choice(OPCODES))
            case 3:
                start = rnd.randrange(len(data))
                data[at:at] = data[start : start + rnd.randrange(12)]
            case 4:
                del data[at + 1 :]
        data = data or bytearray(b".")
    return bytes(data)


def load(data, how):
    if how == 0:
        picklet.loads(data)
    elif how == 1:
        picklet.load(io.BytesIO(data))
    elif how == 2:
        picklet.dumps(picklet.loads(data, unknown="stub"))
    else:
        unpickler = picklet.Unpickler(io.BytesIO(data + data))
        unpickler.load()
        unpickler.load()


def go_through(cases, seed, pickles):
    """Give how many of the mutated pickles loaded."""
    rnd = random.Random(seed)
    loaded = 0
    for case in range(cases):
        try:
            load(mutate(rnd.choice(pickles), rnd), case % 4)
            loaded += 1
        except Exception:  # what a bad pickle raises is tested elsewhere
            pass
    return loaded


def main():
    cases, seed = int(sys.argv[1]), int(sys.argv[2])
    pickles = list(seeds())
    for _ in range(5):
        gc.collect()
        before = sys.getallocatedblocks()
        loaded = go_through(cases, seed, pickles)
        gc.collect()
        added = sys.getallocatedblocks() - before
    print(loaded, added)


if __name__ == "__main__":
    main()
