"""Segments of one data set in a directory: read, map, merge, verify."""

from __future__ import annotations

import bisect
import collections
import inspect
import itertools
import operator
import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, SupportsIndex, Unpack, cast, overload

from picklet import _picklet, again, health, mapping, tables
from picklet.health import Repaired, Verified
from picklet.mapping import MapOptions, Names, OnError, Progress
from picklet.policy import Allow, LoadRules
from picklet.targets import Target, existing_of, file_options

if TYPE_CHECKING:
    from picklet.clusters import Engine, Maker

__all__ = ["Items", "Segments", "Shuffled", "open"]


class SupportsWrite(Protocol):
    """A file that takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of ``data``."""


def open(path: str | os.PathLike[str], *, allow: Allow = None, trust: bool = False) -> Segments:
    """Open a segments directory: a path, or an ``s3://``, ``gs://``, ``az://`` or ``http(s)://`` URL.

    Nothing is loaded yet. Credentials for a URL come from the usual environment
    variables (``AWS_ACCESS_KEY_ID`` …).

    Segments are loaded safely: ``allow`` and ``trust`` mean what they mean for
    :func:`picklet.load`, for every segment that is loaded through the result.

    >>> import picklet
    >>> _ = picklet.split(range(10), "tens", count=4)
    >>> for segment in picklet.open("tens"):
    ...     print(segment)
    [0, 1, 2, 3]
    [4, 5, 6, 7]
    [8, 9]
    """
    return Segments(_picklet.Directory(os.fspath(path)), LoadRules.of(allow, trust))


def _reopened(location: str, allow: tuple[str, ...], trust: bool) -> Segments:
    return Segments(_picklet.Directory(location), LoadRules(allow, trust))


