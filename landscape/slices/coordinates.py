"""Coordinates of a slice: even, logarithmic, or the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.errors import LandscapeError

Span = float | tuple[float, float]
Points = int | Sequence[float] | np.ndarray


FARTHEST = 1e30
"""Largest coordinate: beyond it weights in float32 are infinite."""
MOST_POINTS = 10_000_000


def require_room(points: int) -> None:
    """Raise where a slice has more points than anybody waits for, or memory holds."""
    if points > MOST_POINTS:
        raise LandscapeError(f"{points:,} points, expected at most {MOST_POINTS:,}; each is a pass over the data")


def coordinates(span: Span, points: Points) -> np.ndarray:
    """Return the coordinates of one axis in float64.

    Args:
        span: ``s`` for −s … s, or a pair (low, high).
        points: how many evenly spaced points, ends included; or the coordinates themselves, strictly increasing.

    Raises:
        LandscapeError: zero points, a zero or reversed span, or coordinates out of order.

    >>> coordinates(1.0, 5)
    array([-1. , -0.5,  0. ,  0.5,  1. ])
    """
    if isinstance(points, int | np.integer) and not isinstance(points, bool):
        low, high = _ends(span)
        if points < 2:
            raise LandscapeError(f"{points} point(s) on an axis, expected at least 2")
        require_room(int(points))
        x = np.linspace(low, high, int(points))
        if low == -high and points % 2:
            x[points // 2] = 0.0
        return x
    try:
        x = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        x = np.zeros(())
    if x.ndim != 1 or len(x) < 2:
        raise LandscapeError(
            f"points={points!r}, expected how many (a whole number) or a list of at least 2 coordinates"
        )
    if not np.isfinite(x).all() or not (np.diff(x) > 0).all():
        raise LandscapeError("the coordinates of an axis must be finite and strictly increasing; sort them")
    return x


def log_coordinates(span: float = 1.0, points: int = 51, *, smallest: float = 1e-5) -> np.ndarray:
    """Return symmetric coordinates with logarithmic spacing: −span … −smallest, 0, smallest … span.

    Args:
        span: the largest coordinate.
        points: how many in all, odd and at least 5.
        smallest: the smallest distance from the centre.

    Raises:
        LandscapeError: an even number of points, or ``smallest`` not between 0 and ``span``.

    >>> log_coordinates(1.0, 7, smallest=0.01)
    array([-1.  , -0.1 , -0.01,  0.  ,  0.01,  0.1 ,  1.  ])
    """
    if points < 5 or points % 2 == 0:
        raise LandscapeError(f"{points} points, expected an odd number of at least 5: the centre and equal sides")
    if not 0 < smallest < span:
        raise LandscapeError(f"smallest is {smallest}, expected between 0 and the span {span}")
    side = np.geomspace(smallest, span, points // 2)
    return np.concatenate([-side[::-1], [0.0], side])


def per_axis(value: Any, axes: int, what: str) -> tuple[Any, ...]:
    """Return one entry for each axis: a tuple or list of that length is taken apart, anything else is used for all.

    Raises:
        LandscapeError: a tuple of another length.
    """
    if not isinstance(value, tuple | list):
        return (value,) * axes
    if len(value) != axes:
        raise LandscapeError(f"{what} has {len(value)} entries, expected one or {axes}: one for each axis")
    return tuple(value)


def _ends(span: Span) -> tuple[float, float]:
    try:
        low, high = map(float, span) if isinstance(span, tuple | list) else (-float(span), float(span))
    except (TypeError, ValueError):
        raise LandscapeError(f"a span of {span!r}, expected a number or a pair (low, high)") from None
    if not (abs(low) <= FARTHEST and abs(high) <= FARTHEST) or low >= high:
        raise LandscapeError(f"a span from {low:g} to {high:g}, expected increasing ends within ±{FARTHEST:g}")
    return low, high
