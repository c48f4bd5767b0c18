"""Randomised labels and inputs: learning curves, time to fit, test error and every score against the noise."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from landscape.plots.scales import plain_ticks, spans
from landscape.plots.style import DOUBLE, GREY, MARKERS, PALETTE, canvas, colour, legend_outside, sheet
from landscape.results.randomisation import TIME_TO_FIT, MemorisationTest, Randomisation
from landscape.results.randomisation_table import RandomisationTable

DASHES: dict[str, Literal["-", "--", ":"]] = {"own": "-", "label-free": "-", "clean": "--", "corrupted": ":"}
EVALUATIONS = {"own": "own labels", "clean": "clean part", "corrupted": "corrupted part"}
COLUMNS = 3


def randomisation(result: Randomisation, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw learning curves, time to fit, test error, and every score against the share of redrawn labels.

    Lines are means over seeds, dots single runs; horizontal marks at the right are the treatments of the inputs.

    Args:
        result: networks trained on randomised data.
        figure: where to draw; `None`: a new figure as wide as two columns.
    """
    names = list(dict.fromkeys(name.partition("/")[2] for name in result.scores))
    lines = math.ceil((len(names) + 3) / COLUMNS)
    with sheet(figure, width=DOUBLE, height=1.75 * lines) as figure:
        axes = list(figure.subplots(lines, COLUMNS, squeeze=False).flat)
        handles = _curves(axes[0], result)
        _against_noise(axes[1], result, result.lengths[TIME_TO_FIT], "steps to fit")
        _against_noise(axes[2], result, 100 * result.metrics["test/error"], "test error (%)", log=False)
        axes[2].axhline(100 * (1 - 1 / result.classes), color=GREY, linewidth=0.8, linestyle=":", zorder=0)
        for ax, name in zip(axes[3:], names):
            for evaluation, dash in DASHES.items():
                key = f"{evaluation}/{name}"
                if key in result.scores:
                    _against_noise(ax, result, result.values(key), name, dash=dash, inputs=evaluation != "corrupted")
        for ax in axes[3 + len(names) :]:
            ax.set_axis_off()
        if len(names) > 0:
            handles += [
                Line2D([], [], color=GREY, linestyle=DASHES[key], label=EVALUATIONS[key]) for key in EVALUATIONS
            ]
        if isinstance(figure, Figure):
            legend_outside(figure, handles)
    return figure


def _curves(ax: Axes, result: Randomisation) -> list[Line2D]:
    handles = []
    noise, chosen = result.noise_grid
    shades = {int(i): _shade(level) for level, i in zip(noise, chosen, strict=True)}
    others = [i for i in range(len(result.conditions)) if i not in shades]
    for i, row in enumerate(result.conditions):
        shade = shades.get(i) or colour(1 + others.index(i))
        loss = result.curves["train/loss"][i]
        known = np.isfinite(loss).all(axis=0)
        mean = np.exp(np.log(np.maximum(loss[:, known], 1e-12)).mean(axis=0))
        dash: Literal["-", "--"] = "-" if i in shades else "--"
        ax.plot(np.maximum(result.epochs[known], 0.7), mean, color=shade, linestyle=dash, linewidth=0.9)
        handles.append(Line2D([], [], color=shade, linestyle=dash, label=row.long_name))
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss (nats)")
    return handles


def _shade(level: float) -> tuple[float, float, float, float]:
    from matplotlib import colormaps

    return tuple(colormaps["viridis"](0.9 * level))  # type: ignore[return-value]


def _against_noise(
    ax: Axes,
    result: Randomisation,
    values: np.ndarray,
    label: str,
    *,
    log: bool = True,
    dash: str = "-",
    inputs: bool = True,
) -> None:
    noise, chosen = result.noise_grid
    _line(ax, noise, values[chosen], PALETTE[0], dash, dots=dash == "-")
    others = [i for i in range(len(result.conditions)) if i not in set(chosen.tolist())]
    for index, i in enumerate(others):
        if inputs and dash == "-" and np.isfinite(values[i]).any():
            ax.plot([1.1], [np.nanmean(values[i])], MARKERS[1 + index], color=colour(1 + index), clip_on=False)
    _noise_axis(ax, label, log=log)


