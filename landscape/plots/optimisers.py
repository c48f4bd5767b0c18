"""Sharpness by optimiser, raw and in units of what each optimiser can bear."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from landscape.plots.scales import plain_ticks, spans
from landscape.plots.style import DOUBLE, GREY, MARKERS, colour, legend_outside, sheet
from landscape.results.optimisers import Optimisers

COLUMNS = 3


def optimisers(result: Optimisers, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw the compared scores and the curvature relative to the threshold: a dot a run, a line the geometric mean.

    Args:
        result: networks that several optimisers trained to one loss.
        figure: where to draw; `None`: a new figure as wide as two columns.
    """
    scores = [row.score for row in result.comparison.tests if row.primary and row.b == result.recipes[1]]
    panels: dict[str, np.ndarray] = {
        name: np.stack(list(result.comparison.score(name).values())) for name in dict.fromkeys(scores)
    }
    panels |= {name: result.relative[name] for name in result.relative if "batch" not in name or "threshold" in name}
    lines = math.ceil(len(panels) / COLUMNS)
    with sheet(figure, width=DOUBLE, height=1.8 * lines) as figure:
        axes = list(figure.subplots(lines, COLUMNS, squeeze=False).flat)
        for ax, (name, values) in zip(axes, panels.items()):
            limit = 1.0 if "threshold" in name else math.nan
            ax.axhline(limit, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            _strip(ax, values)
            if spans(np.append(values, limit)):
                ax.set_yscale("log")
                plain_ticks(ax.yaxis)
            ax.set_ylabel(name)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        if isinstance(figure, Figure):
            legend_outside(
                figure,
                [
                    Line2D([], [], linestyle="", color=colour(i), marker=MARKERS[i % len(MARKERS)], label=name)
                    for i, name in enumerate(result.long_names)
                ],
                columns=1,
            )
    return figure


def _strip(ax: Axes, values: np.ndarray) -> None:
    """Dots of every run side by side, (recipe, seed), and a bar at their geometric mean where they are positive."""
    for i, row in enumerate(values):
        known = row[np.isfinite(row)]
        if not known.size:
            continue
        spread = np.linspace(-0.2, 0.2, len(known))
        ax.plot(i + spread, known, MARKERS[i % len(MARKERS)], color=colour(i), markersize=2.5, alpha=0.7)
        centre = np.exp(np.log(known).mean()) if (known > 0).all() else known.mean()
        ax.plot([i - 0.3, i + 0.3], [centre, centre], color=colour(i))
    ax.set_xticks([])
    ax.set_xlim(-0.6, len(values) - 0.4)
