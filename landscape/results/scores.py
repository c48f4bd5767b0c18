"""Results about sharpness scores: one row per score and radius."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import plain, rows
from landscape.tables import Measured, Table, duration, number_text


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
            if row.radius is not None and math.isclose(row.radius, radius, rel_tol=1e-9):
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
        body = tuple(
            (
                row.name,
                Measured(row.value, row.standard_error) if row.defined else None,
                None if row.radius is None else f"{row.radius:g}",
                f"{row.gradients:.3g}",
                f"{self.timings[row.name]:.2g}" if row.name in self.timings else None,
                row.invariant_to or None,
                row.audited or None,
                row.status,
                row.note or None,
            )
            for row in self.rows
        )
        columns = (
            "score",
            "value ± s.e.",
            "radius",
            "gradients",
            "seconds",
            "declared invariant to",
            "measured on this network",
            "status",
            "note",
        )
        note = "± is the Monte-Carlo standard error; values without it are deterministic."
        return (Table("Sharpness scores", columns, body, note, significant=5).filled(),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield each score with its standard error, then the cost."""
        for row in self.rows:
            label = row.name if row.radius is None else f"{row.name} ({row.radius:g})"
            text = number_text(Measured(row.value, row.standard_error), 5) if row.defined else row.status
            yield label, text if row.status in ("ok", text) else f"{text} ({row.status})"
        yield "cost", f"{self.gradients:.4g} gradients on {self.examples} examples, {duration(self.seconds)}"


def radii_in(panels: Iterable[Scores]) -> dict[str, tuple[float, ...]]:
    """Return the radii of every score of several panels, in their first order; none where a score has no radius."""
    found: dict[str, list[float]] = {}
    for row in (row for panel in panels for row in panel.rows):
        known = found.setdefault(row.name, [])
        if row.radius is not None and not any(math.isclose(row.radius, radius, rel_tol=1e-9) for radius in known):
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
        near = [
            i
            for i, radius in enumerate(radii)
            if row.radius is not None and math.isclose(radius, row.radius, rel_tol=1e-9)
        ]
        place = near[0] if near else 0
        values[place], errors[place] = row.value, np.nan if row.standard_error is None else row.standard_error
    found: dict[str, Any] = {name: values if radii else float(values[0])}
    if np.isfinite(errors).any():
        found[f"{name} ±"] = errors if radii else float(errors[0])
    return found
