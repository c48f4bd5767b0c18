"""Critical samples: examples with another decision close by, of which networks that memorise have many."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.batches import Batch
from landscape.function.gradients import value_and_gradient
from landscape.function.objective import Objective
from landscape.scores.fit import class_margins
from landscape.scores.quantities import FORWARD
from landscape.scores.register import Measurement, UndefinedError, score

ITERATIONS = 20
STEP = 0.125
"""One step, in radii: 20 of them cross the box and come back."""


def flipped(objective: Objective, batch: Batch, radius: float, iterations: int) -> Tensor:
    """Return which examples of a batch change their decision in the box |x̂ − x| ≤ r, (N,). Use inside the guard.

    Every example climbs, by signs of the gradient, towards the class that comes closest to its decision.
    """
    theta, x = objective.theta, batch.inputs
    with torch.no_grad():
        output = objective.batch_outputs(theta, batch)
    if output.ndim != 2:
        raise UndefinedError(f"logits have shape {tuple(output.shape)}, expected (N, C)")
    decision = output.argmax(1)
    found = torch.zeros(len(decision), dtype=torch.bool, device=decision.device)
    moved = torch.zeros_like(x)
    for _ in range(iterations):
        at = (x + moved).requires_grad_()
        margins, gradient = value_and_gradient(
            objective, theta, partial(_margins, objective, replace(batch, inputs=at), decision), at
        )
        found |= margins < 0
        moved = (moved - STEP * radius * gradient.sign()).clamp(-radius, radius)
    with torch.no_grad():
        last = _margins(objective, replace(batch, inputs=x + moved), decision)
    return found | (last < 0)


def _margins(objective: Objective, batch: Batch, decision: Tensor) -> Tensor:
    """Return by how much each example's decision leads over the next class at theta, (N,)."""
    return class_margins(objective.batch_outputs(objective.theta, batch), decision)


@score(
    "critical-sample-ratio",
    "share of examples with another decision in a box about them",
    family="function space",
    formula="share of x with argmax f(x̂) ≠ argmax f(x) for an x̂ with |x̂ − x| ≤ r",
    source="Arpit et al. 2017, arXiv 1706.05394, section 4.2",
    cost=20,
    invariant="T1 T2 T3 T4 T5 T6 T7",
    needs=("classes", "tensor inputs"),
    radii=(0.3,),
)
def critical_sample_ratio(objective: Objective, *, radius: float, iterations: int = ITERATIONS) -> Measurement:
    r"""Measure how densely the decision boundaries lie about the data, which no reparametrisation of the weights changes.

    .. math:: \frac1n \#\{x : \exists\, \hat x,\ \lVert \hat x - x\rVert_\infty \le r,\
        \arg\max f(\hat x) \ne \arg\max f(x)\}

    The other decision is sought by projected ascent along signs of the gradient, from the example itself: the ratio is a lower
    bound, deterministic, and exact for two classes of a linear network. Labels are not used.

    Args:
        objective: a classifier (N, C) of one floating-point input tensor.
        radius: half-width r of the box, in units of the inputs as the network gets them.
        iterations: steps of the ascent, each about one gradient.

    Returns:
        One row a radius.

    Raises:
        NotDefinedError: no class logits, or inputs that are not one floating-point tensor.
        LandscapeError: fewer iterations than one.

    Source: Arpit et al. 2017 (arXiv 1706.05394), section 4.2, whose search is a Langevin chain with r = 0.3 on CIFAR-10.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> objective = ls.Objective(net, (torch.tensor([[0.1], [2.0]]), torch.tensor([0, 0])), "cross_entropy")
    >>> critical_sample_ratio(objective.at(torch.tensor([1.0, -1.0])))[0].value  # the boundary is at 0
    0.5
    """
    if iterations < 1:
        raise LandscapeError(f"iterations={iterations}, expected at least 1")
    hits = 0
    with objective.guard():
        for batch in objective.batches:
            hits += int(flipped(objective, batch, radius, iterations).sum())
    return Measurement(hits / objective.n, gradients=iterations + 2 * FORWARD)
