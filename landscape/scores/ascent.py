"""The mean over sub-batches of a largest rise of the loss, by ascent from the weights in coordinates of one's choice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from landscape.function.batches import Batch
from landscape.function.gradients import value_and_gradient
from landscape.function.objective import Objective
from landscape.scores.apgd import Evaluate, Map, maximize
from landscape.scores.evaluation import Meter

SUBSET = 128
"""Examples a maximisation: m-sharpness with m = 128, whatever the objective's own batches."""


def increase_from(objective: Objective, batch: Batch) -> Evaluate:
    """Return ``delta -> (L_B(theta + delta), its gradient)`` for the mean loss of one batch. Use inside the guard."""
    theta = objective.theta

    def evaluate(delta: Tensor) -> tuple[Tensor, Tensor]:
        at = (theta + delta).requires_grad_()
        value, gradient = value_and_gradient(objective, at, lambda: objective.batch_value(at, batch).reshape(()), at)
        return value.double(), gradient

    return evaluate


def unit(gradient: Tensor) -> Tensor:
    """Return a vector at unit length, or zero: Foret et al. 2021, equation 2 with p = 2."""
    return gradient / torch.linalg.vector_norm(gradient).clamp_min(torch.finfo(gradient.dtype).tiny)


def in_ball(x: Tensor, radius: float) -> Tensor:
    """Return the nearest point of the ball about the origin."""
    return x * (radius / torch.linalg.vector_norm(x).clamp_min(radius))


def mean_worst_rise(
    parts: Objective,
    rise: Callable[[Batch], Evaluate],
    *,
    ascent: Map,
    project: Map,
    aside: Tensor,
    radius: float,
    iterations: int,
    meter: Meter,
) -> float:
    """Return the mean over batches of the largest rise that APGD finds in a set about the origin, (P,) coordinates.

    Args:
        parts: the function; every batch is maximised by itself.
        rise: gives a batch's loss and gradient in the coordinates.
        ascent: turns a gradient into a direction of ascent of unit size in the geometry of the set.
        project: maps coordinates to the nearest ones in the set.
        aside: a point of the set to start from where the origin is a critical point, whose gradient shows no way up.
        radius: size of the set; the first step is twice as long.
        iterations: steps of the ascent.
        meter: counts the gradients.
    """
    total = torch.zeros((), dtype=torch.float64, device=parts.device)

    def climb(batch: Batch, start: Tensor) -> tuple[Tensor, Tensor]:
        initial, best, _ = maximize(rise(batch), ascent, project, start, 2 * radius, iterations=iterations)
        meter.gradient((iterations + 1) * batch.size / parts.n)
        return initial, best

    with parts.guard(), torch.no_grad():
        for batch in parts.batches:
            initial, best = climb(batch, torch.zeros_like(aside))
            if not best > initial:
                best = torch.maximum(best, climb(batch, aside)[1])
            total += (best - initial) * batch.scale
    return float(total)
