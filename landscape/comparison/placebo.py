"""How strict the decision rule is: how often it calls resampled arms of one recipe different, and what difference it sees.

Resampled arms are exchangeable by construction, so that no dependence between runs, bad gate or shared draw can show. The
control that can fail trains two recipes that differ in nothing but the order of their data, see ``benchmarks/verdicts.py``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.arguments import checked
from landscape.comparison.rule import Outcome, rule, steady
from landscape.errors import LandscapeError
from landscape.results import Comparison, Placebo
from landscape.results.base import expect_result
from landscape.scores.register import deciding
from landscape.statistics import holm, mean_difference, permutation_p_values


@checked
def placebo(
    comparison: Comparison,
    recipe: str | None = None,
    *,
    arm: int = 8,
    resamples: int = 2000,
    shifts: Sequence[float] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3),
    level: float = 0.05,
    margin: float = 0.05,
    seed: int = 0,
) -> Placebo:
    """Apply the decision rule to many pairs of arms resampled from one recipe, as they are and with a known difference.

    Both arms are drawn with replacement from the seeds of the recipe, so that the null hypothesis holds exactly; the
    scores of a seed stay together, and all its radii. The rule is that of `decide` for independent seeds: the scores that
    decide agree in sign, and at least two differ, significantly and by more than the margin. The standard error of the share
    called different is that of another choice of seeds (infinitesimal jackknife) and of the number of comparisons.

    Args:
        comparison: where the scores come from.
        recipe: whose seeds; `None`: the reference's.
        arm: seeds per arm, at most 10.
        resamples: comparisons for each shift.
        shifts: differences in log10 S given to all scores of the second arm; must begin with 0.
        level: of the tests.
        margin: half-width of equivalence in log10 S.
        seed: of the draws.

    Raises:
        LandscapeError: an unknown recipe, fewer than 4 seeds, a primary score that is missing or not positive, or
            shifts that do not begin with 0.

    Source: Efron 2014, *JASA* 109:991–1007, for the error of what is averaged over resamples.
    """
    started = time.perf_counter()
    expect_result(comparison, "placebo", Comparison)
    recipe = comparison.recipes[0] if recipe is None else recipe
    if recipe not in comparison.recipes:
        raise LandscapeError(f"no recipe {recipe!r}; the comparison has {', '.join(comparison.recipes)}")
    if not shifts or shifts[0] != 0:
        raise LandscapeError(f"the shifts begin with {shifts[:1]}, expected 0: the placebo itself")
    scores = _deciding(comparison)
    logs, radii = _log_scores(comparison, recipe, scores)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(logs), size=(2, resamples, arm))
    a, b = logs[drawn]  # (R, arm, score, radius)
    return rates(
        shifts,
        [decisions(a, b + shift, level, margin=margin, radii=radii) for shift in shifts],
        drawn=np.concatenate(drawn, axis=1),
        scores=scores,
        recipe=recipe,
        seeds=len(logs),
        arm=arm,
        resamples=resamples,
        level=level,
        seed=seed,
        provenance=dict(comparison.provenance),
        seconds=time.perf_counter() - started,
    )


def rates(
    shifts: Sequence[float], outcomes: Sequence[Outcome], *, drawn: np.ndarray, seeds: int, **about: Any
) -> Placebo:
    """Count how often the rule called a direction, and each score was significant, at every shift.

    Args:
        shifts: of the second arms.
        outcomes: of all comparisons, one per shift.
        drawn: (comparison, …) which seeds entered each.
        seeds: how many there are.
        about: further fields.
    """
    called = np.stack([outcome.direction != 0 for outcome in outcomes], axis=1).astype(float)  # (comparison, shift)
    counts = np.stack([(drawn.reshape(len(drawn), -1) == seed).sum(axis=1) for seed in range(seeds)], axis=1)
    influence = (counts - counts.mean(axis=0)).T @ (called - called.mean(axis=0)) / len(called)  # (seed, shift)
    counting = called.var(axis=0) / len(called)
    # each covariance has an error of its own, which squaring would turn into a bias
    choice = np.maximum(0.0, (influence**2).sum(axis=0) - counts.var(axis=0).sum() * counting)
    return Placebo(
        shifts=np.asarray(shifts, dtype=np.float64),
        called=called.mean(axis=0),
        called_error=np.sqrt(choice + counting),
        seeds=seeds,
        significant=np.stack([outcome.significant.mean(axis=0) for outcome in outcomes], axis=1),
        **about,
    )


def _deciding(comparison: Comparison) -> tuple[str, ...]:
    """Return the scores that decide in a comparison.

    Raises:
        LandscapeError: one was not measured.
    """
    there = np.isfinite(comparison.values).any(axis=(0, 1, 3))
    chosen = deciding(comparison.scores, [name for name, any_ in zip(comparison.scores, there, strict=True) if any_])
    missing = [name for name in chosen.values() if name not in comparison.scores]
    if missing:
        raise LandscapeError(f"the comparison lacks {', '.join(missing)}; the rule needs all primary scores")
    if not chosen:
        raise LandscapeError(
            "no score that decides has a value; where gates fail none is measured, see comparison.verdict"
        )
    return tuple(chosen.values())


def _log_scores(comparison: Comparison, recipe: str, scores: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return log10 of scores, (seed, score, radius), NaN where a score has fewer radii, and the radii."""
    places = [comparison.scores.index(name) for name in scores]
    block = comparison.values[comparison.recipes.index(recipe)][:, places]
    block = block[np.isfinite(block[:, :, 0]).all(axis=1)]
    if len(block) < 4:
        raise LandscapeError(f"{recipe} has {len(block)} seeds with all primary scores, expected at least 4")
    if (block[np.isfinite(block)] <= 0).any():
        raise LandscapeError(f"a primary score of {recipe} is not positive, so it has no logarithm; look at its radii")
    return np.log10(block), comparison.radii[places]


def decisions(
    a: np.ndarray,
    b: np.ndarray,
    level: float,
    *,
    margin: float = 0.05,
    radii: np.ndarray | None = None,
) -> Outcome:
    """Apply the rule to many pairs of arms at once.

    Args:
        a: log10 of the scores that decide, (pair, seed, score, radius); NaN beyond a score's radii.
        b: of the second arms.
        level: of the tests.
        margin: half-width of equivalence in log10 S.
        radii: (score, radius), for saturation; `None`: every radius has a vote.
    """
    x, y = (np.moveaxis(np.nanmean(arm, axis=3), 2, 0) for arm in (a, b))  # (score, pair, seed)
    tested = [permutation_p_values(u, v) for u, v in zip(x, y, strict=True)]
    found = mean_difference(x, y)
    grids = [None] * len(x) if radii is None else radii
    stable = [steady(a[:, :, j], b[:, :, j], grid)[0] for j, grid in enumerate(grids)]
    return rule(
        np.sign(found.value).T,
        holm(np.stack(tested, axis=1)),
        np.stack(stable, axis=1),
        level=level,
        beyond=found.beyond(margin).T,
    )
