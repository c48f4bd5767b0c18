"""What the seeds of two arms could have shown."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

POWER = 0.8
"""The probability of finding a difference that a study is planned for."""


def detectable(a: np.ndarray, b: np.ndarray, *, level: float = 0.05, power: float = POWER) -> float:
    r"""Return the smallest difference of means that a two-sided t test finds with the given power, approximately.

    $\delta = (t_{1-\alpha/2} + t_{1-\beta}) \sqrt{s_a^2/n_a + s_b^2/n_b}$ with $n_a + n_b - 2$ degrees of freedom; a
    permutation test of the same seeds has nearly this power.

    Args:
        a: (n_a,) values of the first recipe, one per seed.
        b: (n_b,) values of the second.
        level: two-sided level of the test.
        power: probability of finding the difference.

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
    error = math.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
    return float((stats.t.ppf(1 - level / 2, degrees) + stats.t.ppf(power, degrees)) * error)
