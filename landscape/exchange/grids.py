"""Lines and planes checked for the formats that store grids."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Line, Plane


def check_slice(result: Any, what: str, *kinds: type[Line] | type[Plane]) -> Any:
    """Return a line or plane whose arrays have the shape of its grid, (nx,) or (ny, nx).

    Args:
        result: what the caller gave.
        what: the format, for the message.
        *kinds: which of both the format can hold.

    Raises:
        LandscapeError: it is neither, or an array has another shape.
    """
    if not isinstance(result, kinds):
        raise LandscapeError(f"{what} holds planes, not a {type(result).__name__}; export a Plane")
    shape = tuple(len(getattr(result, axis)) for axis in ("y", "x") if hasattr(result, axis))
    for name, value in result.values.items():
        if np.shape(value) != shape:
            expected = f"{'(ny, nx)' if len(shape) == 2 else '(nx,)'} = {shape}"
            raise LandscapeError(f"the values {name!r} have shape {np.shape(value)}, expected {expected}")
    return result
