"""Lines: loss and accuracy along directions and paths, with bands over several of them; and checkpoints side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.gridspec import SubplotSpec
from matplotlib.patches import Patch
from mpl_toolkits.axes_grid1 import make_axes_locatable

from landscape.errors import LandscapeError
from landscape.plots.planes import HATCHED, HATCHES, direction_name
from landscape.plots.scales import logarithmic, spans
from landscape.plots.style import (
    DASHES,
    GREY,
    PALETTE,
    by_recipe,
    canvas,
    check_panels,
    colour,
    entry,
    outer_labels,
    panels,
    sheet,
    size_of,
)
from landscape.plots.style import legend as add_legend
from landscape.results import Line, Path

HEIGHTS = (5, 3)
"""Of a metric and of the accuracies below it."""
Lines = Line | Sequence[Line]
Band = str | tuple[float, float] | None


def line(
    results: Lines | Mapping[str, Lines],
    ax: Axes | None = None,
    *,
    metric: str = "loss",
    accuracy: bool | None = None,
    band: Band = "range",
    log: bool | None = None,
    limit: float | None = None,
    legend: bool = True,
) -> Axes:
    """Draw one line, a band over several directions, or several recipes over each other.

    Args:
        results: a line; a list of lines over the same x (directions or seeds: their centre and band); or
            such by recipe, each with its colour.
        metric: the metric drawn; the line's own data set solid, the others dashed.
        accuracy: add a panel below with accuracies in per cent; `None`: for a single recipe that has them.
        band: ``range`` (mean, and minimum to maximum), two quantiles such as ``(0.1, 0.9)`` (median, and between
            them), or `None` (mean only).
        log: logarithmic values; `None`: where all are positive and span a decade or more, since on a linear axis everything
            below a tenth of the largest loss would be one flat stretch.
        limit: the largest value shown.
        legend: add a legend.

    Returns:
        The axes of the metric; those below them, when there are any, are labelled ``accuracy`` in ``ax.figure.axes``, and
        both share the place of the axes given.

    Raises:
        LandscapeError: lines over different x, no such metric, a logarithm of values that are not positive, or
            accuracies of several recipes at once.

    >>> from matplotlib.figure import Figure
    >>> x = np.linspace(-1, 1, 5)
    >>> flat, sharp = (Line(x=x, values={"train/loss": a * x**2}) for a in (1.0, 9.0))
    >>> line([flat, sharp], Figure().add_subplot()).lines[0].get_ydata()
    array([5.  , 1.25, 0.  , 1.25, 5.  ])
    """
    groups = groups_of(results)
    first = next(iter(groups.values()))
    several = isinstance(results, Mapping) and len(groups) > 1
    if several and accuracy:
        raise LandscapeError("accuracies of several recipes in one panel cannot be read; use lines_grid")
    below = not several and metric != "accuracy" and has_accuracy(first) if accuracy is None else accuracy
    own = ax is None
    with canvas(ax, height=2.9 if below else 2.2) as ax:
        for index, (name, lines) in enumerate(groups.items()):
            _draw(ax, lines, metric, band, colour(index) if several else PALETTE[0], name if several else None)
        _axes(ax, first[0], metric, asks_for_log(groups, metric) if log is None else log, limit)
        if below:
            accuracies(ax, _below(ax), first, band)
        if legend:
            add_legend(ax, legend_handles(groups, metric, band, named=several), own=own)
    return ax


def asks_for_log(groups: Mapping[str, Sequence[Line]], metric: str) -> bool:
    """Return whether the values of all lines together ask for a logarithmic axis: positive, and a decade or more apart."""
    found = [
        np.ravel(values)
        for lines in groups.values()
        for one in lines
        for key, values in one.values.items()
        if key.endswith(f"/{metric}")
    ]
    return metric != "accuracy" and bool(found) and spans(np.concatenate(found), 10.0)


def has_accuracy(lines: Sequence[Line]) -> bool:
    """Return whether there are accuracies to draw."""
    return any(key.endswith("/accuracy") for key in lines[0].values)


def groups_of(results: Lines | Mapping[str, Lines]) -> dict[str, list[Line]]:
    """Return lists of lines by recipe, each over one common x.

    Raises:
        LandscapeError: nothing to draw, or lines over different x.
    """
    groups = by_recipe(results, Line, "lines")
    for name, lines in groups.items():
        if any(not np.array_equal(lines[0].x, other.x) for other in lines):
            of = f" of {name!r}" if name else ""
            raise LandscapeError(f"the lines{of} have different x; a band needs the same span and points")
    return groups


def spread(stack: np.ndarray, band: Band) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centre, lower and upper edge (x,) of values (line, x); NaN wherever a line is not finite.

    >>> centre, low, high = spread(np.array([[1.0, 2.0], [3.0, np.inf]]), "range")
    >>> centre, low, high
    (array([ 2., nan]), array([ 1., nan]), array([ 3., nan]))
    """
    known = np.isfinite(stack).all(axis=0)
    centre, low, high = (np.full(stack.shape[1], np.nan) for _ in range(3))
    values = stack[:, known]
    if isinstance(band, tuple):
        low[known], centre[known], high[known] = np.quantile(values, [band[0], 0.5, band[1]], axis=0)
    else:
        low[known], centre[known], high[known] = values.min(axis=0), values.mean(axis=0), values.max(axis=0)
    return centre, low, high


def _datasets(example: Line, metric: str) -> list[str]:
    found = [key.removesuffix(f"/{metric}") for key in example.values if key.endswith(f"/{metric}")]
    return sorted(found, key=lambda name: name != example.dataset)


