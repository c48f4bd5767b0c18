"""Planes as contours and heat maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from landscape.errors import LandscapeError
from landscape.plots.scales import Scale, add_colourbar, darkened, scale_of
from landscape.plots.style import COLOURMAP, SINGLE, canvas, ink
from landscape.plots.windows import Window, hatch, hatch_legend, missing, window_of
from landscape.results import Plane

Levels = int | Sequence[float] | np.ndarray | Scale


def contour(
    plane: Plane,
    ax: Axes | None = None,
    *,
    metric: str = "loss",
    dataset: str | None = None,
    levels: Levels = 12,
    limit: float | None = None,
    log: bool | None = None,
    filled: bool = True,
    labels: bool = True,
    colourbar: bool = True,
    legend: bool = True,
    distances: bool = False,
    centre: bool = True,
    cmap: str = COLOURMAP,
) -> Axes:
    """Draw the level lines of a plane.

    Args:
        plane: values (ny, nx) over x and y.
        ax: where to draw; `None`: a new figure as wide as one column.
        metric: ``loss``, ``accuracy`` …
        dataset: ``train``, ``test`` …; `None`: the plane's own.
        levels: their number (spaced logarithmically above the minimum), the levels, or a `Scale` shared with other figures.
        limit: the largest value shown; larger ones get the top colour and the colour bar says ``> limit``.
        log: logarithmic levels; `None`: for everything but accuracies.
        filled: colour the bands between the lines.
        labels: write the level on every second line.
        colourbar: add a colour bar.
        legend: explain the hatches, if there are any.
        distances: draw true Euclidean distances, at the true angle between the directions.
        centre: mark (0, 0), the trained solution.
        cmap: name of the colour map.

    Returns:
        The axes. Points that are infinite, NaN or not computed are hatched.

    Raises:
        LandscapeError: no such metric, fewer than 2 × 2 points, or unusable levels.

    >>> from matplotlib.figure import Figure
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> contour(bowl, Figure().add_subplot()).get_xlabel()
    'direction 1'
    """
    [values], scale = scaled([plane], metric, dataset, levels, limit, log)
    if min(values.shape) < 2:
        raise LandscapeError(f"contours need at least 2 × 2 points, this plane has {values.shape}; use heatmap")
    window = window_of(plane, distances=distances)
    own, limits = ax is None, window.limits(cells=False)
    height = panel_height(window, limits, width=2.05)
    with canvas(ax, width=SINGLE, height=height + 0.5) as ax:
        frame(ax, window, limits)
        masks = missing(values, plane.computed)
        hatch(ax, window, masks, spread=True)
        shades = matplotlib.colormaps[cmap] if filled else darkened(cmap)
        _bands(ax, window, np.ma.masked_invalid(values), scale, filled=filled, labels=labels, cmap=shades)
        if centre:
            mark_centre(ax, window)
        if colourbar and np.isfinite(values).any():
            label = label_of(metric, dataset, plane)
            add_colourbar(ax.figure, scale, ax, label=label, cmap=shades, banded=True, most=_ticks(height))
        if legend:
            hatch_legend(ax, masks, outside=own)
    return ax


def heatmap(
    plane: Plane,
    ax: Axes | None = None,
    *,
    metric: str = "loss",
    dataset: str | None = None,
    levels: Levels = 8,
    limit: float | None = None,
    log: bool | None = None,
    colourbar: bool = True,
    legend: bool = True,
    distances: bool = False,
    centre: bool = True,
    cmap: str = COLOURMAP,
) -> Axes:
    """Draw each point of a plane as a cell, without interpolation; the arguments are those of `contour`.

    Raises:
        LandscapeError: no such metric, or unusable levels.

    >>> from matplotlib.figure import Figure
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> heatmap(bowl, Figure().add_subplot()).collections[0].get_array().shape
    (7, 11)
    """
    [values], scale = scaled([plane], metric, dataset, levels, limit, log)
    window = window_of(plane, distances=distances)
    own, limits = ax is None, window.limits(cells=True)
    height = panel_height(window, limits, width=2.05)
    with canvas(ax, width=SINGLE, height=height + 0.5) as ax:
        frame(ax, window, limits)
        masks = missing(values, plane.computed)
        X, Y = window.corners()
        ax.pcolormesh(X, Y, np.ma.masked_invalid(values), cmap=cmap, norm=scale.norm, rasterized=True)
        hatch(ax, window, masks, spread=False)
        if centre:
            mark_centre(ax, window)
        if colourbar and np.isfinite(values).any():
            label = label_of(metric, dataset, plane)
            add_colourbar(ax.figure, scale, ax, label=label, cmap=cmap, banded=False, most=_ticks(height))
        if legend:
            hatch_legend(ax, masks, outside=own)
    return ax


def values_of(plane: Plane, metric: str, dataset: str | None) -> np.ndarray:
    """Return the values (ny, nx) to draw, checked against the coordinates."""
    try:
        values = np.asarray(plane.value(metric, dataset), dtype=float)
    except KeyError as error:
        raise LandscapeError(str(error.args[0])) from None
    if values.shape != (len(plane.y), len(plane.x)):
        raise LandscapeError(f"values of shape {values.shape}, expected (ny, nx) = {(len(plane.y), len(plane.x))}")
    return np.where(np.asarray(plane.computed, dtype=bool), values, np.nan)


def scaled(
    planes: Iterable[Plane], metric: str, dataset: str | None, levels: Levels, limit: float | None, log: bool | None
) -> tuple[list[np.ndarray], Scale]:
    """Return the values (ny, nx) of planes, and the scale they share.

    Losses are spaced logarithmically and accuracies are not, unless asked for; accuracies get ten bands from 0 to 1, so
    that figures compare without being told to.
    """
    values = [values_of(plane, metric, dataset) for plane in planes]
    share = metric == "accuracy"
    chosen = np.linspace(0.0, 1.0, 11) if share and isinstance(levels, int) else levels
    return values, scale_of(values, levels=chosen, limit=limit, log=not share if log is None else log)


def label_of(metric: str, dataset: str | None, plane: Plane) -> str:
    """Name the drawn quantity."""
    return f"{dataset or plane.dataset} {metric}"


def frame(ax: Axes, window: Window, limits: tuple[float, float, float, float]) -> None:
    """Set the limits, labels and box of a plane's axes."""
    left, right, bottom, top = limits
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.set_xlabel(window.labels[0])
    ax.set_ylabel(window.labels[1])
    if window.distances:
        ax.set_aspect("equal")
    for spine in ax.spines.values():
        spine.set_visible(True)


