"""Lines and planes checked and taken apart for the formats that store grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Line, Plane


def check_plane(result: Any, what: str) -> Plane:
    """Return a plane whose arrays are (ny, nx).

    Args:
        result: what the caller gave.
        what: the format, for the message.

    Raises:
        LandscapeError: it is no plane, or an array has another shape.
    """
    if not isinstance(result, Plane):
        raise LandscapeError(f"{what} holds planes, not a {type(result).__name__}; export a Plane")
    shape = (len(result.y), len(result.x))
    wrong = next((name for name, value in result.values.items() if np.shape(value) != shape), None)
    if wrong is not None:
        found = np.shape(result.values[wrong])
        raise LandscapeError(f"the values {wrong!r} have shape {found}, expected (ny, nx) = {shape}")
    return result


def check_slice(result: Any, what: str) -> Line | Plane:
    """Return a line or plane whose arrays have the shape of its grid.

    Raises:
        LandscapeError: it is neither, or an array has another shape.
    """
    if isinstance(result, Line):
        wrong = next((name for name, value in result.values.items() if np.shape(value) != (len(result.x),)), None)
        if wrong is not None:
            found = np.shape(result.values[wrong])
            raise LandscapeError(f"the values {wrong!r} have shape {found}, expected (nx,) = ({len(result.x)},)")
        return result
    return check_plane(result, what)
