"""Planes as level lines to zoom into and read values off."""

from __future__ import annotations

from typing import Any

from landscape.errors import LandscapeError
from landscape.plots.interactive.pages import colours, plotly, shares, styled, ticks
from landscape.plots.interactive.surfaces import SYMBOLS
from landscape.plots.planes import Levels, label_of, scaled
from landscape.plots.style import COLOURMAP, GREY
from landscape.plots.windows import missing, window_of
from landscape.results import Plane


def plane(
    result: Plane,
    *,
    metric: str = "loss",
    dataset: str | None = None,
    levels: Levels = 12,
    limit: float | None = None,
    log: bool | None = None,
    cmap: str = COLOURMAP,
) -> Any:
    """Draw the level lines of a plane; pointing at it tells the value itself.

    Args:
        result: values (ny, nx) over x and y, in units of the directions.
        metric: ``loss``, ``accuracy`` …
        dataset: ``train``, ``test`` …; `None`: the plane's own.
        levels: their number (spaced logarithmically above the minimum), the levels, or a `Scale`.
        limit: the largest value shown.
        log: logarithmic levels; `None`: for everything but accuracies.
        cmap: name of a colour map of matplotlib.

    Returns:
        A ``plotly.graph_objects.Figure``. Points that are infinite, NaN or not computed have markers.

    Raises:
        LandscapeError: plotly is not installed, no such metric, fewer than 2 × 2 points, or unusable levels.

    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 5)
    >>> bowl = Plane(x=x, y=x, values={"train/loss": x**2 + x[:, None] ** 2}, computed=np.ones((5, 5)))
    >>> plane(bowl).layout.xaxis.title.text
    'direction 1'
    """
    go, _ = plotly()
    [values], scale = scaled([result], metric, dataset, levels, limit, log)
    if min(values.shape) < 2:
        raise LandscapeError(f"contours need at least 2 × 2 points, this plane has {values.shape}")
    step = 1 / (len(scale.levels) - 1)
    contours = go.Contour(
        x=result.x, y=result.y, z=shares(scale, values), customdata=values, colorscale=colours(cmap), zmin=0, zmax=1,
        contours={"start": step, "end": 1 - step / 2, "size": step}, line={"width": 0.6, "color": "rgba(0,0,0,0.5)"},
        colorbar={"title": label_of(metric, dataset, result), **ticks(scale, 13)}, connectgaps=False,
        hovertemplate=f"{metric} %{{customdata:.4g}}<br>x %{{x:.3g}}, y %{{y:.3g}}<extra></extra>",
    )  # fmt: skip
    figure = go.Figure(contours)
    X, Y = window_of(result, distances=False).points()
    for reason, mask in missing(values, result.computed).items():
        figure.add_scatter(
            x=X[mask], y=Y[mask], mode="markers", name=reason, hovertemplate=reason,
            marker={"color": GREY, "symbol": SYMBOLS[reason], "size": 5},
        )  # fmt: skip
    if min(result.x) <= 0 <= max(result.x) and min(result.y) <= 0 <= max(result.y):
        figure.add_scatter(
            x=[0.0], y=[0.0], mode="markers", name="centre", hovertemplate="centre",
            marker={"symbol": "cross-thin", "size": 12, "line": {"color": "white", "width": 2}},
        )  # fmt: skip
    labels = window_of(result, distances=False).labels
    return styled(
        figure, xaxis_title=labels[0], yaxis_title=labels[1], height=560, showlegend=False, hovermode="closest"
    )
