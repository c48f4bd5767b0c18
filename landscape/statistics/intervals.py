"""Sizes of effects: bootstrap intervals, and the chance that one recipe's seed beats another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.statistics.samples import fraction, vector


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval.

    Attributes:
        value: the statistic of the data.
        low: lower end.
        high: upper end.
        standard_error: standard deviation of the bootstrap distribution.
        confidence: coverage aimed at.
    """

    value: float
    low: float
    high: float
    standard_error: float
    confidence: float


def bootstrap_interval(
    *samples: ArrayLike,
    statistic: Callable[..., float] | None = None,
    paired: bool = False,
    confidence: float = 0.95,
    resamples: int = 9_999,
    seed: int = 0,
) -> Interval:
    """Return a statistic of one or more samples with its bias-corrected and accelerated bootstrap interval.

    Args:
        samples: one vector a sample; each is resampled on its own unless `paired`.
        statistic: function of the samples and of `axis`; by default the mean of one sample, or the mean of the second
            minus the mean of the first.
        paired: resample the same positions in every sample.
        confidence: coverage.
        resamples: bootstrap samples.
        seed: of the resampling.

    Returns:
        The value, the interval and the standard error. Data whose statistic never varies give an interval of no width.

    Raises:
        NotDefinedError: fewer than two values in a sample.

    Source: Efron 1987, *JASA* 82:171–185; computed by `scipy.stats.bootstrap`.

    >>> interval = bootstrap_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> interval.value, interval.low < 3.0 < interval.high
    (3.0, True)
    """
    fraction(confidence, "confidence")
    data = tuple(vector(sample, f"sample {i}", fewest=2) for i, sample in enumerate(samples, 1))
    chosen: Callable[..., float] = statistic or (_mean if len(data) == 1 else _difference)
    value = float(chosen(*data, axis=-1))
    if all(np.ptp(sample) == 0 for sample in data):
        return Interval(value, value, value, 0.0, confidence)
    result = stats.bootstrap(
        data,
        chosen,
        paired=paired,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=resamples,
        method="BCa" if len(data) <= 2 else "percentile",
        rng=np.random.default_rng(seed),
    )
    ends = result.confidence_interval
    return Interval(value, float(ends.low), float(ends.high), float(result.standard_error), confidence)


def student_interval(value: float, standard_error: float, degrees: float, level: float = 0.95) -> tuple[float, float]:
    r"""Return the two-sided confidence interval of a mean: value ± $t_{(1+\text{level})/2}$ · standard error.

    Args:
        value: the mean.
        standard_error: its standard error.
        degrees: degrees of freedom of the standard error; infinite takes the normal distribution.
        level: coverage.

    >>> low, high = student_interval(0.0, 1.0, float("inf"))
    >>> round(float(high), 2), bool(high == -low)
    (1.96, True)
    """
    tail = (1 + level) / 2
    quantile = stats.norm.ppf(tail) if np.isinf(degrees) else stats.t.ppf(tail, degrees)
    return value - quantile * standard_error, value + quantile * standard_error


def superiority(a: ArrayLike, b: ArrayLike) -> float:
    r"""Return the chance that a seed of `b` scores above a seed of `a`, ties counted half: $U / (n_a n_b)$.

    Args:
        a: scores of the first recipe.
        b: scores of the second recipe.

    Returns:
        A number in [0, 1]; 0.5 where neither is ahead.

    Raises:
        NotDefinedError: an empty arm.

    Source: Mann and Whitney 1947, *Annals of Mathematical Statistics* 18:50–60, by `scipy.stats.mannwhitneyu`.

    >>> superiority([1, 2, 3], [2, 3, 4])
    0.7777777777777778
    """
    first, second = vector(a, "a"), vector(b, "b")
    u = stats.mannwhitneyu(second, first, method="asymptotic").statistic
    return float(u) / (len(first) * len(second))


def _mean(x: np.ndarray, *, axis: int) -> Any:
    return np.mean(x, axis=axis)


def _difference(a: np.ndarray, b: np.ndarray, *, axis: int) -> Any:
    return np.mean(b, axis=axis) - np.mean(a, axis=axis)
