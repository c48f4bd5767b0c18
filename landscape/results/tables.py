"""Tables as text: aligned for a terminal, or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

from landscape.errors import LandscapeError
from landscape.results.numbers import Measured, number_text

LINE = 120
"""Columns of a printed result."""


def cell(value: float | None, error: float | None = None) -> str:
    """Write one number of a table, with its error where it has one; a dash where there is nothing to say.

    >>> cell(0.25), cell(1234.5, 12.3), cell(None)
    ('0.25', '1234 ± 12', '—')
    """
    if value is None:
        return "—"
    return number_text(Measured(float(value), None if error is None else float(error)))


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
