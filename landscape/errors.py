"""What the package raises when an input is wrong: one line that says what, what was expected and what to do.

An exception in code of the user's own, such as a loss, passes through as it is, with a note that names its line.
"""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

_FOLDERS = (str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
_LIBRARIES = (*(folder + os.sep for folder in _FOLDERS), "<")
"""Where code lies that is not the user's: this package, Python, what is installed, and what has no file."""


class LandscapeError(ValueError):
    """A wrong input, a file that cannot be used, or a request that cannot be met.

    The message is one line: what was wrong, what was expected, what to do. The command line prints it and exits with 2.
    """


class NotDefinedError(LandscapeError):
    """A quantity that has no meaning for this objective, such as 0–1 error on a regression."""


class NumericalError(LandscapeError, ArithmeticError):
    """The computation met NaN or infinity, or an operator that is not what it claims to be."""


def name_users_line(error: BaseException) -> None:
    """Note at the end of an exception where the user's own code raised it, in the innermost line that is not a library's.

    A traceback may show that line far from its end, between frames of this package and of PyTorch.

    Args:
        error: any exception. One of this package says itself what was wrong, and gets no note; nor does one that did not
            pass through code of the user's.

    >>> error = KeyError("no traceback yet")
    >>> name_users_line(error)
    >>> hasattr(error, "__notes__")
    False
    """
    if isinstance(error, LandscapeError):
        return
    own = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(_LIBRARIES)]
    if own:
        place = "this notebook" if "ipykernel_" in own[-1].filename else Path(own[-1].filename).name
        note = f"in {place}, line {own[-1].lineno}, in {own[-1].name}: {own[-1].line}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
