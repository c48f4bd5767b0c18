"""Scores against the share of redrawn labels: one trend per score, the verdict they support, and its placebo.

The rule is that of two arms, with a trend in the place of a difference, and the gates are those of a whole noise grid.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import numpy as np

from landscape.comparison.placebo import rates
from landscape.comparison.rule import called, corrected, phrase, rule, steady
from landscape.errors import LandscapeError, NotDefinedError
from landscape.results import Effect, Finding, Placebo, Trials
from landscape.results.comparison import over_radii
from landscape.scores.register import deciding
from landscape.statistics import holm, trend_p_values, trend_test

LEVEL = 0.05
LOSS_TOLERANCE = 0.1
ACCURACY_TOLERANCE = 0.005
_SAID = {
    "mixed": "mixed, significant scores disagree",
    "spikier": "minima are spikier the more labels are redrawn",
    "flatter": "minima are flatter the more labels are redrawn",
    "inconclusive": "no trend is shown",
}


def noise_trends(trials: Trials, scores: Sequence[str]) -> list[Effect]:
    """Test every score for a trend over the noise levels.

    Args:
        trials: with the factors ``noise`` and ``seed``, of one recipe at one place of its training.
        scores: measures, as ``evaluation/score``.

    Returns:
        One effect per score that has values at two levels or more: the difference is that between the ends of the grid, the
        test Page's over all levels with the seeds as blocks. Holm's correction is over the deciding scores on own labels.
    """
    levels = [f"{level:g}" for level in trials.levels("noise")]
    chosen = _deciding(scores)
    found = [_trend(trials.part[0], name, trials.array(name, "noise", "seed"), levels, chosen) for name in scores]
    return corrected([row for row in found if row is not None])


def _deciding(measures: Sequence[str]) -> set[str]:
    """Return the measures that a verdict on the noise rests on, on the labels that networks were trained on."""
    own = [name.partition("/")[2] for name in measures if name.startswith("own/")]
    return {f"own/{name}" for name in deciding(own, own).values()}


def _trend(part: str, name: str, values: np.ndarray, levels: Sequence[str], chosen: Collection[str]) -> Effect | None:
    values = values if values.ndim == 3 else values[:, :, None]  # (noise, seed, radius)
    table = np.stack([over_radii(level) for level in values])
    known = np.flatnonzero(np.isfinite(table).any(axis=1))
    if len(known) < 2:
        return None
    table, values = table[known], values[known]
    positive = bool((table[np.isfinite(table)] > 0).all())
    if positive:
        table, values = np.log10(table), np.log10(values)
    ends = (table[-1] - table[0])[np.isfinite(table[-1] - table[0])]
    if not ends.size:
        return None
    both = np.isfinite(values[0] + values[-1])
    tau, p_value = np.nan, None
    with suppress(NotDefinedError):
        test = trend_test(table.T)
        tau, p_value = test.tau, test.p_value
    seeds = int(np.isfinite(table).all(axis=0).sum())
    return Effect(
        measure=name,
        factor="noise",
        a=levels[known[0]],
        b=levels[known[-1]],
        part=part,
        scale="log10" if positive else "raw",
        mean_a=float(np.nanmean(table[0])),
        mean_b=float(np.nanmean(table[-1])),
        difference=float(ends.mean()),
        sd=float(ends.std(ddof=1)) if len(ends) > 1 else np.nan,
        p_value=p_value,
        test="Page",
        tau=tau,
        runs_a=seeds,
        runs_b=seeds,
        larger=int((ends > 0).sum()),
        levels=len(known),
        sign_stable=bool(steady(*(np.where(both, end, np.nan) for end in (values[0], values[-1])))[0]),
        primary=name in chosen,
    )


def noise_verdict(trials: Trials, trends: Sequence[Effect], place: str, *, descriptive: Sequence[str] = ()) -> Finding:
    """Say what follows for one recipe at one place of its training, in words that claim geometry only.

    Args:
        trials: whose training losses, accuracies and gradients must match.
        trends: of these trials.
        place: the recipe and the place in words.
        descriptive: deciding scores that failed the audit and may not carry a verdict.
    """
    deciding = [row for row in trends if row.primary]
    scores = {row.measure.partition("/")[2] for row in deciding}
    missing = _deciding([row.measure for row in trends]) != {f"own/{name}" for name in scores}
    if failed := _failed_gates(trials):
        word, text = "not comparable", f"noise levels are not comparable, {'; '.join(failed)}"
    elif missing or set(descriptive) & scores:
        word, text = "inconclusive", "inconclusive, a primary score is missing or failed the invariance audit"
    else:
        word = called(deciding, [float(np.sign(row.tau)) for row in deciding], level=LEVEL) or "inconclusive"
        text = f"{_SAID[word]}: {'; '.join(map(_sentence, deciding))}"
    return Finding(trials.part[0], f"{place}: {text}.", word)


def _failed_gates(trials: Trials) -> list[str]:
    """Say which conditions of a comparison over the noise do not hold."""
    there = trials.array("reached", "noise", "seed") > 0
    known = there.any(axis=1)
    losses, accuracies, gradients = (
        np.where(there, trials.array(name, "noise", "seed"), np.nan)[known]
        for name in ("train/loss", "train/accuracy", "gradient/noise")
    )
    missing = int((~known).sum())
    if not known.any():
        return [f"{missing} of {len(there)} noise levels never got there"]
    loss, accuracy = np.nanmean(losses, axis=1), np.nanmean(accuracies, axis=1)
    ratio, gap = float(loss.max() / loss.min() - 1), float(accuracy.max() - accuracy.min())
    gradient = float(np.nanmedian(gradients, axis=1).max())
    gates = {
        f"{missing} of {len(there)} noise levels never got there": missing > 0,
        f"mean losses differ by up to × {1 + ratio:.4g}, allowed × {1 + LOSS_TOLERANCE:.4g}": ratio > LOSS_TOLERANCE,
        f"training accuracies differ by {gap:.2%}, allowed {ACCURACY_TOLERANCE:.1%}": gap > ACCURACY_TOLERANCE,
        f"the mean gradient is {gradient:.4g} times its sampling noise, allowed 1": gradient > 1,
    }
    return [text for text, bad in gates.items() if bad]


def _sentence(row: Effect) -> str:
    p = "" if row.p_holm is None else f", p = {row.p_holm:.1g}"
    change = f"× {row.ratio:.2f}" if row.scale == "log10" else f"{row.difference:+.3g}"
    return f"{phrase(row.measure.partition('/')[2])} {change} from least to most noise (τ = {row.tau:+.2f}{p})"


def trend_placebo(
    scores: Mapping[str, np.ndarray],
    *,
    recipe: str,
    levels: int,
    resamples: int = 2000,
    shifts: Sequence[float] = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5),
) -> Placebo:
    """Apply the rule to noise grids made of runs of one noise level, as they are and with a known trend.

    Every cell of a placebo grid is drawn with replacement from the seeds of one recipe at one level, so that there is no
    trend; the scores of a run stay together, and all its radii. P values come from the normal approximation.

    Args:
        scores: deciding score → (seed, radius) values, NaN beyond a score's radii.
        recipe: slug, for the record.
        levels: noise levels of a grid.
        resamples: grids for each shift.
        shifts: rise of log10 S from the first to the last level, in equal steps; must begin with 0.

    Raises:
        LandscapeError: fewer than 4 seeds, or a value that is not positive.
    """
    started = time.perf_counter()
    stacked = [np.log10(np.where(values > 0, values, np.nan)) for values in scores.values()]
    seeds = len(stacked[0])
    if seeds < 4 or any(not np.isfinite(values).any(axis=1).all() for values in stacked):
        raise LandscapeError(f"a placebo needs 4 seeds with positive primary scores; {recipe} has {seeds}")
    cells = np.random.default_rng(0).integers(seeds, size=(resamples, seeds, levels))
    rise = np.linspace(0, 1, levels)
    outcomes = []
    for shift in shifts:
        grids = [values[cells] + shift * rise[:, None] for values in stacked]  # (resample, seed, level, radius)
        means = [np.nanmean(grid, axis=3) for grid in grids]
        p_values = np.stack([trend_p_values(mean) for mean in means], axis=1)
        signs = np.stack([np.sign((mean * (rise - 0.5)).sum(axis=(1, 2))) for mean in means], axis=1)
        stable = np.stack([steady(grid[:, :, 0], grid[:, :, -1])[0] for grid in grids], axis=1)
        outcomes.append(rule(signs, holm(p_values), stable, level=LEVEL))
    return rates(
        shifts,
        outcomes,
        drawn=cells,
        scores=tuple(scores),
        recipe=recipe,
        seeds=seeds,
        arm=seeds,
        resamples=resamples,
        level=LEVEL,
        seconds=time.perf_counter() - started,
    )
