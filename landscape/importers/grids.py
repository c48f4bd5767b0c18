"""Arrays of other toolkits as lines and planes of this one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Directions, Line, Plane


def as_plane(
    x: np.ndarray,
    y: np.ndarray,
    values: Mapping[str, np.ndarray],
    *,
    source: str,
    file: Path,
    dataset: str = "train",
    computed: np.ndarray | None = None,
    directions: Directions | None = None,
    **facts: Any,
) -> Plane:
    """Return a plane, checked.

    Args:
        x: (nx,) coordinates.
        y: (ny,) coordinates.
        values: (ny, nx) arrays by name.
        source: the tool that wrote the file.
        file: the file; its name alone goes into the provenance.
        dataset: what the plane's ``loss`` means.
        computed: (ny, nx) mask; `None`: all.
        directions: of the axes.
        **facts: more provenance.

    Raises:
        LandscapeError: no values, or shapes that do not fit.
    """
    shape = (len(y), len(x))
    wrong = next((name for name, value in values.items() if value.shape != shape), None)
    if wrong is not None or x.ndim != 1 or y.ndim != 1 or not values:
        found = f"{wrong!r} has shape {values[wrong].shape}" if wrong else "there are no values on a grid"
        raise LandscapeError(f"{file.name}: {found}, expected (ny, nx) = {shape}")
    return Plane(
        x=x,
        y=y,
        values=dict(values),
        computed=np.ones(shape, dtype=np.uint8) if computed is None else computed.astype(np.uint8),
        directions=directions,
        dataset=dataset,
        provenance={"imported_from": source, "file": file.name, **facts},
    )


def as_line(
    x: np.ndarray,
    values: Mapping[str, np.ndarray],
    *,
    source: str,
    file: Path,
    dataset: str = "train",
    directions: Directions | None = None,
    **facts: Any,
) -> Line:
    """Return a line, checked; the arguments are those of `as_plane`.

    Raises:
        LandscapeError: no values, or shapes that do not fit.
    """
    wrong = next((name for name, value in values.items() if value.shape != x.shape), None)
    if wrong is not None or x.ndim != 1 or not values:
        found = f"{wrong!r} has shape {values[wrong].shape}" if wrong else "there are no values on a line"
        raise LandscapeError(f"{file.name}: {found}, expected (nx,) = {x.shape}")
    return Line(
        x=x, values=dict(values), directions=directions, dataset=dataset,
        provenance={"imported_from": source, "file": file.name, **facts},
    )  # fmt: skip


def axes_of(first: np.ndarray, second: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return (x, y, transposed) of two coordinate grids made by ``meshgrid`` with either indexing.

    Args:
        first: coordinates along the first direction at each grid point.
        second: the same along the second.
        file: for the message.

    Returns:
        The coordinates of the axes, and whether x runs along the rows' axis, so that values must be transposed.

    Raises:
        LandscapeError: the grids are no product of two axes.

    >>> x, y, transposed = axes_of(*np.meshgrid([0.0, 1.0, 2.0], [5.0, 6.0]), Path("a"))
    >>> x.tolist(), y.tolist(), transposed
    ([0.0, 1.0, 2.0], [5.0, 6.0], False)
    """
    if first.ndim == 2 and first.shape == second.shape and first.size:
        for transposed, (a, b) in ((False, (first, second)), (True, (first.T, second.T))):
            x, y = a[0], b[:, 0]
            if np.array_equal(a, np.broadcast_to(x, a.shape)) and np.array_equal(
                b, np.broadcast_to(y[:, None], b.shape)
            ):
                return x, y, transposed
    raise LandscapeError(f"{file.name}: its coordinates are no regular grid, expected the product of two axes")
