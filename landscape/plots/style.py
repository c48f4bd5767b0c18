"""The look of every figure: paper sizes, embedded fonts and colours that colour-blind readers can tell apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure, SubFigure
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text

from landscape.errors import LandscapeError
from landscape.plots.scales import plain_ticks

SINGLE = 3.25
"""Width of one column of a two-column paper, in inches."""
DOUBLE = 6.75
"""Width of both columns, in inches."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, without the yellow that vanishes on white (jfly.uni-koeln.de/color, 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers beside the colours, so that a grey print still tells the recipes apart."""
COLOURMAP = "viridis"
GREY = "#7F7F7F"
LEGEND_ROW = 0.17
"""Height of a row of a legend, in inches."""

PAPER: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.0,
    "mathtext.fontset": "dejavusans",
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.0,
    "axes.linewidth": 0.6,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": True,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "figure.dpi": 150.0,
    "savefig.dpi": 300.0,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "landscape",
}


@contextmanager
def style(**changes: Any) -> Iterator[None]:
    """Draw in the paper style inside a ``with`` block; the global settings of matplotlib come back after it.

    Args:
        **changes: settings of matplotlib to differ in, with ``_`` in place of the dot: ``font_size=9``.

    Raises:
        LandscapeError: there is no such setting.

    >>> import matplotlib
    >>> before = matplotlib.rcParams["font.size"]
    >>> with style(font_size=9):
    ...     matplotlib.rcParams["font.size"]
    9.0
    >>> matplotlib.rcParams["font.size"] == before
    True
    """
    known = {key.replace(".", "_"): key for key in matplotlib.rcParams}
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise LandscapeError(f"matplotlib has no setting {unknown[0]!r}; write axes_linewidth for axes.linewidth")
    settings: dict[Any, Any] = {**PAPER, **{known[key]: value for key, value in changes.items()}}
    with matplotlib.rc_context(settings):
        yield


@contextmanager
def canvas(
    ax: Axes | None, *, width: float = SINGLE, height: float = 2.4, projection: str | None = None
) -> Iterator[Axes]:
    """Yield the caller's axes as they are, or axes of a new figure in the paper style."""
    if ax is not None:
        yield ax
        finished(ax)
        return
    with sheet(None, width=width, height=height) as figure:
        yield figure.add_subplot(projection=projection)


@contextmanager
def sheet(figure: Figure | SubFigure | None, *, width: float, height: float) -> Iterator[Figure | SubFigure]:
    """Yield the caller's figure, or a new one in the paper style with room for its labels."""
    if figure is not None:
        yield figure
        finished(figure)
        return
    from matplotlib import pyplot  # chooses a backend: not before a figure is wanted

    with style():
        figure = pyplot.figure(figsize=(width, height), layout="constrained")
        yield figure
        finished(figure)


def finished(drawn: Artist) -> None:
    """Do to everything drawn what holds for every figure: names as written, logarithmic axes with readable ticks."""
    for axis in drawn.findobj(Axis):
        plain_ticks(axis)
    as_written(drawn)


def as_written(drawn: Artist) -> None:
    r"""Show names as they are that look like formulas and are none, such as ``$\frac{$``: they could not be drawn."""
    for text in drawn.findobj(Text):
        assert isinstance(text, Text)
        if is_math_text(text.get_text()):
            try:
                MathTextParser("path").parse(text.get_text())
            except ValueError:
                text.set_parse_math(False)


def legend_outside(figure: Any, handles: list[Any], *, columns: int = 3) -> None:
    """Put a legend below everything in a figure of ours, and make the figure as much taller."""
    if not handles:
        return
    columns = next(
        n for n in range(min(columns, len(handles)), 0, -1) if n == 1 or _across(handles, n) <= figure.get_figwidth()
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * math.ceil(len(handles) / columns))


def _across(handles: list[Any], columns: int) -> float:
    """Return about how wide a legend is, in inches: 0.053 per letter, and 0.4 per column for the handle and the gap."""
    rows = math.ceil(len(handles) / columns)
    longest = [max(len(one.get_label()) for one in handles[i : i + rows]) for i in range(0, len(handles), rows)]
    return sum(0.4 + 0.053 * letters for letters in longest)


def legend_inside(ax: Axes, handles: list[Any], *, loc: Any = "best") -> None:
    """Put a legend where the data leave most room on axes of the caller."""
    if handles:
        ax.legend(handles=handles, loc=loc, frameon=True, framealpha=0.85, edgecolor="none", borderpad=0.3).set_zorder(
            8
        )


def legend_of(ax: Axes, handles: list[Any], *, own: bool) -> None:
    """Put a legend below a figure of ours, or on axes of the caller."""
    if own:
        legend_outside(ax.figure, handles)
    else:
        legend_inside(ax, handles)


def colour(index: int) -> str:
    """Return the palette's colour of a recipe."""
    return PALETTE[index % len(PALETTE)]


def ink(rgba: Any) -> str:
    """Return black or white, whichever can be read on a colour (relative luminance of sRGB, WCAG 2)."""
    rgb = np.asarray(rgba, dtype=float)[:3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.18 else "white"
