"""The control of the decision rule: two arms of one recipe must not be called different, and real differences must."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.arguments import numbers_checked
from landscape.comparison.rule import Outcome, one_sign, rule
from landscape.errors import LandscapeError
from landscape.results import Comparison, Placebo
from landscape.scores.register import primary
from landscape.statistics import holm, permutation_p_values


@numbers_checked
def placebo(
    comparison: Comparison,
    recipe: str | None = None,
    *,
    arm: int = 8,
    resamples: int = 2000,
    shifts: Sequence[float] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3),
    level: float = 0.05,
    seed: int = 0,
) -> Placebo:
    """Apply the decision rule to many pairs of arms drawn from one recipe, as they are and with a known difference.

    Both arms are drawn with replacement from the seeds of the recipe, so that the null hypothesis holds exactly; the
    scores of a seed stay together, and all its radii. The rule is that of `decide`: the three primary scores agree in
    sign, at least two are significant after Holm's correction, with a sign that holds at every radius.

    Args:
        comparison: where the scores come from.
        recipe: whose seeds; `None`: the reference's.
        arm: seeds per arm, at most 10.
        resamples: comparisons for each shift.
        shifts: differences in log10 S given to all scores of the second arm; must begin with 0.
        level: of the tests.
        seed: of the draws.

    Raises:
        LandscapeError: an unknown recipe, fewer than 4 seeds, a primary score that is missing or not positive, or
            shifts that do not begin with 0.
    """
    started = time.perf_counter()
    recipe = comparison.recipes[0] if recipe is None else recipe
    if recipe not in comparison.recipes:
        raise LandscapeError(f"no recipe {recipe!r}; the comparison has {', '.join(comparison.recipes)}")
    if not shifts or shifts[0] != 0:
        raise LandscapeError(f"the shifts begin with {shifts[:1]}, expected 0: the placebo itself")
    logs = _log_scores(comparison, recipe)
    rng = np.random.default_rng(seed)
    a, b = (logs[rng.integers(len(logs), size=(resamples, arm))] for _ in range(2))  # (R, arm, score, radius)
    return rates(
        shifts,
        [decisions(a, b + shift, level) for shift in shifts],
        scores=primary(),
        recipe=recipe,
        seeds=len(logs),
        arm=arm,
        resamples=resamples,
        level=level,
        seed=seed,
        provenance=dict(comparison.provenance),
        seconds=time.perf_counter() - started,
    )


def rates(shifts: Sequence[float], outcomes: Sequence[Outcome], **about: Any) -> Placebo:
    """Count how often the rule called a direction, and each score was significant, at every shift."""
    return Placebo(
        shifts=np.asarray(shifts, dtype=np.float64),
        called=np.array([(outcome.direction != 0).mean() for outcome in outcomes]),
        significant=np.stack([outcome.significant.mean(axis=0) for outcome in outcomes], axis=1),
        **about,
    )


def _log_scores(comparison: Comparison, recipe: str) -> np.ndarray:
    """Return log10 of the primary scores, (seed, score, radius), NaN where a score has fewer radii."""
    missing = [name for name in primary() if name not in comparison.scores]
    if missing:
        raise LandscapeError(f"the comparison lacks {', '.join(missing)}; the rule needs all primary scores")
    block = comparison.values[comparison.recipes.index(recipe)][
        :, [comparison.scores.index(name) for name in primary()]
    ]
    block = block[np.isfinite(block[:, :, 0]).all(axis=1)]
    if len(block) < 4:
        raise LandscapeError(f"{recipe} has {len(block)} seeds with all primary scores, expected at least 4")
    if (block[np.isfinite(block)] <= 0).any():
        raise LandscapeError(f"a primary score of {recipe} is not positive, so it has no logarithm; look at its radii")
    return np.log10(block)


def decisions(a: np.ndarray, b: np.ndarray, level: float) -> Outcome:
    """Apply the rule to many pairs of arms at once.

    Args:
        a: log10 of the scores that decide, (pair, seed, score, radius); NaN beyond a score's radii.
        b: of the second arms.
        level: of the tests.
    """
    x, y = np.nanmean(a, axis=3), np.nanmean(b, axis=3)
    raw = np.stack([permutation_p_values(x[:, :, i], y[:, :, i]) for i in range(x.shape[2])], axis=1)
    signs = np.sign(y.mean(axis=1) - x.mean(axis=1))
    return rule(signs, holm(raw), one_sign(b.mean(axis=1) - a.mean(axis=1)), level=level)
