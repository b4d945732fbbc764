"""Pickle's module API with pickle's full behaviour, faster: change the import, and nothing else.

>>> import picklet.compat as pickle
>>> pickle.loads(pickle.dumps({"name": "John", "age": 30}))
{'name': 'John', 'age': 30}

The bytes are those of the standard library's C pickle, object for object and
protocol for protocol; the exceptions are pickle's own. Loading runs whatever
the pickle says, as pickle does: for pickles of unknown origin, use ``picklet``
itself, which loads safely.

``Pickler`` and ``Unpickler`` are for subclassing: ``persistent_id``,
``reducer_override``, ``dispatch_table``, ``find_class`` and
``persistent_load`` do what they do there.
"""

from __future__ import annotations

import pickle as _pickle
from collections.abc import Callable, Iterable
from pickle import (
    ADDITEMS,
    APPEND,
    APPENDS,
    BINBYTES,
    BINBYTES8,
    BINFLOAT,
    BINGET,
    BININT,
    BININT1,
    BININT2,
    BINPERSID,
    BINPUT,
    BINSTRING,
    BINUNICODE,
    BINUNICODE8,
    BUILD,
    BYTEARRAY8,
    DEFAULT_PROTOCOL,
    DICT,
    DUP,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_SET,
    EMPTY_TUPLE,
    EXT1,
    EXT2,
    EXT4,
    FALSE,
    FLOAT,
    FRAME,
    FROZENSET,
    GET,
    GLOBAL,
    HIGHEST_PROTOCOL,
    INST,
    INT,
    LIST,
    LONG,
    LONG1,
    LONG4,
    LONG_BINGET,
    LONG_BINPUT,
    MARK,
    MEMOIZE,
    NEWFALSE,
    NEWOBJ,
    NEWOBJ_EX,
    NEWTRUE,
    NEXT_BUFFER,
    NONE,
    OBJ,
    PERSID,
    POP,
    POP_MARK,
    PROTO,
    PUT,
    READONLY_BUFFER,
    REDUCE,
    SETITEM,
    SETITEMS,
    SHORT_BINBYTES,
    SHORT_BINSTRING,
    SHORT_BINUNICODE,
    STACK_GLOBAL,
    STOP,
    STRING,
    TRUE,
    TUPLE,
    TUPLE1,
    TUPLE2,
    TUPLE3,
    UNICODE,
    PickleBuffer,
    PickleError,
    PicklingError,
    UnpicklingError,
)
from typing import Any

from picklet import _picklet

__all__ = [
    "ADDITEMS",
    "APPEND",
    "APPENDS",
    "BINBYTES",
    "BINBYTES8",
    "BINFLOAT",
    "BINGET",
    "BININT",
    "BININT1",
    "BININT2",
    "BINPERSID",
    "BINPUT",
    "BINSTRING",
    "BINUNICODE",
    "BINUNICODE8",
    "BUILD",
    "BYTEARRAY8",
    "DEFAULT_PROTOCOL",
    "DICT",
    "DUP",
    "EMPTY_DICT",
    "EMPTY_LIST",
    "EMPTY_SET",
    "EMPTY_TUPLE",
    "EXT1",
    "EXT2",
    "EXT4",
    "FALSE",
    "FLOAT",
    "FRAME",
    "FROZENSET",
    "GET",
    "GLOBAL",
    "HIGHEST_PROTOCOL",
    "INST",
    "INT",
    "LIST",
    "LONG",
    "LONG1",
    "LONG4",
    "LONG_BINGET",
    "LONG_BINPUT",
    "MARK",
    "MEMOIZE",
    "NEWFALSE",
    "NEWOBJ",
    "NEWOBJ_EX",
    "NEWTRUE",
    "NEXT_BUFFER",
    "NONE",
    "OBJ",
    "PERSID",
    "POP",
    "POP_MARK",
    "PROTO",
    "PUT",
    "READONLY_BUFFER",
    "REDUCE",
    "SETITEM",
    "SETITEMS",
    "SHORT_BINBYTES",
    "SHORT_BINSTRING",
    "SHORT_BINUNICODE",
    "STACK_GLOBAL",
    "STOP",
    "STRING",
    "TRUE",
    "TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
    "UNICODE",
    "PickleBuffer",
    "PickleError",
    "Pickler",
    "PicklingError",
    "Unpickler",
    "UnpicklingError",
    "dump",
    "dumps",
    "load",
    "loads",
]

