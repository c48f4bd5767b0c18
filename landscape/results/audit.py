"""Results of putting scores through transformations of the network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from landscape.results.base import Result
from landscape.results.schema import rows
from landscape.tables import Cell, Measured, Table, duration


@dataclass(frozen=True, kw_only=True)
class AuditRow:
    """What one transformation did to one score.

    Attributes:
        score: slug.
        radius: radius of the score; `None` for a radius-free one.
        transformation: ``T1`` … ``T7``.
        before: the score of the network, in float64 on the audit's examples.
        after: the score of the transformed network, with the same draws (mapped where units were permuted).
        ratio: R = after / before; 1 when both are zero.
        standard_error: of what is compared, as if the draws were independent; `None` for a deterministic score.
        verdict: ``invariant``, ``within error``, ``not invariant`` or ``not applicable``.
        declared: the registry says that the score is invariant to this transformation.
        note: why the transformation does not apply, or a score failed.
        compared: by ``ratio``, or by ``difference``: scores that are logarithms or entropies.
    """

    score: str
    radius: float | None
    transformation: str
    before: float
    after: float
    ratio: float
    standard_error: float | None
    verdict: str
    declared: bool
    note: str = ""
    compared: str = "ratio"

    @property
    def change(self) -> float:
        """What is compared: the ratio, or the difference after − before of a logarithm or an entropy."""
        return self.ratio if self.compared == "ratio" else self.after - self.before

    @property
    def agrees(self) -> bool:
        """Whether the measurement bears the declaration out: a score declared invariant did not move."""
        return not self.declared or self.verdict != "not invariant"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Audit(Result):
    """Table of S(T(w)) / S(w): what transformations that keep the function do to scores; of logarithms, the difference.

    Attributes:
        rows: one per score, radius and transformation.
        changes: largest change of a predicted probability by transformation, as measured on the network.
        examples: examples the scores were measured on.
        seed: of draws and transformations.
    """

    kind: ClassVar[str] = "audit"
    location: ClassVar[str] = "checkpoints/{owner}/audit/{entry}"

    rows: tuple[AuditRow, ...] = rows(AuditRow)
    changes: Mapping[str, float] = field(default_factory=dict)
    examples: int = 0
    seed: int = 0

    @property
    def scores(self) -> tuple[str, ...]:
        """Slugs of the scores, in order."""
        return tuple(dict.fromkeys(row.score for row in self.rows))

    @property
    def transformations(self) -> tuple[str, ...]:
        """The transformations, those that did not apply included."""
        return tuple(dict.fromkeys(row.transformation for row in self.rows))

    def verdict(self, score: str, transformation: str) -> str:
        """Return the worst verdict over the radii of a score.

        Raises:
            KeyError: that score or transformation was not audited.
        """
        order = ("not invariant", "within error", "invariant", "not applicable")
        found = {row.verdict for row in self.rows if (row.score, row.transformation) == (score, transformation)}
        if not found:
            raise KeyError(f"no audit of {score!r} under {transformation!r}; audited are {', '.join(self.scores)}")
        return min(found, key=order.index)

    def survived(self, score: str) -> tuple[str, ...]:
        """Return the applicable transformations under which a score did not move beyond its error."""
        return tuple(t for t in self.transformations if self.verdict(score, t) in ("invariant", "within error"))

    def measured(self, score: str, radius: float | None = None) -> str:
        """Return what every applicable transformation did to a score at one radius, in one line.

        ``=`` marks invariance, ``≈`` a change within the error, ``×`` the factor of any other, ``+`` or ``−`` the
        difference of a score that is a logarithm.
        """
        found = (row for row in self.rows if (row.score, row.radius) == (score, radius))
        shown = {row.transformation: _short(row) for row in found if row.verdict != "not applicable"}
        return ", ".join(f"{name} {cell}" for name, cell in shown.items())

    def tables(self) -> tuple[Table, ...]:
        """Return S(T(w)) / S(w) by score and transformation, ± its standard error; of logarithms, the difference."""
        body: list[tuple[Cell, ...]] = []
        for score, radius in dict.fromkeys((row.score, row.radius) for row in self.rows):
            by_name = {r.transformation: r for r in self.rows if (r.score, r.radius) == (score, radius)}
            cells = [_cell(by_name[name]) for name in self.transformations]
            label = score if radius is None else f"{score} ({radius:g})"
            body.append((label, *cells))
        differences = dict.fromkeys(row.score for row in self.rows if row.compared != "ratio")
        beside = f"; differences S(T(w)) − S(w) for {', '.join(differences)}" if differences else ""
        note = f"Ratios S(T(w)) / S(w) on {self.examples} examples{beside}; = unmoved, ≈ within its error."
        return (Table("Audit", ("S(T(w)) / S(w)", *self.transformations), tuple(body), note, significant=3),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield what each score survived."""
        for score in self.scores:
            applied = [row.verdict != "not applicable" for row in self.rows if row.score == score]
            nothing = "nothing" if any(applied) else "no transformation: none applies, or the score is undefined here"
            yield score, f"survives {', '.join(self.survived(score)) or nothing}"
        broken = [f"{row.score} under {row.transformation}" for row in self.rows if not row.agrees]
        if broken:
            yield "declared invariant but moved", ", ".join(broken)
        yield "measured on", f"{self.examples} examples in float64, {duration(self.seconds)}"


def _short(row: AuditRow) -> str:
    changed = f"×{row.change:.3g}" if row.compared == "ratio" else f"{row.change:+.3g}".replace("-", "−")
    return {"invariant": "=", "within error": "≈"}.get(row.verdict, changed)


def _cell(row: AuditRow) -> Cell:
    if row.verdict == "not applicable" or not math.isfinite(row.change):
        return None
    unmoved = row.verdict == "invariant"  # and then its error says nothing
    mark = "=" if unmoved else "≈" if row.verdict == "within error" else ""
    return Measured(row.change, None if unmoved else row.standard_error, mark=mark)
