"""Tables: built once from what a result says of itself, then written as text, Markdown, HTML or LaTeX.

`Table` holds cells that are not set yet: text, whole numbers, and numbers with their uncertainty (`Measured`). There is one
renderer for each output; `landscape.plots.table` draws one as a figure. How a number stands beside its uncertainty is decided in
`landscape.tables.numbers` for all of them.
"""

from landscape.errors import LandscapeError
from landscape.tables.html import table_html
from landscape.tables.latex import escape, table_latex
from landscape.tables.numbers import (
    Measured,
    cell,
    digits,
    duration,
    interval,
    number_text,
    over_seeds,
    spread,
)
from landscape.tables.table import Cell, Table
from landscape.tables.text import format_table, hanging, table_text

STYLES = {
    "text": table_text,
    "markdown": lambda table: table_text(table, "markdown"),
    "html": table_html,
    "latex": table_latex,
}
"""How a table is written, by the name of the style."""


def render(table: Table, style: str = "text") -> str:
    """Write a table in one of `STYLES`.

    Raises:
        LandscapeError: another style.

    >>> print(render(Table("", ("a", "b"), ((Measured(2.0, 0.13), None),))))
    a            b
    -----------  -
    2.00 ± 0.13  —
    """
    if style not in STYLES:
        raise LandscapeError(f"a table style of {style!r}, expected one of {', '.join(STYLES)}")
    return STYLES[style](table)


__all__ = [
    "STYLES",
    "Cell",
    "Measured",
    "Table",
    "cell",
    "digits",
    "duration",
    "escape",
    "format_table",
    "hanging",
    "interval",
    "number_text",
    "over_seeds",
    "render",
    "spread",
    "table_html",
    "table_latex",
    "table_text",
]
