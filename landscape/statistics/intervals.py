"""How much two arms of seeds differ: intervals, the chance that one recipe's seed beats another's, what could have been seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import LandscapeError
from landscape.statistics.samples import vector

POWER = 0.8
"""The probability of finding a difference that a study is planned for."""
CONFIDENCE = 0.95
"""Coverage of the intervals of a difference."""


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
    confidence: float = CONFIDENCE


def bootstrap_interval(
    a: ArrayLike,
    b: ArrayLike | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 9_999,
    seed: int = 0,
) -> Interval:
    """Return the mean of one sample, or that of the second less that of the first, with its BCa bootstrap interval.

    Args:
        a: the sample (n,); of pairs their differences.
        b: the second sample (m,), resampled on its own; `None`: there is one.
        confidence: coverage.
        resamples: bootstrap samples.
        seed: of the resampling.

    Returns:
        The value, the interval and the standard error. Data that never vary give an interval of no width.

    Raises:
        NotDefinedError: fewer than two values in a sample.
        LandscapeError: a confidence that is not between 0 and 1.

    Source: Efron 1987, *JASA* 82:171–185; computed by `scipy.stats.bootstrap`.

    >>> interval = bootstrap_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    >>> interval.value, interval.low < 3.0 < interval.high
    (3.0, True)
    """
    if not 0 < confidence < 1:
        raise LandscapeError(f"confidence is {confidence}: expected a number between 0 and 1, such as 0.95.")
    data = tuple(vector(one, f"sample {i}", fewest=2) for i, one in enumerate((a, b), 1) if one is not None)

    def mean(x: np.ndarray, y: np.ndarray | None = None, *, axis: int = -1) -> Any:
        return x.mean(axis) if y is None else y.mean(axis) - x.mean(axis)

    value = float(mean(*data))
    if all(np.ptp(sample) == 0 for sample in data):
        return Interval(value, value, value, 0.0, confidence)
    result = stats.bootstrap(
        data,
        mean,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=resamples,
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


@dataclass(frozen=True)
class Difference:
    """A difference of means; numbers, or arrays of as many comparisons as were made at once.

    Attributes:
        value: mean of b minus mean of a.
        error: its standard error.
        degrees: degrees of freedom of the error; infinite where the error is zero.
    """

    value: Any
    error: Any
    degrees: Any

    def interval(self, confidence: float = CONFIDENCE) -> tuple[Any, Any]:
        """Return the two-sided confidence interval."""
        reach = stats.t.ppf((1 + confidence) / 2, self.degrees) * self.error
        return self.value - reach, self.value + reach

    def within(self, margin: float) -> Any:
        """Return p of two one-sided tests of |difference| < margin: equivalence is shown where it is below the level."""
        with np.errstate(divide="ignore", invalid="ignore"):
            above = stats.t.sf((self.value + margin) / self.error, self.degrees)
            below = stats.t.cdf((self.value - margin) / self.error, self.degrees)
        return np.where(self.error > 0, np.maximum(above, below), np.where(abs(self.value) < margin, 0.0, 1.0))

    def beyond(self, margin: float, confidence: float = CONFIDENCE) -> Any:
        """Return whether the whole interval lies outside the margin."""
        low, high = self.interval(confidence)
        return (low > margin) | (high < -margin)


def mean_difference(a: ArrayLike, b: ArrayLike, *, paired: bool = False, shared: float = 0.0) -> Difference:
    r"""Return the difference of the means of two arms: Welch's for independent seeds, of the differences for pairs.

    .. math:: \hat\delta = \bar b - \bar a, \qquad s^2 = \frac{s_a^2}{n_a} + \frac{s_b^2}{n_b} + e^2

    Args:
        a: values of the first arm, seeds along the last axis, (…, n).
        b: values of the second.
        paired: seeds of the same position belong together; s²(b − a)/n takes the place of the first two terms.
        shared: e, an error that all seeds have in common and their spread does not show, such as that of draws which all
            networks were measured with. Its own degrees of freedom are taken as infinite.

    Raises:
        LandscapeError: fewer than two seeds in an arm, or pairs that do not match.

    Source: Welch 1947, *Biometrika* 34:28–35.

    >>> found = mean_difference([0.0, 1.0, 2.0], [1.1, 2.0, 2.9], paired=True)
    >>> round(float(found.value), 3), [round(float(end), 2) for end in found.interval()]
    (1.0, [0.75, 1.25])
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    n, m = x.shape[-1], y.shape[-1]
    if min(n, m) < 2 or (paired and n != m):
        raise LandscapeError(f"arms of {n} and {m} seeds: expected two or more in each, and as many in both for pairs")
    parts = [(arm.var(axis=-1, ddof=1) / arm.shape[-1], arm.shape[-1] - 1) for arm in ([y - x] if paired else [x, y])]
    variance = sum(part for part, _ in parts) + shared**2
    spread = sum(part**2 / degrees for part, degrees in parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(spread > 0, variance**2 / spread, np.inf)
    return Difference(y.mean(axis=-1) - x.mean(axis=-1), np.sqrt(variance), degrees)


def superiority(a: ArrayLike, b: ArrayLike) -> float:
    r"""Return the chance that a seed of `b` scores above a seed of `a`, ties counted half: $U / (n_a n_b)$, in [0, 1].

    Args:
        a: values of the first arm, one per seed (n_a,).
        b: values of the second (n_b,).

    Raises:
        NotDefinedError: an empty arm.

    Source: Mann and Whitney 1947, *Annals of Mathematical Statistics* 18:50–60, by `scipy.stats.mannwhitneyu`.

    >>> superiority([1, 2, 3], [2, 3, 4])
    0.7777777777777778
    """
    first, second = vector(a, "a"), vector(b, "b")
    u = stats.mannwhitneyu(second, first, method="asymptotic").statistic
    return float(u) / (len(first) * len(second))


def detectable(a: np.ndarray, b: np.ndarray, *, level: float = 0.05, power: float = POWER) -> float:
    r"""Return the smallest difference of means that a two-sided t test finds with a power of 1 − β, approximately.

    $\delta = (t_{1-\alpha/2} + t_{1-\beta}) \sqrt{s_a^2/n_a + s_b^2/n_b}$ with $n_a + n_b - 2$ degrees of freedom; a
    permutation test of the same seeds has nearly this power.

    Args:
        a: (n_a,) values of the first recipe, one per seed.
        b: (n_b,) values of the second.
        level: two-sided level of the test, α.
        power: probability of finding it, 1 − β.

    Returns:
        The difference in the units of the values; NaN with fewer than two values in an arm.

    Source: Cohen 1988, *Statistical Power Analysis for the Behavioral Sciences*, chapter 2.

    >>> spread = np.array([-1.0, 0.0, 1.0])
    >>> round(detectable(np.tile(spread, 100), np.tile(spread, 100)), 3)  # 2.8 standard errors for many seeds
    0.187
    """
    if min(len(a), len(b)) < 2:
        return math.nan
    degrees = len(a) + len(b) - 2
    return float((stats.t.ppf(1 - level / 2, degrees) + stats.t.ppf(power, degrees)) * mean_difference(a, b).error)
