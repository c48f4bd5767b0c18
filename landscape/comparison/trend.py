"""Scores against the share of redrawn labels: one trend a score, the verdict they support, and its placebo.

The rule is that of two arms, with a trend in the place of a difference: the three primary scores agree in sign, at
least two are significant after Holm's correction with a sign that holds at every radius, and the gates pass.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from landscape.comparison.decide import IN_WORDS, PRIMARY
from landscape.errors import LandscapeError, NotDefinedError
from landscape.results import Placebo
from landscape.results.comparison import over_radii
from landscape.results.randomisation_table import NoiseTrend, NoiseVerdict
from landscape.statistics import holm, trend_p_values, trend_test

LOSS_TOLERANCE = 0.1
ACCURACY_TOLERANCE = 0.005


def noise_trends(recipe: str, stage: str, scores: Mapping[str, np.ndarray]) -> list[NoiseTrend]:
    """Test every score of one recipe at one stage for a trend over the noise levels.

    Args:
        recipe: slug.
        stage: where in training.
        scores: ``evaluation/score`` → (noise, seed, radius), NaN where missing.

    Returns:
        One row a score that has values at two levels or more; Holm's correction is over the primary scores on own labels.
    """
    found = [row for name, values in scores.items() if (row := _trend(recipe, stage, name, values)) is not None]
    raw = {i: row.p_value for i, row in enumerate(found) if row.primary and row.p_value is not None}
    adjusted = dict(zip(raw, holm(list(raw.values())).tolist() if raw else [], strict=True))
    return [replace(row, p_holm=adjusted.get(i)) for i, row in enumerate(found)]


def _trend(recipe: str, stage: str, name: str, values: np.ndarray) -> NoiseTrend | None:
    evaluation, _, score = name.partition("/")
    table = np.stack([over_radii(level) for level in values])  # (noise, seed)
    table = table[np.isfinite(table).any(axis=1)]
    if len(table) < 2:
        return None
    positive = bool((table[np.isfinite(table)] > 0).all())
    scaled = np.log10(table) if positive else table
    ends = (scaled[-1] - scaled[0])[np.isfinite(scaled[-1] - scaled[0])]
    if not ends.size:
        return None
    try:
        test = trend_test(scaled.T)
        tau, p_value, seeds = test.tau, test.p_value, test.seeds
    except NotDefinedError:
        tau, p_value, seeds = float("nan"), None, int(np.isfinite(scaled).all(axis=0).sum())
    return NoiseTrend(
        recipe=recipe,
        stage=stage,
        evaluation=evaluation,
        score=score,
        primary=evaluation == "own" and score in PRIMARY,
        scale="log10" if positive else "raw",
        change=float(ends.mean()),
        spread=float(ends.std(ddof=1)) if len(ends) > 1 else float("nan"),
        tau=tau,
        p_value=p_value,
        p_holm=None,
        sign_stable=_stable(values),
        seeds=seeds,
        levels=len(table),
    )


def _stable(values: np.ndarray) -> bool:
    """Whether the change from the lowest to the highest level has one sign at every radius, (noise, seed, radius)."""
    levels = values[np.isfinite(values).any(axis=(1, 2))]
    changes = levels[-1] - levels[0]
    changes = changes[:, np.isfinite(changes).any(axis=0)]
    return len(set(np.sign(np.nanmean(changes, axis=0)).tolist())) <= 1


def noise_verdict(
    recipe: str, stage: str, long_name: str, metrics: Mapping[str, np.ndarray], trends: Sequence[NoiseTrend],
    *, level: float = 0.05, descriptive: Sequence[str] = (),
) -> NoiseVerdict:  # fmt: skip
    """Say what follows for one recipe at one stage, in words that claim geometry only.

    Args:
        recipe: slug.
        stage: where in training.
        long_name: the recipe in words.
        metrics: (noise, seed) training loss and accuracy, ``gradient/noise`` and ``reached``.
        trends: of this recipe and stage.
        level: of the tests.
        descriptive: primary scores that failed the audit and may not carry a verdict.
    """
    there = metrics["reached"] > 0
    losses, accuracies, gradients = (
        np.where(there, metrics[name], np.nan) for name in ("train/loss", "train/accuracy", "gradient/noise")
    )
    missing = int((~there.any(axis=1)).sum())
    known = there.any(axis=1)
    loss, accuracy = np.nanmean(losses[known], axis=1), np.nanmean(accuracies[known], axis=1)
    ratio = float(loss.max() / loss.min() - 1) if len(loss) else float("nan")
    gap = float(accuracy.max() - accuracy.min()) if len(loss) else float("nan")
    gradient = float(np.nanmedian(gradients[known], axis=1).max()) if len(loss) else float("nan")
    place = f"{long_name} at {stage.replace('-', ' ')}"
    gates = {
        f"{missing} of {len(there)} noise levels never got there": missing > 0,
        f"mean losses differ by up to × {1 + ratio:.4g}, allowed × {1 + LOSS_TOLERANCE:.4g}": ratio > LOSS_TOLERANCE,
        f"training accuracies differ by {gap:.2%}, allowed {ACCURACY_TOLERANCE:.1%}": gap > ACCURACY_TOLERANCE,
        f"the mean gradient is {gradient:.4g} times its sampling noise, allowed 1": gradient > 1,
    }
    failed = [text for text, bad in gates.items() if bad]
    primary = [row for row in trends if row.primary]
    verdict, text = _decided(place, failed, primary, level, descriptive)
    return NoiseVerdict(
        recipe=recipe,
        stage=stage,
        verdict=verdict,
        loss_ratio=ratio,
        accuracy_gap=gap,
        gradient=gradient,
        reached=int(there.sum()),
        runs=there.size,
        text=text,
    )


def _decided(
    place: str, failed: Sequence[str], primary: Sequence[NoiseTrend], level: float, descriptive: Sequence[str]
) -> tuple[str, str]:
    evidence = "; ".join(_sentence(row) for row in primary)
    if failed:
        return "not comparable", f"{place}: noise levels are not comparable, {'; '.join(failed)}."
    if len(primary) < len(PRIMARY) or set(descriptive) & {row.score for row in primary}:
        return "inconclusive", f"{place}: inconclusive, a primary score is missing or failed the invariance audit."
    significant = [row for row in primary if row.p_holm is not None and row.p_holm < level and row.sign_stable]
    if len({np.sign(row.tau) for row in significant}) > 1:
        return "mixed", f"{place}: mixed, significant scores disagree: {evidence}."
    signs = {np.sign(row.tau) for row in primary}
    if len(signs) == 1 and len(significant) >= 2:
        word = "spikier" if signs == {1.0} else "flatter"
        return word, f"{place}: minima are {word} the more labels are redrawn: {evidence}."
    return "inconclusive", f"{place}: no trend is shown: {evidence}."


def _sentence(row: NoiseTrend) -> str:
    p = "" if row.p_holm is None else f", p = {row.p_holm:.1g}"
    change = f"× {10**row.change:.2f}" if row.scale == "log10" else f"{row.change:+.3g}"
    return f"{IN_WORDS[row.score]} {change} from least to most noise (τ = {row.tau:+.2f}{p})"


def trend_placebo(
    scores: Mapping[str, np.ndarray],
    *,
    recipe: str,
    levels: int,
    resamples: int = 2000,
    shifts: Sequence[float] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5),
    level: float = 0.05,
    seed: int = 0,
) -> Placebo:
    """Apply the rule to noise grids made of runs of one noise level, as they are and with a known trend.

    Every cell of a placebo grid is drawn with replacement from the seeds of one recipe at one level, so that there is no
    trend; the scores of a run stay together, and all its radii. P values come from the normal approximation.

    Args:
        scores: primary score → (seed, radius) values, NaN beyond a score's radii.
        recipe: slug, for the record.
        levels: noise levels of a grid.
        resamples: grids for each shift.
        shifts: rise of log10 S from the first to the last level, in equal steps; must begin with 0.
        level: of the tests.
        seed: of the draws.

    Raises:
        LandscapeError: fewer than 4 seeds, or a value that is not positive.
    """
    started = time.perf_counter()
    stacked = [np.log10(np.where(values > 0, values, np.nan)) for values in scores.values()]
    seeds = len(stacked[0])
    if seeds < 4 or any(not np.isfinite(values).any(axis=1).all() for values in stacked):
        raise LandscapeError(f"a placebo needs 4 seeds with positive primary scores; {recipe} has {seeds}")
    rng = np.random.default_rng(seed)
    cells = rng.integers(seeds, size=(resamples, seeds, levels))
    rise = np.linspace(0, 1, levels)
    called, significant = [], []
    for shift in shifts:
        p_values, signs, stable = [], [], []
        for values in stacked:
            grid = values[cells] + shift * rise[:, None]  # (resample, seed, level, radius)
            mean = np.nanmean(grid, axis=3)
            p_values.append(trend_p_values(mean))
            signs.append(np.sign((mean * (rise - 0.5)).sum(axis=(1, 2))))
            ends = np.sign((grid[:, :, -1] - grid[:, :, 0]).mean(axis=1))
            stable.append(np.nanmin(ends, axis=1) == np.nanmax(ends, axis=1))
        passed = (np.stack([holm(row) for row in np.stack(p_values, axis=1)]) < level) & np.stack(stable, axis=1)
        sign = np.stack(signs, axis=1)
        called.append(((sign == sign[:, :1]).all(axis=1) & (passed.sum(axis=1) >= 2)).mean())
        significant.append(passed.mean(axis=0))
    return Placebo(
        shifts=np.asarray(shifts, dtype=np.float64),
        called=np.array(called),
        significant=np.stack(significant, axis=1),
        scores=tuple(scores),
        recipe=recipe,
        seeds=seeds,
        arm=seeds,
        resamples=resamples,
        level=level,
        seed=seed,
        seconds=time.perf_counter() - started,
    )
