"""The exact diagonal of the Fisher matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.batches import Batch
from landscape.errors import NotDefinedError
from landscape.objective import Objective
from landscape.scores.example_gradients import gradient_rows
from landscape.scores.requirements import class_count


def fisher_diagonal(objective: Objective) -> tuple[Tensor, float]:
    r"""Return the diagonal of the model's Fisher matrix, (P,) in float64, and its cost in gradients.

    .. math:: F_{ii} = \frac1n \sum_{x} \sum_k p_k(x) \Big(\frac{\partial \log p_k(x)}{\partial w_i}\Big)^2

    exact over classes, from one gradient for every example and class.

    Raises:
        NotDefinedError: the objective is not a classifier with class indices, or see `gradient_rows`.
    """
    if objective.task != "classes" or objective.likelihood != "categorical":
        raise NotDefinedError(
            "the diagonal of the Fisher matrix is not defined here: the loss is not a plain cross-entropy"
        )
    total = torch.zeros(objective.size, dtype=torch.float64, device=objective.device)
    classes = class_count(objective)
    for k in range(classes):

        def root(at: Tensor, one: Batch, k: int = k) -> Tensor:
            logp = objective.batch_outputs(at, one).log_softmax(1)[0, k]
            return logp * (0.5 * logp.detach()).exp()

        for rows in gradient_rows(objective, root):
            total += rows.double().square().sum(0)
    return total / objective.n, float(classes)
