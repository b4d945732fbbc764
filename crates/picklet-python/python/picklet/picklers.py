"""``picklet.Pickler`` and ``picklet.Unpickler``: pickle's, loading safely."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from picklet import _picklet, compat
from picklet.policy import Allow

__all__ = ["Pickler", "Unpickler"]


class Pickler(compat.Pickler):
    """Pickles objects into a file; what one dump wrote, the next refers to.

    It is ``pickle.Pickler`` with all of its hooks. What it writes every
    Python's ``pickle`` loads.
    """


class Unpickler(compat.Unpickler):
    """Loads the pickles in a file one after another, safely, as ``picklet.load`` does.

    ``allow``, ``trust`` and ``unknown`` mean what they mean there. A subclass
    may decide more: ``find_class`` is asked for every global, and vouches for
    what it gives; calling ``super().find_class`` gives what the policy lists
    and raises ``UntrustedGlobalError`` for anything else.

    >>> import io, picklet, pickle, shlex
    >>> class Shell(picklet.Unpickler):
    ...     def find_class(self, module_name, global_name):
    ...         if (module_name, global_name) == ("shlex", "split"):
    ...             return shlex.split
    ...         return super().find_class(module_name, global_name)
    >>> Shell(io.BytesIO(pickle.dumps([shlex.split, 1.5]))).load() == [shlex.split, 1.5]
    True
    >>> Shell(io.BytesIO(pickle.dumps(shlex.quote))).load()
    Traceback (most recent call last):
    ...
    picklet.UntrustedGlobalError: the pickle refers to a global that the policy does not list: \
shlex.quote; if you trust it, load with allow=["shlex.quote"]
    """

    def __init__(
        self,
        file: Any,
        *,
        fix_imports: bool = True,
        encoding: str = "ASCII",
        errors: str = "strict",
        buffers: Iterable[Any] | None = (),
        allow: Allow = None,
        trust: bool = False,
        unknown: Literal["error", "stub"] | None = None,
    ) -> None:
        """Load from ``file``, which has ``read`` and ``readline`` methods."""
        state = _picklet.UnpicklerState(
            file, fix_imports, allow=allow, trust=trust, unknown=unknown
        )
        self._picklet_begin(state, file, encoding, errors, buffers)
