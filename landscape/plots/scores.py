"""Scores: of recipes over seeds, their differences with intervals, and what each knows over many models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from landscape.errors import LandscapeError
from landscape.plots.scales import spans
from landscape.plots.style import (
    DOUBLE,
    GREY,
    PALETTE,
    SINGLE,
    canvas,
    check_panels,
    colour,
    entry,
    legend,
    marker,
    panels,
    sheet,
)
from landscape.results.evidence import DESIGN, NO, UNJUDGED, YES, Evidence, Judged

VERDICTS = {YES: PALETTE[1], DESIGN: PALETTE[0], NO: GREY, UNJUDGED: "black"}
"""Their colours on the board."""


def scores(
    values: Mapping[str, Mapping[str, Sequence[float] | np.ndarray]],
    figure: Figure | SubFigure | None = None,
    *,
    columns: int = 4,
    log: bool | None = None,
    titles: Mapping[str, str] | None = None,
    join: bool = False,
) -> Figure | SubFigure:
    """Draw a small panel per score: a dot per seed, their median and range, for each recipe.

    Args:
        values: ``{score: {recipe: one value per seed}}``; NaN where not defined.
        columns: panels in a row.
        log: logarithmic axes; `None`: for each score whose values are all positive and span a factor of 3 or more.
        titles: names of the scores in words.
        join: join the i-th values of all recipes by a thin line: they are runs from the same initial weights.

    Raises:
        LandscapeError: no scores.

    >>> from matplotlib.figure import Figure
    >>> drawn = scores({"trace": {"sgd": [1.0, 2.0], "momentum": [3.0, 4.0]}}, Figure())
    >>> [tick.get_text() for tick in drawn.axes[0].get_xticklabels()]
    ['sgd', 'momentum']
    """
    check_panels("scores", len(values), columns)
    recipes = list(dict.fromkeys(recipe for by_recipe in values.values() for recipe in by_recipe))
    alone, own, across = len(values) == 1, figure is None, min(len(values), columns)
    width = DOUBLE if across > 2 else SINGLE * max(1.0, across / 1.5)
    height = (2.0 if alone else 1.25) * math.ceil(len(values) / across) + 0.1
    with sheet(figure, width=width, height=height) as figure:
        for ax, (score, by_recipe) in zip(panels(figure, len(values), columns), values.items(), strict=True):
            _seeds(ax, by_recipe, recipes, log, join=join)
            ax.set_title((titles or {}).get(score, score))
            if not alone:  # the legend says it once for all panels
                ax.tick_params(axis="x", bottom=False, labelbottom=False)
        if not alone:
            handles = [entry(name, color=colour(i), marker=marker(i), linewidth=1.2) for i, name in enumerate(recipes)]
            handles += [entry("same initial weights", color=GREY, linewidth=0.5)] if join else []
            legend(figure, handles, own=own, columns=5)
    return figure


def _seeds(ax: Axes, by_recipe: Mapping[str, Any], recipes: list[str], log: bool | None, *, join: bool) -> None:
    wide = max((len(seeds) for seeds in by_recipe.values()), default=0)
    every, at = np.full((len(recipes), wide), np.nan), np.full((len(recipes), wide), np.nan)
    for place, recipe in enumerate(recipes):
        given, tint = np.asarray(by_recipe.get(recipe, ()), dtype=float), colour(place)
        known = np.flatnonzero(np.isfinite(given))
        every[place, known] = seeds = given[known]
        if not seeds.size:
            ax.text(place, 0.5, "not defined", rotation=90, ha="center", va="center", color=GREY, fontsize=5.5,
                    transform=ax.get_xaxis_transform())  # fmt: skip
            continue
        at[place, known] = place + (np.linspace(-0.14, 0.14, seeds.size) if seeds.size > 1 else np.zeros(1))
        ax.plot([place, place], [seeds.min(), seeds.max()], color=tint, linewidth=5, alpha=0.25, solid_capstyle="butt")
        ax.plot([place - 0.24, place + 0.24], [np.median(seeds)] * 2, color=tint, linewidth=1.2)
        ax.plot(at[place, known], seeds, marker(place), color=tint, markersize=2.4, markeredgewidth=0)
    if join:
        ax.plot(at, every, color=GREY, linewidth=0.5, alpha=0.7, zorder=1, label="_pair")
    if spans(every) if log is None else log:
        ax.set_yscale("log")
    ax.set_xticks(range(len(recipes)), recipes)
    ax.set_xlim(-0.6, len(recipes) - 0.4)


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
    where that can be said of all scores; a control, of which it cannot, is named as one. Scores that the verdict rests on have
    filled markers.

    Args:
        tests: a comparison, or trials with effects; or rows with ``a``, ``b``, ``score`` or ``measure``, ``scale``,
            ``difference``, ``low``, ``high``, ``primary``.
        scale: draw the scores compared on this scale, ``log10`` or ``raw``: the two share no axis.
        margin: half-width of the margin on that scale; `None`: on ``log10``, the one that the comparison was made with.

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
    with canvas(ax, height=0.6 + 0.2 * len(names) + 0.13 * len(pairs)) as ax:
        for row in every:
            pair = pairs.index((row.a, row.b))
            place = names.index(_named(row)) + (pair - (len(pairs) - 1) / 2) * 0.6 / len(pairs)
            ax.plot([row.low, row.high], [place, place], color=colour(pair), linewidth=1.0)
            ax.plot(
                row.difference, place, marker(pair), color=colour(pair), markersize=3.5,
                markerfacecolor=colour(pair) if row.primary else "white",
            )  # fmt: skip
        ax.axvline(0, color=GREY, linewidth=0.6, zorder=0)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        right = "sharper" if all(map(_sharper, every)) else "larger"
        ax.set_xlabel(f"{'log₁₀ ratio' if scale == 'log10' else 'difference'} (right: {right})")
        handles: list[Any] = [
            entry(f"{b} against {a}", color=colour(i), marker=marker(i)) for i, (a, b) in enumerate(pairs)
        ]
        if not all(row.primary for row in every):
            handles.append(entry("not in the verdict", color=GREY, marker="o", markerfacecolor="white"))
        if margin:
            ax.axvspan(-margin, margin, color=GREY, alpha=0.25, linewidth=0, zorder=-1)
            handles.append(Patch(color=GREY, alpha=0.25, linewidth=0, label=f"margin of a tie, ± {margin:g}"))
        ax.locator_params(axis="x", nbins=5)
        legend(ax, handles, own=own, columns=2)
    return ax


def _named(row: Any) -> str:
    name = str(row.score if hasattr(row, "score") else row.measure)
    return name if _sharper(row) else f"{name} ({row.orientation})"


def _sharper(row: Any) -> bool:
    return getattr(row, "orientation", "higher is sharper") == "higher is sharper"


def evidence(
    result: Evidence, figure: Figure | SubFigure | None = None, *, most: int | None = None
) -> Figure | SubFigure:
    """Draw a line per score, best Ψ first: Ψ, τ over cells and ρ within cells, with 95 % intervals.

    Colours are verdicts; open markers are controls, in the direction that suits them.

    Args:
        result: the board.
        most: scores shown, from the top; `None`: all.

    Raises:
        LandscapeError: no score was judged.

    >>> one = Judged(score="trace", place=1, verdict="no", psi=0.5, psi_low=0.4, psi_high=0.6)
    >>> drawn = evidence(Evidence(rows=(one, one)), Figure(), most=1).axes
    >>> len(drawn), [tick.get_text() for tick in drawn[0].get_yticklabels()]
    (3, ['trace'])
    """
    rows = [row for row in result.rows if row.place][:most]
    if not rows:
        raise LandscapeError("no score was judged; there is nothing to draw")
    own = figure is None
    titles = {"psi": "one factor at a time, Ψ", "tau": "over cells, τ", "within": "between seeds of a cell, ρ"}
    with sheet(figure, width=DOUBLE, height=0.5 + 0.135 * len(rows)) as figure:
        axes = figure.subplots(1, 3, sharey=True)
        for ax, (name, title) in zip(axes, titles.items(), strict=True):
            _board(ax, rows, name)
            ax.set_title(title)
        axes[0].set_yticks(range(len(rows)), [row.score for row in rows], fontsize=6.5)
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        said = {row.verdict for row in rows}
        handles = [
            entry(verdict, color=tint, marker="o", linewidth=1.0)
            for verdict, tint in VERDICTS.items()
            if verdict in said
        ]
        handles.append(entry("control", color=GREY, marker="o", markerfacecolor="white", linestyle=""))
        if own:
            legend(figure, handles, own=own, columns=4)
    return figure


def _board(ax: Axes, rows: Sequence[Judged], name: str) -> None:
    ax.axvline(0, color="black", linewidth=0.5)
    for i in range(0, len(rows), 2):
        ax.axhspan(i - 0.5, i + 0.5, color="black", alpha=0.035, linewidth=0)
    for i, row in enumerate(rows):
        value, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
        if np.isfinite(value):
            tint = VERDICTS[row.verdict]
            ax.plot([low, high], [i, i], color=tint, linewidth=1.0, solid_capstyle="butt")
            face = "white" if row.control else tint
            ax.plot(value, i, "o", color=tint, markerfacecolor=face, markersize=3.2, markeredgewidth=0.9)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x", color=GREY, alpha=0.25, linewidth=0.4)
    ax.set_axisbelow(True)
