"""Evaluating an objective at many points: one guard, one host synchronisation, a count of what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import seeded_generator
from landscape.function.batches import Batch
from landscape.function.objective import Objective

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

    def product(self, passes: float = 1.0) -> None:
        """Count products with the Hessian."""
        self.gradients += PRODUCT * passes


Noise = Literal["normal", "uniform"]
"""Standard normal, or uniform between −1 and 1."""


def draws(size: int, count: int, seed: int, noise: Noise = "normal") -> Iterable[Tensor]:
    """Yield random vectors (P,) of a CPU generator in float64, the same on every device and for every dtype.

    >>> first, second = draws(2, 2, seed=0)
    >>> bool((first == next(iter(draws(2, 1, seed=0)))).all())
    True
    """
    generator = seeded_generator(seed)
    for _ in range(count):
        if noise == "normal":
            yield torch.randn(size, dtype=torch.float64, generator=generator)
        else:
            yield 2 * torch.rand(size, dtype=torch.float64, generator=generator) - 1


Share = Callable[[Objective, Tensor, Batch], Tensor]


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


def values_at(objective: Objective, points: Iterable[Tensor], share: Share, meter: Meter) -> np.ndarray:
    """Return a quantity of the data set at many points, (K,), in float64.

    Args:
        objective: the function.
        points: vectors theta (P,), made one at a time.
        share: what a batch contributes, ``loss_share`` or ``error_share``.
        meter: counts the forward passes.
    """
    found = []
    with objective.guard(), torch.no_grad():
        for theta in points:
            total = torch.zeros((), dtype=torch.float64, device=objective.device)
            for batch in objective.batches:
                total += share(objective, theta, batch).double()
            found.append(total)
            meter.forward()
    return torch.stack(found).cpu().numpy() if found else np.zeros(0)
