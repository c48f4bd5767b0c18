"""One metric of a slice, or a plain array, with its axes: what code that reads surfaces of any dimension looks at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from landscape.errors import LandscapeError
from landscape.results.slices import Slice


@dataclass(frozen=True, eq=False)
class Surface:
    """Values over a grid of one to three axes.

    Attributes:
        values: C order, x fastest: (nx,), (ny, nx) or (nz, ny, nx).
        axes: coordinates, x first.
        metric: name of the values.
    """

    values: np.ndarray
    axes: tuple[np.ndarray, ...]
    metric: str

    @property
    def window(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of each axis, x first."""
        return tuple((float(axis[0]), float(axis[-1])) for axis in self.axes)

    @property
    def resolution(self) -> tuple[int, ...]:
        """Points on each axis, x first."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def masked(self) -> int:
        """Number of cells without a finite value."""
        return int((~np.isfinite(self.values)).sum())

    def coordinates(self, cell: int) -> tuple[float, ...]:
        """Return the coordinates of a cell given by its flat index, x first."""
        return tuple(float(axis[i]) for axis, i in zip(self.axes, reversed(self.place(cell)), strict=True))

    def place(self, cell: int) -> tuple[int, ...]:
        """Return the index of a cell in ``values``, given its flat index."""
        return tuple(int(i) for i in np.unravel_index(cell, self.values.shape))


def surface_of(given: Slice | np.ndarray, metric: str = "loss", dataset: str | None = None) -> Surface:
    """Return the values of a line, plane or volume with their axes; an array gets its indices as coordinates.

    Raises:
        LandscapeError: there is no such metric, no finite value, or the dimension is not 1, 2 or 3.
    """
    if isinstance(given, Slice):
        try:
            values = given.value(metric, dataset)
        except KeyError as error:
            raise LandscapeError(str(error.args[0])) from error
        axes = tuple(given.axes.values())
        name = f"{dataset or given.dataset}/{metric}"
    else:
        values = np.asarray(given, dtype=np.float64)
        axes = tuple(np.arange(float(n)) for n in reversed(values.shape))
        name = metric
    if not 1 <= values.ndim <= 3 or values.size == 0:
        raise LandscapeError(f"values of shape {values.shape}, expected a line, plane or volume")
    if not np.isfinite(values).any():
        raise LandscapeError("no cell of the slice has a finite value; choose a smaller span")
    return Surface(np.asarray(values, dtype=np.float64), axes, name)


def centre_of(axis: np.ndarray) -> int:
    """Return the index of coordinate 0 on an axis, up to the rounding of evenly spaced numbers.

    Raises:
        LandscapeError: it is not on the grid.

    >>> centre_of(np.array([-1.0, 0.0, 2.0]))
    1
    """
    at = int(np.abs(axis).argmin())
    if abs(axis[at]) > 1e-9 * float(np.abs(axis).max()):
        raise LandscapeError(
            "the centre (coordinate 0) is not on the grid; use an odd number of points and a symmetric span"
        )
    return at
