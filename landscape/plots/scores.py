"""Scores of recipes over seeds: panels of values, and differences with their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from landscape.errors import LandscapeError
from landscape.plots.scales import spans
from landscape.plots.style import DOUBLE, GREY, MARKERS, SINGLE, canvas, colour, legend_inside, legend_outside, sheet

Values = Mapping[str, Mapping[str, Sequence[float] | np.ndarray]]
Intervals = Mapping[str, Mapping[str, tuple[float, float]]]


def scores(
    values: Values,
    figure: Figure | SubFigure | None = None,
    *,
    intervals: Intervals | None = None,
    columns: int = 4,
    log: bool | None = None,
    titles: Mapping[str, str] | None = None,
    join: bool = False,
) -> Figure | SubFigure:
    """Draw a small panel for each score: one dot a seed, and the median, for each recipe.

    Args:
        values: ``{score: {recipe: one value a seed}}``; NaN where not defined.
        figure: where to draw; `None`: a new figure, two columns wide when there are several scores.
        intervals: ``{score: {recipe: (low, high)}}`` drawn as bars behind the dots; `None`: from the smallest to the largest.
        columns: panels in a row.
        log: logarithmic axes; `None`: for each score whose values are all positive and span a factor of 3 or more.
        titles: names of the scores in words.
        join: join the i-th values of all recipes by a thin line: they are runs from the same initial weights.

    Returns:
        The figure.

    Raises:
        LandscapeError: no scores.

    >>> from matplotlib.figure import Figure
    >>> drawn = scores({"trace": {"sgd": [1.0, 2.0], "momentum": [3.0, 4.0]}}, Figure())
    >>> [tick.get_text() for tick in drawn.axes[0].get_xticklabels()]
    ['sgd', 'momentum']
    """
    if not values or columns < 1:
        raise LandscapeError("no scores to draw; give at least one, and at least one column")
    across = min(len(values), columns)
    rows = math.ceil(len(values) / across)
    recipes = list(dict.fromkeys(recipe for by_recipe in values.values() for recipe in by_recipe))
    alone, own = len(values) == 1, figure is None
    width = DOUBLE if across > 2 else SINGLE * max(1.0, across / 1.5)
    with sheet(figure, width=width, height=(2.0 if alone else 1.25) * rows + 0.1) as figure:
        for index, (score, by_recipe) in enumerate(values.items()):
            ax = figure.add_subplot(rows, across, index + 1)
            _panel(ax, by_recipe, recipes, (intervals or {}).get(score, {}), log, join=join)
            ax.set_title((titles or {}).get(score, score))
            if not alone:  # the legend says it once for all panels
                ax.tick_params(axis="x", bottom=False, labelbottom=False)
        if not alone:
            handles = [
                Line2D([], [], color=colour(i), marker=MARKERS[i % len(MARKERS)], linewidth=1.2, label=recipe)
                for i, recipe in enumerate(recipes)
            ]
            if join:
                handles.append(Line2D([], [], color=GREY, linewidth=0.5, label="same initial weights"))
            if own:
                legend_outside(figure, handles, columns=5)
            else:
                figure.legend(handles=handles, loc="lower center", ncols=5)
    return figure


def comparison(result: Any, figure: Figure | SubFigure | None = None, **options: Any) -> Figure | SubFigure:
    """Draw the scores of a comparison, one panel per score; the options are those of `scores`.

    Scores without a single finite value are left out, and so are controls that are among the metrics already. Where nothing was
    scored, because gates failed, the metrics are drawn, which show why.

    Raises:
        LandscapeError: there is neither a score with a value nor a metric.
    """
    names = dict(zip(result.recipes, result.long_names, strict=True))
    marked = {score: f"{score} (not converged)" for score in result.unconverged}
    values = {score: {names[recipe]: found for recipe, found in result.score(score).items()} for score in result.scores}
    defined = {
        score: found
        for score, found in values.items()
        if f"train/{score}" not in result.metrics and any(np.isfinite(seeds).any() for seeds in found.values())
    }
    if not defined:
        defined = {metric: dict(zip(result.long_names, seeds, strict=True)) for metric, seeds in result.metrics.items()}
    return scores(defined, figure, **{"titles": marked, **options})


def effects(tests: Any, ax: Axes | None = None, *, scale: str = "log10", margin: float | None = None) -> Axes:
    """Draw the differences between recipes with their 95 % intervals, one row per score, over the margin of a tie.

    An interval inside the shaded margin is a difference that was declared too small to matter. To the right is sharper,
    where that can be said of all scores; a control, of which it cannot, is named as one.

    Args:
        tests: a comparison, or trials with effects; or rows with ``a``, ``b``, ``score`` or ``measure``, ``scale``,
            ``difference``, ``low``, ``high``, ``primary``.
        ax: where to draw; `None`: a new figure as wide as one column.
        scale: draw the scores compared on this scale, ``log10`` or ``raw``: the two share no axis.
        margin: half-width of the margin on that scale; `None`: on ``log10``, the one that the comparison was made with.

    Returns:
        The axes. Scores that the verdict rests on have filled markers.

    Raises:
        LandscapeError: no score was compared on that scale.
    """
    rows = getattr(tests, "tests", None) or getattr(tests, "effects", tests)
    every = [row for row in rows if row.scale == scale and math.isfinite(row.difference)]
    if not every:
        raise LandscapeError(f"no score was compared on the scale {scale!r}; try scale='raw' or scale='log10'")
    if margin is None and scale == "log10":
        margin = getattr(tests, "provenance", {}).get("margin")
    names = list(dict.fromkeys(map(_named, every)))
    pairs = list(dict.fromkeys((row.a, row.b) for row in every))
    own = ax is None
    with canvas(ax, width=SINGLE, height=0.6 + 0.2 * len(names) + 0.13 * len(pairs)) as ax:
        for row in every:
            pair = pairs.index((row.a, row.b))
            place = names.index(_named(row)) + (pair - (len(pairs) - 1) / 2) * 0.6 / len(pairs)
            ax.plot([row.low, row.high], [place, place], color=colour(pair), linewidth=1.0)
            ax.plot(
                row.difference, place, MARKERS[pair % len(MARKERS)], color=colour(pair), markersize=3.5,
                markerfacecolor=colour(pair) if row.primary else "white",
            )  # fmt: skip
        ax.axvline(0, color=GREY, linewidth=0.6, zorder=0)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        right = "sharper" if all(_sharper(row) for row in every) else "larger"
        ax.set_xlabel(f"{'log₁₀ ratio' if scale == 'log10' else 'difference'} (right: {right})")
        handles: list[Any] = [
            Line2D([], [], color=colour(i), marker=MARKERS[i % len(MARKERS)], label=f"{b} against {a}")
            for i, (a, b) in enumerate(pairs)
        ]
        if not all(row.primary for row in every):
            handles.append(Line2D([], [], color=GREY, marker="o", markerfacecolor="white", label="not in the verdict"))
        if margin:
            ax.axvspan(-margin, margin, color=GREY, alpha=0.25, linewidth=0, zorder=-1)
            handles.append(Patch(color=GREY, alpha=0.25, linewidth=0, label=f"margin of a tie, ± {margin:g}"))
        ax.locator_params(axis="x", nbins=5)
        if own:
            legend_outside(ax.figure, handles, columns=2)
        else:
            legend_inside(ax, handles)
    return ax


def _named(row: Any) -> str:
    name = str(row.score if hasattr(row, "score") else row.measure)
    return name if _sharper(row) else f"{name} ({row.orientation})"


def _sharper(row: Any) -> bool:
    return getattr(row, "orientation", "higher is sharper") == "higher is sharper"


def _panel(
    ax: Axes,
    by_recipe: Mapping[str, Any],
    recipes: list[str],
    bars: Mapping[str, tuple[float, float]],
    log: bool | None,
    *,
    join: bool,
) -> None:
    every: list[np.ndarray] = []
    at: list[np.ndarray] = []
    wide = max((len(seeds) for seeds in by_recipe.values()), default=0)
    for place, recipe in enumerate(recipes):
        row = np.full(wide, np.nan)
        given = np.asarray(by_recipe.get(recipe, ()), dtype=float)
        row[: len(given)] = np.where(np.isfinite(given), given, np.nan)
        known = np.isfinite(row)
        seeds = row[known]
        every.append(row)
        at.append(np.full(wide, float(place)))
        tint = colour(place)
        if seeds.size == 0:
            ax.text(place, 0.5, "not defined", rotation=90, ha="center", va="center", color=GREY, fontsize=5.5,
                    transform=ax.get_xaxis_transform())  # fmt: skip
            continue
        low, high = bars.get(recipe, (seeds.min(), seeds.max()))
        ax.plot([place, place], [low, high], color=tint, linewidth=5, alpha=0.25, solid_capstyle="butt")
        ax.plot([place - 0.24, place + 0.24], [np.median(seeds)] * 2, color=tint, linewidth=1.2)
        across = place + (np.linspace(-0.14, 0.14, seeds.size) if seeds.size > 1 else np.zeros(1))
        at[-1][known] = across
        ax.plot(across, seeds, MARKERS[place % len(MARKERS)], color=tint, markersize=2.4, markeredgewidth=0)
    if join:
        ax.plot(np.array(at), np.array(every), color=GREY, linewidth=0.5, alpha=0.7, zorder=1, label="_pair")
    if spans(np.concatenate(every)) if log is None else log:
        ax.set_yscale("log")
    ax.set_xticks(range(len(recipes)), recipes)
    ax.set_xlim(-0.6, len(recipes) - 0.4)
