"""The Hessian of the objective."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import grad, jvp

from landscape.arguments import settled
from landscape.errors import NumericalError
from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.operators.curvature import Curvature, asymmetry
from landscape.operators.differences import SLACK, doubts, few, require_derivative
from landscape.operators.failures import explained, require_finite, require_second_derivative
from landscape.operators.programs.plan import Plan, Settings
from landscape.operators.programs.program import Kept, Multiply, Program, Recompute, Rule
from landscape.operators.rewrites import Rewrites


class HessianRule(Rule):
    """∇²ℓ_b v: the derivative of the batch's gradient along v."""

    def verified(self, plan: Plan, settings: Settings) -> Plan:
        """Compare a product with differences of gradients where that was asked for, or where a term may be missing."""
        if settings.check is False or self.objective.dtype not in SLACK or self.objective.world.sharded:
            return plan
        by_itself = plan.program == "recompute" != settings.program
        why = doubts(few(self.objective))
        if not (settings.check or by_itself or why):
            return plan
        off = compare(self.objective, plan.program, why)
        told = "not told by" if math.isnan(off) else "checked against"
        return replace(plan, reason=f"{plan.reason}; {told} differences of gradients", difference=off)

    def record(self, theta: Tensor, batch: Batch) -> Multiply:
        """Keep the graph of the gradient."""
        return self.gradient_and_multiply(theta, batch)[1]

    def gradient_and_multiply(self, theta: Tensor, batch: Batch) -> tuple[Tensor, Multiply]:
        """Return ∇ℓ_b and v ↦ ∇²ℓ_b v: the transposed Jacobian of the gradient times v, because the Hessian is symmetric."""
        leaf = theta.detach().requires_grad_()
        loss = self.objective.batch_loss(leaf, batch)
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True, materialize_grads=True)
        require_finite(gradient, "gradient", lambda: self.objective.named(batch))
        if not gradient.requires_grad:
            return gradient, torch.zeros_like
        require_second_derivative(gradient, loss)
        return gradient.detach(), lambda v: torch.autograd.grad(
            gradient, leaf, v, retain_graph=True, materialize_grads=True
        )[0]

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

    @settled()
    def check(self) -> None:
        """Check that the operator is one symmetric matrix, and on a few examples that it is the gradient's derivative.

        The second check finds what drops a term, as custom functions do whose backward stores numbers. Kinks do not disturb it.
        It is not made in half precision.

        Raises:
            NumericalError: It is not; the message names the likely culprit.
        """
        super().check()
        if self.dtype in SLACK and not self.world.sharded:
            compare(self.objective, self.plan.program, doubts(few(self.objective)))


def compare(objective: Objective, program: str, why: str) -> float:
    """Return the relative difference of a product from differences of gradients on a few examples; `why` it may be wrong.

    Raises:
        NumericalError: It is more than rounding.
    """
    part = few(objective)
    # what is traced was compared with the kept graph when it was made
    kind = Recompute if program == "recompute" else Kept
    whole: Program = kind(HessianRule(part), part.theta)

    def product(v: Tensor) -> Tensor:
        with explained(Hessian.name), part.guard(second=True), torch.enable_grad():
            return part.call(whole.theta.requires_grad_(), lambda _: sum(one(batch, v) for batch in part.batches))

    def one(batch: Batch, v: Tensor) -> Tensor:
        unit = batch.rescaled(1.0)
        return batch.scale * whole.multiply(whole.build(unit), unit, v[:, None])[:, 0].detach()

    off = require_derivative(part, product, why)
    # forward mode sees what runs under no_grad: differences agree with what is no gradient
    if why and program == "recompute":
        generator = torch.Generator().manual_seed(1)
        u, v = (part.world.normal(part.size, generator).to(part.device, part.dtype) for _ in range(2))
        twisted = asymmetry(part.world, u, v, product(u), product(v))
        if twisted > SLACK[part.dtype]:
            raise NumericalError(
                f"products with the Hessian are not symmetric (off by {twisted:.2g}): {why} keeps a term out of the gradient, "
                "which is then not the derivative of the loss; differentiate through it, or use a custom function with both "
                "derivatives"
            )
    return off


def quotients_along_gradients(objective: Objective) -> Tensor:
    r"""Return :math:`g_b^T H_b\,g_b / \lVert g_b \rVert^2` of every batch's own loss, NaN where its gradient is zero.

    One graph per batch serves the gradient and the product: about 3 gradients.

    Args:
        objective: the loss; its batches are the ones that count.

    Returns:
        (B,) in float64, on the CPU.

    Source: Andreyev and Beneventano 2024 (arXiv 2412.20553), definition 1.

    >>> import torch, landscape as ls
    >>> X = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    >>> L = ls.Objective(torch.nn.Linear(2, 1), (X, torch.zeros(2, 1)), "mse_loss", batch_size=1)
    >>> quotients_along_gradients(L).round(decimals=3)  # 2 (‖x‖² + 1): each gradient is along its example and the bias
    tensor([ 4., 10.], dtype=torch.float64)
    """
    rule, theta, found = HessianRule(objective), objective.theta, []
    with objective.guard(second=True), torch.enable_grad(), Rewrites():
        for batch in objective.batches:
            g, multiply = rule.gradient_and_multiply(theta, batch.rescaled(1.0))
            found.append(float(g.double() @ multiply(g).double()) / (float(g.double().square().sum()) or math.nan))
    return torch.tensor(found, dtype=torch.float64)
