"""Tables as figures, set like those of a paper; and matrices with a number in every cell: barriers, invariance, cosines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager, rcParams
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextPath

from landscape.errors import LandscapeError
from landscape.plots.planes import HATCHED, HATCHES
from landscape.plots.scales import colourbar
from landscape.plots.style import COLOURMAP, PAPER, SINGLE, canvas, ink
from landscape.results import Audit, Directions, Result
from landscape.tables import Cell, Measured, Table
from landscape.tables.text import cell_text

GAP = 1.6
"""Space between columns, in font sizes."""
LINE = 1.55
"""Height of a row, in font sizes."""

TOLERANCE = 0.01
"""Relative change up to which a score counts as invariant: its cell is white, with a dot."""
SPAN = 100.0
"""The factor at which the colours of an audit end."""


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


def barriers(values: np.ndarray, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw the barriers between pairs of solutions.

    Args:
        values: (m, m) barriers; the diagonal is left empty.
        names: of the m solutions.

    Raises:
        LandscapeError: a matrix that does not fit the names.

    >>> from matplotlib.figure import Figure
    >>> [text.get_text() for text in barriers(np.array([[0, 2.5], [2.5, 0]]), ["a", "b"], Figure().add_subplot()).texts]
    ['2.5', '2.5']
    """
    values, empty = np.asarray(values, dtype=float), np.eye(len(names), dtype=bool)
    off = np.where(empty, np.nan, values) if values.shape == empty.shape else values
    finite = off[np.isfinite(off)]
    norm = Normalize(min(0.0, finite.min()) if finite.size else 0.0, (finite.max() if finite.size else 0.0) or 1.0)
    return _matrix(off, names, names, ax, norm=norm, cmap=COLOURMAP, label="loss barrier", form=_number, empty=empty)


def invariance(
    ratios: np.ndarray, scores: Sequence[str], transformations: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw by which factor each score changes under transformations that leave the function as it is.

    Args:
        ratios: (score, transformation) score after over score before; 1 for an invariant score, NaN where not defined.
        scores: names of the rows.
        transformations: names of the columns.

    Raises:
        LandscapeError: a matrix that does not fit the names.

    >>> from matplotlib.figure import Figure
    >>> drawn = invariance(np.array([[1.0, 100.0]]), ["trace"], ["T1", "T2"], Figure().add_subplot())
    >>> [text.get_text() for text in drawn.texts]
    ['·', '×100']
    """
    ratios = np.asarray(ratios, dtype=float)

    def form(ratio: float) -> str:
        if abs(ratio - 1) <= TOLERANCE:
            return "·"
        if ratio <= 0:
            return _number(ratio)
        factor = max(ratio, 1 / ratio)
        text = "∞" if np.isinf(factor) else f"{factor:.2f}" if factor < 1.1 else _number(factor)
        return f"{'×' if ratio > 1 else '÷'}{text}"

    shown = np.where(np.abs(ratios - 1) <= TOLERANCE, 1.0, ratios)
    shown = np.where(shown > 0, np.clip(shown, 1 / SPAN, SPAN), np.where(np.isnan(shown), np.nan, 1 / SPAN))
    return _matrix(
        shown, scores, transformations, ax, norm=LogNorm(1 / SPAN, SPAN), cmap="PuOr_r", label="score after / before",
        form=form, written=ratios, below="transformation",
    )  # fmt: skip


def audit(result: Audit, ax: Axes | None = None) -> Axes:
    """Draw by which factor transformations of a network changed each score.

    Of several radii the first is shown; transformations that do not apply to the network are hatched. Scores that are
    logarithms have no factor and are left out; `Audit.table` shows their differences.

    Raises:
        LandscapeError: every score is a logarithm.
    """
    rows = [row for row in result.rows if row.compared == "ratio"]
    if not rows:
        raise LandscapeError(
            f"no factor to draw: {', '.join(result.scores)} are compared by difference; print the audit's table() instead"
        )
    scores, transformations = list(dict.fromkeys(row.score for row in rows)), result.transformations
    ratios = np.full((len(scores), len(transformations)), np.nan)
    for row in reversed(rows):
        if row.verdict != "not applicable":
            ratios[scores.index(row.score), transformations.index(row.transformation)] = row.ratio
    return invariance(ratios, scores, transformations, ax)


def cosines(result: Directions, ax: Axes | None = None) -> Axes:
    """Draw the cosines between directions.

    >>> from matplotlib.figure import Figure
    >>> both = Directions(norms=np.ones(2), cosines=np.eye(2), direction_kind="gaussian")
    >>> cosines(both, Figure().add_subplot()).get_title()
    'gaussian directions'
    """
    names = [str(i + 1) for i in range(len(result.norms))]
    return _matrix(
        np.asarray(result.cosines, dtype=float), names, names, ax, norm=Normalize(-1, 1), cmap="PuOr_r", label="cosine",
        form=lambda value: f"{value:.2f}".replace("-0.00", "0.00"), title=f"{result.direction_kind} directions",
    )  # fmt: skip


def _number(value: float) -> str:
    """Write a number in at most five characters.

    >>> _number(0.0123), _number(12.3), _number(12345.0)
    ('0.012', '12', '1e4')
    """
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _matrix(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    ax: Axes | None,
    *,
    norm: Normalize,
    cmap: str,
    label: str,
    form: Callable[[float], str],
    written: np.ndarray | None = None,
    empty: np.ndarray | None = None,
    title: str = "",
    below: str = "",
) -> Axes:
    """Colour the cells, write the numbers into them, hatch those that should have one and have none."""
    if values.shape != (len(rows), len(columns)) or values.size == 0:
        raise LandscapeError(
            f"a matrix of shape {values.shape}, expected {(len(rows), len(columns))} as there are names"
        )
    written = values if written is None else written
    longest = max(len(name) for name in rows)
    width = max(SINGLE, 0.07 * longest + 0.42 * len(columns) + 0.9)
    slanted = any(len(name) > 4 for name in columns)
    height = 0.24 * len(rows) + 0.5 + (0.06 * max(len(name) for name in columns) if slanted else 0.2)
    with canvas(ax, width=width, height=max(height, 1.5)) as ax:
        masked = np.ma.masked_invalid(values)
        image = ax.imshow(masked, norm=norm, cmap=cmap, aspect="auto", interpolation="nearest")
        shades = matplotlib.colormaps[cmap](norm(masked.filled(norm.vmin)))
        centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6}
        for i, j in np.ndindex(values.shape):
            if np.isfinite(values[i, j]):
                ax.text(j, i, form(float(written[i, j])), color=ink(shades[i, j]), **centred)
            elif empty is None or not empty[i, j]:
                reason, text = ("inf", "∞") if np.isinf(values[i, j]) else ("NaN", "n/a")
                ax.text(j, i, text, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8}, **centred)
                ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, hatch=HATCHES[reason], **HATCHED))
        turn: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        ax.set_xticks(range(len(columns)), columns, **turn)
        ax.set_yticks(range(len(rows)), rows)
        ax.tick_params(length=0)
        ax.set(title=title, xlabel=below)
        for spine in ax.spines.values():
            spine.set_visible(True)
        colourbar(ax.figure, image, ax, label, pad=0.02)
    return ax
