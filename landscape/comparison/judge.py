"""The rules applied to trials: gates, tests and a verdict for every recipe against the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from landscape.comparison.audits import failed, in_words
from landscape.comparison.decide import compare_scores, decide
from landscape.comparison.gates import Facts, check
from landscape.errors import LandscapeError
from landscape.results.comparison import Comparison, Gate, Test, Verdict
from landscape.results.trials import GATES, Trials
from landscape.scores import REGISTRY

CONDITIONS = ("train/", "test/", "temperature")
"""How measures begin that say how a run was trained and what it is worth; the table of a comparison shows them."""


def fact_row(known: Facts) -> dict[str, str | float]:
    """Return what the gates look at as measures of a run."""
    return {GATES + field.name: getattr(known, field.name) for field in fields(Facts)}


def judge(
    trials: Trials,
    *,
    by: str = "recipe",
    scores: Sequence[str] | None = None,
    names: Mapping[str, str] | None = None,
    matched: str = "",
    level: float = 0.05,
    margin: float = 0.05,
    fewest: int = 6,
    loss_tolerance: float = 0.1,
    waive: Sequence[str] = (),
) -> Comparison:
    """Return what trials support: every level of a factor against its first.

    Args:
        trials: with the factors `by` and ``seed``, scores as measures, and for the gates those of `fact_row`. Scores of runs
            that never met their target do not count. What they hold in `audited` decides which scores are descriptive only.
        by: the factor that is compared.
        scores: which measures; `None`: all that the register of scores knows.
        names: levels in words.
        matched: how losses were brought together, in words; empty: as trained.
        level: as in `compare`, like the options that follow.
        margin: half-width of equivalence in log10 S.
        fewest: seeds of each level below which significance is not defined.
        loss_tolerance: how far apart mean training losses may be.
        waive: gates the user takes responsibility for.

    Raises:
        LandscapeError: fewer than two levels, or trials without what the gates look at.
    """
    if by not in trials.factors or len(trials.levels(by)) < 2:
        raise LandscapeError(f"trials with one level of {by!r} or none; a comparison needs two")
    lacking = [field.name for field in fields(Facts) if GATES + field.name not in trials.measures]
    if lacking:
        raise LandscapeError(
            f"these trials lack {', '.join(GATES + name for name in lacking)}, which the gates look at; measure them with "
            "landscape.comparison.facts"
        )
    scores = [name for name in trials.measures if name in REGISTRY] if scores is None else list(scores)
    levels = [str(one) for one in trials.levels(by)]
    names = {one: (names or trials.words).get(one, one) for one in levels}
    radii, values, errors = _scores(trials, by, scores)
    facts = [_facts(trials.where(**{by: one})) for one in trials.levels(by)]
    gates: list[Gate] = []
    tests: list[Test] = []
    verdicts: list[Verdict] = []
    for slug, arm, known in zip(levels[1:], values[1:], facts[1:], strict=True):
        mine = check(levels[0], slug, facts[0], known, loss_tolerance=loss_tolerance, fewest=fewest, waive=waive)
        found = compare_scores(levels[0], slug, scores, values[0], arm, margin=margin, level=level, fewest=fewest)
        gates, tests = [*gates, *mine], [*tests, *found]
        verdicts.append(
            decide(
                levels[0], slug, mine, found,
                level=level, names=names, descriptive=failed(trials.audited), matched=matched, margin=margin,
            )
        )  # fmt: skip
    return Comparison(
        recipes=tuple(levels),
        long_names=tuple(names.values()),
        scores=tuple(scores),
        radii=radii,
        values=values,
        standard_errors=errors,
        metrics={name: trials.array(name, by, "seed") for name in trials.measures if name.startswith(CONDITIONS)},
        gates=tuple(gates),
        tests=tuple(tests),
        verdicts=tuple(verdicts),
        audited=trials.audited,
        audit=in_words(trials.audited),
        matched=matched or "as trained",
    )


def _scores(trials: Trials, by: str, scores: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return radii (score, radius), values and errors (level, seed, score, radius), NaN where a score has fewer radii."""
    there = np.nan_to_num(trials.array(trials.met, by, "seed")) > 0
    columns = [trials.array(name, by, "seed") for name in scores]
    wide = max([1, *(column.shape[2] for column in columns if column.ndim == 3)])
    radii = np.full((len(scores), wide), np.nan)
    values, errors = (np.full((*there.shape, len(scores), wide), np.nan) for _ in range(2))
    for i, (name, column) in enumerate(zip(scores, columns, strict=True)):
        count = column.shape[2] if column.ndim == 3 else 1
        values[:, :, i, :count] = np.where(there[..., None], column.reshape(*there.shape, count), np.nan)
        if name in trials.errors:
            errors[:, :, i, :count] = trials.array(trials.errors[name], by, "seed").reshape(*there.shape, count)
        known = trials.coordinates.get(name, np.zeros(0))
        radii[i, : len(known)] = known
    return radii, values, errors


def _facts(arm: Trials) -> list[Facts]:
    columns = [arm[GATES + field.name].tolist() for field in fields(Facts)]
    return [Facts(*values) for values in zip(*columns, strict=True)]
