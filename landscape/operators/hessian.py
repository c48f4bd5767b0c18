"""The Hessian of the objective."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, jvp

from landscape.function.batches import Batch
from landscape.operators.curvature import Curvature
from landscape.operators.failures import require_finite, require_second_derivative
from landscape.operators.programs.rule import Multiply, Rule


class HessianRule(Rule):
    """∇²ℓ_b v: the derivative of the batch's gradient along v."""

    def record(self, theta: Tensor, batch: Batch) -> Multiply:
        """Keep the graph of the gradient; H v is its transposed Jacobian times v, because H is symmetric."""
        leaf = theta.detach().requires_grad_()
        loss = self.objective.batch_loss(leaf, batch)
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True, materialize_grads=True)
        require_finite(gradient, "gradient")
        if not gradient.requires_grad:
            return torch.zeros_like
        require_second_derivative(gradient, loss)
        return lambda v: torch.autograd.grad(gradient, leaf, v, retain_graph=True, materialize_grads=True)[0]

    def product(self, theta: Tensor, batch: Batch, v: Tensor) -> Tensor:
        """Forward over reverse mode."""

        def loss(at: Tensor) -> Tensor:
            return self.objective.batch_loss(at, batch)

        return jvp(grad(loss), (theta,), (v,))[1]


class Hessian(Curvature):
    r"""The matrix of second derivatives of the loss, by exact products.

    .. math:: H = \nabla^2 L(\theta) \in \mathbb{R}^{P \times P}

    Symmetric, in general indefinite. A product costs 2 gradients in arithmetic once the first backward pass is kept
    (Pearlmutter 1994, eq. 5, for products without the matrix). The kinks of ReLU have no second derivative and do not count.

    Args:
        objective: The loss L as a function of theta.
        options: How products are computed, see `Curvature`.

    >>> import torch, landscape as ls
    >>> X, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> H = ls.Hessian(ls.Objective(model, (X, y), "mse_loss"))  # L = (θ₁² + 4 θ₂²) / 2
    >>> H @ torch.tensor([1.0, 1.0])
    tensor([1., 4.])
    """

    name = "Hessian"
    rule_class = HessianRule
