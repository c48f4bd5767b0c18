"""Rules of the form Jᵀ M J: everything that sees the network through its first derivative only."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import jvp, vjp

from landscape.function.batches import Batch
from landscape.operators.failures import require_finite, require_second_derivative
from landscape.operators.programs.rule import Multiply, Rule

Middle = Callable[[Tensor], Tensor]


class JacobianRule(Rule):
    """A_b v = Jᵀ M (J v) with J the Jacobian of a map θ ↦ f(θ) and M a symmetric linear map on its values."""

    @abstractmethod
    def values(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return f(θ): outputs, or losses of single examples."""

    @abstractmethod
    def middle(self, values: Tensor, batch: Batch) -> Middle:
        """Return the linear map M at the (detached) values."""

    def record(self, theta: Tensor, batch: Batch) -> Multiply:
        """Keep the graph of f and of its transposed Jacobian; J v is the derivative of u ↦ ⟨Jᵀu, v⟩."""
        leaf = theta.detach().requires_grad_()
        values = self.values(leaf, batch)
        require_finite(values, "output of the network", lambda: self.objective.named(batch))
        if not values.requires_grad:
            return torch.zeros_like
        middle = self.middle(values.detach(), batch)
        u = torch.zeros_like(values, requires_grad=True)
        (transposed,) = torch.autograd.grad(values, leaf, u, create_graph=True, materialize_grads=True)
        if not transposed.requires_grad:
            return torch.zeros_like
        require_second_derivative(transposed, values)

        def multiply(v: Tensor) -> Tensor:
            (tangent,) = torch.autograd.grad(transposed, u, v, retain_graph=True, materialize_grads=True)
            (product,) = torch.autograd.grad(values, leaf, middle(tangent), retain_graph=True, materialize_grads=True)
            return product

        return multiply

    def product(self, theta: Tensor, batch: Batch, v: Tensor) -> Tensor:
        """Forward mode for J v, reverse mode for Jᵀ; a trace finds that both run the same forward pass."""

        def values(at: Tensor) -> Tensor:
            return self.values(at, batch)

        tangent = jvp(values, (theta,), (v,))[1]
        pulled = vjp(values, theta)
        return pulled[1](self.middle(pulled[0].detach(), batch)(tangent))[0]
