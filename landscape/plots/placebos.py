"""How often the decision rule cries wolf, and how large a difference it sees."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from landscape.plots.style import GREY, MARKERS, SINGLE, canvas, colour
from landscape.results import Placebo


def placebo(result: Placebo, ax: Axes | None = None) -> Axes:
    """Draw the share of comparisons called different over the true ratio of the scores; at a ratio of 1, false alarms.

    Args:
        result: a placebo study.
        ax: where to draw; `None`: a new figure as wide as one column.

    Returns:
        The axes.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> found = Placebo(shifts=np.array([0.0, 0.3]), called=np.array([0.02, 0.9]), significant=np.array([[0.05, 0.95]]),
    ...     scores=("keskar",), recipe="sgd", seeds=16, arm=8, resamples=200, level=0.05)
    >>> placebo(found, Figure().add_subplot()).lines[0].get_xdata().round(2)
    array([1., 2.])
    """
    with canvas(ax, width=SINGLE, height=2.2) as ax:
        ratios = 10.0**result.shifts
        ax.plot(ratios, result.called, "o-", color="black", label="verdict: flatter or spikier", zorder=3)
        for index, (score, shares) in enumerate(zip(result.scores, result.significant, strict=True)):
            ax.plot(
                ratios, shares, marker=MARKERS[(index + 1) % len(MARKERS)], color=colour(index), label=f"{score} alone"
            )
        ax.axhline(result.level, color=GREY, linewidth=0.6, linestyle="--", label=f"level {result.level:g}")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.set(xlabel="true ratio of the scores", ylabel="called different", ylim=(-0.03, 1.03))
        ax.legend(fontsize="small")
    return ax
