"""Figures to turn, zoom and read values off, by plotly (extra ``[interactive]``); each saves as one HTML page.

They share levels, colours and markers with the figures of `landscape.plots`, so that a page and a paper agree.

>>> x = np.linspace(-1, 1, 5)
>>> bowl = Plane(x=x, y=x, values={"train/loss": x**2 + x[:, None] ** 2}, computed=np.ones((5, 5)))
>>> surface({"sgd": bowl}).layout.annotations[0].text
'sgd'
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from landscape.errors import LandscapeError
from landscape.plots.planes import Levels, label_of, scaled
from landscape.plots.scales import Scale, thinned
from landscape.plots.style import COLOURMAP, GREY
from landscape.plots.windows import missing, window_of
from landscape.results import Plane, Result
from landscape.store.files import write_text

FONT = {"family": "DejaVu Sans, Verdana, sans-serif", "size": 13}
LIGHT = {"ambient": 0.65, "diffuse": 0.85, "roughness": 0.5, "specular": 0.4}
SYMBOLS = {"inf": "x", "NaN": "cross", "not computed": "circle-open"}
STEPS = 32
"""Colours that a continuous scale is made of."""
STACK = """
const page = document.getElementById("{plot_id}"), layout = page.layout;
const scenes = Object.keys(layout).filter((name) => /^scene\\d*$/.test(name)), titles = layout.annotations || [];
const wide = {height: layout.height, "coloraxis.showscale": true, margin: layout.margin};
const narrow = {height: 400 * scenes.length, "coloraxis.showscale": false, margin: {...layout.margin, l: 10, r: 10}};
scenes.forEach((name, i) => {
  const top = 1 - i / scenes.length;
  for (const axis of ["x", "y"]) wide[`${name}.domain.${axis}`] = [...layout[name].domain[axis]];
  narrow[`${name}.domain.x`] = [0, 1];
  narrow[`${name}.domain.y`] = [top - 0.93 / scenes.length, top - 0.02 / scenes.length];
  if (!titles[i]) return;
  for (const at of ["x", "y"]) wide[`annotations[${i}].${at}`] = titles[i][at];
  Object.assign(narrow, {[`annotations[${i}].x`]: 0.5, [`annotations[${i}].y`]: top - 0.02 / scenes.length});
});
let stacked = false;
const fit = () => {
  if (stacked === window.innerWidth < 700 || scenes.length < 2) return;
  stacked = !stacked;
  Plotly.relayout(page, stacked ? narrow : wide);
};
window.addEventListener("resize", fit);
fit();
"""
"""On narrow screens surfaces stand below each other instead of beside."""


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
    go, subplots = _plotly()
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
        heights = _shares(scale, values[name])
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
        xaxis_title=labels[0], yaxis_title=labels[1], zaxis={"title": "", "range": [0, 1], **_ticks(scale, 5)},
        aspectmode="manual", aspectratio={"x": 1, "y": 1, "z": 0.75}, camera={"eye": {"x": 1.7, "y": -1.8, "z": 1.1}},
    )  # fmt: skip
    return _styled(
        figure, height=520 * rows, legend={"orientation": "h"},
        coloraxis={
            "cmin": 0, "cmax": 1, "colorscale": _colours(cmap),
            "colorbar": {"title": label_of(metric, dataset, first), "len": 0.7, **_ticks(scale)},
        },
    )  # fmt: skip


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

    >>> x = np.linspace(-1, 1, 5)
    >>> bowl = Plane(x=x, y=x, values={"train/loss": x**2 + x[:, None] ** 2}, computed=np.ones((5, 5)))
    >>> plane(bowl).layout.xaxis.title.text
    'direction 1'
    """
    go, _ = _plotly()
    [values], scale = scaled([result], metric, dataset, levels, limit, log)
    if min(values.shape) < 2:
        raise LandscapeError(f"contours need at least 2 × 2 points, this plane has {values.shape}")
    step = 1 / (len(scale.levels) - 1)
    contours = go.Contour(
        x=result.x, y=result.y, z=_shares(scale, values), customdata=values, colorscale=_colours(cmap), zmin=0, zmax=1,
        contours={"start": step, "end": 1 - step / 2, "size": step}, line={"width": 0.6, "color": "rgba(0,0,0,0.5)"},
        colorbar={"title": label_of(metric, dataset, result), **_ticks(scale, 13)}, connectgaps=False,
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
    return _styled(
        figure, xaxis_title=labels[0], yaxis_title=labels[1], height=560, showlegend=False, hovermode="closest"
    )


KINDS: dict[str, Callable[..., Any]] = {"plane": surface}
"""The figure of each kind of result that has an interactive one."""


def plot(result: Result, **options: Any) -> Any:
    """Draw a result the way its kind is usually drawn.

    Args:
        result: of a kind in `KINDS`.
        **options: passed on to the function of the kind.

    Returns:
        A ``plotly.graph_objects.Figure``; `save` writes it.

    Raises:
        LandscapeError: a kind without an interactive figure, or what the function raises.
    """
    if type(result).kind not in KINDS:
        raise LandscapeError(f"there is no interactive figure of a {type(result).kind}, only of {', '.join(KINDS)}")
    return KINDS[type(result).kind](result, **options)


def save(figure: Any, path: str | os.PathLike[str]) -> Path:
    """Write an interactive figure as one HTML page that needs nothing else, not even a network.

    Args:
        figure: what a function of this package returned.
        path: the file, ``.html``; about five megabytes, nearly all of it plotly's own code.

    Returns:
        The file. The same figure gives the same bytes.

    Raises:
        LandscapeError: another suffix, or a place that cannot be written.

    >>> import tempfile
    >>> save(_plotly()[0].Figure(), Path(tempfile.mkdtemp()) / "empty.html").name
    'empty.html'
    """
    target = Path(path)
    if target.suffix not in (".html", ".htm"):
        raise LandscapeError(f"{target.name} does not end in .html; interactive figures are saved as pages")
    page = figure.to_html(
        include_plotlyjs=True, full_html=True, div_id="figure", config={"responsive": True}, auto_play=False,
        post_script=STACK,
    )  # fmt: skip
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return write_text(target, page.replace("<head>", f"<head>{viewport}", 1))


def _plotly() -> tuple[Any, Any]:
    """Return plotly's modules ``graph_objects`` and ``subplots``.

    Raises:
        LandscapeError: plotly is not installed.
    """
    try:
        from plotly import graph_objects, subplots
    except ImportError as error:
        raise LandscapeError("plotly is not installed; pip install landscape-sharpness[interactive]") from error
    return graph_objects, subplots


def _styled(figure: Any, **layout: Any) -> Any:
    """Give a figure the common look, and return it."""
    figure.update_layout(template="simple_white", font=FONT, margin={"l": 60, "r": 20, "t": 50, "b": 50}, **layout)
    return figure


def _colours(cmap: str) -> list[str]:
    """Return the colours of a colour map of matplotlib, from low to high."""
    return [to_hex(colour) for colour in matplotlib.colormaps[cmap](np.linspace(0, 1, STEPS))]


def _ticks(scale: Scale, most: int = 9) -> dict[str, Any]:
    """Return the ticks of an axis or a colour bar that shows shares of a scale as the values they stand for."""
    shown = thinned(len(scale.levels), most)
    shares = np.linspace(0, 1, len(scale.levels))
    return {"tickvals": shares[shown].tolist(), "ticktext": [scale.labels[i] for i in shown]}


def _shares(scale: Scale, values: np.ndarray) -> np.ndarray:
    """Return the share of the scale below each value, NaN where there is no number."""
    return np.asarray(scale.norm(values).filled(np.nan), dtype=float)
