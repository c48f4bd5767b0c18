"""The level of noise at which the 0–1 error rises by a given amount."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from landscape.bars import bar
from landscape.scores.functionals import Case, Functional
from landscape.scores.quantities import Meter
from landscape.scores.register import Measurement, UndefinedError

RISE = 0.1
OCTAVES = 12
"""How far from the first guess the level is looked for, in factors of two."""
BISECTIONS = 4


def find_level(
    errors: Callable[[float], np.ndarray], start: float, *, guess: float, rise: float
) -> tuple[float, float]:
    r"""Find the level at which the mean error has risen by a given amount.

    The level is bracketed on a grid of factors of two and halvings of the last octave, then interpolated in its logarithm:
    the result changes continuously with the errors, so that rounding cannot move it by a step. Its standard error is
    that of the mean error over the slope (delta method).

    Args:
        errors: ``level -> rises of the error (samples,)``, the same draws at every level.
        start: error of the unperturbed network.
        guess: first level tried.
        rise: rise of the mean error looked for.

    Returns:
        The level and its standard error; 0 for a single sample.

    Raises:
        NotDefinedError: the error leaves no room for the rise, or no level within 12 octaves reaches it.
    """
    if start + rise >= 1:
        raise UndefinedError(f"the error is {start:.3g} already and cannot rise by {rise:g}")
    seen: dict[float, np.ndarray] = {}
    with bar(desc="levels of noise", unit="level") as progress:

        def rises(octave: float) -> np.ndarray:
            if octave not in seen:
                seen[octave] = errors(2.0**octave)
                progress.update()
            return seen[octave]

        low, high = _bracket(lambda octave: bool(rises(octave).mean() < rise), float(np.log2(guess)), rise)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if rises(middle).mean() < rise else (low, middle)
        below, above = rises(low), rises(high)
    slope = (above.mean() - below.mean()) / (high - low)
    weight = (rise - below.mean()) / (above.mean() - below.mean())
    level = 2.0 ** (low + weight * (high - low))
    if len(below) == 1:
        return float(level), 0.0
    spread = ((1 - weight) * below + weight * above).std(ddof=1) / np.sqrt(len(below))
    return float(level), float(level * np.log(2) * spread / slope)


def _bracket(below: Callable[[float], bool], guess: float, rise: float) -> tuple[float, float]:
    """Return neighbouring octaves (in log2) between which the mean error passes the rise."""
    step = 1 if below(guess) else -1
    for octave in range(OCTAVES):
        level = guess + step * (octave + 1)
        if below(level) != (step == 1):
            return (level - 1, level) if step == 1 else (level, level + 1)
    raise UndefinedError(f"levels up to 2^{guess + step * OCTAVES:.0f} do not move the error by {rise:g}")


def _tolerated_noise(
    case: Case, *, rise: float = RISE, samples: int = 16, epsilon: float = 0.0, guess: float = 1.0, seed: int = 0
) -> list[Measurement]:
    moved, meter = case.perturbation, Meter()
    start, values = case.quantity.begin(case.objective, meter)

    def errors(level: float) -> np.ndarray:
        # standard deviations, which add in quadrature
        deviation = level * moved.c if epsilon == 0 else torch.hypot(level * moved.c, torch.full_like(moved.c, epsilon))
        return values(case.displaced(deviation * z for z in moved.drawn(samples, seed))) - start

    level, error = find_level(errors, start, guess=guess * moved.size, rise=rise)
    return [Measurement(level**-2, 2 * error / level**3, None, meter.gradients)]


tolerated_noise = Functional(_tolerated_noise, unit="1", guesses=True, over="noise")
r"""Inverse square of the noise level σ at which the mean of the quantity has risen by a given amount.

.. math:: E_u[Q(w + u)] = Q(w) + \mathrm{rise}, \qquad u_i \sim N(0,\ \sigma^2 c_i^2 + \epsilon^2)

Standard deviations throughout; the same draws at every level. ``epsilon`` is absolute noise added to every weight; the published
1e-3 breaks the invariance.
"""
