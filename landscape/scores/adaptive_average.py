"""Average-case sharpness under noise proportional to each weight, on normalised logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.scores.evaluation import Meter, Noise, Share, draws, loss_share, values_at
from landscape.scores.normalized import logit_normalized
from landscape.scores.register import Definition, Measurement, score
from landscape.transforms.head import gauge_fixed

RADII = (0.1, 0.2, 0.4, 0.8)


def average_increase(
    objective: Objective,
    scale: Tensor,
    radii: Sequence[float],
    *,
    pairs: int,
    seed: int,
    share: Share = loss_share,
    noise: Noise = "normal",
) -> list[Measurement]:
    r"""Estimate :math:`E_{z}\,[L(w + \rho\,c \odot z) - L(w)]` for random z at several radii.

    Every draw is used with both signs (the odd part of the loss cancels within a pair) and at every radius.

    Args:
        objective: the function.
        scale: c, (P,).
        radii: the values of ρ.
        pairs: number of antithetic pairs; the standard error is that of their mean.
        seed: of the CPU generator.
        share: the quantity averaged, ``loss_share`` or ``error_share``.
        noise: ``normal``, or ``uniform`` between −1 and 1 (whose variance is a third).

    Raises:
        LandscapeError: another kind of noise.
    """
    if noise not in get_args(Noise):
        raise LandscapeError(f"noise={noise!r}, expected {' or '.join(map(repr, get_args(Noise)))}")
    theta, meter = objective.theta, Meter()

    def points() -> Iterator[Tensor]:
        yield theta
        for z in draws(objective.size, pairs, seed, noise):
            step = scale * z.to(theta)
            for radius in radii:
                yield theta + radius * step
                yield theta - radius * step

    values = values_at(objective, points(), share, meter)
    increases = values[1:].reshape(pairs, len(radii), 2).mean(2) - values[0]
    errors = increases.std(0, ddof=1) / np.sqrt(pairs) if pairs > 1 else np.full(len(radii), np.nan)
    return [
        Measurement(float(value), float(error), radius, meter.gradients / len(radii))
        for value, error, radius in zip(increases.mean(0), errors, radii, strict=True)
    ]


@score(
    Definition(
        "adaptive-average",
        "adaptive average-case sharpness on normalised logits",
        family="average case",
        formula="E[L(w + ρ|w|z) − L(w)], z ~ N(0, I), L on normalised logits",
        source="Andriushchenko et al. 2023, arXiv 2302.07011, S_avg",
        stochastic=True,
        cost=22,
        invariant="T1 T2 T4 T5 T7",
        needs=("classes",),
        unit="loss",
        panel=True,
        primary=True,
        radii=RADII,
        reference=0.4,
    )
)
def adaptive_average(
    objective: Objective,
    *,
    radii: Sequence[float] | None = None,
    pairs: int = 8,
    gauge: bool = True,
    noise: Noise = "normal",
    seed: int = 0,
) -> list[Measurement]:
    r"""Measure how much noise proportional to the weights raises the loss on normalised logits.

    .. math:: S(\rho) = E_{z \sim N(0, I)}\,[L(w + \rho\,|w| \odot z) - L(w)]

    Args:
        objective: a classifier; theta may be any part of its parameters.
        radii: relative noise levels ρ.
        pairs: number of antithetic pairs of draws.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.
        noise: ``normal`` for z ~ N(0, I), or ``uniform`` for z between −1 and 1, the other published form.
        seed: of the draws, which are the same on every device and for every batch size.

    Returns:
        One row a radius, with the standard error over pairs.

    Raises:
        NotDefinedError: no class logits.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011), S_avg with c = |w|.

    >>> import torch, landscape as ls
    >>> model = ls.models.mlp((4, 8, 3))
    >>> X, y = torch.ones(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    >>> rows = adaptive_average(ls.Objective(model, (X, y), "cross_entropy"), radii=[0.1], pairs=2)
    >>> rows[0].name, rows[0].radius
    ('adaptive-average', 0.1)
    """
    chosen = tuple(radii) if radii is not None else RADII
    objective = gauge_fixed(objective) if gauge else objective
    return average_increase(
        logit_normalized(objective), objective.theta.abs(), chosen, pairs=pairs, seed=seed, noise=noise
    )
