"""Tables as text: aligned for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from landscape.errors import LandscapeError
from landscape.tables.numbers import number_text
from landscape.tables.table import Cell, Table, as_measured

LINE = 120
"""Columns of a printed result."""


def table_text(table: Table, style: str = "text") -> str:
    """Write a table without its title: aligned, or as Markdown.

    >>> from landscape.tables.numbers import Measured
    >>> print(table_text(Table("", ("score", "value"), (("trace", Measured(2.0, 0.13)), ("margin", None)))))
    score   value
    ------  -----------
    trace   2.00 ± 0.13
    margin  —
    """
    body = [tuple(cell_text(cell, table.significant) for cell in row) for row in table.rows]
    return format_table(table.columns, body, style)


def cell_text(cell: Cell, significant: int = 4, nothing: str = "—") -> str:
    """Write a cell; a value is rounded to the second digit of its error.

    >>> cell_text(12345678), cell_text(0.0123456, 3), cell_text(None), cell_text("|w|")
    ('12345678', '0.0123', '—', '|w|')
    """
    if cell is None:
        return nothing
    return str(cell) if isinstance(cell, str | int) else number_text(as_measured(cell), significant)


def format_table(header: tuple[str, ...], body: Sequence[tuple[str, ...]], style: str = "text") -> str:
    """Lay out cells as aligned text or as a Markdown table.

    Raises:
        LandscapeError: `style` is neither ``text`` nor ``markdown``.

    >>> print(format_table(("a", "b"), [("1", "22")], "markdown"))
    | a | b  |
    |---|----|
    | 1 | 22 |
    >>> print(format_table(("a",), [("|w|",)], "markdown").splitlines()[-1])
    | \\|w\\| |
    """
    if style not in ("text", "markdown"):
        raise LandscapeError(f"a table style of {style!r}, expected 'text' or 'markdown'")
    if style == "markdown":  # a bar inside a cell would end it
        header, *body = [tuple(cell.replace("|", r"\|") for cell in line) for line in [header, *body]]
    widths = [max(len(line[i]) for line in [header, *body]) for i in range(len(header))]
    if style == "text":
        lines = ["  ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)).rstrip() for line in [header, *body]]
        return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
    lines = [
        "| " + " | ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)) + " |" for line in [header, *body]
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def hanging(label: str, text: str) -> str:
    """Return a labelled text, its further lines below its first; ``p = 0.01`` and ``× 3`` are never broken.

    >>> print(hanging("loss  ", "one " * 30))
    loss  one one one one one one one one one one one one one one one one one one one one one one one one one one one one
          one one
    """
    for sign in (" = ", " ± ", "× "):
        text = text.replace(sign, sign.replace(" ", "\N{NO-BREAK SPACE}"))
    room = max(60, LINE - len(label))
    parts = (wrap(part, room, break_long_words=False, break_on_hyphens=False) or [""] for part in text.splitlines())
    lines = [line.replace("\N{NO-BREAK SPACE}", " ") for part in parts for line in part]
    return label + f"\n{' ' * len(label)}".join(lines)