class Segments(Sequence[Any]):
    """The segments of one data set: a lazy sequence of what each file holds.

    Made by :func:`picklet.split`, :func:`picklet.open` and :meth:`map`. A
    segment is loaded when it is asked for, and not kept.

    >>> import picklet
    >>> segments = picklet.split({"a": 1, "b": 2, "c": 3}, "letters", count=2)
    >>> len(segments), segments[0], segments[-1]
    (2, {'a': 1, 'b': 2}, {'c': 3})
    >>> [path.name for path in segments.paths]
    ['data-00000.pickle', 'data-00001.pickle']
    >>> segments.items["c"]
    3
    >>> segments.load()
    {'a': 1, 'b': 2, 'c': 3}
    """

    __slots__ = ("_directory", "_items", "_policy")

    def __init__(self, directory: _picklet.Directory, policy: LoadRules) -> None:
        """Use :func:`picklet.open` instead."""
        self._directory = directory
        self._policy = policy
        self._items: Items | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the place and the rules of loading: whoever unpickles it opens it anew."""
        where = os.path.abspath(self.location) if "://" not in self.location else self.location
        return _reopened, (where, self._policy.allow, self._policy.trust)

    @property
    def location(self) -> str:
        """The directory's path or URL, as :func:`picklet.open` takes it."""
        return self._directory.location

    @property
    def path(self) -> Path:
        """The directory. Segments at a URL have none: a ``ValueError`` says so."""
        return self._directory.path

    @property
    def paths(self) -> list[Path]:
        """The files, in order. Each is a plain pickle."""
        folder = self.path
        return [folder / entry.file for entry in self._directory.entries]

    @property
    def kind(self) -> str:
        """What the segments hold, and so what :meth:`load` gives: ``list``, ``tuple``,
        ``dict``, ``set``, ``frozenset``, ``array`` for the rows of an array or a table,
        or ``objects`` where each is an object of its own.
        """
        return self._directory.kind

    @property
    def items(self) -> Items:
        """The items of all segments as one sequence, each read on its own."""
        if self._items is None or self._items._directory is not self._directory:
            self._items = Items(self._directory, self._policy)
        return self._items

    def __len__(self) -> int:
        """Give the number of segments."""
        return len(self._directory.entries)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        """Load the segment with this number; a slice gives a sequence as lazy as this one."""
        if isinstance(index, slice):
            return _Some(self, range(len(self))[index])
        return self._policy.loads(self._directory.read(_place(index, len(self), "segment")))

    def __iter__(self) -> Iterator[Any]:
        """Load one segment after another."""
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        """Show where they are and how many; loads nothing."""
        items = self._directory.items
        count = f"{len(self)} segments" if len(self) != 1 else "1 segment"
        of = f" of {self.kind}" if self.kind != "objects" else ""
        known = f", {items} items" if items is not None else ""
        return f"<picklet.Segments {self.location!r}: {count}{of}{known}>"

    def load(self) -> Any:
        """Load everything and join it to what was split: a list, a dict, an array …

        The types of Python's collections stay what they are. Of kind
        ``objects`` it gives the list of the objects.
        """
        segments: Iterator[Any] = iter(self)
        match self.kind:
            case "list" | "dict" | "set" as kind:
                joined = next(segments, _EMPTY[kind]())
                for segment in segments:
                    _add(joined, segment)
                return joined
            case "tuple":
                return tuple(itertools.chain.from_iterable(segments))
            case "frozenset":
                return frozenset().union(*segments)
            case "array":
                return tables.join(list(segments))
            case _:
                return list(segments)

    def map(
        self,
        process_segment: Callable[..., Any],
        out: str | os.PathLike[str],
        *,
        workers: SupportsIndex | None = None,
        threads: SupportsIndex | None = None,
        executor: Maker | None = None,
        engine: Engine | None = None,
        address: str | None = None,
        on_error: OnError = "raise",
        retries: SupportsIndex = 0,
        timeout: float | None = None,
        resume: bool = True,
        version: str | None = None,
        only: Iterable[str] | None = None,
        names: Names | None = None,
        compress: Literal["zstd", "gzip"] | None = None,
        progress: bool | Callable[[Progress], Any] | None = None,
    ) -> Segments:
        """Call ``process_segment(segment)`` for each segment, in parallel; save what it gives.

        The results go to the directory ``out``, a segment for each of these, and
        come back as its :class:`Segments`. A function that takes two arguments
        gets a :class:`picklet.SegmentInfo` as the second: name, index, items.
        Of a generator, each thing that it yields becomes a segment of its own.

        Each of the ``workers`` is a process with this interpreter that loads its
        own segments; by default there are as many as this process has CPUs, and
        with 0 the function runs here. It can be any function: what workers
        cannot import by name (a lambda, what a script or a notebook defines)
        travels with its code. Scripts need no ``__main__`` guard. What the
        function prints appears on standard error.

        Instead of processes, ``threads`` of this one; or the workers of an
        ``executor`` (any :class:`concurrent.futures.Executor`, or a function that
        makes one, which is called again when a dead worker has broken it); or an
        ``engine``, ``"dask"``, ``"ray"`` or ``"spark"``, at its ``address``, or
        without one on this machine. All must reach both directories by the same
        path, and are asked whether they do before anything runs.

        When the function raises, or its process dies, or takes longer than
        ``timeout`` seconds, it is tried ``retries`` times again. Then the map
        ends with :class:`picklet.SegmentError`, which has the segment, its items
        and the traceback (``on_error="raise"``); or the segment is left out with a
        warning (``"skip"``), also with all that is needed to replay it kept in
        ``out/.picklet/quarantine`` (``"quarantine"``).

        What is finished stays, after an error, Ctrl-C or a crash: the same call
        does only what is left. It tells by the content of the segment and by
        ``version``; change that when the function has changed, or give
        ``resume=False``, which begins anew. The function may see a segment twice.
        ``only`` runs just the segments of these names, finished or not: to
        replay one that failed.

        ``names`` gives the results other names than the segments': one for
        each, or a function from the segment's number. With ``compress`` they are
        stored compressed, as by :func:`picklet.split`. ``progress`` is called
        with a :class:`picklet.Progress` after each segment; with ``True`` it is
        a bar, which needs tqdm and shows only on a terminal or in a notebook.

        >>> import picklet
        >>> segments = picklet.split(range(10), "ten", count=5)
        >>> list(segments.map(lambda numbers: [n * n for n in numbers], "squares", workers=2))
        [[0, 1, 4, 9, 16], [25, 36, 49, 64, 81]]
        """
        options: MapOptions = {
            "workers": workers,
            "threads": threads,
            "executor": executor,
            "engine": engine,
            "address": address,
            "on_error": on_error,
            "retries": retries,
            "timeout": timeout,
            "resume": resume,
            "version": version,
            "only": only,
            "names": names,
            "compress": compress,
            "progress": progress,
        }
        called = getattr(process_segment, "func", process_segment)
        form = "outputs" if inspect.isgeneratorfunction(called) else "segment"
        return self._mapped(process_segment, out, form, options)

    def map_items(
        self,
        process_item: Callable[..., Any],
        out: str | os.PathLike[str],
        *,
        batch: SupportsIndex | None = None,
        **options: Unpack[MapOptions],
    ) -> Segments:
        """Call ``process_item(item)`` for each item; ``options`` are those of :meth:`map`.

        Lists give lists and tuples tuples; dicts take ``(key, value)`` pairs and
        give pairs, and sets give lists. With ``batch`` the function gets lists of
        so many items at a time (of dicts: dicts) and gives any number of results.
        An error names the item.

        >>> import picklet
        >>> ten = picklet.split(range(10), "ten", count=4)
        >>> ten.map_items(lambda n: n * n, "squares", workers=1).load()
        [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]
        >>> list(ten.map_items(lambda some: [sum(some)], "sums", batch=3, workers=1))
        [[3, 3], [15, 7], [17]]
        """
        if batch is None:
            return self._mapped(process_item, out, "items", options)
        if (size := operator.index(batch)) < 1:
            raise ValueError(f"batch= takes a number of items of at least 1, not {size}")
        return self._mapped(process_item, out, {"batch": size}, options)

    def filter(
        self,
        keep_item: Callable[..., Any],
        out: str | os.PathLike[str],
        **options: Unpack[MapOptions],
    ) -> Segments:
        """Keep the items for which ``keep_item(item)`` is true; options as in :meth:`map`.

        Of dicts, an item is a ``(key, value)`` pair.

        >>> import picklet
        >>> ten = picklet.split(range(10), "ten", count=4)
        >>> list(ten.filter(lambda n: n % 3 == 0, "threes", workers=1))
        [[0, 3], [6], [9]]
        """
        return self._mapped(keep_item, out, "filter", options)

    def reduce(
        self,
        combine: Callable[[Any, Any], Any],
        out: str | os.PathLike[str],
        **options: Unpack[MapOptions],
    ) -> Any:
        """Fold all segments into one by ``combine(a, b)``, as a tree, and give that.

        Both arguments are whole segments, or what ``combine`` gave before. It is
        called for neighbours first, in parallel, and must not care how its
        arguments are grouped; their order is kept. ``out`` holds the one result,
        and in ``.picklet`` those in between, so that a changed segment costs only
        what depends on it. Options as in :meth:`map`, without ``names``.

        >>> import picklet
        >>> words = picklet.split("to be or not to be".split(), "words", count=2)
        >>> from collections import Counter
        >>> counts = words.map(Counter, "counts", workers=1)
        >>> counts.reduce(lambda a, b: a + b, "sum", workers=1)["be"]
        2
        """
        [result] = self._mapped(combine, out, "reduce", options)
        return result

    def _mapped(
        self,
        function: Callable[..., Any],
        out: str | os.PathLike[str],
        form: str | dict[str, int],
        options: MapOptions,
    ) -> Segments:
        mapping.run(self._directory, self._policy, function, out, form, options)
        return Segments(_picklet.Directory(os.fspath(out)), self._policy)

    def shuffle(self, seed: int, *, buffer: SupportsIndex = 2) -> Shuffled:
        """Give the items in an order that ``seed`` decides, holding ``buffer`` segments at a time.

        The segments come in a shuffled order, and the items of each ``buffer`` of
        them are shuffled together: good for training, and no fair draw from all
        items. The same seed gives the same order, in any process.

        >>> import picklet
        >>> ten = picklet.split(range(10), "ten", count=3)
        >>> sorted(ten.shuffle(1)), list(ten.shuffle(1)) == list(ten.shuffle(1))
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], True)
        """
        if (size := operator.index(buffer)) < 1:
            raise ValueError(f"buffer= takes a number of segments of at least 1, not {size}")
        return Shuffled(self, seed, size)

    def merge(self, file: str | os.PathLike[str] | SupportsWrite) -> None:
        """Join all segments into one plain pickle, without loading them.

        ``file`` is a path, whose file is replaced once the pickle is whole, or
        a file opened with ``'wb'``. What :meth:`load` would give is what
        ``pickle.load`` of the result gives.

        >>> import picklet, pickle, pathlib
        >>> picklet.split(range(6), "six", count=4).merge("six.pickle")
        >>> pickle.loads(pathlib.Path("six.pickle").read_bytes())
        [0, 1, 2, 3, 4, 5]
        """
        if not isinstance(file, (str, os.PathLike)):
            _picklet.merge(self._directory, file)
            return
        _picklet.merge_to(self._directory, os.fspath(file))

    def resplit(
        self,
        out: str | os.PathLike[str],
        *,
        count: SupportsIndex | None = None,
        size: int | str | None = None,
        parts: SupportsIndex | None = None,
        name: str = "data",
        names: Iterable[str] | Callable[[int], str] | None = None,
        shared: Literal["warn", "error", "copy"] = "warn",
        compress: Literal["zstd", "gzip"] | None = None,
        sha256: bool = False,
        resume: bool = False,
        overwrite: bool = False,
    ) -> Segments:
        """Cut the items anew, into larger or smaller segments in the directory ``out``.

        Nothing is loaded, and no merged pickle is made in between. The options are
        those of :func:`picklet.split`. Segments of kind ``objects`` come out as lists
        of these objects. These segments stay as they are.

        >>> import picklet
        >>> fives = picklet.split(range(10), "five", count=5)
        >>> list(fives.resplit("four", count=4))
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        """
        options = file_options(
            Target.of(count, size, parts),
            name,
            names,
            shared,
            compress,
            sha256,
            existing_of(resume, overwrite),
            again.call(
                f"picklet.open({self.location!r}).resplit",
                os.fspath(out),
                count=count,
                size=size,
                parts=parts,
                name=None if name == "data" else name,
                names=names,
                shared=None if shared == "warn" else shared,
                compress=compress,
                sha256=sha256 or None,
                resume=True,
            ),
        )
        for warning in _picklet.resplit(self._directory, os.fspath(out), options):
            warnings.warn(warning, stacklevel=2)
        return Segments(_picklet.Directory(os.fspath(out)), self._policy)

    def append(self, segment: Any, *, name: str | None = None) -> None:
        """Add ``segment`` as one more segment at the end.

        It must be of the segments' kind: a list to lists, a dict to dicts. Its
        file gets the next number, or ``name``. Several processes can append
        one after another; the one that comes while another writes gets an error.

        >>> import picklet
        >>> segments = picklet.split([1, 2], "grows", count=2)
        >>> segments.append([3])
        >>> segments.load(), segments.paths[1].name
        ([1, 2, 3], 'data-00001.pickle')
        """
        kind = self.kind
        expected = _TYPES.get(kind)
        if expected is not None and not isinstance(segment, expected):
            raise TypeError(f"these segments are of kind {kind}, not {type(segment).__name__}")
        items = 1 if expected is None else len(segment)
        path = self._directory.location
        _picklet.append(path, name, _picklet.dumps(segment), items)
        self._directory = _picklet.Directory(path)

    def verify(
        self, *, deep: bool = False, progress: bool | Callable[[Progress], Any] | None = None
    ) -> Verified:
        """Read every file and compare its length and digest with the manifest's.

        Several files are read at a time. With ``deep`` every pickle is also
        parsed, from its first opcode to its last, and its items are counted;
        nothing is loaded. ``progress`` is as for :meth:`map`.

        >>> import picklet
        >>> picklet.split(range(9), "whole", count=3).verify(deep=True).good
        True
        """
        return health.verify(self._directory, deep, progress)

    def repair(self, *, progress: bool | Callable[[Progress], Any] | None = None) -> Repaired:
        """Set damaged files aside and rebuild the manifest; :func:`picklet.repair`."""
        done = health.repair(self._directory.location, progress=progress)
        self._directory = _picklet.Directory(self._directory.location)
        return done


