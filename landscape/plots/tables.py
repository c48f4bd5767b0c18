"""Tables as figures, set like those of a paper: three rules, numbers aligned, errors as ±."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import font_manager, rcParams
from matplotlib.axes import Axes
from matplotlib.textpath import TextPath

from landscape.errors import LandscapeError
from landscape.plots.style import PAPER, canvas
from landscape.results import Result
from landscape.tables import Cell, Measured, Table
from landscape.tables.text import cell_text

GAP = 1.6
"""Space between columns, in font sizes."""
LINE = 1.55
"""Height of a row, in font sizes."""


def comparison_table(result: Any, ax: Axes | None = None) -> Axes:
    """Draw a comparison as a table: mean ± standard deviation over seeds of every metric and score."""
    return table(("", *result.long_names), result.overview().rows, ax)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell | tuple[float, float]]],
    ax: Axes | None = None,
) -> Axes:
    """Draw a table, on a new figure just as large as it; columns of numbers are set flush right, the others flush left.

    Args:
        columns: headings.
        rows: cells: text, a number, (value, standard error), or `None` where there is nothing to say.
        ax: where to draw; `None`: a new figure.

    Raises:
        LandscapeError: no columns, or a row of another length.

    >>> from matplotlib.figure import Figure
    >>> ax = table(["score", "value"], [["trace", (2.0, 0.13)]], Figure().add_subplot())
    >>> [text.get_text() for text in ax.texts]
    ['score', 'value', 'trace', '2.00 ± 0.13']
    """
    if not columns:
        raise LandscapeError("a table needs at least one column")
    if any(len(row) != len(columns) for row in rows):
        raise LandscapeError(f"every row needs {len(columns)} cells, one per column")
    cells = tuple(tuple(Measured(*cell) if isinstance(cell, tuple) else cell for cell in row) for row in rows)
    lines = [list(columns), *([cell_text(cell, 3, nothing="–") for cell in row] for row in cells)]
    numeric = Table("", tuple(columns), cells).numeric
    size = float(PAPER["font.size"] if ax is None else rcParams["font.size"])
    widths = [max(_width(line[i]) for line in lines) for i in range(len(columns))]
    total = sum(widths) + GAP * (len(widths) - 1)
    height = LINE * len(lines) + 0.9
    with canvas(ax, width=(total + 1.0) * size / 72, height=(height + 0.5) * size / 72) as ax:
        ax.set_axis_off()
        ax.set(xlim=(-0.25, total + 0.25), ylim=(height, 0))
        lefts = np.concatenate([[0.0], np.cumsum(np.array(widths) + GAP)[:-1]])
        for number, line in enumerate(lines):
            y = LINE * (number + 0.5) + (0.2 if number == 0 else 0.5)
            for text, left, width, right in zip(line, lefts, widths, numeric, strict=True):
                place, side = (left + width, "right") if right else (left, "left")
                ax.text(place, y, text, ha=side, va="center", fontsize=size)
        for y, thickness in ((0.0, 0.9), (LINE + 0.3, 0.5), (LINE * len(lines) + 0.8, 0.9)):
            ax.plot([-0.2, total + 0.2], [y, y], color="black", linewidth=thickness, clip_on=False)
    return ax


def summary(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the few numbers worth reading of a result that has no figure of its own."""
    return table([type(result).__name__, ""], tuple(result.summary()), ax)


def panel(result: Any, ax: Axes | None = None) -> Axes:
    """Draw the scores of one checkpoint as a table: they share no unit, so no axis either."""
    rows = [
        (
            row.long_name or row.name,
            row.radius,
            None if row.status == "not defined" else Measured(row.value, row.standard_error),
            row.status,
        )
        for row in result.rows
    ]
    return table(["score", "radius", "value", "status"], rows, ax)


def _width(text: str) -> float:
    """Return the width of a text in font sizes."""
    if not text.strip():
        return 0.0
    face = font_manager.FontProperties(family=PAPER["font.sans-serif"])
    return float(TextPath((0, 0), text, size=1, prop=face, usetex=False).get_extents().width)
