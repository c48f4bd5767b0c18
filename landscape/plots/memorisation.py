"""Memorised examples: how many, what they look like, and the test examples they help."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from landscape.plots.style import DOUBLE, GREY, PALETTE, legend_inside, sheet
from landscape.results.memorisation import MEMORISED, Memorisation

ACROSS = 8
"""Pictures in a row."""


def memorisation(
    result: Memorisation, figure: Figure | SubFigure | None = None, *, shown: int = 16, pairs: int = 4
) -> Figure | SubFigure:
    """Draw the histogram of memorisation scores, the pairs of most influence and the most memorised examples.

    A memorised example is headed by its label and by the class it is given by networks trained without it, in colour if
    its label had been changed.

    Args:
        result: scores, and pictures of the first examples and pairs.
        figure: where to draw; `None`: a new figure as wide as two columns.
        shown: pictures of memorised examples.
        pairs: pairs of a training example and the test example it helps.

    Returns:
        The figure: the histogram, then one panel per picture.
    """
    shown, pairs = min(shown, len(result.pictures)), min(pairs, len(result.pair_pictures))
    lines = max(1, -(-shown // ACROSS))
    with sheet(figure, width=DOUBLE, height=1.9 + 0.95 * lines) as figure:
        top, bottom = figure.subfigures(2, 1, height_ratios=[1.9, 0.95 * lines], squeeze=False)[:, 0]
        left, right = top.subfigures(1, 2, squeeze=False)[0]
        _histogram(left.add_subplot(), result)
        _pairs(right, result, pairs)
        _gallery(bottom, result, shown, lines)
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
    ax.set_xlabel("memorisation")
    ax.set_ylabel("examples")
    handles = list(ax.get_legend_handles_labels()[0])
    legend_inside(ax, handles if changed.any() else handles[1:], loc="upper right")


def _pairs(part: SubFigure, result: Memorisation, count: int) -> None:
    if not count:
        return
    axes = part.subplots(2, count, squeeze=False)
    for column in range(count):
        pair = result.pairs[column]
        for row, label in enumerate((pair.train_label, pair.test_label)):
            _picture(axes[row, column], result.pair_pictures[column, row])
            axes[row, column].set_title(f"{label}" if row else f"{label}, helps {pair.influence:.2f}", pad=2)
    for row, name in enumerate(("trained on", "test")):
        axes[row, 0].set_ylabel(name)


def _gallery(part: SubFigure, result: Memorisation, shown: int, lines: int) -> None:
    axes = list(part.subplots(lines, ACROSS, squeeze=False).flat)
    for ax, example, picture in zip(axes, result.memorised[:shown], result.pictures[:shown], strict=False):
        _picture(ax, picture)
        ax.set_title(
            f"{example.label}, else {example.elsewhere}", pad=2, color=PALETTE[1] if example.changed else "black"
        )
    for ax in axes[shown:]:
        ax.set_axis_off()


def _picture(ax: Axes, picture: np.ndarray) -> None:
    """Draw (channels, height, width) intensities: one channel in grey, three in colour, the mean of any other number."""
    image = picture.transpose(1, 2, 0) if len(picture) == 3 else picture.mean(0)
    options: dict[str, Any] = {} if len(picture) == 3 else {"cmap": "gray_r"}
    ax.imshow(np.clip(image, 0, 1), vmin=0, vmax=1, **options)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
