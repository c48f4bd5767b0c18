"""What the package raises when an input is wrong: one line that says what, what was expected and what to do.

An exception in code of the user's own, such as a loss, passes through with a note that names its line.
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


class LostProcessError(LandscapeError):
    """One of several processes that measure together has ended, or does not answer."""


def name_users_line(error: BaseException) -> None:
    """Add a note to an exception that the user's own code raised: the file, the line and the code.

    The traceback stays whole. An exception of this package says itself what was wrong, and stays as it is; so does one that
    did not pass through code of the user's, or that has its note already.

    >>> error = KeyError("no traceback yet")
    >>> name_users_line(error)
    >>> hasattr(error, "__notes__")
    False
    """
    if isinstance(error, LandscapeError):
        return
    own = [line for line in traceback.extract_tb(error.__traceback__) if not line.filename.startswith(_LIBRARIES)]
    if not own:
        return
    last = own[-1]
    place = "this notebook" if "ipykernel_" in last.filename else Path(last.filename).name
    note = f"in {place}, line {last.lineno}, in {last.name}: {last.line}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
