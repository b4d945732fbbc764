"""``picklet.split``: what a source is, and how live objects are cut.

Files and streams are cut in Rust, by their opcodes, without building an
object. What lives in this process already (a list, a dict, a generator) is
cut here and encoded one segment after another, never held twice.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import io
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pickle import UnpicklingError
from typing import Any, Literal, NamedTuple, SupportsIndex

from picklet import _picklet, again
from picklet.policy import Allow, LoadRules
from picklet.segments import Segments
from picklet.tables import cutter
from picklet.targets import Names, Target, existing_of, file_options, list_of_names

__all__ = ["split"]


def split(
    source: Any,
    out: str | os.PathLike[str],
    *,
    count: SupportsIndex | None = None,
    size: int | str | None = None,
    parts: SupportsIndex | None = None,
    name: str = "data",
    names: Names | None = None,
    allow: Allow = None,
    trust: bool = False,
    shared: Literal["warn", "error", "copy"] = "warn",
    compress: Literal["zstd", "gzip"] | None = None,
    sha256: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Segments:
    """Cut ``source`` into segments, each a plain pickle in the directory ``out``.

    ``source`` is one of

    * a path: a pickle that holds a list, tuple, dict, set or frozenset, a file
      of many pickles one after another, or JSON Lines. Nothing of it is loaded;
    * a file opened with ``'rb'``, or anything with a ``read`` that gives bytes:
      the same, from where it stands;
    * a list, tuple, dict, set or frozenset. The segments are of the same kind;
    * a numpy array, a pandas frame, series or index, or a sparse matrix of scipy:
      the segments are of the same type, each with its share of the rows;
    * any other iterable, a generator too: the segments are lists, and no more
      than one of them is held at a time.

    Of a pickle file that holds one array the rows are cut out as ranges of bytes.
    Any other object that is no container (a table, an array of objects) is loaded,
    by the rules of ``allow`` and ``trust``, and sliced, with a warning that says so.

    Where to cut: ``count`` items a segment, ``size`` bytes (an integer, or
    ``'64MB'``, ``'64MiB'``), or into ``parts`` segments. Give one of them; with
    none a segment has 64 MB. A segment ends with the item that reaches ``size``.

    Files are called ``data-00000.pickle`` and so on, with ``name`` in place of
    ``data``. Or give ``names``: one for each segment, or a function that gives
    the name. With ``count=1`` and a source of live objects it is called with
    the item, otherwise with the number of the segment, from 0.

    ``allow`` and ``trust`` are for loading from the result, as in
    :func:`picklet.load`. ``out`` must be empty or not there, unless ``resume``
    continues an interrupted run or ``overwrite`` replaces a finished one.

    Items of a pickle file that share a list or another object that can change
    share it no longer when they come into different segments: ``shared`` says
    whether to ``"warn"`` of that, to refuse it as an ``"error"``, or to
    ``"copy"`` without a word. Inside a segment everything is as it was.

    ``out`` can be an ``s3://``, ``gs://`` or ``az://`` URL. With ``compress`` the
    files end in ``.pickle.zst`` or ``.pickle.gz``; picklet reads both, and what it
    reads it tells by the first bytes. With ``sha256`` there is also a file
    ``SHA256SUMS`` for ``sha256sum -c``.

    >>> import picklet
    >>> words = ["하늘", "바다", "산"]
    >>> segments = picklet.split(words, "words", count=1, names=words)
    >>> segments.paths[0].name, segments[0]
    ('하늘.pickle', ['하늘'])
    >>> picklet.split((n * n for n in range(6)), "squares", count=4).load()
    [0, 1, 4, 9, 16, 25]
    """
    existing = existing_of(resume, overwrite)
    target = Target.of(count, size, parts)
    policy = LoadRules.of(allow, trust)
    folder = os.fspath(out)
    made_by = again.call(
        "picklet.split",
        source,
        folder,
        count=count,
        size=size,
        parts=parts,
        name=None if name == "data" else name,
        names=names,
        shared=None if shared == "warn" else shared,
        compress=compress,
        sha256=sha256 or None,
        resume=True,
    )
    if _is_file(source):
        options = file_options(target, name, names, shared, compress, sha256, existing, made_by)
        start = _place(source)
        said, whole = _picklet.split(source, folder, options)
        if whole is not None:
            source = _loaded(source, start, *whole, policy)
            said.append(
                f"the source holds {whole[0]}, which cannot be cut as bytes: "
                "all of it was loaded, and sliced in Python"
            )
            stored = (existing, compress, bool(sha256), made_by)
            _split_live(source, folder, target, name, names, stored)
        for warning in said:
            warnings.warn(warning, stacklevel=2)
    else:
        stored = (existing, compress, bool(sha256), made_by)
        _split_live(source, folder, target, name, names, stored)
    return Segments(_picklet.Directory(folder), policy)


def _is_file(source: Any) -> bool:
    """Tell files and paths from live objects; refuse what would surprise."""
    if isinstance(source, io.TextIOBase):
        raise TypeError("the file was opened as text; open it with 'rb'")
    if isinstance(source, (bytes, bytearray, memoryview)):
        raise TypeError(
            "bytes are not a source; split io.BytesIO(data) to cut a pickle that is in memory"
        )
    return isinstance(source, (str, os.PathLike)) or hasattr(source, "read")


def _place(source: Any) -> int | None:
    """Where a file stands, if it can be read again from there."""
    if isinstance(source, (str, os.PathLike)):
        return None
    try:
        return int(source.tell()) if source.seekable() else None
    except (AttributeError, OSError):
        return None


def _loaded(source: Any, start: int | None, what: str, message: str, rules: LoadRules) -> Any:
    """Load a file whose pickle is one object, if that has rows or items."""
    if isinstance(source, (str, os.PathLike)):
        data = _picklet.read_file(os.fspath(source))
    elif start is not None:
        source.seek(start)
        data = source.read()
    else:
        raise UnpicklingError(f"{message}; {what} is loaded from a path or a file that can seek")
    value = rules.loads(data)
    if isinstance(value, (str, bytes, bytearray)) or not (
        isinstance(value, Sized) or cutter(value) is not None
    ):
        raise UnpicklingError(message)
    return value


@dataclasses.dataclass(frozen=True)
class _Live:
    """A source of live objects: what its segments are, its items, and how many if known."""

    kind: str
    make: Callable[[list[Any]], Any]
    items: Iterator[Any]
    total: int | None

    @classmethod
    def of(cls, source: Any) -> _Live:
        total = len(source) if isinstance(source, Sized) else None
        if isinstance(source, Mapping):
            return cls("dict", _dict_like(source), iter(source.items()), total)
        for kind in (tuple, set, frozenset):
            if isinstance(source, kind):
                return cls(kind.__name__, kind, iter(source), total)
        if isinstance(source, Iterable):
            return cls("list", _list_like(source), iter(source), total)
        raise TypeError(
            f"an object of type {type(source).__name__} holds no items to split; "
            "give a path, a file, a container or an iterable"
        )

    def pieces(self, target: Target) -> Iterator[_Piece]:
        """Cut: give the pickle of one segment after another; of nothing an empty one."""
        cut = self._by_size(target.size) if target.size is not None else self._by_length(target)
        yield next(cut, None) or self._piece([])
        yield from cut

    def _piece(self, items: list[Any]) -> _Piece:
        first = items[0] if items else None
        return _Piece(_picklet.dumps(self.make(items)), len(items), first)

    def _by_length(self, target: Target) -> Iterator[_Piece]:
        for length in self._lengths(target):
            if not (items := list(itertools.islice(self.items, length))):
                return
            yield self._piece(items)

    def _lengths(self, target: Target) -> Iterator[int]:
        """Give the numbers of items of the segments, without end if that is not known."""
        if target.count is not None:
            yield from itertools.repeat(target.count)
        assert target.parts is not None
        assert self.total is not None
        shorter, longer = divmod(self.total, target.parts)
        yield from itertools.repeat(shorter + 1, longer)
        yield from itertools.repeat(shorter, target.parts - longer)

    def _by_size(self, size: int) -> Iterator[_Piece]:
        """Encode item by item, and end a segment with the item that reaches ``size``.

        Where the segments are of a type that the encoder does not know, it
        measures only, with the items in a plain list or dict.
        """
        kind = _ENCODED.get(self.make)
        while True:
            encoder = _picklet.SegmentEncoder(kind or ("dict" if self.kind == "dict" else "list"))
            held: list[Any] = []
            for item in self.items:
                if self.kind == "dict":
                    encoder.append_pair(*item)
                else:
                    encoder.append(item)
                if kind is None:
                    held.append(item)
                if encoder.bytes_so_far >= size:
                    break
            if not encoder.items:
                return
            yield self._piece(held) if kind is None else _Piece(encoder.finish(), encoder.items)


FEW_ROWS = 1024
"""Rows that are encoded to learn how large rows are."""


@dataclasses.dataclass(frozen=True)
class _Table:
    """An array or a table: how many rows it has, and what cuts some out."""

    total: int
    rows: Callable[[int, int], Any]
    kind = "array"

    def pieces(self, target: Target) -> Iterator[_Piece]:
        """Cut: give the pickle of one segment after another; of nothing an empty one."""
        start = 0
        lengths = self._lengths(target)
        while start < self.total or start == 0:
            piece = self._piece(start, min(next(lengths, self.total), self.total - start))
            if target.size is not None:
                # Rows of text differ in size: the next segment goes by this one.
                each = max(1, len(piece.data)) / max(1, piece.items)
                lengths = itertools.repeat(max(1, round(target.size / each)))
            yield piece
            start += max(1, piece.items)

    def _piece(self, start: int, length: int) -> _Piece:
        some = self.rows(start, start + length)
        return _Piece(_picklet.dumps(some), length, some)

    def _lengths(self, target: Target) -> Iterator[int]:
        if target.count is not None:
            return itertools.repeat(target.count)
        if target.parts is not None:
            parts = max(1, min(target.parts, self.total))
            return iter(
                [self.total * (n + 1) // parts - self.total * n // parts for n in range(parts)]
            )
        assert target.size is not None
        few = min(self.total, FEW_ROWS)
        each = len(_picklet.dumps(self.rows(0, few))) / max(1, few)
        return itertools.repeat(max(1, round(target.size / each)))


class _Piece(NamedTuple):
    """A segment's pickle, its number of items, and the first of them if it is at hand."""

    data: bytes
    items: int
    first: Any = None


