"""Progress bars for long loops: `tqdm.auto`, on standard error, switched off in one place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
_shown: ContextVar[bool | None] = ContextVar("landscape_progress", default=None)


def _enabled() -> bool:
    chosen = _shown.get()
    return os.environ.get("LANDSCAPE_PROGRESS", "1") != "0" if chosen is None else chosen


@contextmanager
def progress(shown: bool) -> Iterator[None]:
    """Show or hide every progress bar inside a `with` block.

    The environment variable ``LANDSCAPE_PROGRESS=0`` hides them for a whole process.

    >>> import landscape as ls
    >>> with ls.progress(False):
    ...     pass
    """
    token = _shown.set(shown)
    try:
        yield
    finally:
        _shown.reset(token)


def bar(iterable: Iterable[T] | None = None, *, total: int | None = None, desc: str = "", unit: str = "it") -> tqdm:
    """Wrap a loop, or make a bar to update by hand; it leaves no line behind and waits half a second to appear."""
    return tqdm(iterable, total=total, desc=desc, unit=unit, leave=False, delay=0.5, disable=not _enabled())
