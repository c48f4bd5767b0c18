"""The size of the worst-case box at which the 0–1 error rises by a tenth: alpha, plain and magnitude-aware."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.function.objective import Objective
from landscape.scores.apgd import maximize
from landscape.scores.ascent import increase_from
from landscape.scores.evaluation import Meter, error_share, values_at
from landscape.scores.noise_tolerance import RISE, find_level
from landscape.scores.register import Definition, Measurement, score


def worst_point(objective: Objective, half: Tensor, *, iterations: int, meter: Meter) -> Tensor:
    """Return the perturbation (P,) in the box |δ| ≤ half with the largest loss on all data that APGD meets."""
    whole = objective.rebatch(objective.n)
    low = -half
    with objective.guard(), torch.no_grad():
        _, _, delta = maximize(
            increase_from(whole, whole.batches[0]),
            lambda gradient: half * gradient.sign(),
            lambda delta: torch.clamp(delta, low, half),
            torch.zeros_like(half),
            2.0,
            iterations=iterations,
        )
    meter.gradient(iterations + 1)
    return delta


def _tolerated_box(
    objective: Objective, scale: Tensor, *, guess: float, rise: float, iterations: int, slug: str
) -> Measurement:
    theta, meter = objective.theta, Meter()
    start = float(values_at(objective, [theta], error_share, meter)[0])

    def errors(level: float) -> np.ndarray:
        delta = worst_point(objective, level * scale, iterations=iterations, meter=meter)
        return values_at(objective, [theta + delta], error_share, meter) - start

    level, _ = find_level(errors, start, guess=guess, rise=rise, slug=slug)
    return Measurement(level**-2, gradients=meter.gradients)


@score(
    Definition(
        "inverse-alpha",
        "worst-case flatness of the 0–1 error",
        family="error based",
        formula="1/α², max over |u| ≤ α of err(w + u) = err(w) + 0.1",
        source="Jiang et al. 2020, arXiv 1912.02178, SHARPNESS-FLAT",
        cost=150,
        invariant="T4",
        needs=("errors",),
    )
)
def inverse_alpha(objective: Objective, *, rise: float = RISE, iterations: int = 10) -> Measurement:
    r"""Measure how small a box of equal sides holds a perturbation that raises the error.

    .. math:: 1/\alpha^2, \qquad \max_{|u_i| \le \alpha} \mathrm{err}(w + u) = \mathrm{err}(w) + 0.1

    The maximum is sought by ascent of the loss on all data, and the error is read there.

    Args:
        objective: a classifier (0–1 error).
        rise: rise of the error that defines α.
        iterations: steps of the ascent at each level.

    Raises:
        NotDefinedError: no 0–1 error, or the error cannot rise by that much.

    Source: Jiang et al. 2020 (arXiv 1912.02178), SHARPNESS-FLAT.
    """
    guess = 0.01 * float(objective.theta.double().square().mean().sqrt()) or 0.01
    unit = objective.theta.new_ones(objective.size)
    return _tolerated_box(objective, unit, guess=guess, rise=rise, iterations=iterations, slug="inverse-alpha")


@score(
    Definition(
        "inverse-alpha-mag",
        "worst-case flatness of the 0–1 error, magnitude-aware",
        family="error based",
        formula="1/α′², max over |u| ≤ α′(|w|+1) of err(w + u) = err(w) + 0.1",
        source="Dziugaite et al. 2020, arXiv 2010.11924, SHARPNESS-MAG-FLAT",
        cost=150,
        invariant="T4",
        needs=("errors",),
    )
)
def inverse_alpha_mag(
    objective: Objective, *, rise: float = RISE, offset: float = 1.0, iterations: int = 10
) -> Measurement:
    r"""Measure how small a box around the weights, in Keskar's form, holds a perturbation that raises the error.

    .. math:: 1/\alpha'^2, \qquad \max_{|u_i| \le \alpha'(|w_i| + 1)} \mathrm{err}(w + u) = \mathrm{err}(w) + 0.1

    Args:
        objective: a classifier (0–1 error).
        rise: rise of the error that defines α′.
        offset: what is added to every |w|; the published 1 breaks the invariance to rescaling, 0 restores it.
        iterations: steps of the ascent at each level.

    Raises:
        NotDefinedError: no 0–1 error, or the error cannot rise by that much.

    Source: Jiang et al. 2020 (arXiv 1912.02178); Dziugaite et al. 2020 (arXiv 2010.11924).
    """
    scale = objective.theta.abs() + offset
    return _tolerated_box(objective, scale, guess=2e-3, rise=rise, iterations=iterations, slug="inverse-alpha-mag")
