"""Planes as surfaces in three dimensions."""

from __future__ import annotations

from typing import Any, Unpack

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LightSource
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from landscape.errors import LandscapeError
from landscape.plots.planes import HATCHED, HATCHES, Look, Seen, around, hatch_legend, seen_of
from landscape.plots.scales import add_colourbar
from landscape.plots.style import canvas
from landscape.results import Plane

FLOOR = -0.35
"""Height of the floor below the surface's lowest point, in units of the surface's full height."""


def surface(
    plane: Plane,
    ax: Any = None,
    *,
    elevation: float = 32.0,
    azimuth: float = -58.0,
    **look: Unpack[Look],
) -> Axes:
    """Draw a plane as a surface, its height on the same (logarithmic) scale as its colour, its level lines on the floor.

    Points that are infinite, NaN or not computed leave a hole, hatched on the floor.

    Args:
        plane: values (ny, nx) over x and y.
        ax: three-dimensional axes; `None`: a new figure as wide as one column.
        elevation: angle of the camera above the floor, in degrees.
        azimuth: angle of the camera around the vertical, in degrees.
        look: as for `contour`; ``levels``, 8 by default, are the ticks and the contours on the floor, ``limit`` cuts higher
            walls off, and with ``log`` heights grow with log(value − minimum).

    Raises:
        LandscapeError: no such metric, fewer than 2 × 2 points, unusable levels, or axes that are flat.

    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> from matplotlib.figure import Figure
    >>> surface(bowl, Figure().add_subplot(projection="3d"), azimuth=-45.0).azim
    -45.0
    """
    if ax is not None and getattr(ax, "name", "") != "3d":
        raise LandscapeError('a surface needs three-dimensional axes; make them with projection="3d"')
    seen = seen_of(plane, look, levels=8, between=True)
    with canvas(ax, height=2.7, projection="3d") as axes:
        _room(axes, seen, elevation, azimuth)
        _hatch_floor(axes, seen)
        if np.isfinite(seen.values).any():
            _draw(axes, seen)
        if seen.colourbar:
            add_colourbar(
                axes.figure, seen.scale, axes, label=seen.label, cmap=seen.cmap, banded=False, shrink=0.6, pad=0.12
            )
            axes.set_zlabel("")  # type: ignore[attr-defined]  # the bar says it
        if seen.legend:
            hatch_legend(axes, seen.masks, own=ax is None)
    return axes


def _draw(axes: Any, seen: Seen) -> None:
    X, Y = seen.window.points()
    heights = seen.scale.norm(seen.values).filled(np.nan)
    corners = _corners(heights)
    known = np.isfinite(corners).all(axis=0)
    squares = np.stack([_corners(X), _corners(Y), corners], axis=-1).transpose(1, 2, 0, 3)[known]
    colours = matplotlib.colormaps[seen.cmap](corners[:, known].mean(axis=0))
    # light on heights in units of the window, so that narrow windows are not all walls
    lit = squares / np.array([np.ptp(X) or 1.0, np.ptp(Y) or 1.0, 1.0])
    axes.add_collection3d(
        Poly3DCollection(
            squares, facecolors=_shaded(lit, colours), edgecolors=(0, 0, 0, 0.25), linewidths=0.15, rasterized=True
        )
    )
    levels = np.linspace(0, 1, len(seen.scale.levels))
    inside = levels[(levels > np.nanmin(heights)) & (levels < np.nanmax(heights))]
    if inside.size:
        lines = axes.contour(
            X, Y, np.ma.masked_invalid(heights), levels=inside, zdir="z", offset=FLOOR, cmap=seen.cmap, vmin=0, vmax=1,
            linewidths=0.6, corner_mask=False,
        )  # fmt: skip
        lines.set_zorder(0)


def _corners(grid: np.ndarray) -> np.ndarray:
    """Return the values (4, ny − 1, nx − 1) at the corners of the squares of a grid, in order around each."""
    return np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]])


def _shaded(squares: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Darken the squares that face away from a light at the upper left."""
    normals = np.cross(squares[:, 2] - squares[:, 0], squares[:, 3] - squares[:, 1])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    light = LightSource(azdeg=225, altdeg=40).direction
    shade = 0.72 + 0.28 * np.clip(normals @ light, 0, 1)
    return np.concatenate([colours[:, :3] * shade[:, None], colours[:, 3:]], axis=1)


def _room(axes: Any, seen: Seen, elevation: float, azimuth: float) -> None:
    window, scale = seen.window, seen.scale
    left, right, bottom, top = window.limits(cells=False)
    axes.set(xlim=(left, right), ylim=(bottom, top), zlim=(FLOOR, 1.0))
    axes.set_xlabel(window.labels[0], labelpad=-4)
    axes.set_ylabel(window.labels[1], labelpad=-4)
    axes.set_zlabel(seen.label, labelpad=-2)
    shown, labels = scale.ticks(5)
    axes.set_zticks(np.linspace(0, 1, len(scale.levels))[shown], labels)
    axes.tick_params(pad=-2, labelsize="small")
    axes.tick_params(axis="z", pad=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, prune="both"))
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.pane.set_visible(False)
        axis._axinfo["grid"].update(linewidth=0.3, color="#D0D0D0")
    axes.view_init(elev=elevation, azim=azimuth)
    across = max(right - left, top - bottom)
    aspect = ((right - left) / across, (top - bottom) / across, 0.75) if window.distances else (1, 1, 0.75)
    axes.set_box_aspect(aspect, zoom=0.85)


def _hatch_floor(axes: Any, seen: Seen) -> None:
    X, Y = seen.window.corners()
    left, right, bottom, top = seen.window.limits(cells=False)
    X, Y = X.clip(left, right), Y.clip(bottom, top)
    for reason, mask in seen.masks.items():
        cells = [[(X[at], Y[at], FLOOR) for at in around((j, j + 1), (i, i + 1))] for j, i in np.argwhere(mask)]
        axes.add_collection3d(Poly3DCollection(cells, hatch=HATCHES[reason], zorder=0, label=reason, **HATCHED))
