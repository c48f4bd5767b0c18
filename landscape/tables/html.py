"""Tables as HTML, and what a result looks like in a notebook."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from typing import Any

from landscape.tables.numbers import HTML, number_text
from landscape.tables.table import Cell, Table, as_measured

_LONG = 40
"""Characters from which a cell may be broken into lines."""
_NOTE = ";color:#b35900"


def table_html(table: Table) -> str:
    """Write a table without its title: cells have the classes ``number``, ``long``, and ``passed``, ``failed``, ``waived``.

    >>> from landscape.tables.numbers import Measured
    >>> "<td class='number'>2.00&nbsp;±&nbsp;0.13</td>" in table_html(Table("", ("a",), ((Measured(2.0, 0.13),),)))
    True
    """
    head = "".join(
        f"<th{' class=number' if right else ''}>{html.escape(name)}</th>"
        for name, right in zip(table.columns, table.numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cell(cell, table.significant) for cell in row)}</tr>" for row in table.rows)
    note = f"<p class='note'>{html.escape(table.note)}</p>" if table.note else ""
    return f"<div class='scroll' tabindex='0'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}"


def _cell(cell: Cell, significant: int) -> str:
    if cell is None:
        return "<td></td>"
    if not isinstance(cell, str):
        text = str(cell) if isinstance(cell, int) else number_text(as_measured(cell), significant, HTML)
        return f"<td class='number'>{text}</td>"
    kind = cell if cell in ("passed", "failed", "waived") else "long" if len(cell) > _LONG else ""
    return f"<td{f' class={kind}' if kind else ''}>{html.escape(cell)}</td>"


def card(title: str, lines: Iterable[tuple[str, str]], picture: bytes | None, details: Mapping[str, str]) -> str:
    """Return the HTML of a result.

    Args:
        title: the name of the result's type.
        lines: (label, text) of the numbers worth reading first.
        picture: a PNG, or `None`.
        details: further text by its heading, folded away.

    >>> card("Estimate", [("trace", "8.6 ± 0.2")], None, {})[:4]
    '<div'
    """
    cells = "".join(_row(label, text) for label, text in lines)
    shown = ""
    if picture is not None:
        data = base64.b64encode(picture).decode()
        shown = (
            f"<img alt='{html.escape(title)}' style='max-width:100%;height:auto' src='data:image/png;base64,{data}'>"
        )
    folded = "".join(
        f"<details><summary>{html.escape(heading)}</summary>"
        f"<pre style='overflow:auto;max-height:30em;line-height:1.2'>{html.escape(text)}</pre></details>"
        for heading, text in details.items()
    )
    return (
        f"<div><strong>{html.escape(title)}</strong>"
        "<div style='display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start'>"
        f"<div style='flex:1 1 22em;min-width:0;overflow-x:auto'><table>{cells}</table></div>{shown}</div>{folded}</div>"
    )


def _row(label: str, text: str) -> str:
    warned = label == "converged" and text.startswith("no")
    return (
        f"<tr><th style='text-align:left;vertical-align:top'>{html.escape(label)}</th>"
        f"<td style='text-align:left{_NOTE if warned else ''}'>{html.escape(text)}</td></tr>"
    )


def lines_of(record: Mapping[str, Any]) -> str:
    """Return a mapping as aligned lines.

    >>> print(lines_of({"torch": "2.13", "loss": "mean"}))
    torch  2.13
    loss   mean
    """
    width = max((len(key) for key in record), default=0)
    return "\n".join(f"{key:<{width}}  {value}" for key, value in record.items())
