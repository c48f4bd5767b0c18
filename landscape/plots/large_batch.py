"""Sharpness of networks trained with small and with large batches."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure, SubFigure

from landscape.plots.style import DOUBLE, PALETTE, legend_inside, sheet
from landscape.results.large_batch import MATCHINGS, LargeBatch


def large_batch(result: LargeBatch, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw every score of every network, small beside large batches, a panel a matching; short lines are means.

    Args:
        result: networks and scores.
        figure: where to draw; `None`: a new figure as wide as two columns.

    Returns:
        The figure, with a panel a matching.
    """
    with sheet(figure, width=DOUBLE, height=2.6) as figure:
        panels = figure.subplots(1, max(1, len(result.matchings)), squeeze=False, sharey=True)[0]
        for ax, matching in zip(panels, result.matchings):
            for i, score in enumerate(result.scores):
                for batch, shift, shade in (("small", -0.15, PALETTE[0]), ("large", 0.15, PALETTE[1])):
                    values = result.values(score, matching, batch)
                    if len(values):
                        label = f"{batch} batch" if i == 0 else None
                        ax.plot(np.full(len(values), i + shift), values, "o", color=shade, markersize=3, label=label)
                        ax.plot([i + shift - 0.1, i + shift + 0.1], [values.mean()] * 2, color=shade)
            ax.set_title(MATCHINGS[matching])
            ax.set_xticks(range(len(result.scores)), list(result.scores), rotation=20, ha="right")
            ax.set_yscale("log")
        panels[0].set_ylabel("score (higher is sharper)")
        legend_inside(panels[0], panels[0].get_legend_handles_labels()[0])
    return figure
