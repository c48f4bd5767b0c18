"""Critical sharpness: the curvature that a line search along the optimiser's own step sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite, nan

TOLERANCE = 1 / 16
"""Relative width of the bracket at which the search stops, as in the published method's 2⁻⁴."""
MOST = 24
"""Forward passes at most; a search that needs more has met a loss that is no parabola at any scale."""


@dataclass(frozen=True)
class CriticalStep:
    """Where the loss first rises along a step.

    Attributes:
        factor: the multiple of the step at which the loss comes back to where it began; NaN where it rises at once, ∞
            where it never does.
        width: relative width of the bracket the factor is the middle of.
        forwards: evaluations of the loss that were spent.
    """

    factor: float
    width: float
    forwards: int


def critical_step(rise: Callable[[float], float], *, guess: float = 1.0, tolerance: float = TOLERANCE) -> CriticalStep:
    r"""Return the smallest multiple c of a step with L(θ + c u) > L(θ).

    The rise divided by c is linear in c on a parabola, so its root is found by the secant between the ends of a bracket,
    and the bracket is closed around it: three evaluations on a parabola, where bisection takes as many as it has digits.

    Args:
        rise: c ↦ L(θ + c u) − L(θ), one forward pass each.
        guess: where to begin, such as the factor found at the last step.
        tolerance: relative width of the final bracket.

    Source: Kalra et al. 2026 (arXiv 2601.16979), which brackets by doubling and bisects.

    >>> round(critical_step(lambda c: -1.0 * c + 0.25 * c * c).factor, 1)  # rises beyond 4
    4.0
    """
    low, high = (0.0, nan), (inf, nan)  # (c, rise / c): not rising, rising
    forwards, c = 0, guess if isfinite(guess) and guess > 0 else 1.0
    while forwards < MOST:
        value = rise(c)
        forwards += 1
        if value > 0 or not isfinite(value):
            high = (c, value / c)
        else:
            low = (c, value / c)
        if low[0] > 0 and high[0] < inf and high[0] - low[0] <= tolerance * (high[0] + low[0]) / 2:
            return CriticalStep((low[0] + high[0]) / 2, 2 * (high[0] - low[0]) / (high[0] + low[0]), forwards)
        c = _next(low, high, tolerance)
        if c < 1e-6 * guess:
            return CriticalStep(nan, inf, forwards)
        if c > 1e6 * guess:
            return CriticalStep(inf, inf, forwards)
    return CriticalStep((low[0] + high[0]) / 2, 2 * (high[0] - low[0]) / (high[0] + low[0]), forwards)


def _next(low: tuple[float, float], high: tuple[float, float], tolerance: float) -> float:
    """Step outwards until the root is bracketed, then to just beside the secant's root, on the side still open."""
    if high[0] == inf:
        return 2 * low[0]
    if low[0] == 0:
        return high[0] / 2
    middle = (low[0] + high[0]) / 2
    if not isfinite(high[1]):
        return middle
    root = low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1])
    beside = 0.4 * tolerance * root
    # the nearer end of the bracket is the one to replace last: aim a little beyond the root, towards the farther end
    aimed = root + beside if high[0] - root > root - low[0] else root - beside
    return aimed if low[0] < aimed < high[0] else middle
