"""The noise level at which the 0–1 error rises by a tenth: PAC-Bayes sigma, plain and magnitude-aware."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from landscape.bars import bar
from landscape.errors import NotDefinedError
from landscape.function.objective import Objective
from landscape.scores.evaluation import Meter, draws, error_share, values_at
from landscape.scores.register import Definition, Measurement, score
from landscape.transforms.head import gauge_fixed

RISE = 0.1
OCTAVES = 12
"""How far from the first guess the level is looked for, in factors of two."""
BISECTIONS = 4


def find_level(
    errors: Callable[[float], np.ndarray], start: float, *, guess: float, rise: float, slug: str
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
        slug: the score, for messages.

    Returns:
        The level and its standard error; 0 for a single sample.

    Raises:
        NotDefinedError: the error leaves no room for the rise, or no level within 12 octaves reaches it.
    """
    if start + rise >= 1:
        raise NotDefinedError(
            f"{slug} is not defined here: the error is {start:.3g} already and cannot rise by {rise:g}"
        )
    seen: dict[float, np.ndarray] = {}
    with bar(desc=slug, unit="level") as progress:

        def rises(octave: float) -> np.ndarray:
            if octave not in seen:
                seen[octave] = errors(2.0**octave)
                progress.update()
            return seen[octave]

        low, high = _bracket(lambda octave: bool(rises(octave).mean() < rise), float(np.log2(guess)), slug, rise)
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


def tolerated_level(
    objective: Objective,
    deviation: Callable[[float], Tensor],
    *,
    guess: float,
    rise: float,
    samples: int,
    seed: int,
    slug: str,
) -> tuple[float, float, Meter]:
    r"""Find σ with :math:`E_z[\mathrm{err}(w + s(\sigma) \odot z)] = \mathrm{err}(w) + \mathrm{rise}`.

    Args:
        objective: a classifier.
        deviation: ``sigma -> s``, the standard deviation of every weight's noise, (P,).
        guess: first level tried.
        rise: rise of the error looked for.
        samples: number of draws, the same at every level.
        seed: of the CPU generator.
        slug: the score, for messages.

    Returns:
        σ, its standard error, and the cost.

    Raises:
        NotDefinedError: see `find_level`.
    """
    theta, meter = objective.theta, Meter()
    start = float(values_at(objective, [theta], error_share, meter)[0])

    def errors(level: float) -> np.ndarray:
        std = deviation(level)
        points = (theta + std * z.to(theta) for z in draws(objective.size, samples, seed))
        return values_at(objective, points, error_share, meter) - start

    level, error = find_level(errors, start, guess=guess, rise=rise, slug=slug)
    return level, error, meter


def _bracket(below: Callable[[float], bool], guess: float, slug: str, rise: float) -> tuple[float, float]:
    """Return neighbouring octaves (in log2) between which the mean error passes the rise."""
    step = 1 if below(guess) else -1
    for octave in range(OCTAVES):
        level = guess + step * (octave + 1)
        if below(level) != (step == 1):
            return (level - 1, level) if step == 1 else (level, level + 1)
    raise NotDefinedError(
        f"{slug} is not defined here: levels up to 2^{guess + step * OCTAVES:.0f} do not move the error by {rise:g}"
    )


def _inverse_square(level: float, error: float, meter: Meter) -> Measurement:
    return Measurement(level**-2, 2 * error / level**3, None, meter.gradients)


@score(
    Definition(
        "inverse-sigma-mag",
        "PAC-Bayes flatness, magnitude-aware, of the 0–1 error",
        family="error based",
        formula="1/σ′², E[err(w + σ′|w|z)] = err(w) + 0.1",
        source="Dziugaite et al. 2020, arXiv 2010.11924, PACBAYES-MAG-FLAT with ε → 0",
        stochastic=True,
        cost=45,
        invariant="T1 T2 T4 T5 T7",
        needs=("errors",),
        panel=True,
        primary=True,
    )
)
def inverse_sigma_mag(
    objective: Objective,
    *,
    rise: float = RISE,
    samples: int = 16,
    epsilon: float = 0.0,
    gauge: bool = True,
    seed: int = 0,
) -> Measurement:
    r"""Measure how little relative noise the decisions tolerate.

    .. math:: 1/\sigma'^2, \qquad E_{u}\,[\mathrm{err}(w + u)] = \mathrm{err}(w) + 0.1, \qquad
        u_i \sim N(0,\ \sigma'^2 w_i^2 + \epsilon^2)

    with standard deviations throughout, and ε = 0 so that the score does not change with the scale of layers or nodes.

    Args:
        objective: a classifier (0–1 error).
        rise: rise of the error that defines σ′.
        samples: draws at each level; the same draws at every level.
        epsilon: absolute noise added to every weight; the published 1e-3 breaks the invariance.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.
        seed: of the draws.

    Raises:
        NotDefinedError: no 0–1 error, or the error cannot rise by that much.

    Source: Jiang et al. 2020 (arXiv 1912.02178); Dziugaite et al. 2020 (arXiv 2010.11924).

    >>> import torch, landscape as ls
    >>> model = ls.models.mlp((2, 3))
    >>> X, y = torch.randn(64, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(64, dtype=torch.long)
    >>> y = model(X).argmax(1)
    >>> inverse_sigma_mag(ls.Objective(model, (X, y), "cross_entropy"))[0].value > 0
    True
    """
    objective = gauge_fixed(objective) if gauge else objective
    size = objective.theta.abs()

    def deviation(sigma: float) -> Tensor:
        return sigma * size if epsilon == 0 else torch.hypot(sigma * size, torch.full_like(size, epsilon))

    return _inverse_square(
        *tolerated_level(
            objective, deviation, guess=0.5, rise=rise, samples=samples, seed=seed, slug="inverse-sigma-mag"
        )
    )


@score(
    Definition(
        "inverse-sigma",
        "PAC-Bayes flatness of the 0–1 error",
        family="error based",
        formula="1/σ², E[err(w + σz)] = err(w) + 0.1",
        source="Jiang et al. 2020, arXiv 1912.02178, PACBAYES-FLAT",
        stochastic=True,
        cost=55,
        invariant="T4",
        needs=("errors",),
    )
)
def inverse_sigma(objective: Objective, *, rise: float = RISE, samples: int = 16, seed: int = 0) -> Measurement:
    r"""Measure how little isotropic noise the decisions tolerate.

    .. math:: 1/\sigma^2, \qquad E_{z \sim N(0, I)}\,[\mathrm{err}(w + \sigma z)] = \mathrm{err}(w) + 0.1

    Args:
        objective: a classifier (0–1 error).
        rise: rise of the error that defines σ.
        samples: draws at each level; the same draws at every level.
        seed: of the draws.

    Raises:
        NotDefinedError: no 0–1 error, or the error cannot rise by that much.

    Source: Jiang et al. 2020 (arXiv 1912.02178), PACBAYES-FLAT.
    """
    guess = float(objective.theta.double().square().mean().sqrt()) or 1.0
    unit = objective.theta.new_ones(objective.size)
    return _inverse_square(
        *tolerated_level(
            objective,
            lambda sigma: sigma * unit,
            guess=guess,
            rise=rise,
            samples=samples,
            seed=seed,
            slug="inverse-sigma",
        )
    )
