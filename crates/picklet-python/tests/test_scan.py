"""`picklet.scan`, and that a load never does what a scan did not report."""

import pickle
import sys

import graphs
import picklet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def test_a_scan_gives_typed_findings(empty_folder):
    data = pickle.dumps([graphs.Plain(1), print], 4)
    (empty_folder / "data.pickle").write_bytes(data)
    for source in (data, bytearray(data), "data.pickle", empty_folder / "data.pickle"):
        report = picklet.scan(source)
        assert report.verdict in ("suspicious", "dangerous")
        assert {finding.callable for finding in report.findings} >= {"graphs.Plain"}
        assert [f"{one.module}.{one.name}" for one in report.imports] == [
            "graphs.Plain",
            "builtins.print",
        ]
        assert all(isinstance(finding, picklet.Finding) for finding in report.findings)
        assert report.bytes == len(data)
        assert report.pickles == 1
    admitted = picklet.scan(data, policy=["graphs.Plain", "builtins.print"])
    assert admitted.verdict == "clean"
    assert picklet.scan(b"no pickle").verdict == "unreadable"


def test_the_suggested_policy_admits_what_was_scanned():
    data = pickle.dumps([graphs.Plain(1), graphs.Point(1, 2)], 4)
    policy = picklet.Policy.from_toml(picklet.scan(data).suggested_policy)
    assert picklet.scan(data, policy=policy).verdict == "clean"
    assert picklet.loads(data, allow=policy)[0].value == 1
    dangerous = picklet.scan(b"cos\nsystem\n(S'true'\ntR.")
    assert dangerous.verdict == "dangerous"
    assert list(picklet.Policy.from_toml(dangerous.suggested_policy)) == []
    assert "os.system" in dangerous.suggested_policy


PIECES = st.sampled_from(
    [
        b"N", b"K\x01", b"\x8c\x01a", b"\x8c\x06latin1", b"C\x01x", b"]", b"}", b")", b"(", b"\x8f",
        b"t", b"\x85", b"\x86", b"\x87", b"l", b"d", b"0", b"1", b"2", b"\x94", b"h\x00", b"h\x01",
        b"R", b"b", b"\x81", b"\x92", b"o", b"a", b"e", b"s", b"u", b"\x90", b"\x91", b"\x93",
        b"cbuiltins\nset\n", b"cbuiltins\nlen\n", b"c_codecs\nencode\n", b"cos\ngetcwd\n",
        b"ccollections\nOrderedDict\n", b"ccollections\ndeque\n", b"cuuid\nUUID\n",
        b"cdatetime\ndate\n", b"cgraphs\nPlain\n", b"cbuiltins\ngetattr\n",
        b"\x8c\x08builtins\x8c\x03int\x93", b"(ibuiltins\nset\n", b"(K\x01K\x02K\x03tR",
        b"ccopyreg\n_reconstructor\n", b"cbuiltins\nobject\n", b"\x82\x01", b"Px\n", b"\x80\x04",
    ]
)  # fmt: skip


def found_by_pickle(load):
    """What a load imported, by the audit event that each import of a global raises."""
    found = set()
    armed = True

    def hook(event, args):
        if armed and event == "pickle.find_class":
            found.add(f"{args[0]}.{args[1]}")

    sys.addaudithook(hook)
    try:
        load()
    except Exception:
        pass
    finally:
        armed = False
    return found


EXAMPLES = 300


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(PIECES, max_size=24))
def test_a_load_imports_and_calls_no_more_than_the_scan_reported(pieces):
    data = b"".join(pieces) + b"."
    report = picklet.scan(data, policy=["graphs.Plain"])
    imports = {f"{one.module}.{one.name}" for one in report.imports}
    listed = {f"{one.module}.{one.name}" for one in report.imports if one.listed}
    found = found_by_pickle(lambda: picklet.loads(data, allow=["graphs.Plain"]))
    assert found <= listed <= imports, (found, imports, data)
    if report.verdict == "clean":
        # What is clean loads to what stock pickle makes of it, or not at all.
        assert not any(finding.callable for finding in report.findings)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(PIECES, max_size=24))
def test_what_loads_was_called_clean(pieces):
    data = b"".join(pieces) + b"."
    try:
        picklet.loads(data)
    except Exception:
        return
    report = picklet.scan(data)
    assert report.verdict == "clean" or all(
        finding.callable is None for finding in report.findings
    ), (report.findings, data)


def test_a_scan_imports_opens_and_runs_nothing(empty_folder):
    """Python's own hook sees each import, call of the system, compilation and opened file."""
    bad = b"cos\nmkdir\n(S'marker'\ntRcantigravity\nfly\n."
    (empty_folder / "bad.pkl").write_bytes(bad)
    picklet.scan(bad)
    seen = []
    watching = True

    def hook(event, args):
        if watching:
            seen.append(event)

    sys.addaudithook(hook)
    try:
        for source in (bad, "bad.pkl", pickle.dumps(graphs.Plain(1)), b"\x80\x04cut"):
            picklet.scan(source)
            picklet.scan(source, policy=["os.mkdir"])
    finally:
        watching = False
    # What makes the report's own objects is no event of the pickle's.
    assert [event for event in seen if not event.startswith("object.__")] == []
    assert not (empty_folder / "marker").exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("name", ["records", "datetime", "collections", "numbers", "uuid"])
def test_ordinary_data_is_clean(name):
    for protocol in graphs.PROTOCOLS:
        report = picklet.scan(pickle.dumps(graphs.specimens()[name], protocol))
        assert report.verdict == "clean", report.findings
