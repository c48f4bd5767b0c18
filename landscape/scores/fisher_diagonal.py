"""The exact Fisher matrix of a classifier: its square root by rows, and its diagonal."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.errors import NotDefinedError
from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.scores.example_gradients import gradient_rows
from landscape.scores.requirements import class_count


def score_rows(objective: Objective) -> Iterator[Tensor]:
    r"""Yield :math:`\sqrt{p_k(x)}\,\nabla_w \log p_k(x)` of all examples and classes, as rows (chunk, P) with RᵀR = n F.

    Raises:
        NotDefinedError: the loss is not a plain cross-entropy, or see `gradient_rows`.
    """
    if objective.task != "classes" or objective.likelihood != "categorical":
        raise NotDefinedError(
            "the scores of single classes are not defined here: the loss is not a plain cross-entropy"
        )
    for k in range(class_count(objective)):

        def root(at: Tensor, one: Batch, k: int = k) -> Tensor:
            logp = objective.batch_outputs(at, one).log_softmax(1)[0, k]
            return logp * (0.5 * logp.detach()).exp()

        yield from gradient_rows(objective, root)


def fisher_diagonal(objective: Objective) -> tuple[Tensor, float]:
    r"""Return the diagonal of the model's Fisher matrix, (P,) in float64, and its cost in gradients.

    .. math:: F_{ii} = \frac1n \sum_{x} \sum_k p_k(x) \Big(\frac{\partial \log p_k(x)}{\partial w_i}\Big)^2

    exact over classes, from one gradient for every example and class.

    Raises:
        NotDefinedError: the loss is not a plain cross-entropy, or see `gradient_rows`.
    """
    total = torch.zeros(objective.size, dtype=torch.float64, device=objective.device)
    for rows in score_rows(objective):
        total += rows.double().square().sum(0)
    return total / objective.n, float(class_count(objective))
