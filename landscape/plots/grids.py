"""Checkpoints side by side, with one scale, one window and one camera for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

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
    asks_for_log,
    groups_of,
    has_accuracy,
    legend_handles,
    line,
)
from landscape.plots.planes import Look, contour, hatch_handles, heatmap, panel_height, seen_together
from landscape.plots.scales import add_colourbar
from landscape.plots.style import DOUBLE, SINGLE, check_panels, legend, panels, sheet
from landscape.plots.surfaces import surface
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
    with sheet(figure, **_size(len(planes), columns, height=height + 0.45)) as figure:
        axes = panels(figure, len(planes), columns, projection="3d" if three else None)
        for ax, (name, plane) in zip(axes, planes.items(), strict=True):
            common = {"levels": first.scale, "limit": None, "colourbar": False, "legend": False}
            _DRAW[kind](plane, ax, **{**options, **common})
            ax.set(title=name, xlim=(left, right), ylim=(bottom, top))
            if three:
                ax.set_zlabel("")  # type: ignore[attr-defined]  # the colour bar says it
        if not three:
            _outer_labels(axes, columns)
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
        columns: panels in a row.
        metric: the metric drawn.
        accuracy: add a row below with accuracies in per cent; `None`: where there are any.
        band: as in `line`.
        log: logarithmic values; `None`: where those of all panels are positive and together span a decade or more.
        limit: the largest value shown.

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
    check_panels("lines", len(lines), columns)
    groups = groups_of(lines)
    own = figure is None
    log = asks_for_log(groups, metric) if log is None else log
    if accuracy is None:
        accuracy = metric != "accuracy" and any(map(has_accuracy, groups.values()))
    with sheet(figure, **_size(len(groups), columns, height=2.4 if accuracy else 1.9)) as figure:
        axes = panels(figure, len(groups), columns, heights=HEIGHTS if accuracy else (1,))
        for ax, (name, members) in zip(axes, groups.items(), strict=True):
            line(members, ax, metric=metric, accuracy=False, band=band, log=log, limit=limit, legend=False)
            ax.set_title(name)
        below = [figure.add_subplot(_under(ax), sharex=ax) for ax in axes if accuracy]
        for ax, under, members in zip(axes, below, groups.values(), strict=False):
            accuracies(ax, under, members, band)
        bottom, top = zip(*(ax.get_ylim() for ax in axes), strict=True)
        left, right = zip(*(ax.get_xlim() for ax in axes), strict=True)
        for ax in axes:
            ax.set(xlim=(min(left), max(right)), ylim=(min(bottom), max(top)))
        legend(axes[0], legend_handles(groups, metric, band, named=False), own=own, columns=4)
        _outer_labels(axes, columns)
        _outer_labels(below, columns)
    return figure


def _size(count: int, columns: int, *, height: float) -> dict[str, float]:
    width = DOUBLE if min(count, columns) > 1 else SINGLE
    return {"width": width, "height": height * math.ceil(count / columns) + 0.15}


def _under(ax: Axes) -> SubplotSpec:
    place = ax.get_subplotspec()
    assert place is not None
    return place.get_gridspec()[place.rowspan.start + 1, place.colspan.start]


def _outer_labels(axes: list[Axes], columns: int) -> None:
    """Keep the labels and numbers of the outer axes only: the inner ones are the same."""
    across = max(1, min(len(axes), columns))
    for index, ax in enumerate(axes):
        if index % across:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        if index + across < len(axes):
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
