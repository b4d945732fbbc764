"""Progress on the terminal or in a notebook, by tqdm where it is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Bar"]


class Bar:
    """One bar: bytes of the input, with segments, items and failures beside it."""

    def __init__(self, what: str) -> None:
        """Begin a bar; it shows itself on a terminal and in a notebook only."""
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "progress=True needs tqdm; run `pip install picklet[progress]`", name="tqdm"
            ) from None
        # disable=None: only where somebody sees it.
        self._bar = tqdm(desc=what, unit="B", unit_scale=True, disable=None)

    def __call__(
        self,
        done: int,
        total: int | None,
        items: int,
        failed: int,
        seen: int,
        all_bytes: int | None,
    ) -> None:
        """Show the state."""
        bar = self._bar
        if bar.total != all_bytes:
            bar.reset(total=all_bytes)
        bar.update(seen - bar.n)
        state = f"{done}/{total} segments, {items} items"
        bar.set_postfix_str(f"{state}, {failed} failed" if failed else state, refresh=False)

    @classmethod
    @contextlib.contextmanager
    def of(
        cls,
        progress: bool | Callable[..., Any] | None,
        kind: Callable[..., Any],
        what: str = "map",
    ) -> Iterator[Callable[..., Any] | None]:
        """Give what the engine is to call: a bar's, the caller's, or nothing."""
        if progress is None or progress is False:
            yield None
        elif progress is True:
            bar = cls(what)
            try:
                yield bar
            finally:
                bar._bar.close()
        else:
            call = progress
            yield lambda *state: call(kind(*state))
