"""Trajectories of training on a plane, with how far off the plane each point really is; still or moving."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter, PillowWriter
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D

from landscape.errors import LandscapeError
from landscape.plots.planes import contour
from landscape.plots.scales import colourbar
from landscape.plots.style import LEGEND_ROW, PALETTE, SINGLE, canvas, legend, style
from landscape.results import Plane, Trajectory
from landscape.store.files import replacing

WRITERS: dict[str, type[FFMpegWriter] | type[PillowWriter]] = {".gif": PillowWriter, ".mp4": FFMpegWriter}
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

    Large shares of the first principal components are no finding: they come by construction. A random walk in many
    dimensions has shares of 6/(π²k²), 61 % and 15 % for the first two, and draws a smooth curve as well (Antognini and
    Sohl-Dickstein 2018, arXiv 1806.08805).

    The contours hold for the plane alone: a checkpoint at distance r from it may have another loss. Its marker is the
    smaller and the brighter, the farther off it is.

    Args:
        points: a trajectory, or (T, 2) coordinates of the projections in the order of training.
        off_plane: (T,) Euclidean distances from the plane.
        plane: drawn below, as contours without filling.
        explained: share of the trajectory's variance along each axis, between 0 and 1.
        marks: indices of points to ring.
        mark_label: what the rings mean.
        **options: passed to `contour`: ``levels``, ``limit``, ``filled`` …

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
            f"points of shape {points.shape}, expected (T, 2): coordinates on the plane, one row per checkpoint"
        )
    distance = None if off_plane is None else np.asarray(off_plane, dtype=float)
    if distance is not None and distance.shape != (len(points),):
        raise LandscapeError(f"off_plane of shape {distance.shape}, expected {(len(points),)}: one distance per point")
    own = ax is None
    with canvas(ax, height=2.5) as ax:
        if plane is not None:
            chosen: dict[str, Any] = {"filled": False, "colourbar": False, "centre": False, "cmap": "Greys_r"} | options
            contour(plane, ax, **chosen)
        if plane is None or explained is not None:
            shares = ("", "") if explained is None else [f" ({100 * share:.1f} %)" for share in explained[:2]]
            ax.set(xlabel=f"principal component 1{shares[0]}", ylabel=f"principal component 2{shares[1]}")
        handles = _path(ax, points, distance)
        if len(marks):
            ring: dict[str, Any] = {"markersize": 8, "markerfacecolor": "none", "color": PALETTE[1], "zorder": 6}
            handles += ax.plot(*points[list(marks)].T, "o", label=mark_label, **ring)
        legend(ax, handles, own=own)
    return ax


def _path(ax: Axes, points: np.ndarray, distance: np.ndarray | None) -> list[Line2D]:
    """Draw the path, its checkpoints and its ends, and return the ends."""
    ax.plot(points[:, 0], points[:, 1], color="black", linewidth=0.8, zorder=4, gid="path")
    if distance is None:
        ax.scatter(points[:, 0], points[:, 1], s=9, color=PALETTE[0], zorder=5, gid="checkpoints")
    else:
        norm = Normalize(0.0, float(distance.max()) or 1.0)
        area = LARGEST**2 * (1 - 0.75 * norm(distance))
        ax.scatter(points[:, 0], points[:, 1], s=area, c=distance, norm=norm, cmap="plasma", zorder=5, edgecolors="black",
                   linewidths=0.3, gid="checkpoints")  # fmt: skip
        colourbar(ax.figure, ScalarMappable(norm, "plasma"), ax, "distance from the plane", pad=0.02)
    look: dict[str, Any] = {"markersize": 5.5, "markeredgecolor": "black", "markeredgewidth": 0.6, "linestyle": "none"}
    start = ax.plot(*points[0], marker="D", color="white", label="start", zorder=7, **look)
    return start + ax.plot(*points[-1], marker="s", color=PALETTE[2], label="end", zorder=7, **look)


def animate(
    result: Trajectory,
    path: str | os.PathLike[str],
    *,
    plane: Plane | None = None,
    seconds: float = 5.0,
    most: int = 60,
    dpi: float = 150,
    **options: Any,
) -> Path:
    """Write a run as an animation: the path grows, and a line of text tells the checkpoint and its own values.

    Args:
        result: a trajectory.
        path: ``.gif`` (through Pillow), or ``.mp4`` where ffmpeg is installed.
        plane: the loss on the trajectory's plane, drawn below.
        seconds: length of the animation; the last picture stays for another second.
        most: pictures; of a longer run some checkpoints are left out.
        dpi: resolution in dots per inch; the figure is as wide as one column.
        **options: passed on to `trajectory`: ``levels``, ``limit``, ``marks`` …

    Returns:
        The file.

    Raises:
        LandscapeError: another suffix, ffmpeg is not installed, or the place cannot be written.

    >>> import tempfile
    >>> run = Trajectory(
    ...     directions=None, points=np.array([[1.0, 0.5], [0.0, 0.0]]), off_plane=np.array([0.2, 0.0]),
    ...     explained=np.array([0.9, 0.06]), values={"train/loss": np.array([2.0, 0.1])},
    ... )
    >>> animate(run, Path(tempfile.mkdtemp()) / "run.gif", dpi=40).suffix
    '.gif'
    """
    target = Path(path)
    writer = _writer(target.suffix)
    told = {name: values for name, values in result.values.items() if not name.startswith("projected/")}
    shown = np.unique(np.linspace(0, len(result.points) - 1, min(most, len(result.points))).round().astype(int))
    movie = writer(fps=max(1, round(len(shown) / seconds)))
    from matplotlib import pyplot  # chooses a backend: not before a figure is wanted

    with style():
        figure = pyplot.figure(figsize=(SINGLE, 3.0 + LEGEND_ROW), layout="constrained")
    try:
        with style(), replacing(target) as fresh, movie.saving(figure, fresh, dpi):
            ax = figure.add_subplot()
            trajectory(result, ax, plane=plane, **options)
            line = next(one for one in ax.lines if one.get_gid() == "path")
            dots = next(one for one in ax.collections if one.get_gid() == "checkpoints")
            text = ax.set_title("", fontsize="medium", family="monospace")
            for last in shown.tolist():
                line.set_data(result.points[: last + 1, 0], result.points[: last + 1, 1])
                dots.set_offsets(result.points[: last + 1, :2])
                values = [f"{name} {along[last]:.3g}" for name, along in told.items()]
                text.set_text("  ".join([f"step {last:>3}", *values]))
                movie.grab_frame()
            for _ in range(movie.fps):
                movie.grab_frame()
    finally:
        pyplot.close(figure)
    return target


def _writer(suffix: str) -> type[FFMpegWriter] | type[PillowWriter]:
    if suffix not in WRITERS:
        raise LandscapeError(
            f"{suffix or 'no suffix'!r} is no format of animations; expected one of {', '.join(WRITERS)}"
        )
    if not WRITERS[suffix].isAvailable():
        raise LandscapeError("ffmpeg is not installed, which .mp4 needs; install it, or write a .gif")
    return WRITERS[suffix]
