"""Small pictures of results, for notebooks: drawn on a figure of their own, beside whatever the user is drawing."""

from __future__ import annotations

import io
import warnings
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from landscape.plots import FIGURES, KINDS, effects, panel
from landscape.plots.style import style
from landscape.results import Result

ONE, SEVERAL, DPI = (3.6, 2.4), (6.0, 3.6), 100
"""Inches of a picture with one panel, and with several."""
CROWDED, LARGER = 6, (7.5, 8.4)
"""Panels from which trials are drawn larger: none could be read at the common size."""
COLOURS = 64


def thumbnail(result: Result) -> bytes | None:
    """Return a small PNG of a result, or `None` where the result has no figure of its own.

    It has 360 × 240 pixels (600 × 360 with several panels, more with very many) in 64 colours, some 10 kB. Tables are left
    out: a notebook prints those as text. A comparison is shown by the differences that its verdict rests on.

    Raises:
        LandscapeError: the result holds nothing that can be drawn.

    >>> import numpy as np
    >>> from landscape.results import Line
    >>> one = Line(x=np.linspace(-1, 1, 9), values={"train/loss": np.linspace(-1, 1, 9) ** 2})
    >>> len(thumbnail(one)) < 40_000
    True
    """
    draw: Any = effects if type(result).kind == "comparison" else KINDS.get(type(result).kind)
    if draw is None or draw is panel:
        return None
    several = type(result).kind in FIGURES and draw is not effects
    with style(figure_dpi=DPI), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a panel that is crowded at this size is no news
        crowded = len(getattr(result, "view", {}).get("y", ())) > CROWDED
        figure = Figure(figsize=LARGER if crowded else SEVERAL if several else ONE, layout="constrained")
        FigureCanvasAgg(figure)
        draw(_decisive(result), figure if several else figure.add_subplot())
        whole, out = io.BytesIO(), io.BytesIO()
        figure.savefig(whole, format="png", dpi=DPI)
    with Image.open(whole) as image:
        image.convert("RGB").quantize(COLOURS).save(out, format="png", optimize=True)
    return out.getvalue()


def _decisive(result: Result) -> Any:
    """Return the primary tests of a comparison, which alone can be read at this size; other results as they are."""
    return [row for row in getattr(result, "tests", ()) if row.primary] or result
