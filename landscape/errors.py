"""What the package raises when an input is wrong: one line that says what, what was expected and what to do.

An exception in code of the user's own, such as a loss, passes through, with a traceback and a note that end at its line.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_FOLDERS = (str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
_LIBRARIES = (*(folder + os.sep for folder in _FOLDERS), "<")
"""Where code lies that is not the user's: this package, Python, what is installed, and what has no file."""
LEFT_OUT = "the traceback leaves out how this package came there; LANDSCAPE_TRACEBACK=full shows all of it"
"""Said of an exception in the user's own code."""


class LandscapeError(ValueError):
    """A wrong input, a file that cannot be used, or a request that cannot be met.

    The message is one line: what was wrong, what was expected, what to do. The command line prints it and exits with 2.
    """


class NotDefinedError(LandscapeError):
    """A quantity that has no meaning for this objective, such as 0–1 error on a regression."""


class NumericalError(LandscapeError, ArithmeticError):
    """The computation met NaN or infinity, or an operator that is not what it claims to be."""


def point_at_users_line(error: BaseException) -> None:
    """Let an exception that the user's own code raised end there, with a note that names the line.

    The frames of this package and of libraries between the call and the innermost line of the user's are left out of the
    traceback; those below that line stay, unless this package is among them. With ``LANDSCAPE_TRACEBACK=full`` in the
    environment all stay.

    Args:
        error: any exception. One of this package says itself what was wrong, and stays as it is; so does one that did not
            pass through code of the user's.

    >>> error = KeyError("no traceback yet")
    >>> point_at_users_line(error)
    >>> hasattr(error, "__notes__")
    False
    """
    if isinstance(error, LandscapeError):
        return
    lines = traceback.extract_tb(error.__traceback__)
    own = [index for index, one in enumerate(lines) if not one.filename.startswith(_LIBRARIES)]
    if not own:
        return
    if os.environ.get("LANDSCAPE_TRACEBACK") != "full":
        below = range(own[-1] + 1, len(lines))
        traced = any(
            lines[index].filename.startswith(_LIBRARIES[0]) for index in below
        )  # our view of PyTorch's operations
        error.__traceback__ = _shortened(error.__traceback__, [*own, *(() if traced else below)])
        if len(own) < len(lines):
            _note(error, LEFT_OUT)
    last = lines[own[-1]]
    place = "this notebook" if "ipykernel_" in last.filename else Path(last.filename).name
    _note(error, f"in {place}, line {last.lineno}, in {last.name}: {last.line}")


def _note(error: BaseException, text: str) -> None:
    if text not in getattr(error, "__notes__", ()):
        error.add_note(text)


def _shortened(found: TracebackType | None, kept: Sequence[int]) -> TracebackType | None:
    entries = []
    while found is not None:
        entries.append(found)
        found = found.tb_next
    for entry in (entries[index] for index in reversed(kept)):
        found = TracebackType(found, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return found
