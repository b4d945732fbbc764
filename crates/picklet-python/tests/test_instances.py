"""Instances that are written without asking them: the bytes are those of the long way."""

import abc
import copyreg
import dataclasses
import enum
import pickle

import pytest
from picklet import _picklet


class Plain:
    pass


@dataclasses.dataclass
class Record:
    x: int
    name: str = "n"


class Child(Record):
    pass


class Abstract(abc.ABC):  # noqa: B024
    def __init__(self):
        self.a = 1


class Meta(type):
    def __getattribute__(cls, name):
        return super().__getattribute__(name)


class WithMeta(metaclass=Meta):
    pass


class Slotted:
    __slots__ = ("a",)


class SlottedAndDict(Slotted):
    pass


class EmptySlots:
    __slots__ = ()


class BelowEmptySlots(EmptySlots):
    pass


class SaysSlotNames:
    __slotnames__ = ("x",)


class WithState:
    def __getstate__(self):
        return {"state": 1}


class WithNewArgs:
    def __getnewargs__(self):
        return (1,)

    def __new__(cls, *args):
        return super().__new__(cls)


class WithNewArgsEx(WithNewArgs):
    def __getnewargs_ex__(self):
        return (), {}


class WithReduce:
    def __reduce__(self):
        return WithReduce, ()


class WithReduceEx:
    def __reduce_ex__(self, protocol):
        return WithReduceEx, ()


class Getattr:
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return 1


class Getattribute:
    def __getattribute__(self, name):
        return super().__getattribute__(name)


class ClassProperty:
    @property
    def __class__(self):
        return Plain


class DictProperty:
    @property
    def __dict__(self):
        return {"not": "this"}


class Listed(list):
    pass


class Mapped(dict):
    pass


class Number(int):
    pass


class Dispatched:
    pass


class Error(Exception):
    pass


class Colour(enum.Enum):
    RED = 1


def dispatched(obj):
    return Dispatched, ()


def with_attributes(cls, *args, **attributes):
    obj = cls(*args)
    obj.__dict__.update(attributes)
    return obj


def shared():
    attributes = {"shared": [1]}
    one, other = Plain(), Plain()
    one.__dict__ = attributes
    other.__dict__ = attributes
    return [one, other, attributes]


def cyclic():
    obj = Plain()
    obj.me = obj
    obj.inner = {"me": obj, "dict": obj.__dict__}
    return obj


OBJECTS = {
    "empty": Plain(),
    "several": [with_attributes(Plain, a=i, b=[i], c=str(i)) for i in range(50)],
    "records": [Record(i, f"n{i}") for i in range(50)],
    "two classes": [c(i) for i in range(20) for c in (Record, Child)],
    "abstract": [Abstract(), Abstract],
    "metaclass": [WithMeta(), WithMeta],
    "slotted": Slotted(),
    "slots and dict": with_attributes(SlottedAndDict, b=1),
    "empty slots": with_attributes(BelowEmptySlots, b=1),
    "slot names": SaysSlotNames(),
    "state": WithState(),
    "new args": WithNewArgs(),
    "new args ex": WithNewArgsEx(),
    "reduce": WithReduce(),
    "reduce_ex": WithReduceEx(),
    "getattr": with_attributes(Getattr, a=1),
    "getattribute": with_attributes(Getattribute, a=1),
    "class property": ClassProperty(),
    "dict property": DictProperty(),
    "list": Listed([1, Plain()]),
    "dict": Mapped(a=Plain()),
    "int": Number(5),
    "dispatched": [Dispatched(), Dispatched()],
    "error": with_attributes(Error, "text", note=1),
    "enum": [Colour.RED, Colour],
    "own reduce_ex": with_attributes(Plain, __reduce_ex__=lambda protocol: (int, (protocol,))),
    "own getstate": with_attributes(Plain, __getstate__=lambda: {"own": 1}),
    "own reduce": with_attributes(Plain, __reduce__=lambda: (int, ())),
    "names that are no names": with_attributes(Plain, **{"é": 1, "": 2, "__x": 3}),
    "keys that are no text": (lambda obj: (obj.__dict__.update({1: 2}), obj)[1])(Plain()),
    "shared dict": shared(),
    "cyclic": cyclic(),
    "the same twice": [plain := with_attributes(Plain, a=1), plain, {"k": plain}],
    "in a tuple": (with_attributes(Plain, a=(1, "x")),) * 2,
    "local class": type("Local", (), {})(),
    "class and instance": [Plain, Plain()],
}


def outcome(dumps, obj, protocol):
    try:
        return dumps(obj, protocol)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", OBJECTS)
def test_the_bytes_are_those_of_c_pickle(name, protocol):
    copyreg.pickle(Dispatched, dispatched)
    try:
        obj = OBJECTS[name]
        wanted = outcome(pickle.dumps, obj, protocol)
        assert outcome(_picklet.compat_dumps, obj, protocol) == wanted
        if isinstance(wanted, bytes):
            native = _picklet.dumps(obj, protocol)
            assert pickle.dumps(pickle.loads(native)) == pickle.dumps(pickle.loads(wanted))
    finally:
        del copyreg.dispatch_table[Dispatched]


def test_a_class_that_changes_between_dumps_is_looked_at_again():
    class Changing:
        pass

    globals()["Changing"] = Changing
    Changing.__qualname__ = "Changing"
    try:
        obj = [Changing(), Changing()]
        before = _picklet.compat_dumps(obj)
        assert before == pickle.dumps(obj)
        Changing.__getstate__ = lambda self: {"now": 1}
        assert _picklet.compat_dumps(obj) == pickle.dumps(obj) != before
        del Changing.__getstate__
        assert _picklet.compat_dumps(obj) == before
    finally:
        del globals()["Changing"]


def test_a_class_that_a_hook_changes_under_way_is_asked():
    class Before:
        def __reduce__(self):
            After.__getstate__ = lambda self: {"changed": 1}
            return int, ()

    class After:
        pass

    globals()["After"] = After
    After.__qualname__ = "After"
    try:
        obj = [After(), Before(), After()]
        ours = _picklet.compat_dumps(obj)
        del After.__getstate__
        assert ours == pickle.dumps(obj)
    finally:
        del globals()["After"]
