"""Loads the pickles of docs/format.md for tests/format.rs, as the page says that they are loaded.

Standard input: pickles, each after its length in four bytes. Standard output: `repr` of each value, a line for each.
"""

import copyreg
import io
import pickle
import struct
import sys

copyreg.add_extension("decimal", "Decimal", 17)


class Unpickler(pickle.Unpickler):
    def persistent_load(self, pid):
        return ("persistent", pid)


data = sys.stdin.buffer
while header := data.read(4):
    file = io.BytesIO(data.read(struct.unpack("<I", header)[0]))
    value = Unpickler(file, buffers=[b"beside"]).load()
    assert not file.read(), "bytes after STOP"
    print(ascii(value))
