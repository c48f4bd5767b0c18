"""The rules applied to trials: gates, tests and a verdict for every pair of recipes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import combinations
from typing import Literal

import numpy as np

from landscape.comparison.audits import failed, in_words
from landscape.comparison.decide import compare_scores, decide
from landscape.comparison.gates import Facts, check
from landscape.errors import LandscapeError
from landscape.results.comparison import Comparison, Gate, Test, Verdict
from landscape.results.trials import GATES, Trials
from landscape.scores import REGISTRY
from landscape.scores.register import deciding

SHARED = (
    "Draws are shared by all runs: intervals of independent seeds hold a bound of their Monte-Carlo error; those of pairs, in "
    "which it mostly cancels, are for these draws."
)
"""What must be said of intervals where seeds do not have draws of their own."""
CONDITIONS = ("train/", "test/", "temperature")
"""How measures begin that say how a run was trained and what it is worth; the table of a comparison shows them."""
DRAWS = GATES + "draws"
"""The measure that holds the seed of a run's random draws, where it is known."""


def fact_row(known: Facts, draws: int | None = None) -> dict[str, str | float]:
    """Return what the gates look at as measures of a run.

    Args:
        known: of a checkpoint.
        draws: seed of the random draws that its scores were measured with. Where it differs from run to run, the spread over
            seeds shows their Monte-Carlo error, which otherwise enters the intervals of independent seeds as an upper bound.
    """
    row: dict[str, str | float] = {GATES + field.name: getattr(known, field.name) for field in fields(Facts)}
    return row if draws is None else {**row, DRAWS: draws}


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
    paired: bool | Literal["auto"] = "auto",
    unconverged: Collection[str] = (),
) -> Comparison:
    """Return what trials support: every two levels of a factor, those with its first level before the others.

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
        paired: whether runs of the same ``seed`` belong together; ``auto``: runs whose initial weights are known to be the same.
        unconverged: scores with a value that did not converge.

    Raises:
        LandscapeError: fewer than two levels, trials without what the gates look at, or runs that do not pair up.
    """
    if by not in trials.factors or len(trials.levels(by)) < 2:
        raise LandscapeError(f"trials with one level of {by!r} or none; a comparison needs two")
    needed = [GATES + field.name for field in fields(Facts) if field.default is MISSING]
    if lacking := [name for name in needed if name not in trials.measures]:
        raise LandscapeError(
            f"these trials lack {', '.join(lacking)}, which the gates look at; measure them with landscape.comparison.facts"
        )
    scores = [name for name in trials.measures if name in REGISTRY] if scores is None else list(scores)
    levels = [str(one) for one in trials.levels(by)]
    names = {one: (names or trials.words).get(one, one) for one in levels}
    radii, values, errors = _scores(trials, by, scores)
    arms = [trials.where(**{by: one}) for one in trials.levels(by)]
    facts = [_facts(arm) for arm in arms]
    seats = [np.array([trials.levels("seed").index(seed) for seed in arm["seed"].tolist()]) for arm in arms]
    defined = [name for i, name in enumerate(scores) if np.isfinite(values[:, :, i]).any()]
    chosen = deciding(scores, defined)
    own_draws = DRAWS in trials.measures and all(len(set(arm[DRAWS].tolist())) == len(arm) for arm in arms)
    tested = "" if own_draws else SHARED
    gates: list[Gate] = []
    tests: list[Test] = []
    verdicts: list[Verdict] = []
    for i, j in combinations(range(len(levels)), 2):
        a, b, known = levels[i], levels[j], (facts[i], facts[j])
        mine = check(
            a, b, *known,
            loss_tolerance=loss_tolerance, fewest=fewest, waive=waive, stationary=needs_rest(chosen.values()),
        )  # fmt: skip
        pairs = _pairs(*known, paired)
        first, second = (seats[i], seats[j]) if pairs is None else (seats[i][pairs[0]], seats[j][pairs[1]])
        found = compare_scores(
            a, b, scores, values[i, first], values[j, second],
            margin=margin, level=level, fewest=fewest, radii=radii, paired=pairs is not None,
            errors=None if own_draws or pairs is not None else (errors[i, first], errors[j, second]),
            deciding=tuple(chosen.values()), unconverged=unconverged,
        )  # fmt: skip
        how = "independent seeds, permutations"
        if pairs is not None:
            how = f"{len(first)} pairs of the same initial weights, sign flips"
        left = dict.fromkeys(fact.gauge for arm in known for fact in arm if fact.gauge)
        gauges = [f"In the scores that decide, {words}." for words in left]
        gates, tests = [*gates, *mine], [*tests, *found]
        verdicts.append(
            decide(
                a, b, mine, found,
                level=level, names=names, descriptive=failed(trials.audited), matched=matched, margin=margin,
                deciding=chosen, remarks=[*([f"Tested: {how}."] if found else []), *gauges],
            )
        )  # fmt: skip
    count = len(levels) * (len(levels) - 1) // 2
    over = f", not over the {count} pairs of recipes" if count > 1 else ""
    corrected = (
        f"p values are corrected by Holm's method over the {len(chosen)} scores that decide{over}." if tests else ""
    )
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
        tested=" ".join(filter(None, (corrected, tested))),
        unconverged=tuple(name for name in scores if name in unconverged),
    )


def needs_rest(scores: Iterable[str]) -> bool:
    """Whether one of the scores needs a critical point: curvature does, while between w + δ and w - δ the slope cancels.

    >>> needs_rest(["adaptive-average"]), needs_rest(["trace"])
    (False, True)
    """
    return any(REGISTRY[name].family == "curvature" for name in scores if name in REGISTRY)


def _pairs(
    first: Sequence[Facts], second: Sequence[Facts], paired: bool | Literal["auto"]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the positions of runs that belong together, or `None` where runs are independent."""
    if paired == "auto":
        places = {fact.init: i for i, fact in enumerate(second) if fact.init}
        known = {fact.init: i for i, fact in enumerate(first) if fact.init}
        shared = [init for init in known if init in places]
        if not shared or len(places) < len(second) or len(known) < len(first):
            return None
        return np.array([known[init] for init in shared]), np.array([places[init] for init in shared])
    if not paired:
        return None
    if len(first) != len(second):
        raise LandscapeError(
            f"recipes of {len(first)} and {len(second)} runs do not pair up; pass as many, or paired=False"
        )
    return np.arange(len(first)), np.arange(len(second))


def _scores(trials: Trials, by: str, scores: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return radii (score, radius), values and errors (level, seed, score, radius), NaN where a score has fewer radii."""
    there = np.nan_to_num(trials.array(trials.met, by, "seed")) > 0
    nothing = np.full(len(trials), np.nan)
    columns = [trials.array(name if name in trials.measures else nothing, by, "seed") for name in scores]
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
    names = [field.name for field in fields(Facts) if GATES + field.name in arm.measures]
    columns = [arm[GATES + name].tolist() for name in names]
    return [Facts(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]
