"""Sensitivity of the predictions to the inputs, which no reparametrisation of the weights changes."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from landscape.errors import LandscapeError
from landscape.function.batches import Batch
from landscape.function.gradients import value_and_gradient
from landscape.function.objective import Objective
from landscape.scores.fit import class_margins
from landscape.scores.quantities import FORWARD
from landscape.scores.register import OF_DECISIONS, OF_PROBABILITIES, Definition, Measurement, UndefinedError, score
from landscape.scores.requirements import class_count
from landscape.transforms.logits import normalize_logits

ITERATIONS = 20
SATURATED = 0.95
"""From this ratio on the box is too wide to tell networks apart."""
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
    decision, moved = output.argmax(1), torch.zeros_like(x)
    found = torch.zeros(len(decision), dtype=torch.bool, device=decision.device)

    def lead(at: Tensor) -> Tensor:
        """By how much each example's decision leads over the next class, (N,)."""
        return class_margins(objective.batch_outputs(theta, replace(batch, inputs=at)), decision)

    for _ in range(iterations):
        at = (x + moved).requires_grad_()
        margins, gradient = value_and_gradient(objective, theta, partial(lead, at), at)
        found |= margins < 0
        moved = (moved - STEP * radius * gradient.sign()).clamp(-radius, radius)
    with torch.no_grad():
        return found | (lead(x + moved) < 0)


@score(
    "critical-sample-ratio",
    "share of examples with another decision in a box about them",
    family="function space",
    formula="share of x with argmax f(x̂) ≠ argmax f(x) for an x̂ with |x̂ − x| ≤ r σ(x)",
    source="Arpit et al. 2017, arXiv 1706.05394, section 4.2",
    cost=80,
    invariant=OF_DECISIONS,
    needs=("classes", "tensor inputs"),
    radii=(0.01, 0.03, 0.1, 0.3),
    reference=0.1,
)
def critical_sample_ratio(objective: Objective, *, radius: float, iterations: int = ITERATIONS) -> Measurement:
    r"""Measure how densely the decision boundaries lie about the data, which no reparametrisation of the weights changes.

    .. math:: \frac1n \#\{x : \exists\, \hat x,\ \lVert \hat x - x\rVert_\infty \le r\,\sigma,\
        \arg\max f(\hat x) \ne \arg\max f(x)\}

    The other decision is sought by projected ascent along signs of the gradient, from the example itself: the ratio is a
    lower bound, deterministic, and exact for two classes of a linear network. Labels are not used. σ is the standard
    deviation of all entries of the inputs, so that r means the same for pixels from 0 to 1 and from 0 to 255; published
    code differs by that factor of 255. A row says where the ratio has nothing left to tell: no example or nearly all of
    them are critical.

    Args:
        objective: a classifier (N, C) of one floating-point input tensor.
        radius: half-width r of the box, in standard deviations of the inputs.
        iterations: steps of the ascent, each about one gradient.

    Returns:
        One row per radius.

    Raises:
        NotDefinedError: no class logits, or inputs that are not one floating-point tensor or do not vary.
        LandscapeError: fewer iterations than one.

    Source: Arpit et al. 2017 (arXiv 1706.05394), section 4.2, whose search is a Langevin chain with r = 0.3 on CIFAR-10.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> objective = ls.Objective(net, (torch.tensor([[0.1], [2.0]]), torch.tensor([0, 0])), "cross_entropy")
    >>> critical_sample_ratio(objective.at(torch.tensor([1.0, -1.0])), radii=[0.3])[0].value  # the boundary is at 0
    0.5
    """
    if iterations < 1:
        raise LandscapeError(f"iterations={iterations}, expected at least 1")
    hits, half = 0, radius * spread(objective)
    with objective.guard():
        for batch in objective.batches:
            hits += int(flipped(objective, batch, half, iterations).sum())
    share, note = hits / objective.n, ""
    if share >= SATURATED:
        note = "saturated: nearly all examples are critical, use smaller radii"
    elif share == 0:
        note = "no example is critical: use larger radii"
    return Measurement(share, gradients=iterations + 2 * FORWARD, note=note)


def spread(objective: Objective) -> float:
    """Return the standard deviation of all entries of the inputs.

    Raises:
        NotDefinedError: they are all the same.
    """
    moments = torch.zeros(3, dtype=torch.float64)
    for batch in objective.batches:
        x = batch.inputs.double()
        moments += torch.tensor([x.numel(), float(x.sum()), float(x.square().sum())], dtype=torch.float64)
    count, total, squares = moments.tolist()
    variance = squares / count - (total / count) ** 2
    if not variance > 1e-12 * squares / count:
        raise UndefinedError("all entries of the inputs are the same, and the radius is in their standard deviations")
    return math.sqrt(variance)


CHUNK = 64


@score(
    Definition(
        "input-jacobian",
        "mean norm of the Jacobian of the probabilities in the inputs",
        formula="E_x ‖∂p/∂x‖_F",
        source="Novak et al. 2018, arXiv 1802.08760, section 3.1",
        invariant=OF_PROBABILITIES,
    ),
    Definition(
        "input-jacobian-normalized",
        "mean norm of the Jacobian of the normalised logits in the inputs",
        formula="E_x ‖∂(f − mean f)/‖f − mean f‖ / ∂x‖_F",
        source="after Novak et al. 2018, arXiv 1802.08760",
        invariant=OF_DECISIONS,
    ),
    family="function space",
    cost=10,
    needs=("classes", "tensor inputs"),
    unit="per unit of input",
)
def input_jacobian(objective: Objective) -> list[Measurement]:
    """Measure how fast the predictions change with the inputs, averaged over the examples.

    Returns:
        Two rows, exact on the given examples (no error over examples is given).
    """
    theta, norms = objective.theta, []

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        output = objective.batch_outputs(theta, Batch(x[None], None, None, 1))
        return output.softmax(1)[0], normalize_logits(output)[0]

    with objective.guard(second=True):
        for batch in objective.batches:
            try:
                jacobians = vmap(jacrev(both), chunk_size=CHUNK)(batch.inputs)
            except RuntimeError as error:
                raise UndefinedError(f"the network cannot be mapped over examples ({error})") from error
            norms.append(torch.stack([J.detach().double().flatten(1).norm(dim=1) for J in jacobians]))
    cost, (raw, normalized) = float(class_count(objective)), torch.cat(norms, 1).mean(1).tolist()
    return [
        Measurement(raw, gradients=cost, name="input-jacobian"),
        Measurement(normalized, gradients=cost, name="input-jacobian-normalized"),
    ]
