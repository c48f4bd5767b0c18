"""Architectures side by side: planes on one scale, maps of the eigenvalue ratio on one scale, smoothness."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from landscape.plots.planes import contour, heatmap
from landscape.plots.scales import add_colourbar, scale_of
from landscape.plots.style import COLOURMAP, DOUBLE, MARKERS, PALETTE, sheet
from landscape.results.architecture import Architecture

MAGMA = "magma"


def architecture(result: Architecture, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw a column an architecture: its plane of the loss above its map of |λmin/λmax|, and below all the smoothness.

    Args:
        result: planes, maps and smoothness.
        figure: where to draw; `None`: a new figure as wide as two columns.

    Returns:
        The figure; each row of panels has one scale.
    """
    names = result.variants
    with sheet(figure, width=DOUBLE, height=4.6) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=[1.3, 1.0], squeeze=False)[:, 0]
        axes = above.subplots(2, len(names), squeeze=False, sharex="row", sharey="row", subplot_kw={"box_aspect": 1})
        planes, maps = result.planes(), result.ratio_planes()
        losses = scale_of(list(result.loss.values()), levels=12, log=True)
        ratios = scale_of(list(result.eigen_ratio.values()), levels=8, log=False)
        common: dict[str, Any] = {"colourbar": False, "legend": False}
        for column, name in enumerate(names):
            contour(planes[name], axes[0, column], levels=losses, labels=False, cmap=COLOURMAP, **common)
            heatmap(maps[name], axes[1, column], metric="eigen-ratio", levels=ratios, cmap=MAGMA, **common)
            axes[0, column].set_title(name.replace(", ", ",\n"), fontsize=6)
            for ax in axes[:, column]:
                ax.set_xlabel("")
                ax.set_ylabel("")
        add_colourbar(above, losses, list(axes[0]), label="train loss", cmap=COLOURMAP, banded=True, most=6)
        label = "$|\\lambda_{min}/\\lambda_{max}|$"
        add_colourbar(above, ratios, list(axes[1]), label=label, cmap=MAGMA, banded=False, most=6)
        _smoothness(below.add_subplot(), result)
    return figure


def _smoothness(ax: Axes, result: Architecture) -> None:
    places = np.arange(len(result.epochs))
    for index, name in enumerate(result.variants):
        drawn = np.isfinite(result.beta[name])
        style: dict[str, Any] = {
            "marker": MARKERS[index % len(MARKERS)],
            "color": PALETTE[index % len(PALETTE)],
            "label": name,
        }
        ax.plot(places[drawn], result.beta[name][drawn], **style)
    labels = ["start" if epoch == 0 else "end" if epoch < 0 else f"epoch {epoch}" for epoch in result.epochs]
    ax.set_xticks(places, labels)
    ax.set_yscale("log")
    ax.set_ylabel("effective smoothness $\\beta$")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
