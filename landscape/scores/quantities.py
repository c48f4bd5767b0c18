"""Quantities: what is read where the weights are moved to, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.function.stack import Stack

FORWARD = 1 / 3
"""Cost of a forward pass in gradients."""
PRODUCT = 2.0
"""Cost of a product with the Hessian in gradients."""


@dataclass
class Meter:
    """Counts work in gradients over the objective's whole data."""

    gradients: float = 0.0

    def forward(self, passes: float = 1.0) -> None:
        """Count forward passes."""
        self.gradients += FORWARD * passes

    def gradient(self, passes: float = 1.0) -> None:
        """Count gradients."""
        self.gradients += passes


Share = Callable[[Objective, Tensor, Batch], Tensor]
"""What a batch contributes to a quantity of the data set at theta, a scalar."""
Values = Callable[[Iterable[Tensor]], np.ndarray]
"""Points theta (P,), made one at a time -> values (K,) in float64."""


@dataclass(frozen=True)
class Quantity:
    """What a score reads of a moved network.

    Attributes:
        name: in words.
        begin: ``(objective, meter) -> (value at the weights, points -> values)``; the meter counts what is spent.
        needs: what the objective must have.
        unit: unit of the values.
        decisions: only decisions matter, so that temperature changes nothing.
        sums: it is a sum over batches, taken through the objective's world.
    """

    name: str
    begin: Callable[[Objective, Meter], tuple[float, Values]]
    needs: tuple[str, ...] = ()
    unit: str = "1"
    decisions: bool = False
    sums: bool = False


def values_at(objective: Objective | Stack, points: Iterable[Tensor], share: Share, meter: Meter) -> np.ndarray:
    """Return a quantity of the data set at points theta, (K,) in float64, of a stack (K, …): one guard and one wait for all."""
    found: list[Tensor] = []
    of: Callable[[Tensor, Batch], Tensor]
    if isinstance(objective, Stack):
        of, points = objective.mapped(share), objective.groups(points)
    else:
        of = partial(share, objective)
    with objective.guard(), torch.no_grad():
        for theta in points:
            total = torch.zeros(theta.shape[:-1], dtype=torch.float64, device=objective.device)
            for batch in objective.batches:
                total += of(theta, batch).double()
            found.append(total if isinstance(objective, Stack) else total[None])
            meter.forward(len(found[-1]))
    return objective.world.sum(torch.cat(found)).cpu().numpy() if found else np.zeros(0)


def loss_share(objective: Objective, theta: Tensor, batch: Batch) -> Tensor:
    """Return a batch's share of the loss, from float64 outputs where the loss is a known function of them.

    Scores are differences of nearly equal losses, and a float32 mean would keep only their first digits.
    """
    if objective.task == "other" and objective.likelihood is None:
        return objective.batch_loss(theta, batch)
    target = batch.target
    if target is not None and target.is_floating_point():
        batch = replace(batch, target=target.double())
    return objective.criterion(objective.batch_outputs(theta, batch).double(), batch)


def error_share(objective: Objective, theta: Tensor, batch: Batch) -> Tensor:
    """Return a batch's share of the 0–1 error, the fraction of graded targets that are predicted wrongly."""
    output = objective.batch_outputs(theta, batch)
    assert batch.target is not None
    hits = objective.hits(output, batch.target)
    assert hits is not None
    graded = batch.target != objective.known.ignore_index if objective.task == "classes" else torch.ones_like(hits)
    return (graded.sum(dtype=torch.float64) - hits.sum(dtype=torch.float64)) / objective.graded


def _by_shares(share: Share) -> Callable[[Objective, Meter], tuple[float, Values]]:
    def begin(objective: Objective, meter: Meter) -> tuple[float, Values]:
        base = values_at(objective, [objective.theta], share, meter)[0]
        return base, lambda points: values_at(objective, points, share, meter)

    return begin


def _divergence(objective: Objective, meter: Meter) -> tuple[float, Values]:
    """Begin the mean over examples of KL(p_w ‖ p_{w+d}) of the predicted class probabilities."""
    with objective.guard(), torch.no_grad():
        anchors = [objective.batch_outputs(objective.theta, b).double().log_softmax(1) for b in objective.batches]
    meter.forward()
    predictions = objective.world.sum(sum(anchor.numel() // anchor.shape[1] for anchor in anchors))

    def at(theta: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=objective.device)
        for batch, anchor in zip(objective.batches, anchors, strict=True):
            moved = objective.batch_outputs(theta, batch).double().log_softmax(1)
            total += (anchor.exp() * (anchor - moved)).sum()
        return objective.world.sum(total) / predictions

    def values(points: Iterable[Tensor]) -> np.ndarray:
        with objective.guard(), torch.no_grad():
            found = [at(theta) for theta in points]
        meter.forward(len(found))
        return torch.stack(found).cpu().numpy()

    return 0.0, values


loss = Quantity("loss", _by_shares(loss_share), unit="loss", sums=True)
error = Quantity("0–1 error", _by_shares(error_share), needs=("errors",), decisions=True, sums=True)
divergence = Quantity("KL divergence of the predictions", _divergence, needs=("classes",), unit="nat", sums=True)
