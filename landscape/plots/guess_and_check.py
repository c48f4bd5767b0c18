"""Guesses that fit: how well they generalise, and how much of their volume is left when further labels are wrong."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure, SubFigure

from landscape.plots.style import DOUBLE, MARKERS, PALETTE, legend_inside, sheet
from landscape.results.trials import Trials

FURTHER = (1, 2, 3, 4, 6, 8)


def guess_and_check(result: Trials, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw test accuracies of what fits, test accuracy against loss, and the volume that fits further examples too.

    Args:
        result: guesses and trained networks.
        figure: where to draw; `None`: a new figure as wide as two columns.

    Returns:
        The figure with three panels. In the second, lines join the means of ten equally large groups.
    """
    with sheet(figure, width=DOUBLE, height=2.1) as figure:
        histogram, scatter, volumes = figure.subplots(1, 3)
        names, every = result["found by"].tolist(), result.arrays["accuracy"]
        low = float(min([0.5, *every[np.isfinite(every)]]))
        edges = list(np.linspace(low, 1, 26))
        for index, name in enumerate(names):
            loss, accuracy = (result.arrays[of][index][np.isfinite(every[index])] for of in ("loss", "accuracy"))
            if not len(accuracy):
                continue
            share = np.full(len(accuracy), 1 / len(accuracy))
            histogram.hist(accuracy, edges, weights=share, label=name, color=PALETTE[index], alpha=0.6)
            scatter.plot(loss, accuracy, ".", color=PALETTE[index], markersize=1.5, alpha=0.4)
            scatter.plot(
                *_group_means(loss, accuracy), marker=MARKERS[index], color=PALETTE[index], label=name,
                markeredgecolor="white", markersize=5,
            )  # fmt: skip
        histogram.set_xlabel("test accuracy")
        histogram.set_ylabel("share of what fits")
        legend_inside(histogram, list(histogram.get_legend_handles_labels()[0]), loc="upper left")
        scatter.set_xlabel("normalised training loss")
        scatter.set_ylabel("test accuracy")
        for index, (name, wrong) in enumerate((("true labels", False), ("wrong labels", True))):
            right = every[0][np.isfinite(every[0])]
            shares = [float(((1 - right if wrong else right) ** m).mean()) if right.size else np.nan for m in FURTHER]
            volumes.plot(FURTHER, shares, marker=MARKERS[index], color=PALETTE[index + 2], label=name)
        volumes.set_yscale("log")
        volumes.set_xlabel("further examples to fit")
        volumes.set_ylabel("share of the volume")
        legend_inside(volumes, list(volumes.get_legend_handles_labels()[0]), loc="lower left")
    return figure


def _group_means(loss: np.ndarray, accuracy: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean loss and the mean accuracy of ten equally large groups by loss."""
    order = np.argsort(loss)
    cuts = np.linspace(0, len(order), 11).round().astype(int)
    parts = [order[low:high] for low, high in pairwise(cuts) if high > low]
    return [float(loss[part].mean()) for part in parts], [float(accuracy[part].mean()) for part in parts]
