"""The report of a study: one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import html
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from landscape import bibliography, plots
from landscape.export.row_tables import row_tables
from landscape.export.tables import Table, estimate, means, metrics, scores, tests
from landscape.report.bundle import bundle
from landscape.report.card import Card, card_of
from landscape.report.citing import to_html, to_latex
from landscape.report.content import Content, gather
from landscape.report.drawings import DRAWN_TOGETHER, Drawing, drawings
from landscape.report.markup import bibliography_html, document, folded, table_html
from landscape.results import Comparison, Estimate, Result, Scores
from landscape.store import Study
from landscape.store.files import write_text

_WIDE = 4.5
"""Inches from which a figure may not shrink to the width of a phone but scrolls in its box."""


def report(
    study: Study | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    latex: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the report of a study: verdict, gates, scores, figures, audit, methods, provenance and bibliography.

    The page holds its figures and style and fetches nothing; the same study gives the same bytes.

    Args:
        study: a study, or the path of its file.
        path: the HTML file.
        latex: a folder for tables, figures and BibTeX (see `bundle`); `None`: none.

    Returns:
        The page.

    Raises:
        LandscapeError: the study cannot be read, or a file not be written.

    >>> from landscape.results import Estimate
    >>> folder = Path(tempfile.mkdtemp())
    >>> one = Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace")
    >>> one.save(folder / "study.h5", "sgd-0/trace")
    >>> "XTrace" in report(folder / "study.h5", folder / "report.html").read_text()
    True
    """
    content = gather(study)
    made = card_of(content)
    page = document(f"Report of {content.name}", "\n".join(_sections(content, made)))
    written = write_text(path, page)
    if latex is not None:
        bundle(content, latex)
    return written


def _sections(content: Content, made: Card) -> Iterator[str]:
    parts: dict[str, str] = {}
    parts["Verdict"] = _verdicts(content)
    gates = [table for table in made.tables if table.title.startswith("Gates")]
    parts["Gates"] = "".join(map(_titled, gates))
    for name, comparison in content.comparisons.items():
        parts[f"Comparison: {name}" if len(content.comparisons) > 1 else "Comparison"] = _comparison(comparison)
    parts["Figures"] = "".join(map(_figure, drawings(content)))
    parts |= {table.title: table_html(table) for table in made.tables if table not in gates}
    parts["Checkpoints"] = _checkpoints(content)
    parts["Other results"] = _others(content)
    parts["Not read"] = _unreadable(content)
    parts["Methods"] = _methods(made)
    parts["Provenance"] = _provenance(content)
    parts["Bibliography"] = _bibliography(made)
    kept = {title: body for title, body in parts.items() if body}
    yield f"<header><h1>{html.escape(content.name)}</h1><p class='soft'>{html.escape(_subtitle(content))}</p>"
    yield "<nav>" + "".join(f"<a href='#{_slug(title)}'>{html.escape(title)}</a>" for title in kept) + "</nav></header>"
    for title, body in kept.items():
        yield f"<section id='{_slug(title)}'><h2>{html.escape(title)}</h2>{body}</section>"


def _subtitle(content: Content) -> str:
    about = content.attributes
    made = f"made {about['created']} by {about.get('command', 'an unknown command')}" if "created" in about else ""
    count = f"{len(content.results)} result{'' if len(content.results) == 1 else 's'}"
    waiting = f"{len(content.unfinished)} still being computed" if content.unfinished else ""
    lost = f"{len(content.unreadable)} not readable" if content.unreadable else ""
    return ", ".join(part for part in (count, waiting, lost, made) if part)


def _verdicts(content: Content) -> str:
    found = [row for one in content.comparisons.values() for row in one.verdicts]
    return "".join(f"<p class='verdict'><b>{html.escape(row.verdict)}</b>{html.escape(row.text)}</p>" for row in found)


