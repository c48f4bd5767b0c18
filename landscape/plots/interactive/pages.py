"""Interactive figures as pages, and the style they share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from landscape.errors import LandscapeError
from landscape.plots.scales import Scale, thinned
from landscape.store.files import write_text

FONT = {"family": "DejaVu Sans, Verdana, sans-serif", "size": 13}
STEPS = 32
"""Colours that a continuous scale is made of."""
STACK = """
const page = document.getElementById("{plot_id}"), layout = page.layout;
const scenes = Object.keys(layout).filter((name) => /^scene\\d*$/.test(name));
const titles = layout.annotations || [], legend = layout.showlegend !== false && page.data.length > 1;
const wide = {height: layout.height, "coloraxis.showscale": true, margin: layout.margin, legend: layout.legend || {}};
const narrow = {...wide, legend: {orientation: "h", y: -0.25}};
if (scenes.length > 1) {
  narrow.height = 400 * scenes.length;
  Object.assign(narrow, {"coloraxis.showscale": false, margin: {...layout.margin, l: 10, r: 10}});
  scenes.forEach((name, i) => {
    for (const axis of ["x", "y"]) wide[`${name}.domain.${axis}`] = [...layout[name].domain[axis]];
    const top = 1 - i / scenes.length;
    narrow[`${name}.domain.x`] = [0, 1];
    narrow[`${name}.domain.y`] = [top - 0.93 / scenes.length, top - 0.02 / scenes.length];
    if (titles[i]) {
      for (const at of ["x", "y"]) wide[`annotations[${i}].${at}`] = titles[i][at];
      Object.assign(narrow, {[`annotations[${i}].x`]: 0.5, [`annotations[${i}].y`]: top - 0.02 / scenes.length});
    }
  });
}
let stacked = false;
const fit = () => {
  if (stacked === window.innerWidth < 700 || !(legend || scenes.length > 1)) return;
  stacked = !stacked;
  Plotly.relayout(page, stacked ? narrow : wide);
};
window.addEventListener("resize", fit);
fit();
"""
"""On narrow screens surfaces stand below each other instead of beside, and legends below the figure."""


def plotly() -> tuple[Any, Any]:
    """Return plotly's modules ``graph_objects`` and ``subplots``.

    Raises:
        LandscapeError: plotly is not installed.
    """
    try:
        from plotly import graph_objects, subplots
    except ImportError as error:
        raise LandscapeError("plotly is not installed; pip install landscape-sharpness[interactive]") from error
    return graph_objects, subplots


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
    >>> save(plotly()[0].Figure(), Path(tempfile.mkdtemp()) / "empty.html").name
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


def styled(figure: Any, **layout: Any) -> Any:
    """Give a figure the common look, and return it."""
    figure.update_layout(template="simple_white", font=FONT, margin={"l": 60, "r": 20, "t": 50, "b": 50}, **layout)
    return figure


def colours(cmap: str) -> list[str]:
    """Return the colours of a colour map of matplotlib, from low to high."""
    return [to_hex(colour) for colour in matplotlib.colormaps[cmap](np.linspace(0, 1, STEPS))]


def ticks(scale: Scale, most: int = 9) -> dict[str, Any]:
    """Return the ticks of an axis or a colour bar that shows shares of a scale as the values they stand for."""
    shown = thinned(len(scale.levels), most)
    shares = np.linspace(0, 1, len(scale.levels))
    return {"tickvals": shares[shown].tolist(), "ticktext": [scale.labels[i] for i in shown]}


def shares(scale: Scale, values: np.ndarray) -> np.ndarray:
    """Return the share of the scale below each value, NaN where there is no number."""
    return np.asarray(scale.norm(values).filled(np.nan), dtype=float)
