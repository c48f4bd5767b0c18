"""How far the weights can be compressed before the training error rises by one per cent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landscape.arguments import seeded_generator
from landscape.bars import bar
from landscape.function.objective import Objective
from landscape.scores.fit import initial_weights
from landscape.scores.quantities import Meter, error_share, values_at
from landscape.scores.register import Definition, Measurement, score

RISE = 0.01
MOST_BITS = 16
HALVINGS = 10


def quantized(objective: Objective, bits: int) -> Tensor:
    """Return theta with every tensor rounded to 2^bits − 1 equal steps between ± its largest entry.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> objective = ls.Objective(net, (torch.eye(2), torch.zeros(2, 1)), "mse_loss").at(torch.tensor([1.0, 0.3]))
    >>> quantized(objective, 2)
    tensor([1., 0.])
    """
    theta = objective.theta
    levels = 2 ** (bits - 1) - 1
    for where in objective.space.slices.values():
        step = theta[where].abs().max() / levels
        if float(step) > 0:
            theta[where] = (theta[where] / step).round() * step
    return theta


def pruned(objective: Objective, share: float) -> Tensor:
    """Return theta with the smallest entries of every weight matrix set to zero; vectors are kept."""
    theta = objective.theta
    for where, shape in zip(objective.space.slices.values(), objective.space.shapes, strict=True):
        count = int(share * (where.stop - where.start))
        if len(shape) > 1 and count:
            piece = theta[where]
            piece[piece.abs().argsort(stable=True)[:count]] = 0
            theta[where] = piece
    return theta


@score(
    Definition(
        "bits",
        "bits a weight at +1 % training error",
        formula="min b: err(w rounded to b bits per tensor) ≤ err(w) + 0.01",
        source="Arora et al. 2018, arXiv 1802.05296, for compression and generalisation",
        unit="bit",
        compared="difference",
    ),
    Definition(
        "pruned",
        "share of weights that can be removed at +1 % training error",
        formula="max s: err(w without its smallest share s of each matrix) ≤ err(w) + 0.01",
        source="Zhou et al. 2019, arXiv 1804.05862",
        orientation="lower is sharper",
    ),
    family="compressibility",
    cost=6,
    invariant="T1 T4 T7",
    needs=("errors",),
)
def compressibility(objective: Objective, *, rise: float = RISE) -> list[Measurement]:
    """Measure how coarsely the weights can be rounded, and how many removed, at the price of one per cent of errors.

    Rounding is to equal steps within each tensor, removal by size within each matrix, both after training; the largest share is
    found by bisection. Up to 16 bits are tried.

    Args:
        objective: a classifier on its training data.
        rise: rise of the error that is allowed.
    """
    meter = Meter()
    limit = float(values_at(objective, [objective.theta], error_share, meter)[0]) + rise + 1e-12

    def holds(theta: Tensor) -> bool:
        return float(values_at(objective, [theta], error_share, meter)[0]) <= limit

    fewest = next((b for b in range(2, MOST_BITS + 1) if holds(quantized(objective, b))), None)
    bits = Measurement(fewest or math.nan, gradients=meter.gradients, name="bits")
    if fewest is None:
        bits = replace(bits, status="not defined", note=f"{MOST_BITS} bits are too few")
    share = largest_that_holds(lambda s: holds(pruned(objective, s)))
    return [bits, Measurement(share, gradients=meter.gradients - bits.gradients, name="pruned")]


def largest_that_holds(holds: Callable[[float], bool]) -> float:
    """Return by bisection the largest share in [0, 1], to 1/1024, for which a condition that holds at 0 still holds."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@score(
    "intrinsic-dimension",
    "dimension of a random subspace through the initial weights that fits the training data",
    family="compressibility",
    formula="min d: training in w₀ + span of d random directions reaches 90 % of the accuracy",
    source="Li et al. 2018, arXiv 1804.08838, d_int90",
    cost=4000,
    needs=("errors",),
    unit="dimension",
)
def intrinsic_dimension(
    objective: Objective,
    *,
    checkpoint: Any = None,
    share: float = 0.9,
    steps: int = 300,
    lr: float = 0.05,
    largest: int = 1024,
    seed: int = 0,
) -> Measurement:
    r"""Find the smallest random subspace through the initial weights in which training reaches 90 % of the accuracy.

    .. math:: w = w_0 + A y, \qquad A \in \mathbb{R}^{P \times d} \text{ with orthonormal columns}

    Dimensions are doubled from 2; training is Adam on all data. It is a property of data and architecture more than of one
    solution, and depends on the number of steps.

    Args:
        objective: at the trained weights, whose accuracy sets the goal.
        share: of the trained accuracy that counts as reached.
        steps: of Adam a dimension.
        lr: its learning rate.
        largest: largest dimension tried, at most P.

    Raises:
        NotDefinedError: no 0–1 error, or the initial weights are not known.
    """
    start = initial_weights(objective, checkpoint)
    meter = Meter()
    goal = share * (1 - float(values_at(objective, [objective.theta], error_share, meter)[0]))
    dimension, top = 2, min(largest, objective.size)
    with bar(desc="intrinsic dimension", unit="dimension") as progress:
        while dimension <= top:
            if _subspace_accuracy(start, dimension, steps, lr, seed, meter) >= goal:
                return Measurement(float(dimension), gradients=meter.gradients, note="to a factor of two")
            dimension *= 2
            progress.update()
    note = f"{top} random directions do not reach {share:.0%} of the accuracy in {steps} steps"
    return Measurement(math.nan, gradients=meter.gradients, status="not defined", note=note)


def _subspace_accuracy(start: Objective, dimension: int, steps: int, lr: float, seed: int, meter: Meter) -> float:
    generator = seeded_generator(seed)
    draws = torch.randn(start.size, dimension, dtype=torch.float64, generator=generator)
    basis = torch.linalg.qr(draws).Q.to(start.theta)
    origin = start.theta
    y = torch.zeros(dimension, dtype=origin.dtype, device=origin.device, requires_grad=True)
    optimizer = torch.optim.Adam([y], lr=lr)
    for _ in range(steps):
        gradient = start.gradient(origin + basis @ y.detach())
        y.grad = basis.T @ gradient
        optimizer.step()
        meter.gradient()
    return 1 - float(values_at(start, [origin + basis @ y.detach()], error_share, meter)[0])
