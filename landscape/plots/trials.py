"""Trials as panels: a measure of every run over a factor or another measure, coloured by a third; curves of every run."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import takewhile
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from landscape.errors import LandscapeError
from landscape.plots.scales import spans
from landscape.plots.scores import effects
from landscape.plots.studies import architecture, guess_and_check
from landscape.plots.style import DASHES, DOUBLE, GREY, check_panels, colour, entry, legend, marker, sheet
from landscape.plots.style import panels as panels_on
from landscape.results.trials import Trials

OWN: dict[str, Callable[..., Any]] = {"architecture": architecture, "guess-and-check": guess_and_check}
"""Studies that have a figure of their own."""
_WIDE = 8.0  # the largest of a factor's levels over the smallest, from which its axis is logarithmic


@dataclass(frozen=True, kw_only=True)
class View:
    """What `trials` draws, by its options and the study's own view; ``effects``: the study's effects instead."""

    x: str = ""
    y: str | Sequence[str | Sequence[str]] = ()
    hue: str = ""
    panels: str = ""
    join: str = ""
    where: Mapping[str, Any] = field(default_factory=dict)
    level: Mapping[str, float] = field(default_factory=dict)
    margin: Mapping[str, float] = field(default_factory=dict)
    limit: float | None = None
    effects: bool = False

    @property
    def entries(self) -> list[list[str]]:
        """The measures of each panel."""
        asked = [self.y] if isinstance(self.y, str) else self.y
        return [[names] if isinstance(names, str) else list(names) for names in asked if names]


def trials(
    result: Trials,
    figure: Figure | SubFigure | None = None,
    *,
    x: str | None = None,
    y: str | Sequence[str | Sequence[str]] | None = None,
    hue: str | None = None,
    panels: str | None = None,
    join: str | None = None,
    where: Mapping[str, Any] | None = None,
    level: Mapping[str, float] | None = None,
    margin: Mapping[str, float] | None = None,
    limit: float | None = None,
    columns: int = 3,
) -> Figure | SubFigure:
    """Draw measures of every run that met its target: dots are runs, lines and bars their means (geometric if positive).

    What is not given is taken from ``result.view``, which every study sets for its own figure.

    Args:
        result: trials.
        figure: where to draw; `None`: a new figure as wide as two columns.
        x: a factor or measure; for arrays, the array that they are drawn over, if it is not their coordinate.
        y: measures or arrays, one panel per entry; several in one entry share a panel in different dashes.
        hue: the factor that gives colours and markers.
        panels: a factor with one panel per level, instead of one per entry of `y`.
        join: runs that share this factor, such as the seed of their initial weights, are joined by grey lines.
        where: levels of factors, to draw a part of the runs only.
        level: by name of y, where to draw a dashed horizontal line.
        margin: by name of y, the half-width in log10 of a grey band around the mean of the first colour: that of a tie.
        limit: the largest value shown.
        columns: panels in a row.

    Raises:
        LandscapeError: there is nothing of such a name.
    """
    options = {
        "x": x, "y": y, "hue": hue, "panels": panels, "join": join, "where": where, "level": level, "margin": margin,
        "limit": limit,
    }  # fmt: skip
    asked = {name: value for name, value in options.items() if value is not None}
    if not asked and result.study in OWN:
        return OWN[result.study](result, figure)
    known = {one.name: result.view[one.name] for one in fields(View) if result.view.get(one.name) is not None}
    view = View(**{**known, **asked})
    if not asked and view.effects:
        with sheet(figure, width=DOUBLE / 1.6, height=0.6 + 0.19 * len(result.effects)) as figure:
            effects(result, figure.add_subplot())
        return figure
    result = result.where(**view.where)
    view = _completed(result, view)
    if view.panels:
        every, levels = [name for names in view.entries for name in names], result.levels(view.panels)
        label = _label(result, every)
        cells = [(result.where(**{view.panels: one}), every, label, _word(result, one)) for one in levels]
    else:
        cells = [(result, names, _label(result, names), "") for names in view.entries]
    check_panels("measures", len(cells), columns)
    across, own = min(columns, len(cells)), figure is None
    height = 1.8 * math.ceil(len(cells) / across) + 0.2
    with sheet(figure, width=DOUBLE if across > 1 else DOUBLE / 1.6, height=height) as figure:
        axes = panels_on(figure, len(cells), columns)
        for ax, (members, names, label, title) in zip(axes, cells, strict=True):
            _panel(ax, members, names, view, result)
            ax.set(ylabel=textwrap.fill(label, 23), title=title)
        legend(axes[0], _handles(result, view, max((names for _, names, *_ in cells), key=len)), own=own)
    return figure


def _completed(result: Trials, view: View) -> View:
    """Return what is drawn where the caller and the study do not say: the first factor, and all that are numbers."""
    free = [name for name in result.factors if name != "seed"]
    numbers = [name for name, values in result.measures.items() if values.dtype.kind in "iuf"]
    given = {one.name: getattr(view, one.name) for one in fields(view)}
    x = view.x or (free or list(result.factors) or [""])[0]
    view = View(**{**given, "x": x, "y": view.y or result.shown or numbers})
    known = {*result.factors, *result.measures, *result.arrays}
    wanted = [view.x, *(name for names in view.entries for name in names), view.hue, view.panels, view.join]
    unknown = [name for name in wanted if name and name not in known]
    if unknown or not any(view.entries):
        raise LandscapeError(f"no {', '.join(map(str, unknown)) or 'measure'} to draw; there are {', '.join(known)}")
    return view


def _suffix(names: Sequence[str]) -> str | None:
    """What several names of the form ``part/name`` have in common after the slash."""
    suffixes = {name.partition("/")[2] for name in names}
    return suffixes.pop() or None if len(suffixes) == 1 and len(names) > 1 else None


def _label(result: Trials, names: Sequence[str]) -> str:
    """What stands beside an axis that shows these names."""
    begin = takewhile(lambda words: len(set(words)) == 1, zip(*(name.split() for name in names), strict=False))
    return _named(result, _suffix(names) or " ".join(words[0] for words in begin) or names[0])


def _named(result: Trials, name: str) -> str:
    """A measure in words: those of the study, or ``train/loss`` as train loss."""
    return result.words.get(name, name.replace("/", " "))


def _word(result: Trials, level: Any) -> str:
    text = f"{level:g}" if isinstance(level, float) else str(level)
    return result.words.get(text, text)


def _panel(ax: Axes, members: Trials, names: Sequence[str], view: View, whole: Trials) -> None:
    if members.met.any():
        members = members.take(np.flatnonzero(members.met))
    hues: Sequence[Any] = whole.levels(view.hue) if view.hue else (None,)
    drawn: list[np.ndarray] = []
    pairs: dict[Any, list[tuple[float, float]]] = {}
    for dash, name in zip(DASHES, names):
        for index, one in enumerate(hues):
            chosen = np.ones(len(members), dtype=bool) if one is None else members[view.hue] == one
            if chosen.any() and members.met.any():
                arm = _Arm(members.take(np.flatnonzero(chosen)), dash, index, len(hues), pairs)
                drawn += _curves(ax, arm, name, view) if name in whole.arrays else _points(ax, arm, name, view, whole)
        width, first = view.margin.get(name), (drawn or [np.zeros(0)])[0]
        if width and first.size and (first > 0).all():
            edges = np.exp(np.log(first).mean()) * 10.0 ** np.array([-width, width])
            ax.axhspan(*edges, color=GREY, alpha=0.2, linewidth=0, zorder=-1)
            drawn.append(edges)
        mark = view.level.get(name)
        if mark is not None:
            ax.axhline(mark, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            drawn.append(np.array([mark]))
    for path in pairs.values():
        ax.plot(*zip(*path, strict=True), color=GREY, linewidth=0.5, alpha=0.7, zorder=1)
    if view.limit is not None:
        ax.set_ylim(0.0, view.limit)
    elif drawn and spans(np.concatenate([np.ravel(one) for one in drawn])):
        ax.set_yscale("log")
    else:
        ax.locator_params(axis="y", nbins=5)
    _x_axis(ax, whole, names, view)


def _x_axis(ax: Axes, whole: Trials, names: Sequence[str], view: View) -> None:
    x = view.x
    ax.set_xlabel(_named(whole, x))
    if names[0] in whole.arrays:
        if x not in whole.arrays:
            ax.set_xlabel(whole.words.get(f"{names[0]} over", ""))
    elif x in whole.factors:
        levels = whole.levels(x)
        if whole[x].dtype.kind not in "iuf":
            told = x == view.hue  # by the legend
            words = [textwrap.fill(_word(whole, one), max(8, 30 // len(levels))) for one in levels]
            ax.set_xticks([] if told else range(len(levels)), [] if told else words)
            ax.set_xlabel("")
            ax.set_xlim(-0.6, len(levels) - 0.4)
        elif min(levels) > 0 and max(levels) >= _WIDE * min(levels):
            ax.set_xscale("log")
            ax.set_xticks(levels, [_word(whole, one) for one in levels], rotation=45)
            ax.minorticks_off()


@dataclass(frozen=True)
class _Arm:
    """The runs of one colour and dash, and which of how many colours it is."""

    part: Trials
    dash: Any
    index: int
    hues: int
    pairs: dict[Any, list[tuple[float, float]]]
    """By what joins them, the places of dots that belong together."""


def _points(ax: Axes, arm: _Arm, name: str, view: View, whole: Trials) -> list[np.ndarray]:
    """Draw runs of one colour and dash: over numbers with a line of means, over text side by side with bars."""
    part, index, hues, tint, sign = arm.part, arm.index, arm.hues, colour(arm.index), marker(arm.index)
    values, x = np.asarray(part[name], dtype=float), view.x
    if x == view.hue:  # each colour has a place of its own
        index, hues = 0, 1
    if x in part.measures:
        for key in part.levels(view.join) if view.join else ():
            path = whole.where(**{view.join: key})
            path = path.take(np.flatnonzero(path.met)) if path.met.any() else path
            ax.plot(path[x], path[name], color=GREY, linewidth=0.5, zorder=0)
        ax.plot(part[x], values, sign, color=tint, markersize=3)
        return [values]
    text, solid = whole[x].dtype.kind not in "iuf", arm.dash == "-"
    places, centres = [], []
    for i, level in enumerate(whole.levels(x)):
        here = (part[x] == level) & np.isfinite(values)
        mine = values[here]
        if not mine.size:
            continue
        place = i + (index - (hues - 1) / 2) * 0.6 / hues if text else level
        centre = np.exp(np.log(mine).mean()) if (mine > 0).all() else mine.mean()
        if solid:
            spread = np.linspace(-0.12, 0.12, mine.size) / hues * (mine.size > 1) if text else 0.0
            across = place + np.zeros(mine.size) + spread
            ax.plot(across, mine, sign if text else ".", color=tint, markersize=2.5, alpha=0.7)
            for key, *dot in zip(part[view.join][here], across, mine, strict=True) if text and view.join else ():
                arm.pairs.setdefault((None if x == view.hue else level, key), []).append((dot[0], dot[1]))
        if text:
            ax.plot([place - 0.2 / hues, place + 0.2 / hues], [centre, centre], color=tint, linestyle=arm.dash)
        places.append(place)
        centres.append(centre)
    if not text and places:
        ax.plot(places, centres, marker=sign if solid else "", linewidth=1.0, color=tint, linestyle=arm.dash)
    return [values[np.isfinite(values)]]


def _curves(ax: Axes, arm: _Arm, name: str, view: View) -> list[np.ndarray]:
    """Draw one curve per run."""
    drawn, arrays, x = [], arm.part.arrays, view.x
    for i, curve in enumerate(arrays[name]):
        over = arrays[x][i] if x in arrays else arm.part.coordinates.get(name, np.arange(len(curve)))
        known = np.isfinite(curve)
        if known.any():
            ax.plot(over[known], curve[known], linewidth=0.8, color=colour(arm.index), linestyle=arm.dash)
            drawn.append(curve[known])
    return drawn


def _handles(result: Trials, view: View, names: Sequence[str]) -> list[Line2D]:
    handles, curves = [], all(name in result.arrays for name in names)
    for index, one in enumerate(result.levels(view.hue) if view.hue else ()):
        label = f"{_named(result, view.hue)} = {one:g}" if isinstance(one, int | float) else _word(result, one)
        line = "" if view.x in result.measures else "-"
        handles.append(entry(label, color=colour(index), marker="" if curves else marker(index), linestyle=line))
    if view.join:
        handles.append(entry(f"same {_named(result, view.join)}", color=GREY, linewidth=0.5))
    for width in sorted({width for width in view.margin.values() if width}):
        handles.append(entry(f"± {width:g} in log₁₀: the margin of a tie", color=GREY, alpha=0.2, linewidth=6))
    if len(names) > 1:
        parted = _suffix(names) is not None
        for dash, name in zip(DASHES, names):
            label = name.partition("/")[0] if parted else name
            handles.append(entry(result.words.get(label, label), color=GREY, linestyle=dash))
    return handles
