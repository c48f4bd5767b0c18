"""Checkpoints side by side, with one scale, one window and one camera for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import SubplotSpec

from landscape.errors import LandscapeError
from landscape.plots.lines import (
    HEIGHTS,
    Band,
    Lines,
    accuracies,
    groups_of,
    has_accuracy,
    legend_handles,
    line,
    logarithmic,
)
from landscape.plots.planes import contour, heatmap, label_of, panel_height, scaled
from landscape.plots.scales import add_colourbar
from landscape.plots.style import COLOURMAP, DOUBLE, SINGLE, legend_inside, legend_outside, sheet
from landscape.plots.surfaces import surface
from landscape.plots.windows import hatch_handles, missing, window_of
from landscape.results import Plane, Volume

_DRAW: dict[str, Callable[..., Axes]] = {"contour": contour, "heatmap": heatmap, "surface": surface}


def grid(
    planes: Mapping[str, Plane],
    figure: Figure | SubFigure | None = None,
    *,
    kind: str = "contour",
    columns: int = 3,
    **options: Any,
) -> Figure | SubFigure:
    """Draw planes of several checkpoints side by side with shared levels, limits, colours and camera.

    Args:
        planes: by the name above each panel.
        figure: where to draw; `None`: a new figure, two columns wide when there are several planes.
        kind: ``contour``, ``heatmap`` or ``surface``.
        columns: panels in a row.
        **options: those of `contour`, `heatmap` or `surface`; ``levels`` and ``limit`` hold for all panels together.

    Returns:
        The figure: a panel for each plane, then one colour bar.

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
    _checked(len(planes), columns, "planes")
    if kind not in _DRAW:
        raise LandscapeError(f"kind={kind!r}; expected one of {', '.join(_DRAW)}")
    metric, dataset = options.get("metric", "loss"), options.get("dataset")
    given, limit = options.pop("levels", None), options.pop("limit", None)
    levels = (12 if kind == "contour" else 8) if given is None else given
    values, scale = scaled(planes.values(), metric, dataset, levels, limit, options.get("log"))
    distances, cmap = options.get("distances", False), options.get("cmap", COLOURMAP)
    windows = [window_of(plane, distances=distances) for plane in planes.values()]
    every = [window.limits(cells=kind == "heatmap") for window in windows]
    low, high = np.min(every, axis=0), np.max(every, axis=0)
    limits = (low[0], high[1], low[2], high[3])
    three = kind == "surface"
    own, across = figure is None, min(len(planes), columns)
    height = 1.9 if three else panel_height(windows[0], limits, width=2.1 if across == 1 else 4.9 / across)
    with sheet(figure, **_size(len(planes), columns, height=height + 0.45)) as figure:
        panels = _panels(figure, len(planes), columns, projection="3d" if three else None)
        for ax, (name, plane) in zip(panels, planes.items(), strict=True):
            _DRAW[kind](plane, ax, **{**options, "levels": scale, "colourbar": False, "legend": False})
            ax.set_title(name)
            ax.set_xlim(limits[0], limits[1])
            ax.set_ylim(limits[2], limits[3])
            if three:
                ax.set_zlabel("")  # type: ignore[attr-defined]  # the colour bar says it
        if not three:
            _outer_labels(panels, columns)
        label = label_of(metric, dataset, next(iter(planes.values())))
        room = {"shrink": 0.7, "aspect": 15, "pad": 0.04} if three else {"aspect": 25, "pad": 0.02}
        most = max(4, int(height / 0.16))
        add_colourbar(figure, scale, panels, label=label, cmap=cmap, banded=kind == "contour", most=most, **room)
        reasons = {
            reason
            for one, plane in zip(values, planes.values(), strict=True)
            for reason in missing(one, plane.computed)
        }
        if own:
            legend_outside(figure, hatch_handles(reasons))
        elif reasons:
            figure.legend(handles=hatch_handles(reasons), loc="lower center", ncols=3)
    return figure


