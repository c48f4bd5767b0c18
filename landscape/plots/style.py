"""The look of every figure: paper sizes, embedded fonts, colours that colour-blind readers can tell apart, legends, panels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text

from landscape.errors import LandscapeError
from landscape.plots.scales import plain_ticks

T = TypeVar("T")

SINGLE = 3.25
"""Width of one column of a two-column paper, in inches."""
DOUBLE = 6.75
"""Width of both columns, in inches."""
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, without the yellow that vanishes on white (jfly.uni-koeln.de/color, 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers beside the colours, so that a grey print still tells the recipes apart."""
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.")
COLOURMAP = "viridis"
GREY = "#7F7F7F"
LEGEND_ROW = 0.17
"""Height of a row of a legend, in inches."""

PAPER: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), 8.0),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7.0),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("xtick.minor.width", "ytick.minor.width"), 0.4),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
    **dict.fromkeys(("xtick.minor.size", "ytick.minor.size"), 1.5),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.formatter.use_mathtext": True,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "figure.dpi": 150.0,
    "savefig.dpi": 300.0,
    **dict.fromkeys(("pdf.fonttype", "ps.fonttype"), 42),
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

    >>> with style(font_size=9):
    ...     matplotlib.rcParams["font.size"]
    9.0
    """
    known = {key.replace(".", "_"): key for key in matplotlib.rcParams}
    if unknown := sorted(set(changes) - set(known)):
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


def check_panels(what: str, count: int, columns: int) -> None:
    """Raise where there is nothing to draw, or no column to draw it in."""
    if not count:
        raise LandscapeError(f"no {what} to draw; give at least one by name")
    if columns < 1:
        raise LandscapeError(f"columns={columns}; at least one is needed")


def panels(
    figure: Figure | SubFigure,
    count: int,
    columns: int,
    *,
    heights: Sequence[float] = (1,),
    projection: str | None = None,
) -> list[Axes]:
    """Add panels row by row, each in the uppermost of as many parts of its row as there are heights."""
    across = min(count, columns)
    rows = math.ceil(count / across)
    places = figure.add_gridspec(rows * len(heights), across, height_ratios=[*heights] * rows)
    return [
        figure.add_subplot(places[i // across * len(heights), i % across], projection=projection) for i in range(count)
    ]


def size_of(count: int, columns: int, *, height: float) -> dict[str, float]:
    """Return the size of a figure whose panels have a height, in inches."""
    width = DOUBLE if min(count, columns) > 1 else SINGLE
    return {"width": width, "height": height * math.ceil(count / columns) + 0.15}


def outer_labels(axes: list[Axes], columns: int) -> None:
    """Keep the labels and numbers of the outer axes only: the inner ones are the same."""
    across = max(1, min(len(axes), columns))
    for index, ax in enumerate(axes):
        if index % across:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        if index + across < len(axes):
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)


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


def entry(label: str, **look: Any) -> Line2D:
    """Return an entry of a legend: a line or a marker that is drawn nowhere else."""
    return Line2D([], [], label=label, **look)


def legend(drawn: Any, handles: Sequence[Any], *, own: bool, columns: int = 3, loc: Any = "best") -> None:
    """Put a legend below a figure of ours; on what the caller gave, where the data leave most room, or below the panels."""
    if not handles:
        return
    if own:
        legend_outside(drawn.figure, handles, columns=columns)
    elif isinstance(drawn, Axes):
        box = drawn.legend(handles=handles, loc=loc, frameon=True, framealpha=0.85, edgecolor="none", borderpad=0.3)
        box.set_zorder(8)
    else:
        drawn.legend(handles=handles, loc="lower center", ncols=columns)


def legend_outside(figure: Any, handles: Sequence[Any], *, columns: int = 3) -> None:
    """Put a legend below everything in a figure of ours, and make the figure as much taller."""
    columns = next(
        n for n in range(min(columns, len(handles)), 0, -1) if n == 1 or _across(handles, n) <= figure.get_figwidth()
    )
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, columnspacing=1.2)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * math.ceil(len(handles) / columns))


def _across(handles: Sequence[Any], columns: int) -> float:
    """Return about how wide a legend is, in inches: 0.053 per letter, and 0.4 per column for the handle and the gap."""
    rows = math.ceil(len(handles) / columns)
    longest = [max(len(one.get_label()) for one in handles[i : i + rows]) for i in range(0, len(handles), rows)]
    return sum(0.4 + 0.053 * letters for letters in longest)


def by_recipe(results: Any, kind: type[T], what: str) -> dict[str, list[T]]:
    """Return lists of results by recipe, given one result, several, or such by recipe; without names, under "".

    Raises:
        LandscapeError: there is nothing to draw.
    """
    named = results if isinstance(results, Mapping) else {"": results}
    groups = {name: [given] if isinstance(given, kind) else list(given) for name, given in named.items()}
    if not groups or not all(groups.values()):
        raise LandscapeError(f"no {what} to draw; give at least one for each recipe")
    return groups


def colour(index: int) -> str:
    """Return the palette's colour of a recipe."""
    return PALETTE[index % len(PALETTE)]


def marker(index: int) -> str:
    """Return the marker of a recipe."""
    return MARKERS[index % len(MARKERS)]


def ink(rgba: Any) -> str:
    """Return black or white, whichever can be read on a colour (relative luminance of sRGB, WCAG 2)."""
    rgb = np.asarray(rgba, dtype=float)[:3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ [0.2126, 0.7152, 0.0722] > 0.18 else "white"
