"""Planes as contours and heat maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict, Unpack

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


class Look(TypedDict, total=False):
    """What pictures of planes take alike; `contour` describes it."""

    metric: str
    dataset: str | None
    levels: Levels
    limit: float | None
    log: bool | None
    colourbar: bool
    legend: bool
    distances: bool
    cmap: str


def contour(
    plane: Plane,
    ax: Axes | None = None,
    *,
    filled: bool = True,
    labels: bool = True,
    centre: bool = True,
    **look: Unpack[Look],
) -> Axes:
    """Draw the level lines of a plane.

    Args:
        plane: values (ny, nx) over x and y.
        ax: where to draw; `None`: a new figure as wide as one column.
        filled: colour the bands between the lines.
        labels: write the level on every second line.
        centre: mark (0, 0), the trained solution.
        metric: ``loss``, ``accuracy`` …
        dataset: ``train``, ``test`` …; `None`: the plane's own.
        levels: their number (spaced logarithmically above the minimum; 12 by default), the levels, or a `Scale` shared with
            other figures.
        limit: the largest value shown; larger ones get the top colour and the colour bar says ``> limit``.
        log: logarithmic levels; `None`: for everything but accuracies.
        colourbar: add a colour bar.
        legend: explain the hatches, if there are any.
        distances: draw true Euclidean distances, at the true angle between the directions.
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
    seen = seen_of(plane, look, levels=12)
    if min(seen.values.shape) < 2:
        raise LandscapeError(f"contours need at least 2 × 2 points, this plane has {seen.values.shape}; use heatmap")
    shades = matplotlib.colormaps[seen.cmap] if filled else darkened(seen.cmap)
    return _flat(seen, ax, partial(_bands, filled=filled, labels=labels, cmap=shades), shades, centre, cells=False)


def heatmap(plane: Plane, ax: Axes | None = None, *, centre: bool = True, **look: Unpack[Look]) -> Axes:
    """Draw each point of a plane as a cell, without interpolation; the arguments are those of `contour`.

    Raises:
        LandscapeError: no such metric, or unusable levels.

    >>> from matplotlib.figure import Figure
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> heatmap(bowl, Figure().add_subplot()).collections[0].get_array().shape
    (7, 11)
    """
    seen = seen_of(plane, look, levels=8)

    def draw(ax: Axes, window: Window, values: Any, scale: Scale) -> None:
        ax.pcolormesh(*window.corners(), values, cmap=seen.cmap, norm=scale.norm, rasterized=True)

    return _flat(seen, ax, draw, seen.cmap, centre, cells=True)


@dataclass(frozen=True)
class Seen:
    """A plane as it is to be drawn.

    Attributes:
        values: (ny, nx), NaN where there is no number.
        scale: levels, colours and heights.
        window: where the points lie.
        masks: the points without a number, by reason.
        label: the drawn quantity.
        cmap: name of the colour map.
        colourbar: whether to add one.
        legend: whether to explain the hatches.
    """

    values: np.ndarray
    scale: Scale
    window: Window
    masks: dict[str, np.ndarray]
    label: str
    cmap: str
    colourbar: bool
    legend: bool


def seen_of(plane: Plane, look: Look, *, levels: int) -> Seen:
    """Read what `contour` and its like were given.

    Raises:
        LandscapeError: no such metric, or unusable levels; true distances that the directions do not have.
    """
    metric, dataset = look.get("metric", "loss"), look.get("dataset")
    [values], scale = scaled([plane], metric, dataset, look.get("levels", levels), look.get("limit"), look.get("log"))
    return Seen(
        values=values,
        scale=scale,
        window=window_of(plane, distances=look.get("distances", False)),
        masks=missing(values, plane.computed),
        label=label_of(metric, dataset, plane),
        cmap=look.get("cmap", COLOURMAP),
        colourbar=look.get("colourbar", True) and bool(np.isfinite(values).any()),
        legend=look.get("legend", True),
    )


def _flat(
    seen: Seen,
    ax: Axes | None,
    draw: Callable[[Axes, Window, Any, Scale], None],
    cmap: str | Colormap,
    centre: bool,
    *,
    cells: bool,
) -> Axes:
    """Draw a plane seen from above: by cells around the points, or by lines between them."""
    window, own = seen.window, ax is None
    limits = window.limits(cells=cells)
    height = panel_height(window, limits, width=2.05)
    with canvas(ax, width=SINGLE, height=height + 0.5) as ax:
        _frame(ax, window, limits)
        draw(ax, window, np.ma.masked_invalid(seen.values), seen.scale)
        hatch(ax, window, seen.masks, spread=not cells)
        if centre and min(window.x) <= 0 <= max(window.x) and min(window.y) <= 0 <= max(window.y):
            outline = [patheffects.withStroke(linewidth=2.6, foreground="black")]
            ax.plot(0.0, 0.0, "+", color="white", markersize=6, markeredgewidth=1.2, zorder=4, label="centre",
                    path_effects=outline)  # fmt: skip
        if seen.colourbar:
            most = max(3, int(height / 0.13))  # as many labels as fit beside it
            add_colourbar(ax.figure, seen.scale, ax, label=seen.label, cmap=cmap, banded=not cells, most=most)
        if seen.legend:
            hatch_legend(ax, seen.masks, outside=own)
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


def _frame(ax: Axes, window: Window, limits: tuple[float, float, float, float]) -> None:
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
