"""Results of comparing recipes over seeds: scores, gates, tests and verdicts in one labelled table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, arrays, rows
from landscape.tables import Cell, Measured, Table, duration, interval, over_seeds, render

WAIVED = "waived"
"""The note of a gate that failed and that the user takes responsibility for."""
REPORTED = "reported"
"""How the note begins of a gate that the scores that decide do not need."""


@dataclass(frozen=True)
class Gate:
    """One condition that two recipes must meet before their scores may be compared.

    Attributes:
        a: the reference recipe.
        b: the other recipe.
        gate: what is asked.
        passed: whether it holds.
        value: what was measured.
        limit: what was allowed.
        note: the remedy or a remark.
    """

    a: str
    b: str
    gate: str
    passed: bool
    value: float
    limit: float
    note: str = ""


def waived(gate: Gate) -> bool:
    """Whether a gate failed and the user takes responsibility for it.

    >>> waived(Gate("sgd", "momentum", "gradient", True, 2.0, 1.0, WAIVED))
    True
    """
    return gate.passed and gate.note == WAIVED


@dataclass(frozen=True)
class Test:
    """One score of two recipes, compared over seeds on log10.

    Attributes:
        a: the reference recipe.
        b: the other recipe.
        score: slug of the score.
        primary: whether the verdict rests on it.
        scale: ``log10`` for positive scores (geometric mean over radii), ``raw`` for the others.
        difference: mean over seeds of b minus that of a on that scale: positive when b is sharper.
        low: lower end of its 95 % interval: Student's, with the Monte-Carlo error that all seeds share where they do.
        high: upper end.
        p_value: exact two-sided p, by permutation or, of pairs, by flipping signs; `None` where significance is not defined.
        p_holm: p after Holm's correction over the scores that decide.
        superiority: share of pairs of seeds in which b is sharper.
        equivalent: the difference lies within the margin (two one-sided tests).
        sign_stable: the sign is the same at every radius that has a vote.
        seeds_a: seeds of a with a defined value.
        seeds_b: seeds of b with a defined value.
        beyond: the whole interval lies beyond the margin.
        paired: runs were compared with their partners, which share the initial weights.
        orientation: ``higher is sharper``, ``lower is sharper`` or ``control``.
        note: what a reader must know, such as radii without a vote, or why there is no test.
    """

    __test__: ClassVar[bool] = False  # not a test for pytest to collect

    a: str
    b: str
    score: str
    primary: bool
    scale: str
    difference: float
    low: float
    high: float
    p_value: float | None
    p_holm: float | None
    superiority: float
    equivalent: bool
    sign_stable: bool
    seeds_a: int
    seeds_b: int
    beyond: bool = False
    paired: bool = False
    orientation: str = "higher is sharper"
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """What may be said of two recipes.

    Attributes:
        a: the reference recipe.
        b: the other recipe.
        verdict: ``flatter``, ``spikier``, ``different, negligibly``, ``tie``, ``mixed``, ``inconclusive`` or
            ``not comparable``: b against a.
        text: the same in a sentence that claims geometry only.
    """

    a: str
    b: str
    verdict: str
    text: str


@dataclass(frozen=True)
class Audited:
    """How one score of one recipe's first checkpoint took one transformation of the network.

    Attributes:
        recipe: slug.
        score: slug.
        transformation: ``T1`` … ``T7``.
        ratio: S(T(w)) / S(w), the one farthest from 1 over the radii.
        verdict: ``invariant``, ``within error``, ``not invariant`` or ``not applicable``.
    """

    recipe: str
    score: str
    transformation: str
    ratio: float
    verdict: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison(Result):
    """Scores of several recipes over seeds, the gates between them, the tests, and a verdict for each pair.

    Attributes:
        recipes: slugs, the reference first.
        long_names: their names in words.
        scores: slugs of the scores.
        radii: (score, radius) radii; NaN where a score has fewer or none.
        values: (recipe, seed, score, radius) scores; NaN where missing or not defined.
        standard_errors: their Monte-Carlo standard errors; NaN where deterministic.
        metrics: (recipe, seed) train and test loss and accuracy.
        gates: conditions for comparing.
        tests: one row per pair of recipes and score.
        verdicts: one row per pair of recipes.
        audited: how the primary scores took transformations of the networks; empty when the audit was not run.
        audit: what the invariance audit found, in words, or that it was not run.
        matched: how the training losses were brought together, in words, or ``as trained``.
        tested: how runs were tested, and what p values are corrected for, in words.
        unconverged: scores with a value that did not converge; they are shown with a mark and never tested.
    """

    kind: ClassVar[str] = "comparison"
    location: ClassVar[str] = "comparisons/{entry}"

    recipes: tuple[str, ...]
    long_names: tuple[str, ...]
    scores: tuple[str, ...]
    radii: np.ndarray = array("score", "radius", long_name="radius of the score")
    values: np.ndarray = array("recipe", "seed", "score", "radius", long_name="score (higher is sharper)")
    standard_errors: np.ndarray = array("recipe", "seed", "score", "radius", long_name="Monte-Carlo standard error")
    metrics: Mapping[str, np.ndarray] = arrays("recipe", "seed", long_name="loss or accuracy")
    gates: tuple[Gate, ...] = rows(Gate, dim="gate")
    tests: tuple[Test, ...] = rows(Test, dim="test")
    verdicts: tuple[Verdict, ...] = rows(Verdict, dim="pair")
    audited: tuple[Audited, ...] = rows(Audited, dim="audited")
    audit: str = "not run"
    matched: str = "as trained"
    tested: str = ""
    unconverged: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdicts as sentences, one per line."""
        return "\n".join(row.text for row in self.verdicts)

    def score(self, name: str, radius: int | None = None) -> dict[str, np.ndarray]:
        """Return the values of a score per recipe, one per seed: at one radius index, or the mean over radii, `alike` for all.

        Raises:
            KeyError: there is no such score.
        """
        if name not in self.scores:
            raise KeyError(f"no score {name!r}; there are {', '.join(self.scores)}")
        block = self.values[:, :, self.scores.index(name)]
        if radius is None:
            return dict(zip(self.recipes, alike(list(block)), strict=True))
        return {recipe: block[i, :, radius] for i, recipe in enumerate(self.recipes)}

    def overview(self, *, audit: bool = False) -> Table:
        """Return mean ± standard deviation over seeds for each metric and score, one column per recipe.

        Args:
            audit: add a column with what the audit found.
        """
        values = {name: (name, list(value)) for name, value in self.metrics.items()}
        for name in self.scores:
            if f"train/{name}" not in self.metrics:  # loss and accuracy are there already
                mark = " (not converged)" if name in self.unconverged else ""
                values[name] = name + mark, list(self.score(name).values())
        audits = {name: (self.audit_of(name),) for name in values} if audit and self.audited else {}
        body = tuple((label, *map(over_seeds, arms), *audits.get(name, ())) for name, (label, arms) in values.items())
        columns = ("score", *self.long_names, *(["audit"] if audits else []))
        note = "± is the standard deviation over seeds; scores are geometric means over radii."
        return Table("Losses, accuracies and scores by recipe", columns, body, note)

    def differences(self) -> tuple[Table, ...]:
        """Return the differences between recipes with their intervals and p values, one table per pair."""
        note = "Positive differences: the first recipe has the larger score. Intervals are Student's, p exact."
        pairs = self._by_pair(self.tests).items()
        return tuple(Table.of(f"Differences: {pair}", map(_test_cells, rows), note).filled() for pair, rows in pairs)

    def conditions(self) -> tuple[Table, ...]:
        """Return the gates with what was measured and allowed, one table per pair."""
        pairs = self._by_pair(self.gates).items()
        return tuple(Table.of(f"Gates: {pair}", map(_gate_cells, rows)) for pair, rows in pairs)

    def audit_table(self) -> Table:
        """Return how the primary scores took transformations of the networks: S(T(w)) / S(w), farthest from 1 over radii."""
        body: dict[tuple[str, str], dict[str, Cell]] = {}
        moved: dict[tuple[str, str], list[str]] = {}
        for row in self.audited:
            key = row.recipe, row.score
            cells = body.setdefault(key, {"recipe": self._words[row.recipe], "score": row.score})
            cells[row.transformation] = Measured(row.ratio) if np.isfinite(row.ratio) else None
            moved.setdefault(key, []).extend([row.transformation] if row.verdict == "not invariant" else [])
        rows = [{**cells, "moved by": ", ".join(moved[key]) or "none"} for key, cells in body.items()]
        note = "S(T(w)) / S(w) of the first checkpoint; a score that moves beyond its error describes only."
        return Table.of("Audit", rows, note).filled()

    def tables(self) -> tuple[Table, ...]:
        """Return the overview, the differences and gates of each pair, and the audit."""
        every = (self.overview(), *self.differences(), *self.conditions(), self.audit_table())
        return tuple(table for table in every if table.rows)

    def table(self, style: str = "text") -> str:
        """Return mean ± standard deviation over seeds for each score and recipe, and what the audit found.

        Args:
            style: as for every result.
        """
        return render(self.overview(audit=True), style)

    def columns(self) -> dict[str, Any]:
        """Return one row per recipe, seed, score and radius."""
        recipe, seed, score, radius = np.indices(self.values.shape).reshape(4, -1)
        # a score with fewer radii than others is padded with NaN, which says nothing
        kept = ~np.isnan(self.radii[score, radius]) | (radius == 0)
        recipe, seed, score, radius = where = recipe[kept], seed[kept], score[kept], radius[kept]
        return {
            "recipe": [self.recipes[i] for i in recipe],
            "seed": seed,
            "score": [self.scores[i] for i in score],
            "radius": self.radii[score, radius],
            "value": self.values[where],
            "standard_error": self.standard_errors[where],
        }

    @property
    def _words(self) -> dict[str, str]:
        return dict(zip(self.recipes, self.long_names, strict=True))

    def _by_pair(self, found: Iterable[Any]) -> dict[str, list[Any]]:
        """Group gates or tests by their pair of recipes, in words."""
        pairs: dict[str, list[Any]] = {}
        for row in found:
            pairs.setdefault(f"{self._words[row.b]} against {self._words[row.a]}", []).append(row)
        return pairs

    def audit_of(self, score: str) -> str:
        """Return what every transformation did to a score in the recipe where it did most; empty if it was not audited.

        ``=`` marks invariance, ``≈`` a change within the error, ``×`` the factor of any other.
        """
        order, marks = ("invariant", "within error", "not invariant"), {"invariant": "=", "within error": "≈"}
        by_name: dict[str, list[Audited]] = {}
        for row in self.audited:
            if row.score == score and row.verdict in order:
                by_name.setdefault(row.transformation, []).append(row)
        worst = [max(rows, key=lambda row: order.index(row.verdict)) for rows in by_name.values()]
        return ", ".join(f"{row.transformation} {marks.get(row.verdict, f'×{row.ratio:.3g}')}" for row in worst)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the recipes, then each verdict."""
        yield "recipes", ", ".join(self.long_names)
        counts = np.isfinite(self.metrics.get("train/loss", np.zeros(self.values.shape[:2]))).sum(axis=1)
        yield "seeds", " to ".join(map(str, sorted({int(counts.min()), int(counts.max())})))
        for row in self.verdicts:
            yield f"{row.b} against {row.a}", row.text
        failed = [gate.gate for gate in self.gates if not gate.passed]
        said = {"failed": failed, "waived by the user": [gate.gate for gate in self.gates if waived(gate)]}
        text = "; ".join(f"{how}: {', '.join(sorted(set(names)))}" for how, names in said.items() if names)
        yield "gates", text or "all passed"
        yield "audit", self.audit
        yield "losses", self.matched
        if self.tested:
            yield "tests", self.tested
        yield "time", duration(self.seconds)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Placebo(Result):
    """How often the decision rule calls two arms different that are resampled from one recipe, and what difference it sees.

    Resampled arms obey the null hypothesis by construction: they test how strict the rule is, not whether gates, pairs or
    draws mislead it.

    Attributes:
        shifts: (shift,) differences in log10 S given to the second arm; the first is 0, the placebo.
        called: (shift,) share of the comparisons with verdict ``flatter`` or ``spikier``.
        significant: (score, shift) share in which each primary score alone was significant after Holm's correction.
        scores: slugs of the primary scores.
        recipe: slug of the recipe the seeds came from.
        seeds: how many seeds there were.
        arm: seeds drawn for each arm.
        resamples: comparisons drawn for each shift.
        level: of the tests.
        seed: of the draws.
        called_error: (shift,) standard error of `called`, from the choice of seeds and the number of comparisons.
        paired: arms were drawn as pairs.
    """

    kind: ClassVar[str] = "placebo"
    location: ClassVar[str] = "comparisons/{entry}"

    shifts: np.ndarray = array("shift", long_name="difference in log10 S")
    called: np.ndarray = array("shift", long_name="share of comparisons called different")
    significant: np.ndarray = array("score", "shift", long_name="share significant after Holm's correction")
    scores: tuple[str, ...]
    recipe: str
    seeds: int
    arm: int
    resamples: int
    level: float
    seed: int = 0
    called_error: np.ndarray | None = array("shift", long_name="standard error of the share", optional=True)
    paired: bool = False

    def columns(self) -> dict[str, Any]:
        """Return one row per shift: what was given to the second arm, and how often the verdict and each score called it."""
        shares = {f"significant/{name}": row for name, row in zip(self.scores, self.significant, strict=True)}
        return {"shift": self.shifts, "called": self.called, "called_error": self._errors, **shares}

    def tables(self) -> tuple[Table, ...]:
        """Return one row per shift: the factor given to the second arm, and the shares called different, in per cent."""
        rows = ((self.called, self._errors), *((row, np.full(len(row), np.nan)) for row in self.significant))
        shares = (
            [Measured(float(share), float(error), 2) for share, error in zip(*pair, strict=True)] for pair in rows
        )
        factors = [f"× {10**shift:.2f}" for shift in self.shifts]
        body = tuple(zip(factors, *shares, strict=True))
        return (Table(self.title, ("factor", "called different", *self.scores), body),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the false-alarm rate, then the power curve."""
        yield (
            "false alarms",
            f"{self.called[0]:.2%} of {self.resamples} comparisons of resampled arms, nominal {self.level:.0%}",
        )
        power = zip(self.shifts[1:], self.called[1:], self._errors[1:], strict=True)
        yield "power", ", ".join(f"× {10**s:.2f}: {c:.0%}" + (f" ± {e:.0%}" if e == e else "") for s, c, e in power)
        yield "arms", f"{self.arm} against {self.arm} seeds, resampled from {self.seeds} of {self.recipe}"

    @property
    def _errors(self) -> np.ndarray:
        return np.full(len(self.shifts), np.nan) if self.called_error is None else self.called_error