def panel_height(window: Window, limits: tuple[float, float, float, float], *, width: float) -> float:
    """Return the height of a panel of a given width, in inches: what true distances ask for, within reason."""
    left, right, bottom, top = limits
    return float(np.clip(width * (top - bottom) / (right - left), 0.7, 2.8)) if window.distances else width


def _ticks(height: float) -> int:
    """Return how many labels of a colour bar fit beside a panel of some height, in inches."""
    return max(3, int(height / 0.13))


def mark_centre(ax: Axes, window: Window) -> None:
    """Mark the trained solution where it is inside the window."""
    if min(window.x) <= 0 <= max(window.x) and min(window.y) <= 0 <= max(window.y):
        ax.plot(0.0, 0.0, "+", color="white", markersize=6, markeredgewidth=1.2, zorder=4, label="centre",
                path_effects=[patheffects.withStroke(linewidth=2.6, foreground="black")])  # fmt: skip


def _bands(ax: Axes, window: Window, values: Any, scale: Scale, *, filled: bool, labels: bool, cmap: Colormap) -> None:
    if values.count() == 0:
        return
    X, Y = window.points()
    if filled:
        bands = ax.contourf(
            X, Y, values, levels=scale.levels, norm=scale.norm, cmap=cmap, corner_mask=False,
            extend="max" if scale.clipped else "neither",
        )  # fmt: skip
        bands.set_rasterized(True)  # as vectors, viewers show white seams between the bands
    inside = [i for i, level in enumerate(scale.levels) if values.min() < level < values.max()]
    if not inside:
        return
    shades = cmap(scale.norm(scale.levels))
    colours = [ink(shades[i]) if filled else shades[i] for i in inside]
    at = scale.levels[inside]
    lines = ax.contour(X, Y, values, levels=at, colors=colours, linewidths=0.4 if filled else 1.0, corner_mask=False)
    if labels:
        texts = dict(zip(scale.levels, scale.labels, strict=True))
        ax.clabel(lines, at[::2], fmt=texts, fontsize=5.5, inline_spacing=2, colors=colours[::2])
