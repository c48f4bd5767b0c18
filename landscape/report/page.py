"""The report of a study: one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from landscape import bibliography, plots
from landscape.report.bundle import bundle
from landscape.report.card import Card, card
from landscape.report.content import Content, gather
from landscape.report.drawings import DRAWN_TOGETHER, Drawing, drawings
from landscape.report.layout import Block, Part, page, shown
from landscape.report.methods import to_latex
from landscape.results import Estimate, Result, Scores
from landscape.results.tabulate import summary_table
from landscape.store import Study
from landscape.store.files import write_text
from landscape.tables import Table

_WIDE = 4.5
"""Inches from which a figure may not shrink to the width of a phone but scrolls in its box."""
_MOST = 200
"""Rows shown of a table of any other result."""


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
    text = page(
        content.name, _parts(content, card(content)), title=f"Report of {content.name}", subtitle=_subtitle(content)
    )
    written = write_text(path, text)
    if latex is not None:
        bundle(content, latex)
    return written


def _parts(content: Content, made: Card) -> Iterator[Part]:
    verdicts = [row for one in content.comparisons.values() for row in one.verdicts]
    yield Part("Verdict", tuple(Block("verdict", row.verdict, row.text) for row in verdicts))
    gates = [table for table in made.tables if table.title.startswith("Gates")]
    yield Part("Gates", tuple(map(shown, gates)))
    for name, comparison in content.comparisons.items():
        title = f"Comparison: {name}" if len(content.comparisons) > 1 else "Comparison"
        found = (comparison.overview(), *comparison.differences())
        yield Part(title, tuple(shown(table) for table in found if table.rows))
    yield Part("Figures", tuple(map(_figure, drawings(content))))
    for table in made.tables:
        if table not in gates:
            yield Part(table.title, (shown(table, titled=False),))
    yield Part("Checkpoints", tuple(_panels(content)))
    yield Part("Other results", tuple(_others(content)))
    lost = tuple(content.unreadable.items())
    yield Part("Not read", (shown(Table("", ("result", "why"), lost)),) if lost else ())
    source = Block("folded", "As LaTeX", items=(Block("source", text=to_latex(made.methods)),))
    yield Part("Methods", (*made.paragraph(), source))
    yield Part("Provenance", tuple(map(shown, _provenance(content))))
    bibtex = Block("folded", "As BibTeX", items=(Block("source", text=bibliography.bibtex(made.keys)),))
    yield Part("Bibliography", (*made.references(), bibtex) if made.keys else ())


def _subtitle(content: Content) -> str:
    about = content.attributes
    made = f"made {about['created']} by {about.get('command', 'an unknown command')}" if "created" in about else ""
    count = f"{len(content.results)} result{'' if len(content.results) == 1 else 's'}"
    waiting = f"{len(content.unfinished)} still being computed" if content.unfinished else ""
    lost = f"{len(content.unreadable)} not readable" if content.unreadable else ""
    return ", ".join(part for part in (count, waiting, lost, made) if part)


def _figure(drawing: Drawing) -> Block:
    try:
        drawn = drawing.draw()
        figure = getattr(drawn, "figure", drawn)
        size = "wide" if figure.get_figwidth() > _WIDE else "narrow"
        with tempfile.TemporaryDirectory() as folder:
            [file] = plots.save(figure, Path(folder) / "figure", formats=("svg",), dpi=200)
            source = f"data:image/svg+xml;base64,{base64.b64encode(file.read_bytes()).decode()}"
    except Exception as error:  # whatever a result holds, the rest of the report is written
        return Block("missing", drawing.title, str(error) or type(error).__name__)
    return Block("figure", drawing.title, drawing.caption, source=source, size=size)


def _panels(content: Content) -> Iterator[Block]:
    for entry, found in content.by_entry(Scores).items():
        for owner, panel in found.items():
            yield Block("folded", f"{content.label(owner)}: {entry}", items=(shown(*panel.tables(), titled=False),))


def _others(content: Content) -> Iterator[Block]:
    """Show what is not above by the few numbers worth reading and by its tables."""
    if estimates := content.of(Estimate):
        yield shown(_estimates(content, estimates))
    above = DRAWN_TOGETHER | {"estimate", "scores"}
    for name, result in content.results.items():
        if type(result).kind not in above:
            title = f"{type(result).kind.replace('-', ' ')}: {name}"
            yield Block("folded", title, items=tuple(shown(table, titled=False) for table in _about(result)))


def _about(result: Result) -> Iterator[Table]:
    summary = summary_table(result)
    yield summary
    yield from (table.head(_MOST) for table in result.tables() if table != summary)


def _estimates(content: Content, estimates: dict[str, Estimate]) -> Table:
    rows = []
    for name, one in estimates.items():
        [table] = one.tables()
        owner, _, entry = name.rpartition("/")
        rows.append((content.label(owner) or entry, *table.rows[0]))
    return Table("Estimates", ("checkpoint", *table.columns), tuple(rows), "± is the standard error.")


def _provenance(content: Content) -> Iterator[Table]:
    yield Table("", ("of the file", ""), tuple((key, str(value)) for key, value in content.attributes.items()))
    rows = tuple(
        (content.label(owner), ", ".join(f"{key} {value}" for key, value in about.items()))
        for owner, about in content.checkpoints.items()
        if about
    )
    if rows:
        yield Table("", ("checkpoint", "recorded"), rows)
