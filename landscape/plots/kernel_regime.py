"""How lazy networks of several widths are, for true and for random labels."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from landscape.plots.style import DOUBLE, GREY, colour, legend_outside, sheet
from landscape.results.kernel_regime import KernelRegime

_PANELS = (
    ("relative_movement", "weight movement", True),
    ("kernel_movement", "kernel change", True),
    ("kernel_distance", "kernel distance", True),
    ("linearisation_error", "linearisation error", True),
    ("agreement", "agreement with linearised", False),
    ("alignment_before", "alignment with labels", False),
)


def kernel_regime(result: KernelRegime, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw each measure of laziness over the width; dots are networks, lines their means.

    Args:
        result: networks on true and on random labels.
        figure: where to draw; `None`: a new figure as wide as two columns.

    Returns:
        The figure, with six panels. The alignment is that before training as a solid, after it as a dashed line.
    """
    own = figure is None
    with sheet(figure, width=DOUBLE, height=3.6) as figure:
        panels = figure.subplots(2, 3).ravel()
        for ax, (name, title, logarithmic) in zip(panels, _PANELS):
            for i, labels in enumerate(result.labels):
                _draw(ax, result, labels, name, colour(i), "-")
                if name == "alignment_before":
                    _draw(ax, result, labels, "alignment_after", colour(i), "--")
            ax.set_title(title)
            ax.set_xscale("log", base=2)
            if logarithmic:
                ax.set_yscale("log")
            ax.set_xlabel("width")
        handles = [Line2D([], [], color=colour(i), label=f"{name} labels") for i, name in enumerate(result.labels)]
        handles.append(Line2D([], [], color=GREY, linestyle="--", label="after training"))
        if own:
            legend_outside(figure, handles)
        else:
            panels[0].legend(handles=handles)
    return figure


def _draw(ax: Axes, result: KernelRegime, labels: str, name: str, shade: str, dashes: str) -> None:
    for width, values in zip(result.widths, result.values(labels, name), strict=True):
        ax.plot(np.full(len(values), width), values, ".", color=shade, markersize=3)
    ax.plot(result.widths, result.mean(labels, name), color=shade, linestyle=dashes)
