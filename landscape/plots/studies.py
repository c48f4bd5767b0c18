"""Figures of single studies: architectures, guesses that fit, memorised examples."""

from __future__ import annotations

import textwrap
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from landscape.plots.planes import contour, heatmap
from landscape.plots.scales import add_colourbar, scale_of
from landscape.plots.style import COLOURMAP, DOUBLE, GREY, PALETTE, colour, legend, marker, sheet
from landscape.results.memorisation import MEMORISED, Memorisation
from landscape.results.slices import Plane
from landscape.results.trials import Trials

FURTHER = (1, 2, 3, 4, 6, 8)
"""Further examples that a guess is to fit."""
SHOWN, ACROSS, PAIRS = 16, 8, 4
"""Pictures of memorised examples, in rows of so many; pairs of a training example and the test example it helps."""


def architecture(result: Trials, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw one column per architecture: its plane of the loss above its map of |λmin/λmax|; below, the smoothness of all.

    Each row of panels has one scale; planes and curves are those of the first seed.
    """
    first = result.where(seed=result.levels("seed")[0])
    names = first.levels("architecture")
    planes, maps = (_planes(first, name, metric) for name, metric in (("loss", "loss"), ("eigen ratio", "eigen-ratio")))
    with sheet(figure, width=DOUBLE, height=4.6) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=[1.3, 1.0], squeeze=False)[:, 0]
        axes = above.subplots(2, len(names), squeeze=False, sharex="row", sharey="row", subplot_kw={"box_aspect": 1})
        losses = scale_of([plane.loss for plane in planes], levels=12, log=True)
        ratios = scale_of([plane.values["train/eigen-ratio"] for plane in maps], levels=8, log=False)
        common: dict[str, Any] = {"colourbar": False, "legend": False}
        for column, name in enumerate(names):
            contour(planes[column], axes[0, column], levels=losses, labels=False, cmap=COLOURMAP, **common)
            heatmap(maps[column], axes[1, column], metric="eigen-ratio", levels=ratios, cmap="magma", **common)
            title = "\n".join(textwrap.fill(part, 16) for part in name.replace(", ", ",\n").splitlines())
            axes[0, column].set(title=title, xlabel="")
            axes[1, column].set_xlabel("direction 1")
            for ax in axes[:, column]:
                ax.set_ylabel("" if column else "direction 2")
                ax.title.set_fontsize(6)
        for row, (scale, label, cmap) in enumerate(
            ((losses, "train loss", COLOURMAP), (ratios, "|λmin/λmax|", "magma"))
        ):
            add_colourbar(above, scale, list(axes[row]), label=label, cmap=cmap, banded=not row, most=6)
        _smoothness(below.add_subplot(), first)
    return figure


def _planes(trials: Trials, array: str, metric: str) -> list[Plane]:
    along = trials.coordinates[array]
    computed = np.ones((len(along), len(along)), dtype=np.uint8)
    return [
        Plane(x=along, y=along, values={f"train/{metric}": values}, computed=computed)
        for values in trials.arrays[array]
    ]


def _smoothness(ax: Axes, trials: Trials) -> None:
    epochs = trials.coordinates["beta"]
    places = np.arange(len(epochs))
    for index, (name, beta) in enumerate(zip(trials["architecture"].tolist(), trials.arrays["beta"], strict=True)):
        drawn = np.isfinite(beta)
        ax.plot(places[drawn], beta[drawn], marker=marker(index), color=colour(index), label=name)
    labels = ["start" if epoch == 0 else "end" if epoch < 0 else f"epoch {epoch:.0f}" for epoch in epochs]
    ax.set_xticks(places, labels)
    ax.set(yscale="log", ylabel="effective smoothness β")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)


def guess_and_check(result: Trials, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw test accuracies of what fits, test accuracy against loss, and the volume that fits further examples too.

    In the second panel, lines join the means of ten equally large groups.
    """
    with sheet(figure, width=DOUBLE, height=2.1) as figure:
        histogram, scatter, volumes = figure.subplots(1, 3)
        every = result.arrays["accuracy"]
        edges = list(np.linspace(float(min([0.5, *every[np.isfinite(every)]])), 1, 26))
        for index, name in enumerate(result["found by"].tolist()):
            loss, accuracy = (result.arrays[of][index][np.isfinite(every[index])] for of in ("loss", "accuracy"))
            if not len(accuracy):
                continue
            share = np.full(len(accuracy), 1 / len(accuracy))
            histogram.hist(accuracy, edges, weights=share, label=name, color=PALETTE[index], alpha=0.6)
            scatter.plot(loss, accuracy, ".", color=PALETTE[index], markersize=1.5, alpha=0.4)
            scatter.plot(
                *_group_means(loss, accuracy), marker=marker(index), color=PALETTE[index], label=name,
                markeredgecolor="white", markersize=5,
            )  # fmt: skip
        right = every[0][np.isfinite(every[0])]
        for index, (name, fits) in enumerate((("true labels", right), ("wrong labels", 1 - right))):
            shares = [float((fits**m).mean()) if right.size else np.nan for m in FURTHER]
            volumes.plot(FURTHER, shares, marker=marker(index), color=PALETTE[index + 2], label=name)
        histogram.set(xlabel="test accuracy", ylabel="share of what fits")
        scatter.set(xlabel="normalised training loss", ylabel="test accuracy")
        volumes.set(yscale="log", xlabel="further examples to fit", ylabel="share of the volume")
        for ax, loc in ((histogram, "upper left"), (volumes, "lower left")):
            legend(ax, ax.get_legend_handles_labels()[0], own=False, loc=loc)
    return figure


def _group_means(loss: np.ndarray, accuracy: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean loss and the mean accuracy of ten equally large groups by loss."""
    order = np.argsort(loss)
    cuts = np.linspace(0, len(order), 11).round().astype(int)
    parts = [order[low:high] for low, high in pairwise(cuts) if high > low]
    return [float(loss[part].mean()) for part in parts], [float(accuracy[part].mean()) for part in parts]


def memorisation(result: Memorisation, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw the histogram of memorisation scores, the pairs of most influence and the most memorised examples.

    A memorised example is headed by its label and by the class it is given by networks trained without it, in colour if
    its label had been changed.
    """
    shown, pairs = min(SHOWN, len(result.pictures)), min(PAIRS, len(result.pair_pictures))
    lines = max(1, -(-shown // ACROSS))
    with sheet(figure, width=DOUBLE, height=1.9 + 0.95 * lines) as figure:
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.9, 0.95 * lines], squeeze=False)[:, 0]
        left, right = top.subfigures(1, 2, squeeze=False)[0]
        _histogram(left.add_subplot(), result)
        if pairs:
            _pairs(right.subplots(2, pairs, squeeze=False), result)
        axes = list(bottom.subplots(lines, ACROSS, squeeze=False).flat)
        for ax, example, picture in zip(axes, result.memorised[:shown], result.pictures[:shown], strict=False):
            tint = PALETTE[1] if example.changed else "black"
            _picture(ax, picture, f"{example.label}, else {example.elsewhere}", color=tint)
        for ax in axes[shown:]:
            ax.set_axis_off()
    return figure


def _histogram(ax: Axes, result: Memorisation) -> None:
    scores, changed = result.memorisation, result.changed
    low = min(0.0, float(np.nanmin(scores)))
    edges = list(0.05 * np.arange(np.floor(low / 0.05), 21))
    for chosen, label, tint in ((~changed, "label unchanged", PALETTE[0]), (changed, "label changed", PALETTE[1])):
        if chosen.any():  # outlines: on a logarithmic axis a bar has no zero to start from
            counts = np.histogram(scores[chosen], edges)[0]
            ax.stairs(np.where(counts, counts, np.nan), edges, baseline=None, label=label, color=tint, linewidth=1.4)
    ax.axvline(MEMORISED, color=GREY, linewidth=0.8, linestyle="--", label=f"memorised: at least {MEMORISED:g}")
    ax.set_yscale("log")
    ax.set_ylim(bottom=0.7)
    ax.set(xlabel="memorisation", ylabel="examples")
    handles = ax.get_legend_handles_labels()[0]
    legend(ax, handles if changed.any() else handles[1:], own=False, loc="upper right")


def _pairs(axes: np.ndarray, result: Memorisation) -> None:
    for column, pair in zip(range(axes.shape[1]), result.pairs, strict=False):
        above, below = result.pair_pictures[column]
        _picture(axes[0, column], above, f"{pair.train_label}, helps {pair.influence:.2f}")
        _picture(axes[1, column], below, f"{pair.test_label}")
    axes[0, 0].set_ylabel("trained on")
    axes[1, 0].set_ylabel("test")


def _picture(ax: Axes, picture: np.ndarray, title: str, **look: Any) -> None:
    """Draw (channels, height, width) intensities: one channel in grey, three in colour, the mean of any other number."""
    image = picture.transpose(1, 2, 0) if len(picture) == 3 else picture.mean(0)
    options: dict[str, Any] = {} if len(picture) == 3 else {"cmap": "gray_r"}
    ax.imshow(np.clip(image, 0, 1), vmin=0, vmax=1, **options)
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, pad=2, **look)
    for spine in ax.spines.values():
        spine.set_visible(False)