def over_radii(values: np.ndarray) -> np.ndarray:
    """Combine the radii of a score, (seed, radius) → (seed,): the value itself, or the geometric mean of positive ones."""
    out = np.full(len(values), np.nan)
    for i, row in enumerate(values):
        chosen = row[~np.isnan(row)]
        if len(chosen) == 1:
            out[i] = chosen[0]
        elif len(chosen) > 1 and (chosen > 0).all():
            out[i] = np.exp(np.log(chosen).mean())
    return out


def alike(arms: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Combine the radii of several arms (seed, radius) in one way: geometric means, or arithmetic where any is not positive.

    >>> alike([np.array([[1.0, 4.0]]), np.array([[1.0, -3.0]])])
    [array([2.5]), array([-1.])]
    """
    means = [over_radii(arm) for arm in arms]
    if not any((np.isnan(mean) & ~np.isnan(arm).all(1)).any() for mean, arm in zip(means, arms, strict=True)):
        return means
    with np.errstate(invalid="ignore", divide="ignore"):
        return [np.nansum(arm, axis=1) / (~np.isnan(arm)).sum(1) for arm in arms]


def _test_cells(row: Test) -> dict[str, Cell]:
    role = "primary" if row.primary else row.orientation if row.orientation != "higher is sharper" else ""
    return {
        "score": row.score + (f" ({role})" if role else ""),
        "scale": row.scale,
        "difference": row.difference,
        "95 % interval": interval(row.low, row.high),
        "p": row.p_value,
        "p (Holm)": row.p_holm,
        "superiority": row.superiority,
        "note": row.note,
    }


def _gate_cells(row: Gate) -> dict[str, Cell]:
    reported = REPORTED if row.note.startswith(REPORTED) else "passed"
    outcome = "waived" if waived(row) else reported if row.passed else "failed"
    note = "" if waived(row) else row.note
    return {"gate": row.gate, "outcome": outcome, "measured": float(row.value), "limit": float(row.limit), "note": note}