dump = _picklet.compat_dump
dumps = _picklet.compat_dumps
load = _picklet.compat_load
loads = _picklet.compat_loads


def __getattr__(name: str) -> Any:
    """Give what else pickle's module has: ``encode_long``, ``dispatch_table`` and so on."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_pickle, name)


def _not_called(obj: object, base: str) -> str:
    return f"{base}.__init__() was not called by {type(obj).__name__}.__init__()"


def _overridden(method: Any, base: Callable[..., Any]) -> Any:
    """Give a hook if it is not the base class's own, else None."""
    return None if getattr(method, "__func__", None) is base else method


class PicklerMemoProxy:
    """The memo of a Pickler: ``copy()`` gives ``{id(obj): (index, obj)}``."""

    __slots__ = ("_state",)

    def __init__(self, state: _picklet.PicklerState) -> None:
        """Stand for the memo in ``state``."""
        self._state = state

    def clear(self) -> None:
        """Forget everything."""
        self._state.set_memo({})

    def copy(self) -> dict[int, tuple[int, Any]]:
        """Give the memo as a dict."""
        return self._state.memo()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a dict."""
        return dict, (self.copy(),)


class UnpicklerMemoProxy:
    """The memo of an Unpickler: ``copy()`` gives ``{index: obj}``."""

    __slots__ = ("_state",)

    def __init__(self, state: _picklet.UnpicklerState) -> None:
        """Stand for the memo in ``state``."""
        self._state = state

    def clear(self) -> None:
        """Forget everything."""
        self._state.set_memo({})

    def copy(self) -> dict[int, Any]:
        """Give the memo as a dict."""
        return self._state.memo()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a dict."""
        return dict, (self.copy(),)


class Pickler:
    """Pickles objects into a file; what one dump wrote, the next refers to.

    >>> import io
    >>> class Names(Pickler):
    ...     def persistent_id(self, obj):
    ...         return obj.name if isinstance(obj, io.IOBase) else None
    """

    _picklet_state: _picklet.PicklerState
    dispatch_table: Any
    """A mapping used in place of ``copyreg.dispatch_table``, if set."""
    bin: int
    """Whether binary opcodes are written: protocol 1 and up."""
    fast: int
    """True writes no memo opcodes; a cycle is an error then."""

    def __init__(
        self,
        file: Any,
        protocol: int | None = None,
        fix_imports: bool = True,
        buffer_callback: Callable[[Any], object] | None = None,
    ) -> None:
        """Pickle into ``file``, which has a ``write`` method."""
        state = _picklet.PicklerState(protocol, fix_imports, buffer_callback is not None)
        try:
            self._picklet_write = file.write
        except AttributeError:
            raise TypeError("file must have a 'write' attribute") from None
        self._picklet_buffer_callback = buffer_callback
        self._picklet_state = state
        self.bin = int(state.protocol > 0)
        self.fast = 0

    def dump(self, obj: Any, /) -> None:
        """Write the pickle of ``obj`` to the file."""
        try:
            state = self._picklet_state
        except AttributeError:
            raise PicklingError(_not_called(self, "Pickler")) from None
        override: Any = getattr(self, "reducer_override", _ABSENT)
        if override is _ABSENT:
            override = None
        elif override is None:
            override = _call_none
        state.dump(
            obj,
            self._picklet_write,
            binary=bool(self.bin),
            fast=bool(self.fast),
            persistent_id=_overridden(self.persistent_id, Pickler.persistent_id),
            reducer_override=override,
            dispatch_table=getattr(self, "dispatch_table", None),
            buffer_callback=self._picklet_buffer_callback,
        )

    def persistent_id(self, obj: Any, /) -> Any:
        """Give an id to write in place of ``obj``, or None to pickle it as usual."""
        return None

    def clear_memo(self) -> None:
        """Forget what was written, so that the next dump stands alone."""
        self._picklet_state.set_memo({})

    @property
    def memo(self) -> PicklerMemoProxy:
        """What was written; can be set to another Pickler's, or to a copy of one."""
        return PicklerMemoProxy(self._picklet_state)

    @memo.setter
    def memo(self, memo: PicklerMemoProxy | dict[int, tuple[int, Any]]) -> None:
        if isinstance(memo, PicklerMemoProxy):
            memo = memo.copy()
        elif not isinstance(memo, dict):
            kind = type(memo).__name__
            raise TypeError(
                f"'memo' attribute must be a PicklerMemoProxy object or dict, not {kind}"
            )
        self._picklet_state.set_memo(memo)


