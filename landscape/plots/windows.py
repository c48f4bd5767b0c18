"""Where the points of a plane lie on paper, and which of them hold no number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PolyCollection
from matplotlib.patches import Patch

from landscape.errors import LandscapeError
from landscape.plots.style import GREY, legend_inside, legend_outside
from landscape.results import Directions, Plane

HATCHES = {"inf": "/////", "NaN": "xxxxx", "not computed": "....."}
HATCHED: dict[str, Any] = {"facecolor": "#F2F2F2", "edgecolor": GREY, "linewidth": 0.0}
"""The look of what holds no number, hatched by the reason."""
_NAMES = {
    "gaussian": "random direction",
    "eigenvector": "eigenvector",
    "pca": "principal component",
    "gradient": "gradient",
}


@dataclass(frozen=True)
class Window:
    """The coordinates of a plane's grid.

    Attributes:
        x: (nx,) coordinates along the first direction.
        y: (ny,) along the second.
        matrix: (2, 2), takes (x, y) to the paper: the identity, or true distances with the true angle between directions.
        labels: of both axes.
        distances: whether the coordinates are Euclidean distances.
    """

    x: np.ndarray
    y: np.ndarray
    matrix: np.ndarray
    labels: tuple[str, str]
    distances: bool

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X and Y (ny, nx) of the grid points."""
        return self._place(self.x, self.y)

    def corners(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X and Y (ny + 1, nx + 1) of the corners of the cells around the points."""
        return self._place(edges(self.x), edges(self.y))

    def limits(self, *, cells: bool) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of the grid, or of its cells."""
        X, Y = self.corners() if cells else self.points()
        return float(X.min()), float(X.max()), float(Y.min()), float(Y.max())

    def _place(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        X, Y = np.meshgrid(x, y)
        (a, b), (c, d) = self.matrix
        return a * X + b * Y, c * X + d * Y


def window_of(plane: Plane, *, distances: bool) -> Window:
    """Return the coordinates of a plane, in its directions' units or in true Euclidean distances.

    With true distances the first direction lies along the horizontal axis and the second at its true angle, so that a plane
    of directions that are not orthogonal is drawn as the parallelogram it is.

    Raises:
        LandscapeError: true distances of a plane that holds no directions, or directions that are parallel.
    """
    x, y = np.asarray(plane.x, dtype=float), np.asarray(plane.y, dtype=float)
    if not distances:
        name = direction_name(plane.directions)
        return Window(x, y, np.eye(2), (f"{name} 1", f"{name} 2"), False)
    if plane.directions is None:
        raise LandscapeError("true distances need the directions of the plane, and it holds none; use distances=False")
    norms = np.asarray(plane.directions.norms, dtype=float)
    cosine = float(plane.directions.cosines[0, 1])
    if not abs(cosine) < 1 - 1e-9:
        raise LandscapeError(f"the cosine of the directions is {cosine:.6g}: they span no plane; use distances=False")
    matrix = np.array([[norms[0], norms[1] * cosine], [0.0, norms[1] * np.sqrt(1 - cosine**2)]])
    return Window(x, y, matrix, ("Euclidean distance", "Euclidean distance"), True)


def direction_name(directions: Directions | None) -> str:
    """Return what kind of direction it is, in words."""
    return _NAMES.get(directions.direction_kind, "direction") if directions is not None else "direction"


def edges(points: np.ndarray) -> np.ndarray:
    """Return the n + 1 edges of cells around n points: midpoints, and as far outside as the neighbouring midpoint is inside.

    >>> edges(np.array([0.0, 1.0, 3.0]))
    array([-0.5,  0.5,  2. ,  4. ])
    """
    if len(points) == 1:
        return np.array([points[0] - 0.5, points[0] + 0.5])
    middle = (points[1:] + points[:-1]) / 2
    return np.concatenate([[2 * points[0] - middle[0]], middle, [2 * points[-1] - middle[-1]]])


def missing(values: np.ndarray, computed: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks (ny, nx) of the points without a number, by reason; reasons that do not occur are left out."""
    done = np.asarray(computed, dtype=bool)
    masks = {"inf": np.isinf(values) & done, "NaN": np.isnan(values) & done, "not computed": ~done}
    return {reason: mask for reason, mask in masks.items() if mask.any()}


def hatch(ax: Axes, window: Window, masks: Mapping[str, np.ndarray], *, spread: bool) -> list[Collection]:
    """Hatch the points without a number.

    Args:
        ax: the axes.
        window: where the points lie.
        masks: (ny, nx) masks by reason.
        spread: reach to the neighbouring points, as contours leave out every square with a missing corner; the contours
            drawn above cover what is known. Otherwise the cell around the point.
    """
    X, Y = window.points() if spread else window.corners()
    top, right = X.shape[0] - 1, X.shape[1] - 1
    drawn: list[Collection] = []
    for reason, mask in masks.items():
        polygons = []
        for j, i in np.argwhere(mask):
            rows = (max(j - 1, 0), min(j + 1, top)) if spread else (j, j + 1)
            columns = (max(i - 1, 0), min(i + 1, right)) if spread else (i, i + 1)
            polygons.append([(X[at], Y[at]) for at in around(rows, columns)])
        collection = PolyCollection(polygons, hatch=HATCHES[reason], zorder=0.5, label=reason, **HATCHED)
        drawn.append(ax.add_collection(collection, autolim=False))
    return drawn


def around(rows: tuple[int, int], columns: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the indices of the corners of a rectangle of a grid, in order around it."""
    return [(rows[0], columns[0]), (rows[0], columns[1]), (rows[1], columns[1]), (rows[1], columns[0])]


def hatch_legend(ax: Axes, masks: Mapping[str, np.ndarray], *, outside: bool) -> None:
    """Explain the hatches below a figure of ours, or in the corner of the caller's axes where most points are missing."""
    if not masks:
        return
    if outside:
        legend_outside(ax.figure, hatch_handles(masks))
        return
    everything = np.logical_or.reduce(list(masks.values()))
    ny, nx = everything.shape
    shares = {
        f"{vertical} {horizontal}": everything[rows, columns].mean()
        for vertical, rows in (("upper", slice(ny // 2, None)), ("lower", slice(None, (ny + 1) // 2)))
        for horizontal, columns in (("left", slice(None, (nx + 1) // 2)), ("right", slice(nx // 2, None)))
    }
    legend_inside(ax, hatch_handles(masks), loc=max(shares, key=lambda corner: shares[corner]))


def hatch_handles(reasons: Iterable[str]) -> list[Any]:
    """Return the legend's entries of the hatches, always in the same order."""
    wanted = set(reasons)
    return [Patch(hatch=pattern, label=reason, **HATCHED) for reason, pattern in HATCHES.items() if reason in wanted]