def _comparison(comparison: Comparison) -> str:
    shown = (metrics(comparison), means(comparison), *tests(comparison))
    return "".join(_titled(table) for table in shown if table.rows)


def _titled(table: Table) -> str:
    return f"<h3>{html.escape(table.title)}</h3>{table_html(table)}"


def _figure(drawing: Drawing) -> str:
    title, caption = html.escape(drawing.title), html.escape(drawing.caption)
    try:
        image, wide = _svg(drawing)
    except Exception as error:  # whatever a result holds, the rest of the report is written
        return f"<h3>{title}</h3><p class='note'>Not drawn: {html.escape(str(error) or type(error).__name__)}</p>"
    source = f"data:image/svg+xml;base64,{base64.b64encode(image).decode()}"
    return (
        f"<figure><h3>{title}</h3><div class='scroll' tabindex='0'>"
        f"<img class='{'wide' if wide else 'narrow'}' src='{source}' alt='{title}'></div>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _svg(drawing: Drawing) -> tuple[bytes, bool]:
    """Return a drawing as SVG, and whether it is wider than a phone can show."""
    drawn = drawing.draw()
    figure = getattr(drawn, "figure", drawn)
    wide = figure.get_figwidth() > _WIDE
    with tempfile.TemporaryDirectory() as folder:
        [file] = plots.save(figure, Path(folder) / "figure", formats=("svg",), dpi=200)
        return file.read_bytes(), wide


def _checkpoints(content: Content) -> str:
    return "".join(
        folded(f"{content.label(owner)}: {entry}", table_html(scores(panel)))
        for entry, found in content.by_entry(Scores).items()
        for owner, panel in found.items()
    )


def _others(content: Content) -> str:
    """Show what is not above by the few numbers worth reading and by its rows."""
    shown = DRAWN_TOGETHER | {"estimate", "scores"}
    rest = {name: result for name, result in content.results.items() if type(result).kind not in shown}
    estimates = content.of(Estimate)
    together = _titled(_estimates(content, estimates)) if estimates else ""
    return together + "".join(
        folded(f"{type(result).kind.replace('-', ' ')}: {name}", "".join(map(table_html, _about(result))))
        for name, result in rest.items()
    )


def _about(result: Result) -> Iterator[Table]:
    summary = Table("", ("what", "value"), tuple(result.summary()))
    yield summary
    yield from (table for table in row_tables(result) if table.columns != summary.columns)


def _estimates(content: Content, estimates: Mapping[str, Estimate]) -> Table:
    rows = []
    for name, one in estimates.items():
        [row] = estimate(one).rows
        owner, _, entry = name.rpartition("/")
        rows.append((content.label(owner) or entry, *row))
    return Table("Estimates", ("checkpoint", *estimate(one).columns), tuple(rows), "± is the standard error.")


def _unreadable(content: Content) -> str:
    rows = tuple(content.unreadable.items())
    return table_html(Table("", ("result", "why"), rows)) if rows else ""


def _methods(made: Card) -> str:
    numbers = {key: i for i, key in enumerate(made.keys, start=1)}
    source = folded("As LaTeX", f"<pre>{html.escape(to_latex(made.methods))}</pre>")
    return f"<p>{to_html(made.methods, numbers)}</p>{source}"


def _bibliography(made: Card) -> str:
    if not made.keys:
        return ""
    return bibliography_html(made.keys) + folded(
        "As BibTeX", f"<pre>{html.escape(bibliography.bibtex(made.keys))}</pre>"
    )


def _provenance(content: Content) -> str:
    file = Table("", ("of the file", ""), tuple((key, str(value)) for key, value in content.attributes.items()))
    rows = [
        (content.label(owner), ", ".join(f"{key} {value}" for key, value in about.items()))
        for owner, about in content.checkpoints.items()
        if about
    ]
    checkpoints = table_html(Table("", ("checkpoint", "recorded"), tuple(rows))) if rows else ""
    return table_html(file) + checkpoints


def _slug(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())
