"""Planes as surfaces to turn, side by side with one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.plots.interactive.pages import colours, plotly, shares, styled, ticks
from landscape.plots.planes import Levels, label_of, scaled
from landscape.plots.style import COLOURMAP, GREY
from landscape.plots.windows import missing, window_of
from landscape.results import Plane

LIGHT = {"ambient": 0.65, "diffuse": 0.85, "roughness": 0.5, "specular": 0.4}
SYMBOLS = {"inf": "x", "NaN": "cross", "not computed": "circle-open"}


def surface(
    planes: Plane | Mapping[str, Plane],
    *,
    columns: int = 3,
    metric: str = "loss",
    dataset: str | None = None,
    levels: Levels = 8,
    limit: float | None = None,
    log: bool | None = None,
    distances: bool = False,
    cmap: str = COLOURMAP,
) -> Any:
    """Draw planes as surfaces, with shared levels, heights, colours and camera.

    Heights and colours follow the same (logarithmic) scale as `landscape.plots.surface`; pointing at the surface tells
    the value itself. Level lines are projected onto the floor, where points without a number are marked.

    Args:
        planes: one plane, or several by name.
        columns: surfaces in a row.
        metric: ``loss``, ``accuracy`` …
        dataset: ``train``, ``test`` …; `None`: each plane's own.
        levels: number of ticks and of contours on the floor, the levels, or a `Scale`.
        limit: the largest value shown; higher walls are cut off there.
        log: heights grow with log(value − minimum); `None`: for everything but accuracies.
        distances: true Euclidean distances, at the true angle between the directions.
        cmap: name of a colour map of matplotlib.

    Returns:
        A ``plotly.graph_objects.Figure``.

    Raises:
        LandscapeError: plotly is not installed, no planes, no such metric, fewer than 2 × 2 points, or unusable levels.

    >>> x = np.linspace(-1, 1, 5)
    >>> bowl = Plane(x=x, y=x, values={"train/loss": x**2 + x[:, None] ** 2}, computed=np.ones((5, 5)))
    >>> float(surface(bowl).data[0].customdata[0][0])
    2.0
    """
    go, subplots = plotly()
    named = planes if isinstance(planes, Mapping) else {"": planes}
    arrays, scale = scaled(named.values(), metric, dataset, levels, limit, log)
    if not named or any(min(array.shape) < 2 for array in arrays):
        raise LandscapeError("a surface needs at least one plane of 2 × 2 points or more")
    values = dict(zip(named, arrays, strict=True))
    across = min(columns, len(named))
    rows = math.ceil(len(named) / across)
    figure = subplots.make_subplots(
        rows, across, specs=[[{"type": "surface"}] * across] * rows, subplot_titles=list(named) if any(named) else None,
        horizontal_spacing=0.02, vertical_spacing=0.06,
    )  # fmt: skip
    reasons: set[str] = set()
    for index, (name, plane) in enumerate(named.items()):
        place = {"row": index // across + 1, "col": index % across + 1}
        window = window_of(plane, distances=distances)
        X, Y = window.points()
        heights = shares(scale, values[name])
        step = 1 / (len(scale.levels) - 1)
        floor = {"show": False, "project": {"z": True}, "start": step, "end": 1 - step / 2, "size": step}
        figure.add_trace(
            go.Surface(
                x=X, y=Y, z=heights, customdata=values[name], coloraxis="coloraxis", lighting=LIGHT,
                contours={"z": {**floor, "show": True, "width": 1, "usecolormap": True}},
                hovertemplate=f"{metric} %{{customdata:.4g}}<br>x %{{x:.3g}}, y %{{y:.3g}}<extra>{name}</extra>",
            ),
            **place,
        )  # fmt: skip
        for reason, mask in missing(values[name], plane.computed).items():
            figure.add_trace(
                go.Scatter3d(
                    x=X[mask], y=Y[mask], z=np.zeros(mask.sum()), mode="markers", name=reason, legendgroup=reason,
                    showlegend=reason not in reasons, hovertemplate=f"{reason}<extra>{name}</extra>",
                    marker={"size": 3, "color": GREY, "symbol": SYMBOLS[reason]},
                ),
                **place,
            )  # fmt: skip
            reasons.add(reason)
    first = next(iter(named.values()))
    labels = window_of(first, distances=distances).labels
    figure.update_scenes(
        xaxis_title=labels[0], yaxis_title=labels[1], zaxis={"title": "", "range": [0, 1], **ticks(scale, 5)},
        aspectmode="manual", aspectratio={"x": 1, "y": 1, "z": 0.75}, camera={"eye": {"x": 1.7, "y": -1.8, "z": 1.1}},
    )  # fmt: skip
    return styled(
        figure, height=520 * rows, legend={"orientation": "h"},
        coloraxis={
            "cmin": 0, "cmax": 1, "colorscale": colours(cmap),
            "colorbar": {"title": label_of(metric, dataset, first), "len": 0.7, **ticks(scale)},
        },
    )  # fmt: skip
