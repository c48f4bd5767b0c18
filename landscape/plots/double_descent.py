"""Error and sharpness along the width of a network."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from landscape.plots.style import DOUBLE, GREY, MARKERS, PALETTE, colour, legend_inside, sheet
from landscape.results.double_descent import DoubleDescent


def double_descent(result: DoubleDescent, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw training and test error over the width, and beside them the scores relative to their largest value.

    Dots are networks, lines their means; the dashed line is the smallest width that fits the training data.

    Args:
        result: errors and scores over the width.
        figure: where to draw; `None`: a new figure as wide as two columns.

    Returns:
        The figure, with one panel where no scores were measured.
    """
    with sheet(figure, width=DOUBLE if result.scores else DOUBLE / 2, height=2.4) as figure:
        panels = figure.subplots(1, 2 if result.scores else 1, squeeze=False)[0]
        for (name, label), shade in zip((("test_error", "test"), ("train_error", "training")), PALETTE):
            values = 100 * result.values(name)
            panels[0].plot(np.repeat(result.widths, values.shape[1]), values.ravel(), ".", color=shade, markersize=3)
            panels[0].plot(result.widths, np.nanmean(values, axis=1), color=shade, label=label)
        panels[0].set_ylabel("error (%)")
        panels[0].set_ylim(bottom=0.0)
        for i, name in enumerate(result.scores):
            mean = result.mean(name)
            marker = MARKERS[i % len(MARKERS)]
            panels[1].plot(result.widths, mean / np.nanmax(np.abs(mean)), marker=marker, color=colour(i), label=name)
        for ax in panels:
            _width_axis(ax, result)
        if result.scores:
            panels[1].set_ylabel("score / its largest mean")
            panels[1].set_yscale("log")
    return figure


def _width_axis(ax: Axes, result: DoubleDescent) -> None:
    ax.set_xscale("log")
    ax.set_xticks(result.widths, [str(width) for width in result.widths], rotation=45)
    ax.minorticks_off()
    ax.set_xlabel("hidden units a layer")
    if result.interpolation is not None:
        ax.axvline(result.interpolation, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    legend_inside(ax, ax.get_legend_handles_labels()[0])
