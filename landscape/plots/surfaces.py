"""Planes as surfaces in three dimensions."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LightSource
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from landscape.errors import LandscapeError
from landscape.plots.planes import Levels, label_of, scaled
from landscape.plots.scales import Scale, add_colourbar, thinned
from landscape.plots.style import COLOURMAP, GREY, SINGLE, canvas
from landscape.plots.windows import HATCHES, Window, hatch_legend, missing, window_of
from landscape.results import Plane


def surface(
    plane: Plane,
    ax: Any = None,
    *,
    metric: str = "loss",
    dataset: str | None = None,
    levels: Levels = 8,
    limit: float | None = None,
    log: bool | None = None,
    colourbar: bool = True,
    legend: bool = True,
    distances: bool = False,
    floor: bool = True,
    elevation: float = 32.0,
    azimuth: float = -58.0,
    cmap: str = COLOURMAP,
) -> Axes:
    """Draw a plane as a surface, its height on the same (logarithmic) scale as its colour.

    Args:
        plane: values (ny, nx) over x and y.
        ax: three-dimensional axes; `None`: a new figure as wide as one column.
        metric: ``loss``, ``accuracy`` …
        dataset: ``train``, ``test`` …; `None`: the plane's own.
        levels: number of ticks and of contours on the floor, the levels, or a `Scale` shared with other figures.
        limit: the largest value shown; higher walls are cut off there.
        log: heights grow with log(value − minimum); `None`: for everything but accuracies.
        colourbar: add a colour bar.
        legend: explain the hatches, if there are any.
        distances: draw true Euclidean distances, at the true angle between the directions.
        floor: project the level lines onto the floor.
        elevation: angle of the camera above the floor, in degrees.
        azimuth: angle of the camera around the vertical, in degrees.
        cmap: name of the colour map.

    Returns:
        The axes. Points that are infinite, NaN or not computed leave a hole, hatched on the floor.

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
    [values], scale = scaled([plane], metric, dataset, levels, limit, log)
    if min(values.shape) < 2:
        raise LandscapeError(f"a surface needs at least 2 × 2 points, this plane has {values.shape}; use heatmap")
    window = window_of(plane, distances=distances)
    label = label_of(metric, dataset, plane)
    with canvas(ax, width=SINGLE, height=2.7, projection="3d") as axes:
        masks = missing(values, plane.computed)
        _room(axes, window, scale, label, elevation, azimuth)
        _hatch_floor(axes, window, masks)
        if np.isfinite(values).any():
            _draw(axes, window, values, scale, cmap=cmap, floor=floor)
            if colourbar:
                add_colourbar(axes.figure, scale, axes, label=label, cmap=cmap, banded=False, shrink=0.6, pad=0.12)
                axes.set_zlabel("")  # type: ignore[attr-defined]  # the bar says it
        if legend:
            hatch_legend(axes, masks, outside=ax is None)
    return axes


FLOOR = -0.35
"""Height of the floor below the surface's lowest point, in units of the surface's full height."""


def _draw(axes: Any, window: Window, values: np.ndarray, scale: Scale, *, cmap: str, floor: bool) -> None:
    X, Y = window.points()
    heights = scale.norm(values).filled(np.nan)
    corners = np.stack([heights[:-1, :-1], heights[:-1, 1:], heights[1:, 1:], heights[1:, :-1]])
    known = np.isfinite(corners).all(axis=0)
    flat = np.zeros_like(known, dtype=float)
    flat[known] = corners[:, known].mean(axis=0)
    xs = np.stack([X[:-1, :-1], X[:-1, 1:], X[1:, 1:], X[1:, :-1]])
    ys = np.stack([Y[:-1, :-1], Y[:-1, 1:], Y[1:, 1:], Y[1:, :-1]])
    squares = np.stack([xs, ys, corners], axis=-1).transpose(1, 2, 0, 3)[known]
    colours = matplotlib.colormaps[cmap](flat[known])
    # light on heights in units of the window, so that narrow windows are not all walls
    across = np.array([np.ptp(X), np.ptp(Y)])
    lit = squares / np.array([across[0] or 1.0, across[1] or 1.0, 1.0])
    axes.add_collection3d(
        Poly3DCollection(
            squares, facecolors=_shaded(lit, colours), edgecolors=(0, 0, 0, 0.25), linewidths=0.15, rasterized=True
        )
    )
    inside = [
        level for level in np.linspace(0, 1, len(scale.levels)) if np.nanmin(heights) < level < np.nanmax(heights)
    ]
    if floor and inside:
        lines = axes.contour(
            X, Y, np.ma.masked_invalid(heights), levels=inside, zdir="z", offset=FLOOR, cmap=cmap, vmin=0, vmax=1,
            linewidths=0.6, corner_mask=False,
        )  # fmt: skip
        lines.set_zorder(0)


def _shaded(squares: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Darken the squares that face away from a light at the upper left."""
    normals = np.cross(squares[:, 2] - squares[:, 0], squares[:, 3] - squares[:, 1])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    light = LightSource(azdeg=225, altdeg=40).direction
    shade = 0.72 + 0.28 * np.clip(normals @ light, 0, 1)
    return np.concatenate([colours[:, :3] * shade[:, None], colours[:, 3:]], axis=1)


def _room(axes: Any, window: Window, scale: Scale, label: str, elevation: float, azimuth: float) -> None:
    left, right, bottom, top = window.limits(cells=False)
    axes.set(xlim=(left, right), ylim=(bottom, top), zlim=(FLOOR, 1.0))
    axes.set_xlabel(window.labels[0], labelpad=-4)
    axes.set_ylabel(window.labels[1], labelpad=-4)
    axes.set_zlabel(label, labelpad=-2)
    count = len(scale.levels)
    shown = thinned(count, 5)
    axes.set_zticks(np.linspace(0, 1, count)[shown], [scale.labels[i] for i in shown])
    axes.tick_params(pad=-2, labelsize="small")
    axes.tick_params(axis="z", pad=1)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, prune="both"))
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.pane.set_visible(False)
        axis._axinfo["grid"].update(linewidth=0.3, color="#D0D0D0")
    axes.view_init(elev=elevation, azim=azimuth)
    if window.distances:
        across = max(right - left, top - bottom)
        axes.set_box_aspect(((right - left) / across, (top - bottom) / across, 0.75), zoom=0.85)
    else:
        axes.set_box_aspect((1, 1, 0.75), zoom=0.85)


def _hatch_floor(axes: Any, window: Window, masks: dict[str, np.ndarray]) -> None:
    X, Y = window.corners()
    left, right, bottom, top = window.limits(cells=False)
    X, Y = X.clip(left, right), Y.clip(bottom, top)
    for reason, mask in masks.items():
        cells = [
            [(X[at], Y[at], FLOOR) for at in ((j, i), (j, i + 1), (j + 1, i + 1), (j + 1, i))]
            for j, i in np.argwhere(mask)
        ]
        axes.add_collection3d(
            Poly3DCollection(
                cells,
                facecolors="#F2F2F2",
                edgecolors=GREY,
                linewidths=0.0,
                hatch=HATCHES[reason],
                zorder=0,
                label=reason,
            )
        )