_ENCODED: dict[Any, str] = {list: "list", tuple: "tuple", dict: "dict", set: "set"}
"""What the encoder makes of items that come one at a time."""


def _dict_like(source: Mapping[Any, Any]) -> Callable[[list[Any]], Any]:
    """Give what makes the same kind of dict from pairs."""
    if type(source) is collections.OrderedDict:
        return collections.OrderedDict
    if type(source) is collections.Counter:
        return lambda pairs: collections.Counter(dict(pairs))
    if type(source) is collections.defaultdict:
        return functools.partial(collections.defaultdict, source.default_factory)
    return dict


def _list_like(source: Iterable[Any]) -> Callable[[list[Any]], Any]:
    """Give what makes the same kind of list from a list."""
    if type(source) is collections.deque:
        return functools.partial(collections.deque, maxlen=source.maxlen)
    return list


def _split_live(
    source: Any,
    folder: str,
    target: Target,
    name: str,
    names: Names | None,
    stored: tuple[str, str | None, bool, str],
) -> None:
    cut = cutter(source)
    live = _Live.of(source) if cut is None else _Table(source.shape[0], cut)
    if target.parts is not None and live.total is None:
        raise TypeError("parts= needs a source whose length is known; give count= or size=")
    name_of = _naming(name, names, target, live.total)
    with _picklet.Writer(folder, live.kind, *stored) as writer:
        for index, piece in enumerate(live.pieces(target)):
            writer.put(name_of(index, piece), piece.data, piece.items)


def _naming(
    name: str, names: Names | None, target: Target, total: int | None
) -> Callable[[int, _Piece], str]:
    """Give the function from a segment's number and items to its name."""
    if names is None:
        return lambda index, piece: _picklet.segment_file(name, index)
    if callable(names):
        call = names
        if target.count == 1:
            return lambda index, piece: call(piece.first if piece.items else index)
        return lambda index, piece: call(index)
    listed = list_of_names(names)
    _picklet.check_names(listed)
    if total is not None and target.size is None:
        parts = target.parts if target.count is None else -(-total // target.count)
        assert parts is not None
        if len(listed) != (segments := max(1, min(parts, total))):
            raise ValueError(f"there are {len(listed)} names and {segments} segments")

    def one_of(index: int, piece: _Piece) -> str:
        if index >= len(listed):
            raise ValueError(f"there are more segments than the {len(listed)} names")
        return listed[index]

    return one_of
