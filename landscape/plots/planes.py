"""Planes seen from above: where their points lie on paper, which of them hold no number, contours and heat maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypedDict, Unpack

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap
from matplotlib.patches import Patch

from landscape.errors import LandscapeError
from landscape.plots.scales import Scale, add_colourbar, darkened, scale_of
from landscape.plots.style import COLOURMAP, GREY, canvas, ink, legend
from landscape.results import Directions, Plane
from landscape.results.base import expect_result

Levels = int | Sequence[float] | np.ndarray | Scale
HATCHES = {"inf": "/////", "NaN": "xxxxx", "not computed": "....."}
HATCHED: dict[str, Any] = {"facecolor": "#F2F2F2", "edgecolor": GREY, "linewidth": 0.0}
"""The look of what holds no number, hatched by the reason."""
_NAMES = {
    "gaussian": "random direction",
    "eigenvector": "eigenvector",
    "pca": "principal component",
    "gradient": "gradient",
}


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
    """Draw the level lines of a plane; points that are infinite, NaN or not computed are hatched.

    Args:
        plane: values (ny, nx) over x and y.
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

    Raises:
        LandscapeError: no such metric, fewer than 2 × 2 points, or unusable levels.

    >>> from matplotlib.figure import Figure
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> contour(bowl, Figure().add_subplot()).get_xlabel()
    'direction 1'
    """
    seen = seen_of(plane, look, levels=12, between=True)
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
class Window:
    """The coordinates of a plane's grid."""

    x: np.ndarray  # (nx,) coordinates along the first direction
    y: np.ndarray  # (ny,) along the second
    # (2, 2), takes (x, y) to the paper: the identity, or true distances with the true angle between directions
    matrix: np.ndarray
    labels: tuple[str, str]  # of both axes
    distances: bool  # whether the coordinates are Euclidean distances

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

    def holds_centre(self) -> bool:
        """Whether (0, 0), the trained solution, is in the window."""
        return bool(min(self.x) <= 0 <= max(self.x) and min(self.y) <= 0 <= max(self.y))

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


@dataclass(frozen=True)
class Seen:
    """A plane as it is to be drawn."""

    values: np.ndarray  # (ny, nx), NaN where there is no number
    scale: Scale  # levels, colours and heights
    window: Window  # where the points lie
    masks: dict[str, np.ndarray]  # the points without a number, by reason
    label: str  # the drawn quantity
    cmap: str  # name of the colour map
    colourbar: bool  # whether to add one
    legend: bool  # whether to explain the hatches


def seen_of(plane: Plane, look: Look, *, levels: int, between: bool = False) -> Seen:
    """Read what `contour` and its like were given; the rest is as for `seen_together`."""
    if unknown := sorted(look.keys() - Look.__annotations__.keys()):
        raise TypeError(
            f"pictures of planes have no option {unknown[0]!r}; expected one of {', '.join(Look.__annotations__)}"
        )
    return seen_together([plane], look, levels=levels, between=between)[0]


def seen_together(planes: Iterable[Plane], look: Look, *, levels: int, between: bool = False) -> list[Seen]:
    """Read planes that share one scale.

    Losses are spaced logarithmically and accuracies are not, unless asked for; accuracies get ten bands from 0 to 1, so
    that figures compare without being told to.

    Args:
        planes: the planes.
        look: what the caller was given.
        levels: number of levels where the caller was given none.
        between: something is drawn between the points, so that there must be two or more along each direction.

    Raises:
        LandscapeError: no such metric, too few points, unusable levels, or true distances that the directions do not have.
    """
    planes, metric, dataset = list(planes), look.get("metric", "loss"), look.get("dataset")
    values = [_values(plane, metric, dataset) for plane in planes]
    if between and (thin := [array.shape for array in values if min(array.shape) < 2]):
        raise LandscapeError(f"at least 2 × 2 points are needed, this plane has {thin[0]}; use heatmap")
    share, log, chosen = metric == "accuracy", look.get("log"), look.get("levels", levels)
    if share and isinstance(chosen, int):
        chosen = np.linspace(0.0, 1.0, 11)
    scale = scale_of(values, levels=chosen, limit=look.get("limit"), log=not share if log is None else log)
    return [
        Seen(
            values=array,
            scale=scale,
            window=window_of(plane, distances=look.get("distances", False)),
            masks=missing(array, plane.computed),
            label=f"{dataset or plane.dataset} {metric}",
            cmap=look.get("cmap", COLOURMAP),
            colourbar=look.get("colourbar", True) and bool(np.isfinite(array).any()),
            legend=look.get("legend", True),
        )
        for plane, array in zip(planes, values, strict=True)
    ]


