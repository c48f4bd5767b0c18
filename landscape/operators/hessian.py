"""The Hessian of the objective."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, jvp

from landscape.errors import NumericalError
from landscape.function.batches import Batch
from landscape.operators.curvature import Curvature
from landscape.operators.failures import custom_functions, require_finite, require_second_derivative
from landscape.operators.finite_difference import FiniteDifferenceHessian
from landscape.operators.programs.rule import Multiply, Rule

CHECKED = 8
"""Examples on which products are compared with differences of gradients: few, so that hardly a kink is passed."""


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

    def check(self) -> None:
        """Check that the operator is one symmetric matrix, and on a few examples in float64 that it is the gradient's derivative.

        The second check finds custom functions whose backward drops a term. Kinks do not disturb it: there the differences of
        gradients over two steps disagree with each other.

        Raises:
            NumericalError: It is not; the message names the likely culprit.
        """
        super().check()
        objective = self.objective
        if self.dtype != torch.float64 or objective.mode != "eval":
            return
        few = objective if objective.batches.uncut else objective.subset(range(min(CHECKED, objective.n)))
        v = torch.randn(self.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(self.device)
        coarse = FiniteDifferenceHessian(few)
        fine = FiniteDifferenceHessian(few, step=coarse.step / 8)
        found, again, exact = coarse @ v, fine @ v, Hessian(few, program="kept") @ v
        norm = self.world.norm
        size = float(norm(found))
        if float(norm(found - again)) < 1e-3 * size < 1e-1 * float(norm(found - exact)):
            theta = objective.theta.requires_grad_()
            with objective.guard(second=True), torch.enable_grad():
                custom = custom_functions(objective.batch_value(theta, few.batches[0]))
            off = float(norm(found - exact)) / size
            raise NumericalError(
                f"products with the {self.name} are not differences of gradients (off by {off:.0%}): "
                f"{custom or 'an operation'} drops a term of its second derivative; write its backward with differentiable "
                "operations of its inputs, or use ls.operators.FiniteDifferenceHessian"
            )
