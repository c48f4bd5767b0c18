"""Curvature along a direction over the scale it is measured at."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from landscape.plots.style import GREY, PALETTE, SINGLE, canvas
from landscape.results import ScaleCurvature


def scale_curvature(result: ScaleCurvature, ax: Axes | None = None) -> Axes:
    """Draw |κ(h)| on logarithmic axes, beside the second derivative and the rounding error that ends it below.

    Args:
        result: second differences of the loss at several scales.
        ax: where to draw; `None`: a new figure as wide as one column.

    Returns:
        The axes. Scales at which κ is negative have open markers.

    >>> from matplotlib.figure import Figure
    >>> h = np.geomspace(1e-3, 1, 4)
    >>> found = ScaleCurvature(h=h, kappa=np.full(4, 2.0), rounding=1e-8 / h**2, hessian=2.0)
    >>> scale_curvature(found, Figure().add_subplot()).get_xlabel()
    'scale h (lengths of the direction)'
    """
    with canvas(ax, width=SINGLE, height=2.3) as ax:
        size = np.abs(result.kappa)
        for sign, face in ((1, PALETTE[0]), (-1, "white")):
            here = np.sign(result.kappa) == sign
            if here.any():
                label = "κ(h)" if sign > 0 else "κ(h), negative"
                ax.plot(result.h[here], size[here], "o", color=PALETTE[0], markerfacecolor=face, zorder=3, label=label)
        ax.plot(result.h, size, color=PALETTE[0], linewidth=0.7, zorder=2)
        ax.axhline(abs(result.hessian), color=PALETTE[1], linestyle="--", label="|dᵀHd|")
        ax.set(xscale="log", yscale="log", xlabel="scale h (lengths of the direction)", ylabel="|second difference|")
        low, high = ax.get_ylim()
        ax.fill_between(result.h, low, np.maximum(result.rounding, low), color=GREY, alpha=0.25, linewidth=0, zorder=1,
                        label="rounding error")  # fmt: skip
        ax.set_ylim(low, high)
        ax.legend()
    return ax
