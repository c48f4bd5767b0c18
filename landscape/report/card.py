"""The flatness card: a short report that says what was compared, what held, what was measured and with which power."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from markupsafe import Markup

from landscape import bibliography
from landscape.report.content import Content, gather
from landscape.report.layout import Block, Part, page, shown
from landscape.report.methods import cited, methods, to_html, to_latex, to_text
from landscape.results import Audit, Comparison, Result
from landscape.statistics import POWER, detectable, permutation_floor
from landscape.store import Study
from landscape.store.files import write_text
from landscape.tables import Cell, Measured, Table, escape, table_latex


@dataclass(frozen=True, repr=False)
class Card:
    """A flatness card.

    Attributes:
        title: name of the study.
        verdicts: what may be said, one sentence per pair of recipes.
        tables: gates, audit, radii, power and fingerprints; those the study has nothing for are left out.
        methods: the methods paragraph, with citations as in `landscape.report.methods`.
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
        parts = [r"\paragraph{Methods.} " + to_latex(self.methods), *verdicts, *map(table_latex, self.tables)]
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return the card as one HTML page without anything outside it."""
        return page(f"Flatness card: {self.title}", self._parts(), title=f"Flatness card of {self.title}")

    def _repr_html_(self) -> str:
        return page(f"Flatness card: {self.title}", self._parts(), fragment=True)

    def _parts(self) -> Iterator[Part]:
        yield Part("Verdict", tuple(Block("verdict", text=text) for text in self.verdicts))
        for table in self.tables:
            yield Part(table.title, (shown(table, titled=False),))
        yield Part("Methods", self.paragraph())
        yield Part("Bibliography", self.references())

    def paragraph(self) -> tuple[Block, ...]:
        """Return the methods paragraph as a block of a page, its citations linked to the references."""
        numbers = {key: i for i, key in enumerate(self.keys, start=1)}
        return (Block("text", text=Markup(to_html(self.methods, numbers))),) if self.methods else ()

    def references(self) -> tuple[Block, ...]:
        """Return the papers cited as a block of a page."""
        return (Block("references", items=tuple(map(bibliography.entry, self.keys))),) if self.keys else ()

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


def card(study: Content | Study | str | os.PathLike[str]) -> Card:
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
    content = gather(study)
    verdicts = [row.text for one in content.comparisons.values() for row in one.verdicts]
    tables = tuple(table for table in _tables(content) if table.rows)
    return Card(content.name, tuple(verdicts), tables, methods(content))


def _tables(content: Content) -> Iterator[Table]:
    for comparison in content.comparisons.values():
        yield from comparison.conditions()
        yield comparison.audit_table()
    for name, audit in content.of(Audit).items():
        [table] = audit.tables()
        yield replace(table, title=f"Audit of {content.label(name.rpartition('/')[0])}")
    yield _radii(content)
    yield from map(_power, content.comparisons.values())
    yield _fingerprints(content)


def _radii(content: Content) -> Table:
    """Return the radius, invariances and kind of every score that was measured."""
    rows = tuple(
        (slug, ", ".join(f"{radius:g}" for radius in sorted(radii)) or "none", row.invariant_to or "none", row.family)
        for slug, (row, radii) in content.scored.items()
    )
    note = "Invariances as declared in the registry; what an audit measured stands in its table."
    return Table("Scores and radii", ("score", "radii", "invariant to", "family"), rows, note)


def _power(result: Comparison) -> Table:
    """Return what the seeds of a comparison could have shown of each primary score, or of all when none is primary."""
    level = float(result.provenance.get("level", 0.05))
    names = dict(zip(result.recipes, result.long_names, strict=True))
    rows: list[tuple[Cell, ...]] = []
    for row in [row for row in result.tests if row.primary] or result.tests:
        a, b = (_on_scale(result.score(row.score)[recipe], row.scale) for recipe in (row.a, row.b))
        smallest = detectable(a, b, level=level)
        rows.append(
            (
                f"{names[row.b]} against {names[row.a]}",
                row.score,
                f"{row.seeds_a} and {row.seeds_b}",
                Measured(permutation_floor(row.seeds_a, row.seeds_b)),
                None if math.isnan(smallest) else _difference(smallest, row.scale),
                _difference(abs(row.difference), row.scale),
            )
        )
    columns = ("pair", "score", "seeds", "smallest p", f"found with {POWER:.0%} power", "observed")
    note = f"Two-sided at {level:g} before correction; factors where scores were compared as ratios."
    return Table("Power", columns, tuple(rows), note)


def _on_scale(values: np.ndarray, scale: str) -> np.ndarray:
    values = values[np.isfinite(values)]
    return np.log10(values) if scale == "log10" else values


def _difference(value: float, scale: str) -> str:
    return f"× {10**value:#.3g}" if scale == "log10" else f"± {value:#.3g}"


def _fingerprints(content: Content) -> Table:
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
    return Table("Fingerprints", columns, rows, "First 12 digits of SHA-256.").filled()
