"""Loads mutated pickles, and writes and loads generated graphs; run by ``test_mutations.py``.

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
import picklet.compat

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


def graph(rnd, depth=0, made=None):
    """A graph of built-in values and instances, with sharing and cycles."""
    made = [] if made is None else made
    if made and rnd.random() < 0.15:
        return rnd.choice(made)
    kind = rnd.randrange(16 if depth < 5 else 7)
    size = rnd.randrange(5)
    match kind:
        case 0:
            return rnd.choice((None, True, False, (), "", b"", -1, 256, 1 << 70, 1.5))
        case 1 | 2:
            return rnd.choice(("key", "name", "é", "x" * 300, "가나", "\ud800", str(rnd.random())))
        case 3 | 4:
            return rnd.randrange(-(1 << rnd.randrange(1, 66)), 1 << rnd.randrange(1, 66))
        case 5:
            return rnd.random()
        case 6:
            return rnd.randbytes(rnd.randrange(400))
        case 7:
            return bytearray(rnd.randbytes(size))
        case 8 | 9:
            items = []
            made.append(items)
            items.extend(graph(rnd, depth + 1, made) for _ in range(size))
            return items
        case 10 | 11:
            # Records: the same keys again and again.
            keys = rnd.choice((("id", "name"), ("id", "name", "tags"), ("a",)))
            record = {}
            made.append(record)
            record.update({key: graph(rnd, depth + 1, made) for key in keys})
            return record
        case 12 | 13:
            items = tuple(graph(rnd, depth + 1, made) for _ in range(size))
            made.append(items)
            return items
        case 14:
            members = {rnd.choice(("m", 1, (1, "m"), b"m", rnd.random())) for _ in range(size)}
            return rnd.choice((set, frozenset))(members)
        case _:
            obj = graphs.Plain()
            made.append(obj)
            obj.value = graph(rnd, depth + 1, made)
            return obj


def write(obj, protocol):
    """Pickle a graph in every way; the bytes of the drop-in are C pickle's."""
    data = pickle.dumps(obj, protocol)
    if picklet.compat.dumps(obj, protocol) != data:
        raise SystemExit(f"other bytes than C pickle's: {data!r}")
    file = io.BytesIO()
    picklet.dump(obj, file, protocol)
    try:
        again = picklet.dumps(obj, deterministic=True)
    except pickle.PicklingError:  # an instance is in it
        pass
    else:
        picklet.loads(again)
    return one_of(data, file.getvalue())


def one_of(stock, own):
    """Stock's pickle or picklet's: either, by the data."""
    return own if len(stock) % 2 else stock


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
        if case % 4 == 3:
            data = write(graph(rnd), rnd.randrange(6))
            picklet.compat.loads(data)
        else:
            data = rnd.choice(pickles)
        try:
            load(mutate(data, rnd), rnd.randrange(4))
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
