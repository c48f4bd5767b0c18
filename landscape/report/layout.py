"""What a report is made of, and the templates that lay it out: HTML and LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import jinja2
from markupsafe import Markup

from landscape.tables import Table, escape, table_html

Kind = Literal["verdict", "table", "figure", "missing", "source", "text", "folded", "references"]


@dataclass(frozen=True)
class Block:
    """One piece of a report."""

    kind: Kind  # which of the template's forms it takes
    title: str = ""  # its heading
    text: str = ""  # what it says; `Markup` where it is HTML already
    table: Table | None = None  # of a table
    source: str = ""  # of a figure, as a data URL
    size: str = ""  # of a figure: ``wide`` or ``narrow``
    items: tuple[Any, ...] = ()  # blocks that unfold, or references


@dataclass(frozen=True)
class Part:
    """A section: a title and what stands below it; without anything below, it is left out."""

    title: str
    blocks: tuple[Block, ...]


def shown(table: Table, *, titled: bool = True) -> Block:
    """Return the block of a table."""
    return Block("table", table.title if titled else "", table=table)


def page(heading: str, parts: Iterable[Part], *, title: str = "", subtitle: str = "", fragment: bool = False) -> str:
    """Return a page that needs nothing else.

    Args:
        heading: its first line.
        parts: its sections; those without anything in them are left out.
        title: of the window; empty: the heading.
        subtitle: a line below the heading.
        fragment: only the style and what the body holds, for a notebook.
    """
    kept = [part for part in parts if part.blocks]
    style = Markup(_html().loader.get_source(_html(), "style.css")[0])  # type: ignore[union-attr]
    return _html().get_template("page.html.j2").render(
        heading=heading, parts=kept, title=title or heading, subtitle=subtitle, fragment=fragment, style=style
    )  # fmt: skip


def tex(template: str, **values: Any) -> str:
    """Return what a LaTeX template makes of some values."""
    return _tex().get_template(f"{template}.tex.j2").render(**values)


def _environment(**options: Any) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("landscape.report"), trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, **options,
    )  # fmt: skip


@cache
def _html() -> jinja2.Environment:
    made = _environment(autoescape=True)
    made.filters["table"] = lambda table: Markup(table_html(table))
    made.filters["slug"] = lambda title: "".join(c if c.isalnum() else "-" for c in title.lower())
    return made


@cache
def _tex() -> jinja2.Environment:
    made = _environment(
        keep_trailing_newline=True, block_start_string="<%", block_end_string="%>", variable_start_string="<<",
        variable_end_string=">>", comment_start_string="<#", comment_end_string="#>",
    )  # fmt: skip
    made.filters["tex"] = escape
    return made
