"""Results about sharpness scores: one row per score and radius, and what transformations of the network did to each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import plain, rows
from landscape.tables import Cell, Measured, Table, duration, number_text


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured number.

    Attributes:
        name: slug of the score, as in the registry.
        value: the score; NaN when it is not defined for the objective.
        standard_error: Monte-Carlo standard error; `None` for a deterministic score.
        radius: radius or scale of the perturbation; `None` for an infinitesimal or radius-free score.
        reference: this radius stands for the score where one number is wanted (declared beforehand).
        status: ``ok``, ``not defined``, ``not converged``, ``invalid`` or ``failed``.
        note: why the status is what it is, and remarks a reader needs.
        family: group of scores that measure the same thing.
        orientation: ``higher is sharper``, ``lower is sharper`` or ``control``.
        unit: unit of the value.
        gradients: cost in gradients over the objective's data (a forward pass counts ⅓, a Hessian product 2).
        seed: seed of the random draws.
        invariant_to: transformations T1 … T7 that leave the value unchanged, as declared in the registry.
        audited: what transformations of this network did to the value, such as ``T1 ×9.99, T4 =``; empty when no audit was
            run, see `landscape.scores.audit`.
        long_name: the score in words.
    """

    name: str
    value: float
    standard_error: float | None = None
    radius: float | None = None
    reference: bool = True
    status: str = "ok"
    note: str = ""
    family: str = ""
    orientation: str = "higher is sharper"
    unit: str = "1"
    gradients: float = 0.0
    seed: int = 0
    invariant_to: str = ""
    audited: str = ""
    long_name: str = ""

    @property
    def defined(self) -> bool:
        """Whether there is a value: the score has a meaning for this objective, and nothing failed."""
        return self.status not in ("not defined", "failed")

    @property
    def log10(self) -> float:
        """Common logarithm of a positive value, NaN otherwise: strictly positive scores are compared as ratios."""
        return math.log10(self.value) if self.value > 0 else math.nan


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Scores(Result):
    """A panel of scores of one checkpoint.

    Attributes:
        rows: the measured scores; those with a grid of radii have one row per radius.
        timings: seconds by score.
        examples: number of examples measured on.
        seed: seed of all random draws.

    >>> panel = Scores(rows=(Score(name="trace", value=2.0),), examples=10)
    >>> panel["trace"].value
    2.0
    """

    kind: ClassVar[str] = "scores"
    location: ClassVar[str] = "checkpoints/{owner}/scores/{entry}"

    rows: tuple[Score, ...] = rows(Score)
    timings: Mapping[str, float] = field(default_factory=dict, metadata={"role": "attribute", "volatile": True})
    examples: int = 0
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Slugs of the scores, in order."""
        return tuple(dict.fromkeys(row.name for row in self.rows))

    @property
    def gradients(self) -> float:
        """Cost of the whole panel in gradients."""
        return float(sum(row.gradients for row in self.rows))

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> Score:
        """Return the row of a score, at its reference radius when it was measured at several.

        Raises:
            KeyError: there is no such score; the message lists those that exist.
        """
        found = self.all(name)
        return next((row for row in found if row.reference), found[0])

    def all(self, name: str) -> tuple[Score, ...]:
        """Return the rows of a score, one per radius.

        Raises:
            KeyError: there is no such score; the message lists those that exist.
        """
        found = tuple(row for row in self.rows if row.name == name)
        if not found:
            raise KeyError(f"no score named {name!r}; this panel holds {', '.join(self.names)}")
        return found

    def at(self, name: str, radius: float) -> Score:
        """Return the row of a score at one radius.

        Raises:
            KeyError: it was not measured at that radius; the message lists the radii.
        """
        for row in self.all(name):
            if _near(row, radius):
                return row
        radii = ", ".join(f"{row.radius:g}" for row in self.all(name) if row.radius is not None) or "none"
        raise KeyError(f"{name!r} was not measured at radius {radius:g}; its radii are {radii}")

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"rows": [{"name": …, "value": …, "standard_error": …, "radius": …, …}], …}``."""
        return {
            "rows": [{**plain(row), "seconds": self.timings.get(row.name)} for row in self.rows],
            "examples": self.examples,
            "seed": self.seed,
            "gradients": self.gradients,
            "settings": plain(self.settings),
            "provenance": plain(self.provenance),
        }

    def tables(self) -> tuple[Table, ...]:
        """Return one row per score and radius, with its declared invariances and, where audited, the measured ones."""
        body: list[dict[str, Cell]] = [
            {
                "score": row.name,
                "value ± s.e.": Measured(row.value, row.standard_error) if row.defined else None,
                "radius": None if row.radius is None else f"{row.radius:g}",
                "gradients": f"{row.gradients:.3g}",
                "seconds": f"{self.timings[row.name]:.2g}" if row.name in self.timings else None,
                "declared invariant to": row.invariant_to or None,
                "measured on this network": row.audited or None,
                "status": row.status,
                "note": row.note or None,
            }
            for row in self.rows
        ]
        note = "± is the Monte-Carlo standard error; values without it are deterministic."
        return (Table.of("Sharpness scores", body, note, significant=5).filled(),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield each score with its standard error, then the cost."""
        for row in self.rows:
            label = row.name if row.radius is None else f"{row.name} ({row.radius:g})"
            text = number_text(Measured(row.value, row.standard_error), 5) if row.defined else row.status
            yield label, text if row.status in ("ok", text) else f"{text} ({row.status})"
        yield "cost", f"{self.gradients:.4g} gradients on {self.examples} examples, {duration(self.seconds)}"


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
        body: dict[tuple[str, float | None], dict[str, Cell]] = {}
        for row in self.rows:
            label = row.score if row.radius is None else f"{row.score} ({row.radius:g})"
            body.setdefault((row.score, row.radius), {"S(T(w)) / S(w)": label})[row.transformation] = _cell(row)
        differences = dict.fromkeys(row.score for row in self.rows if row.compared != "ratio")
        beside = f"; differences S(T(w)) − S(w) for {', '.join(differences)}" if differences else ""
        note = f"Ratios S(T(w)) / S(w) on {self.examples} examples{beside}; = unmoved, ≈ within its error."
        return (Table.of("Audit", body.values(), note, significant=3),)

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


def radii_in(panels: Iterable[Scores]) -> dict[str, tuple[float, ...]]:
    """Return the radii of every score of several panels, in their first order; none where a score has no radius."""
    found: dict[str, list[float]] = {}
    for row in (row for panel in panels for row in panel.rows):
        known = found.setdefault(row.name, [])
        if row.radius is not None and not any(_near(row, radius) for radius in known):
            known.append(row.radius)
    return {name: tuple(radii) for name, radii in found.items()}


def score_columns(name: str, rows: Iterable[Score], radii: Sequence[float]) -> dict[str, Any]:
    """Return a score as measures of a run: its value, or values at `radii`, and as ``NAME ±`` the standard errors.

    >>> rows = [Score(name="s", value=2.0, radius=0.1), Score(name="s", value=3.0, radius=0.2, standard_error=0.5)]
    >>> score_columns("s", rows, (0.1, 0.2, 0.4))
    {'s': array([ 2.,  3., nan]), 's ±': array([nan, 0.5, nan])}
    """
    values, errors = np.full((2, max(1, len(radii))), np.nan)
    for row in rows:
        place = next((i for i, radius in enumerate(radii) if _near(row, radius)), 0)
        values[place], errors[place] = row.value, np.nan if row.standard_error is None else row.standard_error
    found: dict[str, Any] = {name: values if radii else float(values[0])}
    if np.isfinite(errors).any():
        found[f"{name} ±"] = errors if radii else float(errors[0])
    return found


def _near(row: Score, radius: float) -> bool:
    return row.radius is not None and math.isclose(row.radius, radius, rel_tol=1e-9)


def _short(row: AuditRow) -> str:
    changed = f"×{row.change:.3g}" if row.compared == "ratio" else f"{row.change:+.3g}".replace("-", "−")
    return {"invariant": "=", "within error": "≈"}.get(row.verdict, changed)


def _cell(row: AuditRow) -> Cell:
    if row.verdict == "not applicable" or not math.isfinite(row.change):
        return None
    unmoved = row.verdict == "invariant"  # and then its error says nothing
    mark = "=" if unmoved else "≈" if row.verdict == "within error" else ""
    return Measured(row.change, None if unmoved else row.standard_error, mark=mark)
