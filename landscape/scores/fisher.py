"""The Fisher matrix of a classifier: its root by rows, its diagonal, and the weights' norm in its metric."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import jvp

from landscape.errors import NotDefinedError
from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.operators import Fisher
from landscape.operators.fisher import FisherRule
from landscape.scores.gradient_noise import gradient_rows
from landscape.scores.register import Measurement, score
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


def fisher_quadratic(objective: Objective, v: Tensor) -> float:
    """Return vᵀFv for the model's Fisher matrix F, from one forward-mode product per batch.

    Networks without forward-mode rules are multiplied by F instead.
    """
    rule = FisherRule(objective)
    total = torch.zeros((), dtype=torch.float64, device=objective.device)
    theta = objective.theta

    def along(batch: Batch) -> Tensor:
        output, tangent = jvp(lambda at: rule.values(at, batch), (theta,), (v,))[:2]
        return (tangent.double() * rule.middle(output.detach(), batch)(tangent).double()).sum()

    try:
        with objective.guard(second=True):
            for batch in objective.batches:
                total += along(batch)
        return float(total)
    except (RuntimeError, NotImplementedError):
        return float(v.double() @ (Fisher(objective) @ v).double())


@score(
    "fisher-rao",
    "Fisher–Rao norm, squared",
    family="function distribution",
    formula="wᵀFw",
    source="Liang et al. 2017, arXiv 1711.01530, definition 2",
    cost=0.67,
    invariant="T1 T2 T4 T5",
    needs=("likelihood",),
)
def fisher_rao(objective: Objective) -> Measurement:
    r"""Return the squared Fisher–Rao norm of the weights, with the model's own labels.

    .. math:: \lVert w\rVert_{fr}^2 = w^T F w = E_x\,(Jw)^T\,\mathrm{Cov}_{y \sim p}(\nabla_f \log p)\,(Jw)

    by one forward-mode product. Biases are included, so the closed form of homogeneous networks does not apply.

    Args:
        objective: a negative log-likelihood.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> objective = ls.Objective(net, (torch.ones(1, 1), torch.tensor([0])), "cross_entropy")
    >>> fisher_rao(objective.at(torch.tensor([1.0, 1.0])))[0].value  # equal logits: a shift has no information
    0.0
    """
    return Measurement(fisher_quadratic(objective, objective.theta), gradients=2 / 3)
