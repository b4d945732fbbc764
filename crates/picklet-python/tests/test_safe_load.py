"""Safe loading: data loads without a word, and nothing else is imported or called."""

import array
import collections
import datetime
import decimal
import fractions
import gc
import io
import pickle
import sys
import uuid
import zoneinfo

import graphs
import pytest
from picklet import _picklet

SPECIMENS = graphs.specimens()
ORDINARY = [
    "none", "booleans", "small ints", "int edges", "floats", "complex", "strings", "long string",
    "bytes", "bytearray", "empty containers", "tuples", "lists by size", "dicts by size",
    "sets by size", "frozensets by size", "shared", "shared strings", "many shared",
    "cyclic list", "cyclic dict", "recursive tuple", "recursive long tuple", "records", "frames",
    "singleton types", "range and slice", "datetime", "zoneinfo", "numbers", "uuid", "collections",
    "paths", "addresses", "arrays", "namespace",
]  # fmt: skip


def canary(call):
    """Run `call` and list what it imported, opened, compiled or found through pickle."""
    events = []

    def hook(event, args):
        if armed and event.split(".")[0] in (
            "import",
            "open",
            "compile",
            "exec",
            "os",
            "subprocess",
            "socket",
        ):
            events.append((event, args))

    armed = False
    sys.addaudithook(hook)
    armed = True
    try:
        return call(), events
    finally:
        armed = False


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("name", ORDINARY)
def test_data_loads_without_a_word(name, protocol):
    obj = SPECIMENS[name]
    data = pickle.dumps(obj, protocol)
    ours, stock = _picklet.loads(data), pickle.loads(data)
    assert graphs.signature(ours) == graphs.signature(stock)
    assert pickle.dumps(ours, 4) == pickle.dumps(stock, 4)
    assert pickle.dumps(_picklet.load(io.BytesIO(data)), 4) == pickle.dumps(stock, 4)
    assert pickle.dumps(_picklet.loads(_picklet.dumps(obj, protocol)), 4) == pickle.dumps(stock, 4)


def test_exceptions_load():
    errors = [
        ValueError("x"),
        KeyError(1),
        OSError(2, "no"),
        UnicodeDecodeError("a", b"b", 0, 1, "c"),
    ]
    errors[0].add_note("a note")
    for protocol in graphs.PROTOCOLS:
        loaded = _picklet.loads(pickle.dumps(errors, protocol))
        assert [type(error) for error in loaded] == [type(error) for error in errors]
        assert loaded[0].__notes__ == ["a note"]


def test_every_blocked_global_is_named_with_the_allow_that_would_admit_it():
    data = pickle.dumps([graphs.Plain(graphs.Record("a", 1.0)), print, graphs.Plain, eval], 4)
    (_, events) = canary(lambda: None)
    with pytest.raises(_picklet.UntrustedGlobalError) as caught:
        _picklet.loads(data)
    names = ("graphs.Plain", "graphs.Record", "builtins.print", "builtins.eval")
    assert caught.value.names == names
    assert 'allow=["graphs.Plain", "graphs.Record", "builtins.print", "builtins.eval"]' in str(
        caught.value
    )
    assert isinstance(caught.value, pickle.UnpicklingError)
    assert events == []
    loaded = _picklet.loads(data, allow=caught.value.names)
    assert loaded[0].value == graphs.Record("a", 1.0)


def test_nothing_runs_before_an_answer():
    class Attack:
        def __reduce__(self):
            return exec, ("raise SystemExit",)

    for protocol in graphs.PROTOCOLS:
        for obj in (Attack(), [datetime.date(2020, 1, 1), Attack()], {1: Attack()}):
            data = pickle.dumps(obj, protocol)

            def load(data=data):
                with pytest.raises(_picklet.UntrustedGlobalError, match=r"builtins\.exec"):
                    _picklet.loads(data)

            _, events = canary(load)
            assert [event for event in events if event[0] != "compile"] == []


