"""One bar per layer, or one dot on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from landscape.errors import LandscapeError
from landscape.plots.scales import spans
from landscape.plots.style import DOUBLE, GREY, MARKERS, SINGLE, canvas, colour, sheet
from landscape.results import Layers


def layers(
    values: Mapping[str, float] | Mapping[str, Mapping[str, float]],
    ax: Axes | None = None,
    *,
    errors: Mapping[str, float] | Mapping[str, Mapping[str, float]] | None = None,
    label: str = "value",
    log: bool | None = None,
) -> Axes:
    """Draw a horizontal bar per layer, the input's layer at the top, for one or several recipes.

    On a logarithmic axis, which has no zero for a bar to start from, values are dots.

    Args:
        values: ``{layer: value}``, or ``{recipe: {layer: value}}``.
        ax: where to draw; `None`: a new figure that grows with the number of layers.
        errors: standard errors in the same structure.
        label: of the axis: what is shown, with its unit.
        log: logarithmic axis; `None`: when all values are positive and span a factor of 30 or more.

    Returns:
        The axes.

    Raises:
        LandscapeError: nothing to draw, or a logarithmic axis for values that are not positive.

    >>> from matplotlib.figure import Figure
    >>> drawn = layers({"conv1": 3.0, "fc": 1.0}, Figure().add_subplot(), label="trace")
    >>> [tick.get_text() for tick in drawn.get_yticklabels()]
    ['conv1', 'fc']
    """
    groups = _groups(values)
    spread = _groups(errors) if errors else {}
    names = list(dict.fromkeys(layer for by_layer in groups.values() for layer in by_layer))
    if not names:
        raise LandscapeError("no layers to draw; give at least one value")
    every = np.array([value for by_layer in groups.values() for value in by_layer.values()], dtype=float)
    if log and not (every[np.isfinite(every)] > 0).all():
        raise LandscapeError("a logarithmic axis needs positive values, and some are not; use log=False")
    logarithmic = spans(every, 30) if log is None else log
    thickness = 0.8 / len(groups)
    with canvas(ax, width=SINGLE, height=0.7 + (0.1 + 0.11 * len(groups)) * len(names)) as ax:
        for index, (recipe, by_layer) in enumerate(groups.items()):
            places = np.arange(len(names)) + (index - (len(groups) - 1) / 2) * thickness
            widths = [by_layer.get(name, np.nan) for name in names]
            bars = [spread[recipe].get(name, np.nan) for name in names] if recipe in spread else None
            kind: dict[str, Any] = {"color": colour(index), "label": recipe or None}
            whiskers: dict[str, Any] = {"elinewidth": 0.7, "capsize": 1.2, "capthick": 0.6}
            if logarithmic:
                ax.errorbar(widths, places, xerr=bars, fmt=MARKERS[index % len(MARKERS)], **kind, **whiskers)
            else:
                ax.barh(places, widths, height=0.9 * thickness, xerr=bars, error_kw=whiskers, **kind)
        if logarithmic:
            ax.set_xscale("log")
            ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.4)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(label)
        if len(groups) > 1:
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, columnspacing=1.0)
    return ax


def by_layer(result: Layers, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw the largest eigenvalue, the trace and the share of the trace of every layer, side by side.

    Args:
        result: layers.
        figure: where to draw; `None`: a new figure, two columns wide.

    Returns:
        The figure.
    """
    panels = {
        "largest eigenvalue": ("lambda_max", "residual"),
        "trace": ("trace", "trace_error"),
        "share of the trace": ("share", "share_error"),
    }
    with sheet(figure, width=DOUBLE, height=0.8 + 0.21 * len(result.rows)) as figure:
        for place, (label, (value, error)) in enumerate(panels.items(), start=1):
            ax = layers(
                {row.name: getattr(row, value) for row in result.rows},
                figure.add_subplot(1, 3, place),
                errors={row.name: getattr(row, error) for row in result.rows},
                label=label,
            )
            if place > 1:
                ax.set_yticklabels([])
    return figure


def _groups(values: Mapping[str, float] | Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    nested = {recipe: dict(found) for recipe, found in values.items() if isinstance(found, Mapping)}
    return nested or {"": {layer: float(value) for layer, value in values.items() if not isinstance(value, Mapping)}}
