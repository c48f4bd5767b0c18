"""Figures to turn, zoom and read values off, by plotly (extra ``[interactive]``); each saves as one HTML page.

They share levels, colours and markers with the figures of `landscape.plots`, so that a page and a paper agree. They return a
``plotly.graph_objects.Figure`` and raise what those raise, and a `LandscapeError` where plotly is not installed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from landscape.errors import LandscapeError
from landscape.plots.planes import Look, Seen, seen_together
from landscape.plots.scales import Scale
from landscape.plots.style import GREY, check_panels
from landscape.results import Plane, Result
from landscape.store.files import write_text

FONT = {"family": "DejaVu Sans, Verdana, sans-serif", "size": 13}
LIGHT = {"ambient": 0.65, "diffuse": 0.85, "roughness": 0.5, "specular": 0.4}
SYMBOLS = {"inf": "x", "NaN": "cross", "not computed": "circle-open"}
STEPS = 32
"""Colours that a continuous scale is made of."""


def surface(planes: Plane | Mapping[str, Plane], *, columns: int = 3, **look: Unpack[Look]) -> Any:
    """Draw planes as surfaces, with shared levels, heights, colours and camera.

    Heights and colours follow the same (logarithmic) scale as `landscape.plots.surface`; pointing at the surface tells
    the value itself. Level lines are projected onto the floor, where points without a number are marked.

    Args:
        planes: one plane, or several by name.
        columns: surfaces in a row.
        look: as for `landscape.plots.surface`.

    >>> x = np.linspace(-1, 1, 5)
    >>> bowl = Plane(x=x, y=x, values={"train/loss": x**2 + x[:, None] ** 2}, computed=np.ones((5, 5)))
    >>> float(surface(bowl).data[0].customdata[0][0])
    2.0
    """
    go, subplots = _plotly()
    named = planes if isinstance(planes, Mapping) else {"": planes}
    check_panels("planes", len(named), columns)
    seen = seen_together(named.values(), look, levels=8, between=True)
    first, across = seen[0], min(columns, len(named))
    rows = math.ceil(len(named) / across)
    figure = subplots.make_subplots(
        rows, across, specs=[[{"type": "surface"}] * across] * rows, subplot_titles=list(named) if any(named) else None,
        horizontal_spacing=0.02, vertical_spacing=0.06,
    )  # fmt: skip
    step, told = 1 / (len(first.scale.levels) - 1), set[str]()
    floor = {"show": False, "project": {"z": True}, "start": step, "end": 1 - step / 2, "size": step}
    for index, (name, one) in enumerate(zip(named, seen, strict=True)):
        place = {"row": index // across + 1, "col": index % across + 1}
        X, Y = one.window.points()
        bands = go.Surface(
            x=X, y=Y, z=_shares(one), customdata=one.values, coloraxis="coloraxis", lighting=LIGHT,
            contours={"z": {**floor, "show": True, "width": 1, "usecolormap": True}}, hovertemplate=_hover(one, name),
        )  # fmt: skip
        figure.add_trace(bands, **place)
        for reason, mark in _marks(one, size=3):
            new = reason not in told
            mark |= {"z": np.zeros(len(mark["x"])), "legendgroup": reason, "showlegend": new}
            figure.add_trace(go.Scatter3d(**mark), **place)
            told.add(reason)
    labels = first.window.labels
    figure.update_scenes(
        xaxis_title=labels[0], yaxis_title=labels[1], zaxis={"title": "", "range": [0, 1], **_ticks(first.scale, 5)},
        aspectmode="manual", aspectratio={"x": 1, "y": 1, "z": 0.75}, camera={"eye": {"x": 1.7, "y": -1.8, "z": 1.1}},
    )  # fmt: skip
    bar = {"title": first.label, "len": 0.7, **_ticks(first.scale, 9)}
    axis = {"cmin": 0, "cmax": 1, "colorscale": _colours(first.cmap), "colorbar": bar}
    return _styled(figure, height=520 * rows, legend={"orientation": "h"}, coloraxis=axis)


def plane(result: Plane, **look: Unpack[Look]) -> Any:
    """Draw the level lines of a plane; pointing at it tells the value itself, and points without a number have markers.

    Args:
        result: values (ny, nx) over x and y, in units of the directions.
        look: as for `landscape.plots.contour`.

    >>> x = np.linspace(-1, 1, 5)
    >>> bowl = Plane(x=x, y=x, values={"train/loss": x**2 + x[:, None] ** 2}, computed=np.ones((5, 5)))
    >>> plane(bowl).layout.xaxis.title.text
    'direction 1'
    """
    go, _ = _plotly()
    [seen] = seen_together([result], {**look, "distances": False}, levels=12, between=True)
    step = 1 / (len(seen.scale.levels) - 1)
    contours = go.Contour(
        x=result.x, y=result.y, z=_shares(seen), customdata=seen.values, colorscale=_colours(seen.cmap), zmin=0, zmax=1,
        contours={"start": step, "end": 1 - step / 2, "size": step}, line={"width": 0.6, "color": "rgba(0,0,0,0.5)"},
        colorbar={"title": seen.label, **_ticks(seen.scale, 13)}, connectgaps=False, hovertemplate=_hover(seen, ""),
    )  # fmt: skip
    figure = go.Figure([contours, *(go.Scatter(**mark) for _, mark in _marks(seen, size=5))])
    if seen.window.holds_centre():
        cross = {"symbol": "cross-thin", "size": 12, "line": {"color": "white", "width": 2}}
        figure.add_scatter(x=[0.0], y=[0.0], mode="markers", name="centre", hovertemplate="centre", marker=cross)
    labels = seen.window.labels
    return _styled(
        figure, xaxis_title=labels[0], yaxis_title=labels[1], height=560, showlegend=False, hovermode="closest"
    )


KINDS: dict[str, Callable[..., Any]] = {"plane": surface}
"""The figure of each kind of result that has an interactive one."""


def plot(result: Result, **options: Any) -> Any:
    """Draw a result the way its kind is usually drawn; the options are those of the function of the kind.

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
    page = figure.to_html(include_plotlyjs=True, div_id="figure", config={"responsive": True}, auto_play=False)
    viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return write_text(target, page.replace("<head>", f"<head>{viewport}", 1))


