"""The generalised Gauss–Newton matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from landscape.errors import NotDefinedError
from landscape.function.batches import Batch, few
from landscape.function.objective import Objective
from landscape.operators.curvature import Curvature
from landscape.operators.jacobian import JacobianRule, Middle, loss_curvature

CHECKED = 8
"""Examples on which outputs are tried for being log-probabilities."""


class GaussNewtonRule(JacobianRule):
    """Jᵀ (∇²_f ℓ_b) J with J the Jacobian of the network's outputs.

    A loss of log-probabilities is linear in them: its curvature is that of the logits, of which they are the normalised ones.
    """

    def __init__(self, objective: Objective):
        super().__init__(objective)
        self.criterion = objective.known.on_logits
        if self.criterion is not None:
            with objective.guard(), torch.no_grad():
                sums = objective.batch_outputs(objective.theta, few(objective.batches[0], CHECKED)).logsumexp(1)
            if float(sums.abs().max()) > 1e-3:
                raise NotDefinedError(
                    f"{objective.loss_name} is linear in outputs that are no log-probabilities, so there is no Gauss–Newton "
                    "matrix; end the network in log_softmax, or use cross_entropy on its logits"
                )

    def values(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return the outputs."""
        return self.objective.batch_outputs(theta, batch)

    def middle(self, values: Tensor, batch: Batch) -> Middle:
        """Multiply by the loss's Hessian in the outputs."""
        return loss_curvature(self.objective, values, batch, self.criterion)


class GaussNewton(Curvature):
    r"""The generalised Gauss–Newton matrix: the Hessian without the network's own second derivative.

    .. math:: G = \sum_b J_b^\top \big(\nabla^2_f\,\ell_b\big) J_b, \qquad J_b = \partial f_b / \partial\theta

    Positive semi-definite for a loss that is convex in the outputs; equal to the Hessian for a network that is linear in
    theta (Schraudolph 2002; Martens 2020, §8). A product costs 4/3 gradients in arithmetic with the forward pass kept.

    Args:
        objective: The loss L as a function of theta; its criterion must be a function of outputs and targets.
        options: How products are computed, see `Curvature`.

    Raises:
        NotDefinedError: The loss is a `BatchLoss`, which does not say what the outputs are.

    >>> import torch, landscape as ls
    >>> X, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> G = ls.GaussNewton(ls.Objective(model, (X, y), "mse_loss"))
    >>> G @ torch.tensor([1.0, 1.0])
    tensor([1., 4.])
    """

    name = "Gauss–Newton matrix"
    rule_class = GaussNewtonRule

    def __init__(self, objective: Objective, **options: Any):
        super().__init__(objective, **options)
        self.positive_semidefinite = objective.known.task != "other" or objective.known.likelihood is not None