_TYPES: dict[str, tuple[type, ...]] = {
    "list": (list, collections.deque),
    "tuple": (tuple,),
    "dict": (dict,),
    "set": (set,),
    "frozenset": (frozenset,),
}
_EMPTY: dict[str, type] = {"list": list, "dict": dict, "set": set}


def _add(joined: Any, segment: Any) -> None:
    """Add a segment's items to what was joined so far."""
    if isinstance(joined, set):
        joined |= segment
    elif isinstance(joined, dict):
        # Not update(): a Counter's adds numbers up.
        for key, value in segment.items():
            joined[key] = value
    else:
        joined.extend(segment)


class Items:
    """The items of all segments as one sequence: ``segments.items``.

    An item is read from its file on its own, without the rest of its segment.
    Where the segments are dicts an item is a ``(key, value)`` pair: iteration
    gives pairs, :meth:`at` the pair at a place, ``items[key]`` the value of a
    key, and ``key in items`` looks for a key. A key is looked for in one
    segment after another.

    >>> import picklet
    >>> items = picklet.split((f"n{i}" for i in range(1000)), "names", count=300).items
    >>> len(items), items[701], items[-1], items[299:302]
    (1000, 'n701', 'n999', ['n299', 'n300', 'n301'])
    """

    __slots__ = ("_directory", "_firsts", "_policy")

    def __init__(self, directory: _picklet.Directory, policy: LoadRules) -> None:
        """Use ``segments.items`` instead."""
        self._directory = directory
        self._policy = policy
        self._firsts = list(itertools.accumulate(self._counts(), initial=0))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the segments whose items these are."""
        return operator.attrgetter("items"), (Segments(self._directory, self._policy),)

    def __len__(self) -> int:
        """Give the number of items in all segments."""
        return self._firsts[-1]

    def __iter__(self) -> Iterator[Any]:
        """Give one item after another, holding one segment at a time."""
        for segment in self._segments():
            yield from self._of(segment)

    def __reversed__(self) -> Iterator[Any]:
        """Give the last item first, holding one segment at a time."""
        for index in reversed(range(len(self._directory.entries))):
            yield from reversed(self._some(index, 0, self._firsts[index + 1] - self._firsts[index]))

    def __contains__(self, item: object) -> bool:
        """Tell whether there is such an item; of dicts, such a key."""
        if self._directory.kind == "objects":
            return any(item == segment for segment in self._segments())
        return any(item in segment for segment in self._segments())

    def __getitem__(self, index: Any) -> Any:
        """Read one item, or a list of those in a slice. Of dicts: the value of a key."""
        if self._keyed:
            hash(index)
            if type(index) is str and (found := self._pair(index)):
                return found[1]
            for segment in self._segments():
                if index in segment:
                    return segment[index]
            raise KeyError(index)
        if isinstance(index, slice):
            return self._slice(range(len(self))[index])
        return self.at(index)

    def at(self, index: SupportsIndex) -> Any:
        """Read the item at this place; of dicts, its ``(key, value)`` pair."""
        place = _place(index, len(self), "item")
        return self._slice(range(place, place + 1))[0]

    def _pair(self, key: str) -> tuple[str, Any] | None:
        """Find a key that is a plain str, without loading the other items."""
        for index in range(len(self._directory.entries)):
            for place in reversed(_picklet.find_key(self._directory, index, key)):
                for pair in self._some(index, place, place + 1):
                    if pair[0] == key:
                        return cast("tuple[str, Any]", pair)
        return None

    @property
    def _keyed(self) -> bool:
        return self._directory.kind == "dict"

    def _segments(self) -> Iterator[Any]:
        return map(
            self._policy.loads, map(self._directory.read, range(len(self._directory.entries)))
        )

    def _some(self, index: int, start: int, stop: int) -> list[Any]:
        """Read the items ``start`` to ``stop`` of one segment, and no others."""
        if self._directory.kind == "objects":
            return [self._policy.loads(self._directory.read(index))][start:stop]
        if start >= stop:
            return []
        if self._directory.kind == "array":
            return list(tables.rows(self._rows(index, start, stop)))
        data = _picklet.extract(self._directory, index, start, stop)
        return list(self._of(self._policy.loads(data)))

    def _rows(self, index: int, start: int, stop: int) -> Any:
        """Read some rows of a segment: those only, where they are ranges of bytes."""
        data = _picklet.extract_rows(self._directory, index, start, stop)
        if data is not None:
            return self._policy.loads(data)
        whole = self._policy.loads(self._directory.read(index))
        cut = tables.cutter(whole)
        return whole[start:stop] if cut is None else cut(start, stop)

    def _of(self, segment: Any) -> Iterable[Any]:
        """Give the items of a loaded segment. Of kind ``objects`` each segment is one item."""
        match self._directory.kind:
            case "dict":
                return cast("Iterable[Any]", segment.items())
            case "objects":
                return (segment,)
            case "array":
                return tables.rows(segment)
            case _:
                return cast("Iterable[Any]", segment)

    def _counts(self) -> Iterator[int]:
        """Give the number of items of each segment; a manifest made by repair may not have it."""
        for index, entry in enumerate(self._directory.entries):
            if self._directory.kind == "objects":
                yield 1
            elif entry.items is not None:
                yield entry.items
            else:
                yield len(self._policy.loads(self._directory.read(index)))

    def _slice(self, places: range) -> list[Any]:
        """Read the items at these places, in their order, each segment at most once."""
        if places.step < 0:
            return self._slice(places[::-1])[::-1]
        found: list[Any] = []
        while places:
            index = bisect.bisect_right(self._firsts, places[0]) - 1
            first, last = self._firsts[index], self._firsts[index + 1]
            here = range(places[0], min(places.stop, last), places.step)
            found.extend(self._some(index, here[0] - first, here[-1] + 1 - first)[:: places.step])
            places = places[len(here) :]
        return found

    def __repr__(self) -> str:
        """Show how many and where; reads nothing."""
        return f"<{len(self)} items of picklet.Segments {self._directory.location!r}>"


class Shuffled:
    """The items in a shuffled order: ``segments.shuffle(seed)``."""

    __slots__ = ("_buffer", "_seed", "_segments")

    def __init__(self, segments: Segments, seed: int, buffer: int) -> None:
        """Use ``segments.shuffle`` instead."""
        self._segments = segments
        self._seed = seed
        self._buffer = buffer

    def __len__(self) -> int:
        """Give the number of items."""
        return len(self._segments.items)

    def __iter__(self) -> Iterator[Any]:
        """Give one item after another; each iteration begins anew, with the same order."""
        chance = random.Random(self._seed)
        order = list(range(len(self._segments)))
        chance.shuffle(order)
        items = self._segments.items
        for start in range(0, len(order), self._buffer):
            held: list[Any] = []
            for index in order[start : start + self._buffer]:
                held.extend(items._of(self._segments[index]))
            chance.shuffle(held)
            while held:
                yield held.pop()

    def __repr__(self) -> str:
        """Show what is shuffled, and how."""
        return f"<{self._segments!r} shuffled by {self._seed}>"


class _Some(Sequence[Any]):
    """Some of the places of a lazy sequence, as lazy as it is."""

    __slots__ = ("_places", "_whole")

    def __init__(self, whole: Sequence[Any], places: range) -> None:
        self._whole = whole
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return _Some(self._whole, self._places[index])
        return self._whole[self._places[_place(index, len(self), "segment")]]

    def __iter__(self) -> Iterator[Any]:
        return (self._whole[place] for place in self._places)

    def __repr__(self) -> str:
        return f"<{len(self)} of {self._whole!r}>"


def _place(index: SupportsIndex, length: int, what: str) -> int:
    """Give a place counted from the front; an IndexError says how many there are."""
    place = operator.index(index)
    if not -length <= place < length:
        raise IndexError(f"there is no {what} {place}: there are {length}, counted from 0")
    return place % length if place < 0 else place
