"""State dicts in both of torch's formats, byte for byte as `torch.save` writes them, without torch.

    python layout.py DIRECTORY           write them
    python layout.py DIRECTORY --torch   and compare each byte with what torch.save gives here

Written from files of torch 2.15.0. `make test-torch` does the comparison with the torch of the day, in
an environment of its own, and scans what else that torch saves.

The zip: members stored, each one's data on a 64-byte boundary by an extra field `FB` full of `Z`, sizes
and sum behind the data (flag 8) and zero in front of it. The older format: three pickles (a number
that says torch, a version, sizes of C's types), the pickle itself, a list of the storages' keys, and
each storage as a count and its bytes. In both, protocol 2 by Python's pickler, a storage being a persistent id.
"""

import io
import pathlib
import pickle
import struct
import sys
import types
import zlib
from collections import OrderedDict

MAGIC = 0x1950A86A20F9469CFC6C
ALIGNMENT = 64

TENSORS = [
    # name, storage class, bytes of one item, shape, data
    ("0.weight", "FloatStorage", 4, (2, 3), struct.pack("<6f", *range(6))),
    ("0.bias", "FloatStorage", 4, (2,), struct.pack("<2f", 0.5, -0.5)),
    ("1.running_mean", "DoubleStorage", 8, (2,), struct.pack("<2d", 1, 2)),
    ("1.num_batches_tracked", "LongStorage", 8, (), struct.pack("<q", 3)),
    ("2.mask", "BoolStorage", 1, (2, 1, 2), b"\x01\x00\x00\x01"),
    ("3.half", "HalfStorage", 2, (3,), struct.pack("<3e", 1, 2, 3)),
    ("3.brain", "BFloat16Storage", 2, (1,), b"\x80\x3f"),
]


class Storage:
    """One storage, told to the pickler by its persistent id."""

    def __init__(self, kind, key, items):
        self.kind, self.key, self.items = kind, key, items


class Tensor:
    """Pickles as a dense tensor of its own storage does."""

    def __init__(self, storage, shape):
        self.storage, self.shape = storage, shape

    def __reduce__(self):
        stride, step = [], 1
        for side in reversed(self.shape):
            stride.insert(0, step)
            step *= side
        # Python keeps equal literals once; torch makes a new tuple for each tensor.
        shape = tuple(list(self.shape))
        arguments = (self.storage, 0, shape, tuple(stride), False, OrderedDict())
        return sys.modules["torch._utils"]._rebuild_tensor_v2, arguments


def names():
    """Stand-ins for the globals that a state dict names, where torch is not installed."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def named(module, name):
        made = type(name, (), {"__module__": module.__name__, "__qualname__": name})
        setattr(module, name, made)

    named(utils, "_rebuild_tensor_v2")
    for _, kind, *_ in TENSORS:
        named(torch, kind)
    return {"torch": torch, "torch._utils": utils}


def pickled(keys, legacy):
    """The pickle of the state dict. Its module's `_metadata` is an attribute, so BUILD is there."""
    state = OrderedDict()
    for (name, kind, size, shape, data), key in zip(TENSORS, keys):
        storage = Storage(getattr(sys.modules["torch"], kind), key, len(data) // size)
        state[name] = Tensor(storage, shape)
    state._metadata = OrderedDict([("", {"version": 1}), ("1", {"version": 2})])
    file = io.BytesIO()

    class Pickler(pickle._Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Storage):
                whole = ("storage", obj.kind, obj.key, "cpu", obj.items)
                return (*whole, None) if legacy else whole
            return None

    Pickler(file, 2).dump(state)
    return file.getvalue()


def with_stand_ins(make):
    """Runs `make` with `torch` in `sys.modules`, and leaves those as they were."""
    before = {name: sys.modules.get(name) for name in names()}
    sys.modules.update(names())
    try:
        return make()
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def zip_bytes(folder="state", serialization_id=b"0" * 40):
    """The zip format; `folder` is the file's name without its extension."""
    keys = [str(number) for number in range(len(TENSORS))]
    members = [
        ("data.pkl", with_stand_ins(lambda: pickled(keys, False))),
        (".format_version", b"1"),
        (".storage_alignment", b"64"),
        ("byteorder", b"little"),
        *((f"data/{key}", tensor[-1]) for key, tensor in zip(keys, TENSORS)),
        ("version", b"3\n"),
        (".data/serialization_id", serialization_id),
    ]
    out, directory = bytearray(), bytearray()
    for name, data in members:
        path, begin = f"{folder}/{name}".encode(), len(out)
        start = begin + 30 + len(path) + 4
        padding = -start % ALIGNMENT
        extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
        head = struct.pack("<5H3I", 0, 0x0808, 0, 0, 0, 0, 0, 0)
        out += b"PK\x03\x04" + head + struct.pack("<2H", len(path), len(extra)) + path + extra + data
        sizes = struct.pack("<3I", zlib.crc32(data), len(data), len(data))
        out += b"PK\x07\x08" + sizes
        directory += b"PK\x01\x02" + struct.pack("<6H", 0, 0, 0x0808, 0, 0, 0) + sizes
        directory += struct.pack("<5H2I", len(path), 0, 0, 0, 0, 0, begin) + path
    begin, count = len(out), len(members)
    out += directory
    # A zip64 end as well, whatever the size.
    zip64 = len(out)
    out += b"PK\x06\x06" + struct.pack("<Q2H2I4Q", 44, 0x031E, 0x002D, 0, 0, count, count, len(directory), begin)
    out += b"PK\x06\x07" + struct.pack("<IQI", 0, zip64, 1)
    out += b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, count, count, len(directory), begin, 0)
    return bytes(out)