_ABSENT = object()


def _call_none(obj: Any) -> Any:
    none: Any = None
    return none(obj)


class Unpickler:
    """Loads the pickles in a file, one after another.

    >>> import io
    >>> file = io.BytesIO(dumps("first") + dumps("second"))
    >>> unpickler = Unpickler(file)
    >>> unpickler.load(), unpickler.load()
    ('first', 'second')
    """

    _picklet_state: _picklet.UnpicklerState

    def __init__(
        self,
        file: Any,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = (),
    ) -> None:
        """Load from ``file``, which has ``read`` and ``readline`` methods."""
        state = _picklet.UnpicklerState(file, fix_imports, trust=True)
        self._picklet_begin(state, file, encoding, errors, buffers)

    def _picklet_begin(
        self,
        state: _picklet.UnpicklerState,
        file: Any,
        encoding: str,
        errors: str,
        buffers: Iterable[Any] | None,
    ) -> None:
        self._picklet_file = file
        self._picklet_text = encoding, errors
        # Later loads go on where the first one stopped.
        given = buffers is not None and buffers != ()
        self._picklet_buffers = iter(buffers) if given and buffers is not None else None
        self._picklet_state = state

    def load(self) -> Any:
        """Load the next pickle of the file."""
        try:
            state = self._picklet_state
        except AttributeError:
            raise UnpicklingError(_not_called(self, "Unpickler")) from None
        encoding, errors = self._picklet_text
        return state.load(
            self._picklet_file,
            encoding=encoding,
            errors=errors,
            buffers=self._picklet_buffers,
            find_class=_overridden(self.find_class, Unpickler.find_class),
            persistent_load=_overridden(self.persistent_load, Unpickler.persistent_load),
        )

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Give the global that the pickle names; the module is imported if it is not yet."""
        return self._picklet_state.find_class(module_name, global_name)

    def persistent_load(self, pid: Any, /) -> Any:
        """Give the object that a persistent id stands for."""
        raise UnpicklingError(
            "A load persistent id instruction was encountered,\n"
            "but no persistent_load function was specified."
        )

    @property
    def memo(self) -> UnpicklerMemoProxy:
        """What was loaded; can be set to another Unpickler's, or to a copy of one."""
        return UnpicklerMemoProxy(self._picklet_state)

    @memo.setter
    def memo(self, memo: UnpicklerMemoProxy | dict[int, Any]) -> None:
        if isinstance(memo, UnpicklerMemoProxy):
            memo = memo.copy()
        elif not isinstance(memo, dict):
            kind = type(memo).__name__
            raise TypeError(
                f"'memo' attribute must be an UnpicklerMemoProxy object or dict, not {kind}"
            )
        self._picklet_state.set_memo(memo)
