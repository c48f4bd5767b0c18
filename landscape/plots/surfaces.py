"""Planes as surfaces in three dimensions; and several planes side by side, with one scale, one window and one camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Unpack, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LightSource
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from landscape.errors import LandscapeError
from landscape.plots.planes import (
    HATCHED,
    HATCHES,
    Look,
    Seen,
    around,
    contour,
    hatch_handles,
    hatch_legend,
    heatmap,
    panel_height,
    seen_of,
    seen_together,
)
from landscape.plots.scales import add_colourbar
from landscape.plots.style import canvas, check_panels, legend, outer_labels, panels, sheet, size_of
from landscape.results import Plane, Volume

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


_DRAW: dict[str, Callable[..., Axes]] = {"contour": contour, "heatmap": heatmap, "surface": surface}
"""What `grid` draws."""


def grid(
    planes: Mapping[str, Plane],
    figure: Figure | SubFigure | None = None,
    *,
    kind: str = "contour",
    columns: int = 3,
    **options: Any,
) -> Figure | SubFigure:
    """Draw planes of several checkpoints side by side with shared levels, limits, colours and camera, and one colour bar.

    Args:
        planes: by the name above each panel.
        kind: ``contour``, ``heatmap`` or ``surface``.
        columns: panels in a row.
        **options: those of `contour`, `heatmap` or `surface`; ``levels`` and ``limit`` hold for all panels together.

    Raises:
        LandscapeError: no planes, an unknown kind, or what the panels raise.

    >>> from matplotlib.figure import Figure
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowls = {
    ...     name: Plane(x=x, y=y, values={"train/loss": a * (x**2 + y[:, None] ** 2)}, computed=np.ones((7, 11)))
    ...     for name, a in (("flat", 1.0), ("sharp", 9.0))
    ... }
    >>> [ax.get_title() for ax in grid(bowls, Figure()).axes[:2]]
    ['flat', 'sharp']
    """
    if not isinstance(planes, Mapping):
        raise LandscapeError(f"planes are {type(planes).__name__}, expected planes by name: {{'sgd': plane}}")
    check_panels("planes", len(planes), columns)
    if kind not in _DRAW:
        raise LandscapeError(f"kind={kind!r}; expected one of {', '.join(_DRAW)}")
    seen = seen_together(planes.values(), cast(Look, options), levels=12 if kind == "contour" else 8)
    first, three = seen[0], kind == "surface"
    every = np.array([one.window.limits(cells=kind == "heatmap") for one in seen])
    (left, _, bottom, _), (_, right, _, top) = every.min(axis=0), every.max(axis=0)
    across = min(len(planes), columns)
    width = 2.1 if across == 1 else 4.9 / across
    height = 1.9 if three else panel_height(first.window, (left, right, bottom, top), width=width)
    own = figure is None
    with sheet(figure, **size_of(len(planes), columns, height=height + 0.45)) as figure:
        axes = panels(figure, len(planes), columns, projection="3d" if three else None)
        for ax, (name, plane) in zip(axes, planes.items(), strict=True):
            common = {"levels": first.scale, "limit": None, "colourbar": False, "legend": False}
            _DRAW[kind](plane, ax, **{**options, **common})
            ax.set(title=name, xlim=(left, right), ylim=(bottom, top))
            if three:
                ax.set_zlabel("")  # type: ignore[attr-defined]  # the colour bar says it
        if not three:
            outer_labels(axes, columns)
        room = {"shrink": 0.7, "aspect": 15, "pad": 0.04} if three else {"aspect": 25, "pad": 0.02}
        add_colourbar(
            figure, first.scale, axes, label=first.label, cmap=first.cmap, banded=kind == "contour",
            most=max(4, int(height / 0.16)), **room,
        )  # fmt: skip
        legend(figure, hatch_handles(reason for one in seen for reason in one.masks), own=own)
    return figure


def volume(result: Volume, figure: Figure | SubFigure | None = None, **options: Any) -> Figure | SubFigure:
    """Draw the three planes of a volume that go through the point nearest the centre, on shared levels.

    Args:
        result: values (nz, ny, nx).
        **options: passed on to `grid`: ``metric``, ``levels``, ``limit``, ``kind`` …

    >>> axis = np.linspace(-1, 1, 3)
    >>> values = axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2
    >>> found = Volume(x=axis, y=axis, z=axis, values={"train/loss": values}, computed=np.ones((3, 3, 3)))
    >>> [ax.get_title() for ax in volume(found, Figure()).axes[:3]]
    ['z = 0', 'y = 0', 'x = 0']
    """
    axes, planes = dict(reversed(result.axes.items())), {}
    for axis, (name, values) in enumerate(axes.items()):
        middle = int(np.abs(values).argmin())
        second, first = (other for other in axes if other != name)
        planes[f"{name} = {values[middle]:.3g}"] = Plane(
            x=axes[first],
            y=axes[second],
            values={key: np.take(value, middle, axis) for key, value in result.values.items()},
            computed=np.take(result.computed, middle, axis),
            dataset=result.dataset,
        )
    figure = grid(planes, figure, **options)
    for ax, name in zip(figure.axes, axes, strict=False):
        second, first = (other for other in axes if other != name)
        ax.set(xlabel=f"direction {'xyz'.index(first) + 1}", ylabel=f"direction {'xyz'.index(second) + 1}")
    return figure
