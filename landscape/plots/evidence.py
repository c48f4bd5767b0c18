"""The board of scores as a figure: what each knows, with the interval, beside what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from landscape.errors import LandscapeError
from landscape.plots.style import DOUBLE, GREY, PALETTE, legend_outside, sheet
from landscape.results.evidence import DESIGN, NO, UNJUDGED, YES, Evidence, Judged

COLOURS = {YES: PALETTE[1], DESIGN: PALETTE[0], NO: GREY, UNJUDGED: "black"}
_PANELS = {
    "psi": "one factor at a time, Ψ",
    "tau": "over cells, τ",
    "within": "between seeds of a cell, ρ",
}


def evidence(
    result: Evidence, figure: Figure | SubFigure | None = None, *, most: int | None = None
) -> Figure | SubFigure:
    """Draw a line per score, best Ψ first: Ψ, τ over cells and ρ within cells, with 95 % intervals.

    Colours are verdicts; open markers are controls, in the direction that suits them.

    Args:
        result: the board.
        figure: where to draw; `None`: a new figure as wide as two columns.
        most: scores shown, from the top; `None`: all.

    Returns:
        The figure.

    Raises:
        LandscapeError: no score was judged.

    >>> one = Judged(score="trace", place=1, verdict="no", psi=0.5, psi_low=0.4, psi_high=0.6)
    >>> len(evidence(Evidence(rows=(one,)), Figure()).axes)
    3
    """
    rows = [row for row in result.rows if row.place][:most]
    if not rows:
        raise LandscapeError("no score was judged; there is nothing to draw")
    own = figure is None
    with sheet(figure, width=DOUBLE, height=0.5 + 0.135 * len(rows)) as figure:
        axes = figure.subplots(1, 3, sharey=True)
        for ax, (name, title) in zip(axes, _PANELS.items(), strict=True):
            _panel(ax, rows, name)
            ax.set_title(title)
        axes[0].set_yticks(range(len(rows)), [row.score for row in rows], fontsize=6.5)
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        said = {row.verdict for row in rows}
        handles = [
            Line2D([], [], color=colour, marker="o", linewidth=1.0, label=verdict)
            for verdict, colour in COLOURS.items()
            if verdict in said
        ]
        handles.append(Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="", label="control"))
        if own:
            legend_outside(figure, handles, columns=4)
    return figure


def _panel(ax: Axes, rows: Sequence[Judged], name: str) -> None:
    ax.axvline(0, color="black", linewidth=0.5)
    for i in range(0, len(rows), 2):
        ax.axhspan(i - 0.5, i + 0.5, color="black", alpha=0.035, linewidth=0)
    for i, row in enumerate(rows):
        value, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
        if not np.isfinite(value):
            continue
        colour = COLOURS[row.verdict]
        ax.plot([low, high], [i, i], color=colour, linewidth=1.0, solid_capstyle="butt")
        face = "white" if row.control else colour
        ax.plot(value, i, "o", color=colour, markerfacecolor=face, markersize=3.2, markeredgewidth=0.9)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.4)
    ax.set_axisbelow(True)
