"""Trajectories of training on a plane, with how far off the plane each point really is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from landscape.errors import LandscapeError
from landscape.plots.planes import contour
from landscape.plots.style import PALETTE, SINGLE, canvas, legend_inside, legend_outside
from landscape.results import Plane, Trajectory

LARGEST = 5.5
"""Size of the marker of a point on the plane; the point farthest off has a quarter of its area."""


def trajectory(
    points: Trajectory | np.ndarray,
    ax: Axes | None = None,
    *,
    off_plane: np.ndarray | None = None,
    plane: Plane | None = None,
    explained: Sequence[float] | np.ndarray | None = None,
    marks: Sequence[int] = (),
    mark_label: str = "learning rate lowered",
    **options: Any,
) -> Axes:
    """Draw checkpoints of one run projected onto a plane.

    The contours hold for the plane alone: a checkpoint at distance r from it may have another loss. Its marker is the
    smaller and the brighter, the farther off it is.

    Args:
        points: a trajectory, or (T, 2) coordinates of the projections in the order of training.
        ax: where to draw; `None`: a new figure as wide as one column.
        off_plane: (T,) Euclidean distances from the plane.
        plane: drawn below, as contours without filling.
        explained: share of the trajectory's variance along each axis, between 0 and 1.
        marks: indices of points to ring.
        mark_label: what the rings mean.
        **options: passed to `contour`: ``levels``, ``limit``, ``filled`` …

    Returns:
        The axes.

    Raises:
        LandscapeError: arrays that do not fit each other.

    >>> from matplotlib.figure import Figure
    >>> trajectory(np.array([[0.0, 0.0], [1.0, 1.0]]), Figure().add_subplot(), explained=(0.9, 0.06)).get_xlabel()
    'principal component 1 (90.0 %)'
    """
    if isinstance(points, Trajectory):
        off_plane = points.off_plane if off_plane is None else off_plane
        explained = points.explained if explained is None else explained
        points = points.points[:, :2]
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise LandscapeError(
            f"points of shape {points.shape}, expected (T, 2): coordinates on the plane, one row a checkpoint"
        )
    distance = None if off_plane is None else np.asarray(off_plane, dtype=float)
    if distance is not None and distance.shape != (len(points),):
        raise LandscapeError(f"off_plane of shape {distance.shape}, expected {(len(points),)}: one distance a point")
    own = ax is None
    with canvas(ax, width=SINGLE, height=2.5) as ax:
        if plane is not None:
            chosen: dict[str, Any] = {"filled": False, "colourbar": False, "centre": False, "cmap": "Greys_r"} | options
            contour(plane, ax, **chosen)
        else:
            ax.set_xlabel("principal component 1")
            ax.set_ylabel("principal component 2")
        if explained is not None:
            ax.set_xlabel(f"principal component 1 ({100 * explained[0]:.1f} %)")
            ax.set_ylabel(f"principal component 2 ({100 * explained[1]:.1f} %)")
        _path(ax, points, distance)
        if len(marks):
            at = points[list(marks)]
            ax.plot(
                at[:, 0],
                at[:, 1],
                "o",
                markersize=8,
                markerfacecolor="none",
                color=PALETTE[1],
                label=mark_label,
                zorder=6,
            )
        handles = [line for line in ax.lines if line.get_label() in ("start", "end", mark_label)]
        if own:
            legend_outside(ax.figure, handles)
        else:
            legend_inside(ax, handles)
    return ax


def _path(ax: Axes, points: np.ndarray, distance: np.ndarray | None) -> None:
    ax.plot(points[:, 0], points[:, 1], color="black", linewidth=0.8, zorder=4, gid="path")
    if distance is None:
        ax.scatter(points[:, 0], points[:, 1], s=9, color=PALETTE[0], zorder=5, gid="checkpoints")
    else:
        norm = Normalize(0.0, float(distance.max()) or 1.0)
        area = LARGEST**2 * (1 - 0.75 * norm(distance))
        ax.scatter(points[:, 0], points[:, 1], s=area, c=distance, norm=norm, cmap="plasma", zorder=5, edgecolors="black",
                   linewidths=0.3, gid="checkpoints")  # fmt: skip
        bar = ax.figure.colorbar(ScalarMappable(norm, "plasma"), ax=ax, pad=0.02)
        bar.set_label("distance from the plane")
        bar.ax.tick_params(labelsize="small", length=2)
        bar.outline.set_linewidth(0.5)
    ends: dict[str, Any] = {
        "markersize": 5.5,
        "markeredgecolor": "black",
        "markeredgewidth": 0.6,
        "linestyle": "none",
        "zorder": 7,
    }
    ax.plot(*points[0], marker="D", color="white", label="start", **ends)
    ax.plot(*points[-1], marker="s", color=PALETTE[2], label="end", **ends)
