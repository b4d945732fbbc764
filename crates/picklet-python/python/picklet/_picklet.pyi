"""The extension module: the Rust crates, as the package over it needs them.

Private but for what ``picklet`` itself gives out.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from pickle import PickleBuffer, UnpicklingError
from types import TracebackType
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, final

from typing_extensions import Buffer

from picklet.policy import Allow

__all__ = [
    "DEFAULT_PROTOCOL",
    "HIGHEST_PROTOCOL",
    "Conductor",
    "Directory",
    "Entry",
    "PicklerState",
    "SegmentEncoder",
    "Stub",
    "UnpicklerState",
    "UntrustedGlobalError",
    "Writer",
    "append",
    "check_names",
    "compat_dump",
    "compat_dumps",
    "compat_load",
    "compat_loads",
    "default_workers",
    "dis",
    "dump",
    "dumps",
    "extract",
    "extract_rows",
    "find_key",
    "load",
    "loads",
    "map",
    "map_in_process",
    "merge",
    "merge_to",
    "optimize",
    "out_of_reach",
    "parse_size",
    "policy_from_toml",
    "policy_names",
    "policy_of",
    "policy_read",
    "policy_to_toml",
    "preview",
    "publish",
    "read_file",
    "reduce",
    "repair",
    "resplit",
    "run",
    "scan_bytes",
    "scan_file",
    "segment_file",
    "split",
    "stitch",
    "tiles",
    "verify",
]

class _Writable(Protocol):
    def write(self, data: Any, /) -> object: ...

class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...

_Path: TypeAlias = str | os.PathLike[str]
_BufferCallback: TypeAlias = Callable[[PickleBuffer], object] | None
_ProgressCallback: TypeAlias = Callable[[int, int | None, int, int, int, int | None], object] | None

DEFAULT_PROTOCOL: Final[int]
HIGHEST_PROTOCOL: Final[int]

def dumps(
    obj: Any,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: _BufferCallback = None,
    deterministic: bool = False,
) -> bytes: ...
def dump(
    obj: Any,
    file: _Writable,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: _BufferCallback = None,
) -> None: ...
def loads(
    data: Buffer,
    /,
    *,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
    buffers: Iterable[Any] | None = None,
    allow: Allow = None,
    trust: bool = False,
    unknown: Literal["error", "stub"] | None = None,
) -> Any: ...
def load(
    file: _Readable,
    *,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
    buffers: Iterable[Any] | None = None,
    allow: Allow = None,
    trust: bool = False,
    unknown: Literal["error", "stub"] | None = None,
    mmap: bool = False,
) -> Any: ...
def compat_dumps(
    obj: Any,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: _BufferCallback = None,
) -> bytes: ...
def compat_dump(
    obj: Any,
    file: _Writable,
    protocol: int | None = None,
    *,
    fix_imports: bool = True,
    buffer_callback: _BufferCallback = None,
) -> None: ...
def compat_loads(
    data: Buffer,
    /,
    *,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
    buffers: Iterable[Any] | None = None,
) -> Any: ...
def compat_load(
    file: _Readable,
    *,
    fix_imports: bool = True,
    encoding: str = "ASCII",
    errors: str = "strict",
    buffers: Iterable[Any] | None = None,
) -> Any: ...

@final
class PicklerState:
    def __new__(cls, protocol: int | None, fix_imports: bool, buffers: bool) -> Self: ...
    @property
    def protocol(self) -> int: ...
    def dump(
        self,
        obj: Any,
        write: Callable[[Any], object],
        *,
        binary: bool,
        fast: bool,
        persistent_id: Callable[[Any], Any] | None,
        reducer_override: Callable[[Any], Any] | None,
        dispatch_table: Any,
        buffer_callback: _BufferCallback,
    ) -> None: ...
    def memo(self) -> dict[int, tuple[int, Any]]: ...
    def set_memo(self, memo: dict[int, tuple[int, Any]]) -> None: ...

@final
class UnpicklerState:
    def __new__(
        cls,
        file: Any,
        fix_imports: bool,
        *,
        allow: Allow = None,
        trust: bool = False,
        unknown: str | None = None,
    ) -> Self: ...
    def load(
        self,
        file: Any,
        *,
        encoding: str,
        errors: str,
        buffers: Iterable[Any] | None,
        find_class: Callable[[str, str], Any] | None,
        persistent_load: Callable[[Any], Any] | None,
    ) -> Any: ...
    def find_class(self, module: str, name: str) -> Any: ...
    def memo(self) -> dict[int, Any]: ...
    def set_memo(self, memo: dict[int, Any]) -> None: ...

def scan_file(path: _Path, policy: Allow) -> tuple[str, str]: ...
def scan_bytes(data: Buffer, policy: Allow) -> tuple[str, str]: ...
def policy_names(allow: Allow) -> list[str]: ...
def policy_of(policies: list[str], allow: list[str], strict: bool) -> tuple[list[str], bool]: ...
def policy_read(path: _Path) -> tuple[list[str], bool]: ...
def policy_from_toml(text: str) -> tuple[list[str], bool]: ...
def policy_to_toml(names: list[str], strict: bool) -> str: ...

class UntrustedGlobalError(UnpicklingError):
    names: tuple[str, ...]

@final
class Stub:
    @property
    def form(self) -> Literal["global", "call", "new", "new_ex"]: ...
    @property
    def module(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def callable(self) -> Any: ...
    @property
    def args(self) -> Any: ...
    @property
    def kwargs(self) -> Any: ...
    @property
    def states(self) -> list[Any]: ...
    @property
    def items(self) -> list[Any]: ...
    @property
    def pairs(self) -> list[Any]: ...

@final
class SegmentEncoder:
    def __new__(cls, kind: str, protocol: int | None = None) -> Self: ...
    @property
    def bytes_so_far(self) -> int: ...
    @property
    def items(self) -> int: ...
    def append(self, item: Any) -> None: ...
    def append_pair(self, key: Any, value: Any) -> None: ...
    def finish(self) -> bytes: ...

@final
class Entry:
    @property
    def file(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def items(self) -> int | None: ...

@final
class Directory:
    def __new__(cls, path: _Path) -> Self: ...
    @property
    def location(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def kind(self) -> str: ...
    @property
    def items(self) -> int | None: ...
    @property
    def entries(self) -> tuple[Entry, ...]: ...
    def read(self, index: int) -> bytes: ...

@final
class Writer:
    def __new__(
        cls,
        out: _Path,
        kind: str,
        existing: str,
        compress: str | None,
        sha256: bool,
        made_by: str,
    ) -> Self: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...
    def put(self, name: str, data: bytes, items: int) -> None: ...

def dis(data: Buffer, /, *, annotate: bool = False, indent: int = 4) -> str: ...
def optimize(data: Buffer, /) -> bytes: ...
def run(arguments: list[str], python: str) -> int: ...
def split(
    source: Any, out: _Path, options: dict[str, Any]
) -> tuple[list[str], tuple[str, str] | None]: ...
def resplit(directory: Directory, out: _Path, options: dict[str, Any]) -> list[str]: ...
def extract(directory: Directory, index: int, start: int, stop: int) -> bytes: ...
def extract_rows(directory: Directory, index: int, start: int, stop: int) -> bytes | None: ...
def find_key(directory: Directory, index: int, key: str) -> list[int]: ...
def merge(directory: Directory, file: _Writable) -> None: ...
def merge_to(directory: Directory, path: str) -> None: ...
def verify(
    directory: Directory, deep: bool = False, progress: _ProgressCallback = None
) -> dict[str, Any]: ...
def repair(path: _Path, progress: _ProgressCallback = None) -> dict[str, Any]: ...
def append(directory: _Path, name: str | None, data: bytes, items: int | None) -> None: ...
def segment_file(base: str, index: int) -> str: ...
def check_names(names: list[str]) -> None: ...
def parse_size(text: str) -> int: ...
def map(
    input: Directory,
    out: _Path,
    workers: dict[str, Any],
    options: dict[str, Any],
    progress: _ProgressCallback,
) -> str: ...
def map_in_process(
    input: Directory,
    out: _Path,
    run: Callable[[str, str], str],
    form: str,
    threads: int | None,
    options: dict[str, Any],
    progress: _ProgressCallback,
) -> str: ...
def reduce(
    input: Directory, out: _Path, options: dict[str, Any], step: Callable[[Path, Path], str]
) -> str: ...

@final
class Conductor:
    def __new__(
        cls,
        input: Directory,
        out: _Path,
        form: str,
        seats: int,
        options: dict[str, Any],
        progress: _ProgressCallback,
    ) -> Self: ...
    def output(self) -> str: ...
    def tasks(self) -> int: ...
    def set_workers(self, workers: int) -> None: ...
    def orders(self) -> list[tuple[int, str | None]]: ...
    def answer(self, seat: int, answer: str) -> None: ...
    def died(self, seat: int, error: str, message: str, traceback: str) -> None: ...
    def lost(self, seat: int) -> None: ...
    def is_over(self) -> bool: ...
    def patience(self, longest: float) -> float: ...
    def finish(self) -> str: ...
    def close(self) -> None: ...

def default_workers() -> int: ...
def out_of_reach(path: str, bytes: int, output: str) -> str | None: ...
def read_file(path: _Path) -> bytes: ...
def publish(directory: _Path, session: str, file: str, data: bytes) -> dict[str, Any]: ...
def tiles(source: str, out: str, options: dict[str, Any], called: str | None = None) -> None: ...
def stitch(
    directory: Directory, out: str, mode: str, fill: str | None
) -> tuple[list[int], list[str]]: ...
def preview(directory: Directory, out: str, pixels: int | None) -> dict[str, Any]: ...
