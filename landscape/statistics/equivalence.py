"""Two one-sided tests: the evidence a tie needs, since a difference that is not significant is not a tie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from landscape.errors import LandscapeError
from landscape.statistics.differences import mean_difference
from landscape.statistics.samples import fraction, vector


@dataclass(frozen=True)
class Equivalence:
    """The outcome of an equivalence test.

    Attributes:
        difference: mean of `b` minus mean of `a`.
        p_value: the larger of the two one-sided p values; equivalence is shown where it is below the level.
        margin: the pre-declared margin.
        low: lower end of the interval for the difference, of confidence 1 - 2·level.
        high: its upper end; equivalence at `level` means that (low, high) lies within (-margin, margin).
        level: of the test.
    """

    difference: float
    p_value: float
    margin: float
    low: float
    high: float
    level: float

    @property
    def shown(self) -> bool:
        """Whether the arms are equivalent within the margin at the level."""
        return self.p_value < self.level


def equivalence_test(a: ArrayLike, b: ArrayLike, *, margin: float, level: float = 0.05) -> Equivalence:
    r"""Test whether two arms have the same mean up to a margin declared beforehand.

    Two Welch tests, of $\mu_b - \mu_a > -m$ and of $\mu_b - \mu_a < m$; both must reject. Arms without any spread are
    judged by their difference alone, so that scores equal by construction tie.

    Args:
        a: scores of the first recipe, one per seed (log10 of positive scores).
        b: scores of the second recipe.
        margin: m > 0 in the units of the scores; 0.05 in log10 is a factor 1.12.
        level: of each one-sided test.

    Returns:
        The difference, the p value and the interval that corresponds to the test.

    Raises:
        LandscapeError: a margin that is not positive.
        NotDefinedError: fewer than two seeds in an arm.

    Source: Schuirmann 1987, *J. Pharmacokinetics and Biopharmaceutics* 15:657–680; Welch 1947, *Biometrika* 34:28–35.

    >>> a, b = [0.00, 0.01, 0.02, 0.01], [0.01, 0.02, 0.01, 0.02]
    >>> equivalence_test(a, b, margin=0.05).shown, equivalence_test(a, b, margin=0.006).shown
    (True, False)
    """
    first, second = vector(a, "a", fewest=2), vector(b, "b", fewest=2)
    if not (np.isfinite(margin) and margin > 0):
        raise LandscapeError(f"margin is {margin}: expected a positive number declared before looking, such as 0.05.")
    fraction(level, "level")
    found = mean_difference(first, second)
    low, high = found.interval(1 - 2 * level)
    return Equivalence(float(found.value), float(found.within(margin)), margin, float(low), float(high), level)
