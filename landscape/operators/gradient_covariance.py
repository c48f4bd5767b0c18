"""The covariance of single examples' gradients."""

from __future__ import annotations

from functools import cached_property, partial
from typing import cast

import torch
from torch import Tensor

from landscape.function.gradients import value_and_gradient
from landscape.operators.empirical_fisher import EmpiricalFisher, EmpiricalFisherRule


class GradientCovariance(EmpiricalFisher):
    r"""The covariance of single examples' gradients about their mean.

    .. math:: C = \sum_i \omega_i\, (g_i - \bar g)(g_i - \bar g)^\top = \hat F - \frac{1}{\Omega}\, g\,g^\top,
              \qquad g = \sum_i \omega_i g_i, \quad \Omega = \sum_i \omega_i

    The noise of stochastic gradients (Thomas et al. 2020, for TIC). Equal to the empirical Fisher matrix at a stationary point.

    Args:
        objective: The loss L; a sum over examples.
        example: What counts as one example, see `EmpiricalFisher`.
        options: How products are computed, see `Curvature`.

    >>> import torch, landscape as ls
    >>> X, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> objective = ls.Objective(model, (X, y), "mse_loss").at(torch.ones(2))
    >>> ls.GradientCovariance(objective).dense().round(decimals=4)  # g₁ = (2, 0), g₂ = (0, 8), mean (1, 4)
    tensor([[ 1., -4.],
            [-4., 16.]])
    """

    name = "gradient covariance"

    @cached_property
    def _mean(self) -> tuple[Tensor, float]:
        """The gradient of L (P,) in float64, and Ω."""
        gradient = torch.zeros_like(self.objective.theta, dtype=torch.float64)
        theta = self.objective.theta.requires_grad_()
        with self.objective.guard(second=True):
            for batch in self.objective.batches:
                gradient += value_and_gradient(
                    self.objective, theta, partial(self.objective.batch_loss, theta, batch), theta
                )[1]
        # a sum's Ω is what the mean would have divided by
        rule = cast(EmpiricalFisherRule, self._sum.rule)
        gradient = self.world.sum_vectors(gradient)
        return gradient, 1.0 if self.objective.reduction == "mean" else rule.total_weight()

    def multiply(self, V: Tensor) -> Tensor:
        """Return F̂ V − g (gᵀV) / Ω."""
        gradient, weight = self._mean
        return super().multiply(V) - torch.outer(gradient, self.world.over_parts(gradient @ V.double())) / weight