def test_allow_takes_names_or_all_names_defined_in_a_module():
    data = pickle.dumps([graphs.Plain(1), graphs.Point(1, 2), graphs.Colour.RED])
    for allow in (["graphs.Plain", "graphs.Point", "graphs.Colour"], ["graphs.*"], "graphs.*"):
        assert _picklet.loads(data, allow=allow) == pickle.loads(data)
    with pytest.raises(_picklet.UntrustedGlobalError, match="Point"):
        _picklet.loads(data, allow=["graphs.Plain", "graphs.Colour"])
    for bad in ("graphs", "*", "", "a b.c"):
        with pytest.raises(ValueError, match="allow"):
            _picklet.loads(data, allow=[bad])
    imported_there = b"\x80\x04\x8c\x06graphs\x8c\x08datetime\x93."
    with pytest.raises(pickle.UnpicklingError, match="not defined in"):
        _picklet.loads(imported_there, allow="graphs.*")


def test_dotted_names_need_the_whole_name_in_the_list():
    data = pickle.dumps(graphs.Plain.Nested(), 4)
    with pytest.raises(_picklet.UntrustedGlobalError, match=r"graphs\.Plain\.Nested"):
        _picklet.loads(data, allow=["graphs.Plain"])
    loaded = _picklet.loads(data, allow=["graphs.Plain.Nested"])
    assert type(loaded) is graphs.Plain.Nested


def test_trust_runs_what_the_pickle_says():
    data = pickle.dumps(SPECIMENS["reduce"])
    assert _picklet.loads(data, trust=True).parts == SPECIMENS["reduce"].parts
    with pytest.raises(ValueError, match="unknown"):
        _picklet.loads(data, unknown="whatever")


@pytest.mark.parametrize("name", ["plain", "reduce", "newargs_ex", "slotted", "list subclass",
                                  "dict subclass", "namedtuple", "enum", "dataclass", "metaclass",
                                  "state setter", "functions"])  # fmt: skip
def test_stubs_hold_what_the_pickle_said_and_pickle_back(name):
    obj = SPECIMENS[name]
    data = pickle.dumps(obj, 4)
    stub = _picklet.loads(data, unknown="stub")
    again = _picklet.dumps(stub)
    if name not in ("state setter", "functions"):
        assert repr(pickle.loads(again)) == repr(pickle.loads(data)) or name in (
            "plain",
            "reduce",
            "slotted",
            "metaclass",
        )
    assert pickle.dumps(pickle.loads(again), 4) == data
    assert "Stub" in repr(stub)


def test_a_stub_tells_what_it_stands_for():
    stub = _picklet.loads(pickle.dumps(graphs.Plain(5)), unknown="stub")
    assert (stub.module, stub.name, stub.form) == ("graphs", "Plain", "new")
    assert stub.args == ()
    assert stub.states == [{"value": 5}]
    assert stub.callable.form == "global"
    with pytest.raises(TypeError, match=r"picklet\.dumps"):
        pickle.dumps(stub)
    cyclic = _picklet.loads(pickle.dumps(SPECIMENS["plain"]), unknown="stub")
    cyclic.states.append(cyclic)
    del cyclic
    gc.collect()


