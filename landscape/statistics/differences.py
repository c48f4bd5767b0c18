"""How much two arms of seeds differ in their mean, with Student's interval: of independent seeds, or of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import LandscapeError


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

    def interval(self, confidence: float = 0.95) -> tuple[Any, Any]:
        """Return the two-sided confidence interval."""
        reach = stats.t.ppf((1 + confidence) / 2, self.degrees) * self.error
        return self.value - reach, self.value + reach

    def within(self, margin: float) -> Any:
        """Return p of two one-sided tests of |difference| < margin: equivalence is shown where it is below the level."""
        with np.errstate(divide="ignore", invalid="ignore"):
            above = stats.t.sf((self.value + margin) / self.error, self.degrees)
            below = stats.t.cdf((self.value - margin) / self.error, self.degrees)
        return np.where(self.error > 0, np.maximum(above, below), np.where(abs(self.value) < margin, 0.0, 1.0))

    def beyond(self, margin: float, confidence: float = 0.95) -> Any:
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
    if paired:
        parts = [((y - x).var(axis=-1, ddof=1) / n, n - 1)]
    else:
        parts = [(x.var(axis=-1, ddof=1) / n, n - 1), (y.var(axis=-1, ddof=1) / m, m - 1)]
    variance = sum(part for part, _ in parts) + shared**2
    spread = sum(part**2 / degrees for part, degrees in parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = np.where(spread > 0, variance**2 / spread, np.inf)
    return Difference(y.mean(axis=-1) - x.mean(axis=-1), np.sqrt(variance), degrees)
