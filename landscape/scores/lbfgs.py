"""The largest value of a function in a box, by L-BFGS-B."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import Bounds, minimize

_FIRST_STEP = 100.0
"""First step over the half-width of the box, for a coordinate of mean slope: with 100 the ten iterations came within 0.2 % of
20 steps of APGD on trained digits networks; unscaled L-BFGS-B fell short by 10 to 25 %, or did not move at all."""

Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


def box_maximum(function: Function, half: np.ndarray, *, iterations: int, seed: int) -> float:
    """Return the largest value met while L-BFGS-B climbs inside the box |y| ≤ half.

    The box is scaled to the unit cube, and the function so that the first step reaches the faces: at a converged minimum
    the gradient is too small for L-BFGS-B to move by itself.

    Args:
        function: ``y -> (value, gradient)`` in float64.
        half: half-widths of the box, (n,).
        iterations: iterations of L-BFGS-B.
        seed: of the start, a random point within a hundredth of the box, so that the gradient is not zero there.
    """
    start = 0.01 * np.random.default_rng(seed).uniform(-1, 1, half.shape)
    best, scale = -np.inf, 0.0

    def negative(u: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, scale
        value, gradient = function(half * u)
        best = max(best, value)
        slope = half * gradient
        if scale == 0.0:
            mean = float(np.abs(slope).mean())
            scale = _FIRST_STEP / mean if mean > 0 else 1.0
        return -scale * value, -scale * slope

    ones = np.ones_like(half)
    options = {"maxiter": iterations, "maxfun": 2 * iterations, "ftol": 0.0, "gtol": 0.0}
    minimize(negative, start, jac=True, method="L-BFGS-B", bounds=Bounds(-ones, ones), options=options)
    return best