REFUSED = {
    "getattr of anything": b"cbuiltins\ngetattr\n(cbuiltins\nint\nVreal\ntR.",
    "getattr of another method": b"cbuiltins\ngetattr\n(czoneinfo\nZoneInfo\nVclear_cache\ntR.",
    "a method called with junk": b"cbuiltins\ngetattr\n(czoneinfo\nZoneInfo\nV_unpickle\ntR(K\x01tR.",
    "encode to another codec": b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
    "a huge bytearray": b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.",
    "bytes of a number": b"cbuiltins\nbytes\n(J\xff\xff\xff\x7ftR.",
    "a set of a range": b"cbuiltins\nset\n(cbuiltins\nrange\n(K\x00J\xff\xff\xff\x7fK\x01tRtR.",
    "a deque of a range": b"ccollections\ndeque\n(cbuiltins\nrange\n(K\x00J\xff\xff\xff\x7fK\x01tRtR.",
    "a class made of pieces": b"cbuiltins\ntype\n(Vx\n(t}tR.",
    "the type of an object": b"cbuiltins\ntype\n(K\x01tR.",
    "a fraction with an exponent": b"cfractions\nFraction\n(V1e999999999\ntR.",
    "int called": b"cbuiltins\nint\n(V1\ntR.",
    "list called": b"cbuiltins\nlist\n(tR.",
    "object made": b"cbuiltins\nobject\n)\x81.",
    "an exception class given state": b"cbuiltins\nValueError\n}Vx\nK\x01sb.",
    "a module": b"cbuiltins\nint\n}Vreal\nK\x01sb.",
    "uuid with an odd int": b"\x80\x02cuuid\nUUID\n)\x81}Vint\n]sb.",
    "uuid with another field": b"\x80\x02cuuid\nUUID\n)\x81}Vhex\nVx\nsb.",
    "state for a date": b"cdatetime\ntimedelta\n(K\x01K\x01K\x01tR}b.",
    "factory that is not a type": b"ccollections\ndefaultdict\n(cbuiltins\ngetattr\ntR.",
    "reconstructor of a builtin": b"ccopyreg\n_reconstructor\n(cbuiltins\nint\ncbuiltins\nobject\nNtR.",
    "reconstructor with a base": b"ccopyreg\n_reconstructor\n(cuuid\nUUID\ncbuiltins\nint\nK\x01tR.",
    "a call of a value": b"K\x01(tR.",
    "encode to a number": b"c_codecs\nencode\n(Vx\nK\x01tR.",
    "getattr of a number": b"cbuiltins\ngetattr\n(czoneinfo\nZoneInfo\nK\x01tR.",
    "a call with a list": b"cbuiltins\nset\n]R.",
    "append to a tuple": b")K\x01a.",
    "items for an exception": b"cbuiltins\nValueError\n(tRK\x01a.",
    "pairs for a deque": b"ccollections\ndeque\n(tRK\x01K\x02s.",
    "members for a list": b"](K\x01\x90.",
    "an extension code": b"\x82\x01.",
    "a persistent id": b"Px\n.",
    "new with arguments": b"cuuid\nUUID\n(K\x01t\x81.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_listed_names_cannot_be_called_in_other_shapes(name):
    with pytest.raises(pickle.UnpicklingError):
        _picklet.loads(REFUSED[name])


def deep_tuple(levels):
    return b"K\x01" + b"\x85" * levels


@pytest.mark.parametrize(
    "data",
    [
        b"}" + deep_tuple(1_000_000) + b"Ns.",
        b"\x8f(" + deep_tuple(1_000_000) + b"\x90.",
        b"(" + deep_tuple(1_000_000) + b"\x91.",
        b"}(" + b"K\x01" + b"2\x86" * 60 + b"Nu.",
    ],
    ids=["dict", "set", "frozenset", "dup tower"],
)
def test_keys_that_would_crash_or_stall_the_interpreter_are_refused(data):
    with pytest.raises(pickle.UnpicklingError, match="key"):
        _picklet.loads(data)


def test_streams_are_left_behind_the_blocked_pickle():
    data = pickle.dumps(graphs.Plain(1)) + pickle.dumps("next")
    file = io.BytesIO(data)
    with pytest.raises(_picklet.UntrustedGlobalError):
        _picklet.load(file)
    assert _picklet.load(file) == "next"


def test_python_2_pickles_of_data_load():
    ordered = b"ccollections\nOrderedDict\n((l(lS'a'\naI1\naatR."
    assert _picklet.loads(ordered) == collections.OrderedDict(a=1)
    assert _picklet.loads(b"c__builtin__\nxrange\n(I0\nI3\nI1\ntR.") == range(3)
    assert _picklet.loads(b"c__builtin__\nset\n((lI1\natR.") == {1}
    error = _picklet.loads(b"cexceptions\nValueError\n(S'x'\ntR.")
    assert error.args == ("x",)
    date = b"cdatetime\ndate\n(S'\\x07\\xe4\\x01\\x02'\ntR."
    assert _picklet.loads(date, encoding="latin1") == datetime.date(2020, 1, 2)


def test_values_survive_with_their_types():
    values = [
        decimal.Decimal("1.5"), fractions.Fraction(-3, 7), uuid.UUID(int=2**100),
        zoneinfo.ZoneInfo("Asia/Seoul"), array.array("u", "日本"), array.array("d", [1.5]),
        collections.defaultdict(int, {1: 2}), collections.deque([1], maxlen=2),
    ]  # fmt: skip
    for protocol in graphs.PROTOCOLS:
        assert _picklet.loads(pickle.dumps(values, protocol)) == values
