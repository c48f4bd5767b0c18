"""How the loss and its gradient change along the gradient during training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure, SubFigure

from landscape.plots.scales import plain_ticks
from landscape.plots.style import DOUBLE, colour, sheet
from landscape.results import Smoothness


def smoothness(
    results: Smoothness | Mapping[str, Smoothness], figure: Figure | SubFigure | None = None
) -> Figure | SubFigure:
    """Draw loss variation, change of the gradient, and effective smoothness over the points of a run, side by side.

    Bands reach from the smallest to the largest value over the step lengths (Santurkar et al. 2018, figure 4).

    Args:
        results: one run, or one a recipe.
        figure: where to draw; `None`: a new figure, two columns wide.

    Returns:
        The figure.

    >>> one = Smoothness(
    ...     eta=np.array([0.1, 0.2]), loss=np.ones((3, 2)), gradient_change=np.ones((3, 2)), gradient_norm=np.ones(3),
    ...     beta=np.ones(3),
    ... )
    >>> [ax.get_ylabel() for ax in smoothness(one, Figure()).axes]
    ['loss after the step', 'change of the gradient', 'effective smoothness β']
    """
    named = results if isinstance(results, Mapping) else {"": results}
    with sheet(figure, width=DOUBLE, height=2.0) as figure:
        variation, change, beta = figure.subplots(1, 3)
        for index, (name, one) in enumerate(named.items()):
            steps, tint = np.arange(len(one.beta)), colour(index)
            for ax, band in ((variation, one.loss_variation), (change, one.gradient_predictiveness)):
                ax.fill_between(steps, band[:, 0], band[:, 1], color=tint, alpha=0.3, linewidth=0)
                ax.plot(steps, band[:, 1], color=tint, linewidth=0.8, label=name or None)
            beta.plot(steps, one.beta, color=tint, label=name or None)
        labels = ("loss after the step", "change of the gradient", "effective smoothness β")
        for ax, label in zip((variation, change, beta), labels, strict=True):
            ax.set(xlabel="point of the run", ylabel=label)
            drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
            if (drawn > 0).all() and drawn.max() >= 30 * drawn.min():
                ax.set_yscale("log")
                plain_ticks(ax.yaxis)
        if any(named):
            variation.legend()
    return figure