def volume(result: Volume, figure: Figure | SubFigure | None = None, **options: Any) -> Figure | SubFigure:
    """Draw the three planes of a volume that go through the point nearest the centre, on shared levels.

    Args:
        result: values (nz, ny, nx).
        figure: where to draw; `None`: a new figure, two columns wide.
        **options: passed on to `grid`: ``metric``, ``levels``, ``limit``, ``kind`` …

    Returns:
        The figure.

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


def lines_grid(
    lines: Mapping[str, Lines],
    figure: Figure | SubFigure | None = None,
    *,
    columns: int = 3,
    metric: str = "loss",
    accuracy: bool | None = None,
    band: Band = "range",
    log: bool | None = None,
    limit: float | None = None,
) -> Figure | SubFigure:
    """Draw lines of several checkpoints side by side with shared limits.

    Args:
        lines: one line or several (a band) by the name above each panel.
        figure: where to draw; `None`: a new figure, two columns wide when there are several panels.
        columns: panels in a row.
        metric: the metric drawn.
        accuracy: add a row below with accuracies in per cent; `None`: where there are any.
        band: as in `line`.
        log: logarithmic values; `None`: where those of all panels are positive and together span a decade or more.
        limit: the largest value shown.

    Returns:
        The figure.

    Raises:
        LandscapeError: no lines, or what `line` raises.

    >>> from matplotlib.figure import Figure
    >>> from landscape.results import Line
    >>> x = np.linspace(-1, 1, 5)
    >>> both = {name: Line(x=x, values={"train/loss": a * x**2}) for name, a in (("flat", 1.0), ("sharp", 9.0))}
    >>> a, b = lines_grid(both, Figure()).axes
    >>> a.get_ylim() == b.get_ylim()
    True
    """
    _checked(len(lines), columns, "lines")
    groups = groups_of(lines)
    own = figure is None
    log = logarithmic(groups, metric) if log is None else log
    held = metric != "accuracy" and any(has_accuracy(members) for members in groups.values())
    two = held if accuracy is None else accuracy
    with sheet(figure, **_size(len(groups), columns, height=2.4 if two else 1.9)) as figure:
        panels = _panels(figure, len(groups), columns, heights=HEIGHTS if two else (1,))
        for ax, (name, members) in zip(panels, groups.items(), strict=True):
            line(members, ax, metric=metric, accuracy=False, band=band, log=log, limit=limit, legend=False)
            ax.set_title(name)
        below = [figure.add_subplot(_under(ax), sharex=ax) for ax in panels if two]
        for ax, under, members in zip(panels, below, groups.values(), strict=False):
            accuracies(ax, under, members, band)
        low, high = zip(*(ax.get_ylim() for ax in panels), strict=True)
        left, right = zip(*(ax.get_xlim() for ax in panels), strict=True)
        for ax in panels:
            ax.set_ylim(min(low), max(high))
            ax.set_xlim(min(left), max(right))
        handles = legend_handles(groups, metric, band, named=False)
        if own:
            legend_outside(figure, handles, columns=4)
        else:
            legend_inside(panels[0], handles)
        _outer_labels(panels, columns)
        _outer_labels(below, columns)
    return figure


def _checked(count: int, columns: int, what: str) -> None:
    if not count:
        raise LandscapeError(f"no {what} to draw; give at least one by name")
    if columns < 1:
        raise LandscapeError(f"columns={columns}; at least one is needed")


def _size(count: int, columns: int, *, height: float) -> dict[str, float]:
    return {
        "width": DOUBLE if min(count, columns) > 1 else SINGLE,
        "height": height * math.ceil(count / columns) + 0.15,
    }


def _panels(
    figure: Figure | SubFigure,
    count: int,
    columns: int,
    projection: str | None = None,
    heights: Sequence[float] = (1,),
) -> list[Axes]:
    """Add the panels, each in the uppermost of as many rows as there are heights."""
    across = min(count, columns)
    rows = math.ceil(count / across)
    places = figure.add_gridspec(rows * len(heights), across, height_ratios=[*heights] * rows)
    return [
        figure.add_subplot(places[i // across * len(heights), i % across], projection=projection) for i in range(count)
    ]


def _under(ax: Axes) -> SubplotSpec:
    place = ax.get_subplotspec()
    assert place is not None
    return place.get_gridspec()[place.rowspan.start + 1, place.colspan.start]


def _outer_labels(panels: list[Axes], columns: int) -> None:
    """Keep the labels and numbers of the outer axes only: the inner ones are the same."""
    across = max(1, min(len(panels), columns))
    for index, ax in enumerate(panels):
        if index % across:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        if index + across < len(panels):
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
