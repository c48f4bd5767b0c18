"""Architectures side by side: planes on one scale, maps of the eigenvalue ratio on one scale, smoothness."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from landscape.plots.planes import contour, heatmap
from landscape.plots.scales import add_colourbar, scale_of
from landscape.plots.style import COLOURMAP, DOUBLE, MARKERS, PALETTE, sheet
from landscape.results.slices import Plane
from landscape.results.trials import Trials

MAGMA = "magma"


def architecture(result: Trials, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw one column per architecture: its plane of the loss above its map of |λmin/λmax|; below, the smoothness of all.

    Args:
        result: of the study ``architecture``; planes and curves are those of the first seed.
        figure: where to draw; `None`: a new figure as wide as two columns.

    Returns:
        The figure; each row of panels has one scale.
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
            heatmap(maps[column], axes[1, column], metric="eigen-ratio", levels=ratios, cmap=MAGMA, **common)
            axes[0, column].set_title(
                "\n".join(textwrap.fill(part, 16) for part in name.replace(", ", ",\n").splitlines())
            )
            axes[0, column].set_xlabel("")
            axes[1, column].set_xlabel("direction 1")
            for ax in axes[:, column]:
                ax.set_ylabel("" if column else "direction 2")
                ax.title.set_fontsize(6)
        add_colourbar(above, losses, list(axes[0]), label="train loss", cmap=COLOURMAP, banded=True, most=6)
        label = "|λmin/λmax|"
        add_colourbar(above, ratios, list(axes[1]), label=label, cmap=MAGMA, banded=False, most=6)
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
        marker, shade = MARKERS[index % len(MARKERS)], PALETTE[index % len(PALETTE)]
        ax.plot(places[drawn], beta[drawn], marker=marker, color=shade, label=name)
    labels = ["start" if epoch == 0 else "end" if epoch < 0 else f"epoch {epoch:.0f}" for epoch in epochs]
    ax.set_xticks(places, labels)
    ax.set_yscale("log")
    ax.set_ylabel("effective smoothness β")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6)
