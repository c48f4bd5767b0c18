"""One factor, one measure: how much two levels differ, with an interval and an exact test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from landscape.errors import LandscapeError, NotDefinedError
from landscape.results.effects import Effect
from landscape.results.trials import Trials, in_words
from landscape.statistics.intervals import bootstrap_interval
from landscape.statistics.permutation import permutation_test, sign_flip_test


def contrast(
    trials: Trials,
    measure: str,
    factor: str,
    a: Any = None,
    b: Any = None,
    *,
    pair: str | None = None,
    scale: Literal["log10", "raw"] | None = None,
    fewest: int = 6,
) -> Effect:
    """Compare two levels of a factor in one measure, over the runs that met their target.

    Args:
        trials: whose runs; take a part with `Trials.where` to hold other factors fixed.
        measure: what to compare; the geometric mean over radii of one that has several.
        factor: what differs.
        a: the reference level; `None`: the first.
        b: the other; `None`: the last.
        pair: a factor whose levels pair the runs, such as ``seed`` where runs of one seed share what they started from;
            `None`: independent runs.
        scale: ``log10`` (by ratio) or ``raw`` (by difference); `None`: by ratio where every value is positive.
        fewest: runs of each level, or pairs, below which there is no p value.

    Returns:
        An `Effect`: mean difference with its bootstrap interval, and p of `permutation_test`, or of `sign_flip_test` for
        pairs; NaN and `None` where there are too few runs.

    Raises:
        LandscapeError: the levels are the same.
        KeyError: there is no such measure, factor or level.

    >>> rows = [{"arm": arm, "seed": seed, "loss": (1 + seed) ** power} for arm, power in (("a", 0), ("b", 2))
    ...     for seed in range(1, 8)]
    >>> effect = contrast(Trials.of(rows, factors=("arm", "seed")), "loss", "arm", pair="seed")
    >>> effect.change, effect.larger, effect.p_value == 2 / 2**7
    ('× 20.7', 7, True)
    """
    levels = trials.levels(factor)
    a, b = levels[0] if a is None else a, levels[-1] if b is None else b
    if a == b:
        raise LandscapeError(f"{factor} has the one level {a}; a contrast needs two")
    runs = [_runs(trials, measure, factor, level, pair) for level in (a, b)]
    if pair is not None:
        shared = [key for key in runs[0] if key in runs[1]]
        runs = [{key: arm[key] for key in shared} for arm in runs]
    x, y = (np.array(list(arm.values()), dtype=float) for arm in runs)
    if scale is None:
        scale = "log10" if len(x) and len(y) and (x > 0).all() and (y > 0).all() else "raw"
    if scale == "log10":
        x, y = np.log10(x), np.log10(y)
    paired = pair is not None
    low, high, sd = np.nan, np.nan, np.nan
    if min(len(x), len(y)) > 1:
        interval = bootstrap_interval(y - x) if paired else bootstrap_interval(x, y)
        low, high = interval.low, interval.high
        sd = float((y - x).std(ddof=1)) if paired else np.nan
    try:
        p_value = (sign_flip_test if paired else permutation_test)(x, y, fewest=fewest).p_value
    except NotDefinedError:
        p_value = None
    return Effect(
        measure=measure,
        factor=factor,
        a=in_words(a),
        b=in_words(b),
        part=trials.part[0] if trials.parts and len(trials) else "",
        scale=scale,
        mean_a=_mean(x),
        mean_b=_mean(y),
        difference=_mean(y - x) if paired else _mean(y) - _mean(x),
        low=low,
        high=high,
        sd=sd,
        p_value=p_value,
        test="sign flip" if paired else "permutation",
        runs_a=len(x),
        runs_b=len(y),
        larger=int((y > x).sum()) if paired else int((y[:, None] > x).sum()),
    )


def _runs(trials: Trials, measure: str, factor: str, level: Any, pair: str | None) -> Mapping[Any, float]:
    """Return the finite values of one level by pair, or by position."""
    arm = trials.where(**{factor: level})
    values = np.asarray(arm[measure], dtype=float)
    keys = range(len(arm)) if pair is None else arm[pair].tolist()
    there = arm.met & np.isfinite(values)
    return {key: float(value) for key, value, known in zip(keys, values, there, strict=True) if known}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
