"""Progress bars for long loops: `tqdm.auto`, on standard error, switched off in one place."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")


class _Switch(AbstractContextManager[None]):
    """Whether bars are shown. One for the process: a context variable would be forgotten between notebook cells."""

    shown: bool | None = None

    def __init__(self, shown: bool):
        self._before, _Switch.shown = _Switch.shown, shown

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _Switch.shown = self._before

    def __repr__(self) -> str:
        return f"progress bars are {'hidden' if _enabled() is False else 'shown'}"


def _enabled() -> bool | None:
    """Whether bars are shown; `None`, what nobody has said: in notebooks and terminals, not in logs."""
    said = os.environ.get("LANDSCAPE_PROGRESS")
    return (None if said is None else said != "0") if _Switch.shown is None else _Switch.shown


def progress(shown: bool = True) -> AbstractContextManager[None]:
    """Show or hide every progress bar from here on, or only inside a ``with`` block.

    The environment variable ``LANDSCAPE_PROGRESS=0`` hides them for a whole process.

    Args:
        shown: whether long loops show how far they are.

    Returns:
        A context manager that puts the switch back at the end of its block.

    >>> import landscape as ls
    >>> with ls.progress(False):
    ...     ls.progress(True)  # as it stands at the end of a cell; the block ends as it began
    progress bars are shown
    """
    return _Switch(shown)


def unshare_bars() -> None:
    """Give the bars of this process a lock of their own.

    The one they have is a semaphore between processes, which a process that is terminated cannot give back.
    """
    tqdm.set_lock(threading.RLock())


def bar(iterable: Iterable[T] | None = None, *, total: int | None = None, desc: str = "", unit: str = "it") -> tqdm:
    """Wrap a loop, or make a bar to update by hand; it leaves no line behind and waits half a second to appear."""
    hidden = None if (shown := _enabled()) is None else not shown  # None: where standard error is no terminal
    return tqdm(iterable, total=total, desc=desc, unit=unit, leave=False, delay=0.5, disable=hidden)
