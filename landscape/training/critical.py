"""Critical sharpness: the curvature that a line search along the optimiser's own step sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite, nan

TOLERANCE = 1 / 16
"""Relative width of the bracket at which the search stops, as in the published method's 2⁻⁴."""
MOST = 24
"""Forward passes at most; a search that needs more has met a loss that is no parabola at any scale."""

FARTHEST = 16.0
"""Factor by which a search goes out at most, from one forward pass to the next."""
SMALLEST = 1e-4
"""Share of the guess below which a step counts as one that raises the loss at once."""


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
    tried: list[tuple[float, float]] = []
    c = first = guess if isfinite(guess) and guess > 0 else 1.0
    while len(tried) < MOST and SMALLEST * first < c < first / SMALLEST**1.5:
        value = rise(c)
        tried.append((c, value / c))
        if value > 0 or not isfinite(value):
            high = tried[-1]
        else:
            low = tried[-1]
        if low[0] > 0 and high[0] < inf and high[0] - low[0] <= tolerance * (high[0] + low[0]) / 2:
            break
        c = _next(low, high, tried, tolerance)
    if low[0] == 0:
        return CriticalStep(nan, inf, len(tried))
    if high[0] == inf:
        return CriticalStep(inf, inf, len(tried))
    return CriticalStep((low[0] + high[0]) / 2, 2 * (high[0] - low[0]) / (high[0] + low[0]), len(tried))


def _next(
    low: tuple[float, float], high: tuple[float, float], tried: list[tuple[float, float]], tolerance: float
) -> float:
    """Return where to look next: beyond the secant's root until it is bracketed, then beside it, on the side still open."""
    root = _root(tried)
    beside = 0.4 * tolerance * root
    if high[0] == inf:
        return (
            2 * low[0]
            if len(tried) < 2
            else min(root + beside, FARTHEST * low[0])
            if root > low[0]
            else FARTHEST * low[0]
        )
    if low[0] == 0:
        least = high[0] / FARTHEST
        return high[0] / 2 if len(tried) < 2 else max(root - beside, least) if root < high[0] else least
    if not low[0] < root < high[0]:
        return (low[0] * high[0]) ** 0.5
    # the nearer end of the bracket is the one to replace last: aim a little beyond the root, towards the farther end
    aimed = root + beside if high[0] - root > root - low[0] else root - beside
    return aimed if low[0] < aimed < high[0] else (low[0] * high[0]) ** 0.5


def _root(tried: list[tuple[float, float]]) -> float:
    """Return where the secant through the two smallest rises / c is zero; NaN where there is none."""
    nearest = sorted((point for point in tried if isfinite(point[1])), key=lambda point: abs(point[1]))[:2]
    if len(nearest) < 2 or nearest[0][1] == nearest[1][1]:
        return nan
    (a, p), (b, q) = nearest
    return a - p * (b - a) / (q - p)
