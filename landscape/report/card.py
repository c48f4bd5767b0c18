"""The flatness card: one page that says what was compared, what held, what was measured and with which power."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from landscape import bibliography
from landscape.export.latex import escape, table_environment
from landscape.export.tables import Cell, Table, audited, filled, gates
from landscape.report.citing import cited, to_html, to_latex, to_text
from landscape.report.content import Content, gather
from landscape.report.markup import STYLE, bibliography_html, document, table_html
from landscape.report.methods import methods
from landscape.report.power import power_table
from landscape.results import Audit, Result, Scores
from landscape.results.numbers import Measured
from landscape.store import Study
from landscape.store.files import write_text


@dataclass(frozen=True, repr=False)
class Card:
    """A flatness card.

    Attributes:
        title: name of the study.
        verdicts: what may be said, one sentence a pair of recipes.
        tables: gates, audit, radii, power and fingerprints; those the study has nothing for are left out.
        methods: the methods paragraph, with citations as in `landscape.report.citing`.
    """

    title: str
    verdicts: tuple[str, ...]
    tables: tuple[Table, ...]
    methods: str

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the papers cited, in their order."""
        return cited(self.methods)

    def bibtex(self) -> str:
        """Return the BibTeX entries of every paper cited."""
        return bibliography.bibtex(self.keys)

    def latex(self) -> str:
        r"""Return the card as LaTeX: the methods paragraph, the verdicts and the tables; needs ``booktabs``."""
        verdicts = [r"\paragraph{Verdict.} " + " ".join(map(escape, self.verdicts))] if self.verdicts else []
        parts = [r"\paragraph{Methods.} " + to_latex(self.methods), *verdicts, *map(table_environment, self.tables)]
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return the card as one HTML page without anything outside it."""
        return document(f"Flatness card of {self.title}", self.body(), STYLE)

    def body(self) -> str:
        """Return what the page shows, without its frame."""
        numbers = {key: i for i, key in enumerate(self.keys, start=1)}
        verdicts = "".join(f"<p class='verdict'>{html.escape(text)}</p>" for text in self.verdicts)
        paragraph = f"<h2>Methods</h2><p>{to_html(self.methods, numbers)}</p>"
        tables = "".join(f"<h2>{html.escape(table.title)}</h2>{table_html(table)}" for table in self.tables)
        return (
            f"<h1>Flatness card: {html.escape(self.title)}</h1>{verdicts}{tables}{paragraph}"
            f"<h2>Bibliography</h2>{bibliography_html(self.keys)}"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the card as ``.html``, ``.tex`` (with a ``.bib`` beside it) or text, by the suffix.

        Raises:
            LandscapeError: the place cannot be written.
        """
        target = Path(path)
        if target.suffix == ".tex":
            write_text(target.with_suffix(".bib"), self.bibtex())
            write_text(target, self.latex())
        else:
            write_text(target, self.html() if target.suffix in (".html", ".htm") else f"{self!r}\n")

    def __repr__(self) -> str:
        parts = [f"Flatness card of {self.title}", *self.verdicts]
        for table in self.tables:
            parts.append(f"{table.title}: {len(table.rows)} rows ({', '.join(table.columns)})")
        return "\n\n".join([*parts, to_text(self.methods)])

    def _repr_html_(self) -> str:
        return f"<style>{STYLE}</style>{self.body()}"


def card(study: Study | str | os.PathLike[str]) -> Card:
    """Return the flatness card of a study.

    Args:
        study: a study, or the path of its file.

    Returns:
        A `Card`, which shows itself in a notebook; ``.html()``, ``.latex()``, ``.bibtex()`` and ``.save(path)``.

    Raises:
        LandscapeError: the file is missing, foreign or damaged.

    >>> import tempfile
    >>> from landscape.results import Estimate
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace").save(path, "sgd-0/trace")
    >>> card(path).keys
    ('epperly2024xtrace',)
    """
    return card_of(gather(study))


def card_of(content: Content) -> Card:
    """Return the card of a study that was read already."""
    verdicts = [row.text for one in content.comparisons.values() for row in one.verdicts]
    return Card(content.name, tuple(verdicts), tuple(_tables(content)), methods(content))


def _tables(content: Content) -> Iterator[Table]:
    for comparison in content.comparisons.values():
        yield from gates(comparison)
        if comparison.audited:
            yield audited(comparison)
    for name, audit in content.of(Audit).items():
        yield audit_table(audit, content.label(name.rpartition("/")[0]))
    radii = radii_table(content)
    if radii.rows:
        yield radii
    for comparison in content.comparisons.values():
        if comparison.tests:
            yield power_table(comparison)
    fingerprints = fingerprint_table(content)
    if fingerprints.rows:
        yield fingerprints


def audit_table(audit: Audit, label: str) -> Table:
    """Return S(T(w)) / S(w) by score and transformation."""
    rows: list[tuple[Cell, ...]] = []
    for score, radius in dict.fromkeys((row.score, row.radius) for row in audit.rows):
        cells: list[Cell] = [score if radius is None else f"{score} ({radius:g})"]
        for name in audit.transformations:
            row = next(r for r in audit.rows if (r.score, r.radius, r.transformation) == (score, radius, name))
            measured = row.verdict != "not applicable" and np.isfinite(row.change)
            cells.append(Measured(row.change, row.standard_error) if measured else None)
        cells.append(", ".join(audit.survived(score)) or "none")
        rows.append(tuple(cells))
    differences = [
        score for score in audit.scores if any(r.score == score and r.compared != "ratio" for r in audit.rows)
    ]
    beside = f"; differences S(T(w)) − S(w) for {', '.join(differences)}" if differences else ""
    note = f"Ratios S(T(w)) / S(w) on {audit.examples} examples{beside}; scores that move under a transformation describe only."
    return Table(f"Audit of {label}", ("score", *audit.transformations, "unmoved by"), tuple(rows), note)


def radii_table(content: Content) -> Table:
    """Return the radius, invariances and kind of every score that was measured."""
    found: dict[str, tuple[set[float], str, str]] = {}
    for panel in content.of(Scores).values():
        for row in panel.rows:
            radii, _, _ = found.setdefault(row.name, (set(), row.invariant_to, row.family))
            radii.update(() if row.radius is None else (row.radius,))
    rows = tuple(
        (slug, ", ".join(f"{radius:g}" for radius in sorted(radii)) or "none", invariant or "none", family)
        for slug, (radii, invariant, family) in found.items()
    )
    note = "Invariances as declared in the registry; what an audit measured stands in its table."
    return Table("Scores and radii", ("score", "radii", "invariant to", "family"), rows, note)


def fingerprint_table(content: Content) -> Table:
    """Return which weights and data every checkpoint was measured with: the first 12 digits of their SHA-256."""
    first: dict[str, Result] = {}
    for name, result in content.results.items():
        owner, slash, _ = name.rpartition("/")
        if slash and "weights_sha256" in result.provenance:
            first.setdefault(owner, result)
    rows = tuple(
        (
            content.label(owner),
            str(result.provenance["weights_sha256"])[:12],
            str(result.provenance.get("data_sha256", ""))[:12],
            f"{result.provenance.get('examples', '')}",
            str(content.checkpoints.get(owner, {}).get("sha256", ""))[:12] or None,
        )
        for owner, result in content.in_order(first).items()
    )
    columns = ("checkpoint", "weights", "data", "examples", "file")
    return filled(Table("Fingerprints", columns, rows, "First 12 digits of SHA-256."))