def _values(plane: Plane, metric: str, dataset: str | None) -> np.ndarray:
    """Return the values (ny, nx) to draw, checked against the coordinates."""
    expect_result(plane, "a picture of a plane", Plane)
    try:
        values = np.asarray(plane.value(metric, dataset), dtype=float)
    except KeyError as error:
        raise LandscapeError(str(error.args[0])) from None
    if values.shape != (len(plane.y), len(plane.x)):
        raise LandscapeError(f"values of shape {values.shape}, expected (ny, nx) = {(len(plane.y), len(plane.x))}")
    return np.where(np.asarray(plane.computed, dtype=bool), values, np.nan)


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
    with canvas(ax, height=height + 0.5) as ax:
        ax.set(xlim=limits[:2], ylim=limits[2:], xlabel=window.labels[0], ylabel=window.labels[1])
        if window.distances:
            ax.set_aspect("equal")
        for spine in ax.spines.values():
            spine.set_visible(True)
        draw(ax, window, np.ma.masked_invalid(seen.values), seen.scale)
        for reason, mask in seen.masks.items():
            polygons = list(_polygons(window, mask, spread=not cells))
            ax.add_collection(
                PolyCollection(polygons, hatch=HATCHES[reason], zorder=0.5, label=reason, **HATCHED), autolim=False
            )
        if centre and window.holds_centre():
            outline = [patheffects.withStroke(linewidth=2.6, foreground="black")]
            ax.plot(0.0, 0.0, "+", color="white", markersize=6, markeredgewidth=1.2, zorder=4, label="centre",
                    path_effects=outline)  # fmt: skip
        if seen.colourbar:
            most = max(3, int(height / 0.13))  # as many labels as fit beside it
            add_colourbar(ax.figure, seen.scale, ax, label=seen.label, cmap=cmap, banded=not cells, most=most)
        if seen.legend:
            hatch_legend(ax, seen.masks, own=own)
    return ax


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


def _polygons(window: Window, mask: np.ndarray, *, spread: bool) -> Iterator[list[tuple[float, float]]]:
    """Yield what is hatched of points without a number: the cell around each.

    With ``spread`` it reaches to the neighbouring points, as contours leave out every square with a missing corner; the
    contours drawn above cover what is known.
    """
    X, Y = window.points() if spread else window.corners()
    top, right = X.shape[0] - 1, X.shape[1] - 1
    for j, i in np.argwhere(mask):
        rows = (max(j - 1, 0), min(j + 1, top)) if spread else (j, j + 1)
        columns = (max(i - 1, 0), min(i + 1, right)) if spread else (i, i + 1)
        yield [(X[at], Y[at]) for at in around(rows, columns)]


def around(rows: tuple[int, int], columns: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the indices of the corners of a rectangle of a grid, in order around it."""
    return [(rows[0], columns[0]), (rows[0], columns[1]), (rows[1], columns[1]), (rows[1], columns[0])]


def hatch_legend(ax: Axes, masks: Mapping[str, np.ndarray], *, own: bool) -> None:
    """Explain the hatches below a figure of ours, or in the corner of the caller's axes where most points are missing."""
    if not masks:
        return
    everything = np.logical_or.reduce(list(masks.values()))
    ny, nx = everything.shape
    shares = {
        f"{vertical} {horizontal}": everything[rows, columns].mean()
        for vertical, rows in (("upper", slice(ny // 2, None)), ("lower", slice(None, (ny + 1) // 2)))
        for horizontal, columns in (("left", slice(None, (nx + 1) // 2)), ("right", slice(nx // 2, None)))
    }
    legend(ax, hatch_handles(masks), own=own, loc=max(shares, key=lambda corner: shares[corner]))


def hatch_handles(reasons: Iterable[str]) -> list[Any]:
    """Return the legend's entries of the hatches, always in the same order."""
    wanted = set(reasons)
    return [Patch(hatch=pattern, label=reason, **HATCHED) for reason, pattern in HATCHES.items() if reason in wanted]
