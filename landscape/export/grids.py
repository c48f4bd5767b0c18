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


def height_of(plane: Plane, metric: str, dataset: str | None, *, limit: float | None, log: bool) -> np.ndarray:
    """Return finite heights (ny, nx) to draw a surface with; points without a number stand as high as the highest.

    Args:
        plane: the plane.
        metric: ``loss``, ``accuracy`` …
        dataset: ``train``, ``test`` …; `None`: the plane's own.
        limit: the largest height; higher points are cut off there.
        log: take the common logarithm first (``limit`` is still given in units of the metric).

    Raises:
        LandscapeError: no such metric, no finite value, or a logarithm of values that are not positive.
    """
    try:
        height = np.array(plane.value(metric, dataset), dtype=np.float64)
    except KeyError as error:
        raise LandscapeError(str(error.args[0])) from None
    known = np.isfinite(height)
    if not known.any():
        raise LandscapeError(f"no value of {metric!r} is finite, so there is no surface")
    height = np.where(known, height, height[known].max())
    if limit is not None:
        height = np.minimum(height, limit)
    if log and height.min() <= 0:
        raise LandscapeError(f"the logarithm needs positive values, the smallest is {height.min():.3g}; use log=False")
    return np.log10(height) if log else height


def present(plane: Plane, metric: str, dataset: str | None) -> np.ndarray:
    """Return a mask (ny, nx) of the points that have a finite, computed value."""
    return np.isfinite(plane.value(metric, dataset)) & (np.asarray(plane.computed) != 0)
