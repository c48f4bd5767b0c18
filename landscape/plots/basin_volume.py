"""Basins of clean and poisoned training: their size against the test accuracy."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from landscape.plots.scales import plain_ticks
from landscape.plots.style import DOUBLE, GREY, MARKERS, PALETTE, legend_outside, sheet
from landscape.results.basin_volume import BasinVolume

PANELS = {
    "radius": "basin radius",
    "log10_volume": "log$_{10}$ volume",
    "log10_mass": "log$_{10}$ mass that predicts alike",
}


def basin_volume(result: BasinVolume, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw three measures of the basin against test accuracy, one point a network that met the target.

    Args:
        result: networks; lines join those of one seed.
        figure: where to draw; `None`: a new figure as wide as two columns.

    Returns:
        The figure: a panel a measure.
    """
    own = figure is None
    with sheet(figure, width=DOUBLE, height=2.1) as figure:
        for ax, (measure, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            _panel(ax, result, measure)
            ax.set_xlabel("test accuracy")
            ax.set_ylabel(label)
        if own:
            legend_outside(figure, _handles(result), columns=len(result.arms))
    return figure


def _panel(ax: Axes, result: BasinVolume, measure: str) -> None:
    seeds = dict.fromkeys(row.seed for row in result.rows)
    for seed in seeds:
        path = [row for row in result.rows if row.seed == seed and row.reached]
        ax.plot([row.test_accuracy for row in path], [getattr(row, measure) for row in path], color=GREY, linewidth=0.5)
    for index, poison in enumerate(result.arms):
        met = result.of(poison)
        values = np.array([getattr(row, measure) for row in met])
        ax.plot([row.test_accuracy for row in met], values, MARKERS[index], color=PALETTE[index])
    if measure == "radius":
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)


def _handles(result: BasinVolume) -> list[Line2D]:
    names = ["clean" if poison == 0 else f"{poison} poisoned points" for poison in result.arms]
    return [
        Line2D([], [], color=PALETTE[index], marker=MARKERS[index], linestyle="none", label=name)
        for index, name in enumerate(names)
    ]