def _plotly() -> tuple[Any, Any]:
    """Return plotly's modules ``graph_objects`` and ``subplots``."""
    try:
        from plotly import graph_objects, subplots
    except ImportError as error:
        raise LandscapeError("plotly is not installed; pip install landscape-sharpness[interactive]") from error
    return graph_objects, subplots


def _styled(figure: Any, **layout: Any) -> Any:
    """Give a figure the common look, and return it."""
    figure.update_layout(template="simple_white", font=FONT, margin={"l": 60, "r": 20, "t": 50, "b": 50}, **layout)
    return figure


def _marks(seen: Seen, *, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the markers of the points without a number, by reason."""
    X, Y = seen.window.points()
    for reason, mask in seen.masks.items():
        look = {"size": size, "color": GREY, "symbol": SYMBOLS[reason]}
        hover = f"{reason}<extra></extra>"
        yield (
            reason,
            {"x": X[mask], "y": Y[mask], "mode": "markers", "name": reason, "marker": look, "hovertemplate": hover},
        )


def _hover(seen: Seen, name: str) -> str:
    return f"{seen.label} %{{customdata:.4g}}<br>x %{{x:.3g}}, y %{{y:.3g}}<extra>{name}</extra>"


def _colours(cmap: str) -> list[str]:
    """Return the colours of a colour map of matplotlib, from low to high."""
    return [to_hex(colour) for colour in matplotlib.colormaps[cmap](np.linspace(0, 1, STEPS))]


def _ticks(scale: Scale, most: int) -> dict[str, Any]:
    """Return the ticks of an axis or a colour bar that shows shares of a scale as the values they stand for."""
    shown, labels = scale.ticks(most)
    return {"tickvals": np.linspace(0, 1, len(scale.levels))[shown].tolist(), "ticktext": labels}


def _shares(seen: Seen) -> np.ndarray:
    """Return the share of the scale below each value, NaN where there is no number."""
    return np.asarray(seen.scale.norm(seen.values).filled(np.nan), dtype=float)
