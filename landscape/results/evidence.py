"""What scores know about an outcome over many models: one row per score, in the order of a board."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import rows
from landscape.tables import Cell, Table, duration

YES, DESIGN, NO, UNJUDGED = "yes", "only through the design", "no", "not judged"
"""Verdicts: knows more than the factors and the baseline, orders the outcome as the factors do, does not order it, no answer."""

_TOLD = 3  # scores whose sentence a board prints


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one score knows; each number with the ends of its 95 % bootstrap interval over cells.

    Attributes:
        score: its name.
        place: on the board, by Ψ; 0 where it has none. ``place_low`` and ``place_high`` are those of 95 % of the resamples.
        verdict: ``yes``, ``only through the design``, ``no`` or ``not judged``.
        text: the verdict in a sentence.
        control: whether it accompanies the scores and is none.
        models: models with a value.
        left_out: models without one: failed, not defined, not finite.
        tau: Kendall's τ-b with the outcome over cells, within strata.
        tau_p: its two-sided p from the exact null (asymptotic with ties), Holm's correction over the scores.
        psi: Ψ, mean over factors of τ where that factor alone changes.
        information: K, what its order tells of the outcome's order, the two factors known that explain most.
        sign_error: mean share of environments ordered wrongly; 0.5 is chance.
        sign_error_90: the share that nine in ten environments do not exceed.
        within: rank correlation between seeds of one cell, baseline taken out.
        within_p: its p by permutation of seeds, Holm's correction over the scores.
        gain: share of the squared error within cells that it takes off the baseline, out of fold.
        regret: outcome of the cell of lowest score less the best outcome.
        lead: Ψ less that of the best control, where both are defined; NaN of a control.
        lead_p: of "better than the best control", one-sided bootstrap, Holm's correction.
        gradients: cost of one measurement in gradients over the data.
        cpu: the same in processor seconds.
        axes: ψ of every factor, in words.
    """

    score: str
    place: int = 0
    place_low: int = 0
    place_high: int = 0
    verdict: str = UNJUDGED
    text: str = ""
    control: bool = False
    models: int = 0
    left_out: int = 0
    tau: float = np.nan
    tau_low: float = np.nan
    tau_high: float = np.nan
    tau_p: float = np.nan
    psi: float = np.nan
    psi_low: float = np.nan
    psi_high: float = np.nan
    information: float = np.nan
    information_low: float = np.nan
    information_high: float = np.nan
    sign_error: float = np.nan
    sign_error_low: float = np.nan
    sign_error_high: float = np.nan
    sign_error_90: float = np.nan
    within: float = np.nan
    within_low: float = np.nan
    within_high: float = np.nan
    within_p: float = np.nan
    gain: float = np.nan
    gain_low: float = np.nan
    gain_high: float = np.nan
    regret: float = np.nan
    regret_low: float = np.nan
    regret_high: float = np.nan
    lead: float = np.nan
    lead_low: float = np.nan
    lead_high: float = np.nan
    lead_p: float = np.nan
    gradients: float = np.nan
    cpu: float = np.nan
    axes: str = ""

    def range(self, name: str, digits: int = 2) -> str | None:
        """Return a number with the interval beside it, as ``+0.31 [+0.25, +0.37]``."""
        value, low, high = (getattr(self, name + end) for end in ("", "_low", "_high"))
        if not np.isfinite(value):
            return None
        if not np.isfinite(low + high):
            return f"{value:.{digits}f}".replace("-", "−")
        sign = "" if name in ("information", "sign_error", "regret") else "+"
        return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]".replace("-", "−")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Evidence(Result):
    """What scores know about an outcome over many models.

    Attributes:
        rows: one per score, best Ψ first.
        outcome: the measure that a good score orders.
        models: models with an outcome that met their target.
        missed: models left out because they missed it, or have no outcome.
        cells: combinations of factors.
        axes: factors compared across.
        strata: factors across which nothing is compared.
        baseline: what is known anyway.
        shared: factors across which runs of one seed share their draws.
        at_random: regret of choosing a cell at random.
        best_control: the control of largest Ψ.
        asked: the scores whose places were asked for; empty: all.
        level: of the verdict's tests, after Holm's correction.
        resamples: bootstrap samples of the cells.
        seed: of bootstrap and permutations.

    >>> Evidence(rows=(Judged(score="trace", place=1, psi=0.5, psi_low=0.4, psi_high=0.6),), outcome="test_error")["trace"].psi
    0.5
    """

    kind: ClassVar[str] = "evidence"
    location: ClassVar[str] = "experiments/{entry}"

    rows: tuple[Judged, ...] = rows(Judged, dim="score")
    outcome: str = ""
    models: int = 0
    missed: int = 0
    cells: int = 0
    axes: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    at_random: float = np.nan
    best_control: str = ""
    asked: tuple[str, ...] = ()
    level: float = 0.01
    resamples: int = 0
    seed: int = 0

    def __getitem__(self, score: str) -> Judged:
        """Return the row of one score.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.score == score:
                return row
        raise KeyError(f"no score {score!r} on the board; there are {', '.join(row.score for row in self.rows)}")

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, score: str) -> str:
        """Say in sentences where a score stands, whether it is better than the best control, and what it knows.

        Raises:
            KeyError: there is no such score.
        """
        row, placed = self[score], sum(row.place > 0 for row in self.rows)
        if not row.place:
            return f"no place: {row.text}"
        where = f"place {row.place} of {placed} (95 %: {row.place_low} to {row.place_high}), Ψ = {row.range('psi')}"
        if np.isfinite(row.lead):
            better = "yes" if row.lead_p < 0.05 else "not shown"
            where += f". Better than the best control, {self.best_control}: {better}, {row.range('lead')}, p = {row.lead_p:.2g}"
        return f"{where}. Knows more: {row.verdict}, {row.text}"

    def tables(self) -> tuple[Table, ...]:
        """Return the board: place, verdict, and every number with its interval."""
        known = ", ".join(self.baseline) or "nothing"
        note = (
            f"{self.models} models in {self.cells} cells; 95 % bootstrap intervals over cells. Knows more: p < {self.level:g} "
            f"after Holm's correction between seeds of one cell, {known} taken out; only through the design: over cells "
            f"alone. c: a control, in the direction that suits it; the best is {self.best_control or 'none'}. Choosing at "
            f"random regrets {self.at_random:.3f}."
        )
        return (Table.of(self.title, map(_line, self.rows), note),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield what was judged, how many scores know what, and what each of them does."""
        left_out = f"; {self.missed} left out, that missed their target or have no outcome" if self.missed else ""
        yield "models", f"{self.models} in {self.cells} cells of {', '.join(self.axes)}{left_out}"
        for verdict in (YES, DESIGN, NO, UNJUDGED):
            names = [row.score for row in self.rows if row.verdict == verdict]
            if names:
                yield verdict, f"{len(names)}: {', '.join(names)}"
        better = [row.score for row in self.rows if row.lead_p < 0.05]
        yield f"better than the best control ({self.best_control or 'there is none'})", ", ".join(better) or "none"
        told = self.asked or tuple(row.score for row in self.rows[:_TOLD])
        for row in self.rows:
            if row.score in told:
                yield row.score, self.place(row.score)
            elif row.left_out:
                yield row.score, f"{row.left_out} of {row.models + row.left_out} models without a value"
        yield "time", duration(self.seconds)


def _line(row: Judged) -> dict[str, Cell]:
    lead, error = row.range("lead"), row.range("sign_error")
    return {
        "place": f"{row.place} ({row.place_low}–{row.place_high})" if row.place else None,
        "score": f"{row.score} (c)" if row.control else row.score,
        "knows more?": row.verdict,
        "Ψ, one factor at a time": row.range("psi"),
        "τ over cells": row.range("tau"),
        "within cells ρ": row.range("within"),
        "better than best control": lead and f"{lead}, p = {row.lead_p:.2g}",
        "K": row.range("information"),
        "sign error (90 %)": error and f"{error} ({row.sign_error_90:.2f})",
        "regret": row.range("regret", 3),
        "gradients": None if np.isnan(row.gradients) else f"{row.gradients:.3g}",
        "models": f"{row.models}" + (f" (−{row.left_out})" if row.left_out else ""),
    }