def _line(
    ax: Axes, noise: np.ndarray, values: np.ndarray, shade: str, dash: str, *, dots: bool, marker: str = ""
) -> None:
    known = np.isfinite(values).any(axis=1)
    if not known.any():
        return
    table = values[known]
    positive = bool((table[np.isfinite(table)] > 0).all())
    mean = np.exp(np.nanmean(np.log(table), axis=1)) if positive else np.nanmean(table, axis=1)
    ax.plot(noise[known], mean, color=shade, linestyle=dash, marker=marker, linewidth=1.0)
    if dots:
        ax.plot(np.repeat(noise[known], table.shape[1]), table.ravel(), ".", color=shade, markersize=2, alpha=0.5)


def _noise_axis(ax: Axes, label: str, *, log: bool) -> None:
    """Name the axes, and make the vertical one logarithmic if what was drawn so far asks for it."""
    if log and spans(np.asarray(ax.dataLim.intervaly)):
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)
    ax.set_xlabel("share of labels redrawn, p")
    ax.set_ylabel(label)


def randomisation_table(
    result: RandomisationTable, figure: Figure | SubFigure | None = None, *, stage: str | None = None
) -> Figure | SubFigure:
    """Draw test error, time to fit, weight norm and the primary scores against the noise, one line a recipe.

    Scores on the clean part are dashed, on the corrupted part dotted.

    Args:
        result: the table.
        figure: where to draw; `None`: a new figure as wide as two columns.
        stage: where in training; `None`: the tightest loss.
    """
    at_loss = [name for name in result.stages if name.startswith("loss-")]
    stage = stage or (at_loss or list(result.stages))[-1]
    primary = list(dict.fromkeys(row.score for row in result.trends if row.primary))
    extra = [name for name in ("label-free/kl-radius", "own/weight-norm", "own/trace") if name in result.scores]
    panels = 2 + len(primary) + len(extra)
    with sheet(figure, width=DOUBLE, height=1.9 * math.ceil(panels / COLUMNS)) as figure:
        axes = list(figure.subplots(math.ceil(panels / COLUMNS), COLUMNS, squeeze=False).flat)
        for i, recipe in enumerate(result.recipes):
            shade, marker = colour(i), MARKERS[i % len(MARKERS)]
            error = 100 * result.metric("test/error", stage, recipe)
            _line(axes[0], result.noise, error, shade, "-", dots=True, marker=marker)
            _line(axes[1], result.noise, result.metric("step", stage, recipe), shade, "-", dots=True, marker=marker)
            for ax, name in zip(axes[2:], [*(f"own/{one}" for one in primary), *extra]):
                _line(ax, result.noise, result.values(name, stage, recipe), shade, "-", dots=True, marker=marker)
                for part in ("clean", "corrupted"):
                    other = f"{part}/{name.partition('/')[2]}"
                    if other in result.scores:
                        _line(ax, result.noise, result.values(other, stage, recipe), shade, DASHES[part], dots=False)
        _noise_axis(axes[0], "test error (%)", log=False)
        _noise_axis(axes[1], f"steps to {stage.replace('-', ' ')}", log=True)
        for ax, name in zip(axes[2:], [*primary, *(one.partition("/")[2] for one in extra)]):
            _noise_axis(ax, name, log=True)
        for ax in axes[panels:]:
            ax.set_axis_off()
        if isinstance(figure, Figure):
            handles = [
                Line2D([], [], color=colour(i), marker=MARKERS[i % len(MARKERS)], label=name)
                for i, name in enumerate(result.long_names)
            ]
            parts = [Line2D([], [], color=GREY, linestyle=DASHES[key], label=EVALUATIONS[key]) for key in EVALUATIONS]
            legend_outside(figure, [*handles, *parts])
    return figure


def memorisation_test(result: MemorisationTest, ax: Axes | None = None) -> Axes:
    """Draw every quantity on random labels relative to true labels, with its 95 % interval over seeds.

    Args:
        result: the test.
        ax: where to draw; `None`: a new figure.
    """
    rows = result.contrasts[::-1]
    with canvas(ax, width=DOUBLE / 1.6, height=0.6 + 0.19 * len(rows)) as ax:
        for i, row in enumerate(rows):
            ax.plot([row.low, row.high], [i, i], color=PALETTE[0])
            ax.plot([row.ratio], [i], "o", color=PALETTE[0])
        ax.axvline(1.0, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        ax.set_yticks(range(len(rows)), [row.quantity for row in rows])
        ax.set_xscale("log")
        ax.set_xlabel("random labels / true labels")
    return ax