def legacy_bytes(keys=None, protocol=2):
    """The format before version 1.6; `keys` name the storages, in torch by their addresses."""
    keys = keys or [str(94_000_000_000_000 + 64 * number) for number in range(len(TENSORS))]
    sizes = {"short": 2, "int": 4, "long": 4}
    about = {"protocol_version": 1001, "little_endian": True, "type_sizes": sizes}
    out = bytearray()
    for value in (MAGIC, 1001, about):
        out += pickle.dumps(value, protocol)
    out += with_stand_ins(lambda: pickled(keys, True)) + pickle.dumps(sorted(keys), protocol)
    data = {key: tensor for key, tensor in zip(keys, TENSORS)}
    for key in sorted(keys):
        _, _, size, _, items = data[key]
        out += struct.pack("<q", len(items) // size) + items
    return bytes(out)


def compare(directory):
    """Saves the same state dict with torch, and says where the bytes differ."""
    import re
    import zipfile

    import torch

    dtypes = {"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "LongStorage": torch.int64,
              "BoolStorage": torch.bool, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16}
    state = OrderedDict()
    for name, kind, _, shape, data in TENSORS:
        state[name] = torch.frombuffer(bytearray(data), dtype=dtypes[kind]).clone().reshape(shape)
    state._metadata = OrderedDict([("", {"version": 1}), ("1", {"version": 2})])
    path = directory / "state.pt"
    torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        number = archive.read("state/.data/serialization_id")
    theirs, ours = path.read_bytes(), zip_bytes("state", number)
    yield "zip", theirs, ours
    path = directory / "state_legacy.pt"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    theirs = path.read_bytes()
    # Addresses, which no two processes share.
    keys = list(dict.fromkeys(re.findall(rb"X.\0\0\0([0-9]{8,20})q", theirs)))
    yield "legacy", theirs, legacy_bytes([key.decode() for key in keys])


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "layout.pt").write_bytes(zip_bytes())
    (directory / "layout_legacy.pt").write_bytes(legacy_bytes())
    if "--torch" in sys.argv[2:]:
        for name, theirs, ours in compare(directory):
            if theirs != ours:
                at = next((i for i, pair in enumerate(zip(theirs, ours)) if pair[0] != pair[1]), -1)
                sys.exit(f"{name}: differs at byte {at}: {theirs[at:at + 40]!r} is torch's, {ours[at:at + 40]!r} ours")
            print(f"{name}: {len(ours)} bytes, the same")


if __name__ == "__main__":
    main()
