"""HTML: one page with its style inside, nothing fetched from anywhere, readable on a phone and in the dark."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from landscape import bibliography
from landscape.export.tables import Cell, Table
from landscape.results.numbers import Measured, digits

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6470; --page: #ffffff; --box: #f4f6f8; --line: #d5dae0;
  --link: #0a5ea8; --good: #1b7a3d; --bad: #b3261e; --wait: #8a6100; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a3acb8; --page: #15181c; --box: #1f242a; --line: #3a424c; --link: #7ab8f5;
    --good: #6fcf8f; --bad: #ff8a80; --wait: #f0c060; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1rem clamp(0.8rem, 4vw, 2rem) 3rem; max-width: 68rem; color: var(--ink);
  background: var(--page); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.6rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; padding-top: 0.6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 0.4rem; }
a { color: var(--link); }
nav a { display: inline-block; margin: 0.1rem 0.9rem 0.1rem 0; padding: 0.2rem 0; }
.soft, figcaption, .note { color: var(--soft); font-size: 0.875rem; }
.note { margin: 0.3rem 0 1rem; }
.verdict { margin: 0.6rem 0; padding: 0.7rem 0.9rem; background: var(--box); border-left: 4px solid var(--soft);
  border-radius: 4px; }
.verdict b { text-transform: uppercase; font-size: 0.78rem; letter-spacing: 0.04em; margin-right: 0.5rem; }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; text-align: left; white-space: nowrap; vertical-align: top; }
th { border-bottom: 1px solid var(--line); background: var(--box); font-weight: 600; }
td.number, th.number { text-align: right; }
td.long { white-space: normal; min-width: 14rem; }
tr + tr td { border-top: 1px solid var(--line); }
.passed { color: var(--good); font-weight: 600; } .failed { color: var(--bad); font-weight: 600; }
.waived { color: var(--wait); font-weight: 600; }
figure { margin: 1rem 0 1.4rem; } figcaption { margin-top: 0.4rem; }
figure .scroll { background: #ffffff; padding: 0.5rem; }
figure img { display: block; margin: 0 auto; height: auto; max-width: none; }
figure img.wide { width: 100%; min-width: 36rem; max-width: 52rem; }
figure img.narrow { width: 100%; max-width: 30rem; }
details { margin: 0.5rem 0; border: 1px solid var(--line); border-radius: 6px; padding: 0.4rem 0.8rem; }
details[open] { padding-bottom: 0.8rem; }
summary { cursor: pointer; padding: 0.3rem 0; font-weight: 600; }
pre { overflow-x: auto; background: var(--box); padding: 0.8rem; border-radius: 6px; font-size: 0.8rem;
  line-height: 1.4; }
ol.references { padding-left: 1.6rem; } ol.references li { margin: 0.3rem 0; }
@media (max-width: 40rem) { th, td { padding: 0.3rem 0.5rem; }
  td:first-child { white-space: normal; max-width: 10rem; } }
@media print { body { max-width: none; } details { border: none; } nav { display: none; } }
"""

_SECURITY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_LONG = 40


def document(title: str, body: str, style: str = STYLE) -> str:
    """Return a whole page; its policy forbids the browser to fetch or run anything."""
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_SECURITY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{style}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def table_html(table: Table) -> str:
    """Return a table in a box that scrolls on its own, with its note below.

    >>> "<td class='number'>2.00&nbsp;±&nbsp;0.13</td>" in table_html(Table("", ("a",), ((Measured(2.0, 0.13),),)))
    True
    """
    numeric = [_is_numeric([row[i] for row in table.rows]) for i in range(len(table.columns))]
    head = "".join(
        f"<th{' class=number' if right else ''}>{html.escape(name)}</th>"
        for name, right in zip(table.columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    note = f"<p class='note'>{html.escape(table.note)}</p>" if table.note else ""
    rows = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='scroll' tabindex='0'>{rows}</div>{note}"


def number_html(cell: Measured) -> str:
    """Return a number with its uncertainty.

    >>> number_html(Measured(1.5e-5, 2e-7))
    '(1.500&nbsp;±&nbsp;0.020)&nbsp;×&nbsp;10<sup>−5</sup>'
    """
    mantissa, error, power = digits(cell)
    body = mantissa.replace("-", "−")
    if error is not None:
        body += f"&nbsp;±&nbsp;{re.sub(r'e([+-][0-9]+)', lambda found: _times(int(found[1])), error)}"
    if power == 0:
        return body
    return f"{body if error is None else f'({body})'}{_times(power)}"


def bibliography_html(keys: Sequence[str]) -> str:
    """Return a numbered list of references, to which citations link."""
    items = []
    for key in keys:
        found = bibliography.entry(key)
        link = f" <a href='{html.escape(found.url)}'>arXiv:{html.escape(found['eprint'])}</a>" if found.url else ""
        items.append(f"<li id='ref-{html.escape(key)}'>{html.escape(found.text())}{link}</li>")
    return f"<ol class='references'>{''.join(items)}</ol>"


def folded(title: str, body: str) -> str:
    """Return a part of the page that opens when touched."""
    return f"<details><summary>{html.escape(title)}</summary>{body}</details>"


def _times(power: int) -> str:
    return f"&nbsp;×&nbsp;10<sup>{str(power).replace('-', '−')}</sup>"


def _is_numeric(cells: Sequence[Cell]) -> bool:
    return any(isinstance(cell, Measured) for cell in cells) and not any(isinstance(cell, str) for cell in cells)


def _cell(cell: Cell) -> str:
    if cell is None:
        return "<td></td>"
    if isinstance(cell, Measured):
        return f"<td class='number'>{number_html(cell)}</td>"
    kind = cell if cell in ("passed", "failed", "waived") else "long" if len(cell) > _LONG else ""
    return f"<td{f' class={kind}' if kind else ''}>{html.escape(cell)}</td>"