def _draw(ax: Axes, lines: list[Line], metric: str, band: Band, tint: str, name: str | None) -> None:
    datasets = _datasets(lines[0], metric)
    if not datasets or any(f"{dataset}/{metric}" not in one.values for one in lines for dataset in datasets):
        held = ", ".join(sorted(lines[0].values))
        raise LandscapeError(f"not every line holds values of {metric!r}; the first one holds {held}")
    if (isinstance(band, str) and band != "range") or (isinstance(band, tuple) and not 0 <= band[0] < band[1] <= 1):
        raise LandscapeError(f"band={band!r}; expected 'range', two quantiles such as (0.1, 0.9), or None")
    x = np.asarray(lines[0].x, dtype=float)
    percent = 100.0 if metric == "accuracy" else 1.0
    known = np.ones(len(x), dtype=bool)
    for dataset, dash in zip(datasets, DASHES, strict=False):
        stack = percent * np.stack([np.asarray(one.values[f"{dataset}/{metric}"], dtype=float) for one in lines])
        centre, low, high = spread(stack, band)
        label = f"{name}, {dataset}" if name else dataset
        ax.plot(x, centre, dash, color=tint, label=label, zorder=3)
        if len(lines) > 1 and band is not None:
            ax.fill_between(x, low, high, color=tint, alpha=0.22 if dash == "-" else 0.12, linewidth=0, zorder=2)
        known &= np.isfinite(centre)
    _hatch(ax, x, ~known)


def _hatch(ax: Axes, x: np.ndarray, mask: np.ndarray) -> None:
    """Hatch the stretches of the axis where a line has no number."""
    padded = np.concatenate([[False], mask, [False]])
    starts, stops = np.flatnonzero(~padded[:-1] & padded[1:]), np.flatnonzero(padded[:-1] & ~padded[1:])
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        left, right = float(x[max(start - 1, 0)]), float(x[min(stop, len(x) - 1)])
        ax.axvspan(left, right, hatch=HATCHES["inf"], zorder=0, **HATCHED)


def _axes(ax: Axes, example: Line, metric: str, log: bool, limit: float | None) -> None:
    along = "position on the path" if isinstance(example, Path) else f"step along {direction_name(example.directions)}"
    ax.set(xlabel=along, ylabel=metric if metric != "accuracy" else "accuracy (%)")
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlim(float(np.min(example.x)), float(np.max(example.x)))
    values = np.concatenate([np.asarray(one.get_ydata(), dtype=float) for one in ax.lines])
    if logarithmic(values, log, 10.0):
        ax.set_yscale("log")
    elif metric != "accuracy" and np.isfinite(values).any() and np.nanmin(values) >= 0:
        ax.set_ylim(bottom=0)
    if limit is not None:
        ax.set_ylim(top=limit)


def _below(ax: Axes) -> Axes:
    """Split the place of some axes and return new ones over the same x in its lower part."""
    place = ax.get_subplotspec()
    if place is None:  # put somewhere by hand
        below: Axes = make_axes_locatable(ax).append_axes("bottom", "60%", pad=0.1, sharex=ax)
        return below
    parts = place.subgridspec(2, 1, height_ratios=HEIGHTS)
    ax.set_subplotspec(parts[0])
    return ax.figure.add_subplot(parts[1], sharex=ax)


def accuracies(ax: Axes, below: Axes, lines: list[Line], band: Band) -> None:
    """Draw accuracies in per cent below axes with another metric, which give them their label of x."""
    below.set_label("accuracy")
    _draw(below, lines, "accuracy", band, PALETTE[0], None)
    below.set(xlabel=ax.get_xlabel(), ylabel="accuracy (%)", ylim=(-2, 102), yticks=(0, 50, 100))
    ax.set_xlabel("")
    ax.tick_params(labelbottom=False)


def legend_handles(groups: Mapping[str, list[Line]], metric: str, band: Band, *, named: bool) -> list[Any]:
    """Return entries for the recipes' colours, the data sets' dashes, the band and the hatch."""
    every = [one for lines in groups.values() for one in lines]
    datasets = _datasets(every[0], metric)
    handles: list[Any] = [entry(name, color=colour(i)) for i, name in enumerate(groups) if named]
    if len(datasets) > 1:
        handles += [entry(name, color="black", linestyle=dash) for name, dash in zip(datasets, DASHES, strict=False)]
    counts = sorted({len(lines) for lines in groups.values() if len(lines) > 1})
    if counts and band is not None:
        what = f"{100 * band[0]:g}–{100 * band[1]:g} %" if isinstance(band, tuple) else "min–max"
        handles.append(Patch(color=GREY, alpha=0.3, linewidth=0, label=f"{what} of {'/'.join(map(str, counts))} lines"))
    if not all(np.isfinite(one.values[f"{dataset}/{metric}"]).all() for one in every for dataset in datasets):
        handles.append(Patch(hatch=HATCHES["inf"], label="inf or NaN", **HATCHED))
    return handles


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
    with sheet(figure, **size_of(len(groups), columns, height=2.4 if accuracy else 1.9)) as figure:
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
        add_legend(axes[0], legend_handles(groups, metric, band, named=False), own=own, columns=4)
        outer_labels(axes, columns)
        outer_labels(below, columns)
    return figure


def _under(ax: Axes) -> SubplotSpec:
    place = ax.get_subplotspec()
    assert place is not None
    return place.get_gridspec()[place.rowspan.start + 1, place.colspan.start]
