"""Sharpness during training, in units of the optimiser's stability threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from landscape.plots.style import DOUBLE, GREY, colour, legend_outside, sheet
from landscape.results.edge_of_stability import EdgeOfStability

_COLUMNS = 3
_RULES = ("sgd", "heavy ball", "nesterov", "adam")


def edge_of_stability(
    result: EdgeOfStability, figure: Figure | SubFigure | None = None, *, limit: float = 1.6
) -> Figure | SubFigure:
    """Draw curvature over threshold against the step, a panel a rule; 1 is the edge of stability.

    Args:
        result: runs with their curves.
        figure: where to draw; `None`: a new figure as wide as two columns.
        limit: the largest ratio shown.

    Returns:
        The figure: a panel each for gradient descent, heavy ball, Nesterov, Adam and SGD, as far as they were run.
    """
    groups = _groups(result)
    problems = list(dict.fromkeys(run.problem for run in result.runs))
    columns = min(_COLUMNS, max(1, len(groups)))
    lines = max(1, math.ceil(len(groups) / columns))
    own = figure is None
    with sheet(figure, width=DOUBLE, height=0.4 + 1.6 * lines) as figure:
        panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for panel in panels.flat[len(groups) :]:
            panel.remove()
        for (title, members), ax in zip(groups.items(), panels.flat):
            _draw(ax, result, members, problems, limit)
            ax.set_title(title)
            ax.set_xlabel("step")
        for row in panels:
            row[0].set_ylabel("curvature / threshold")
        handles = [Line2D([], [], color=colour(i), label=name) for i, name in enumerate(problems)]
        if any(run.batch_size < run.examples for run in result.runs):
            handles.append(Line2D([], [], color="black", linestyle=":", label="batch sharpness"))
        if own:
            legend_outside(figure, handles)
        else:
            panels[0, 0].legend(handles=handles)
    return figure


def _groups(result: EdgeOfStability) -> dict[str, list[int]]:
    names = {"sgd": "gradient descent", "heavy ball": "heavy ball", "nesterov": "Nesterov", "adam": "Adam"}
    groups: dict[str, list[int]] = {}
    for full in (True, False):
        for rule in _RULES:
            for i, run in enumerate(result.runs):
                if run.rule == rule and (run.batch_size >= run.examples) == full:
                    title = names[rule] if full else ("SGD" if rule == "sgd" else f"{names[rule]}, minibatches")
                    groups.setdefault(title, []).append(i)
    return groups


def _draw(ax: Axes, result: EdgeOfStability, members: list[int], problems: list[str], limit: float) -> None:
    options: dict[str, Any] = {"linewidth": 0.8}
    for i in members:
        chosen = colour(problems.index(result.runs[i].problem))
        ax.plot(result.step[i], result.ratio[i], color=chosen, **options)
        if np.isfinite(result.batch_ratio[i]).any():
            ax.plot(result.step[i], result.batch_ratio[i], color=chosen, linestyle=":", **options)
    ax.axhline(1.0, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    ax.set_ylim(0.0, limit)
    ax.tick_params(axis="x", labelrotation=30)
