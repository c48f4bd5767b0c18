"""Rules of the form Jᵀ M J, which see the network through its first derivative, and the loss as a function of its outputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp

from landscape.errors import NotDefinedError
from landscape.function.batches import Batch
from landscape.function.guard import inside_transform
from landscape.function.losses import Criterion
from landscape.function.objective import Objective
from landscape.operators.failures import require_finite, require_second_derivative
from landscape.operators.programs.program import Multiply, Rule

Middle = Callable[[Tensor], Tensor]
Family = Literal["categorical", "bernoulli", "gaussian"]


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


def family_of(objective: Objective) -> Family:
    """Return the likelihood whose negative logarithm the loss is, up to weights of examples and classes.

    Raises:
        NotDefinedError: The loss is no negative log-likelihood that is known here.
    """
    known = objective.known
    if known.task == "classes":
        return "categorical"
    if known.likelihood == "bernoulli" or known.likelihood == "gaussian":
        return known.likelihood
    raise NotDefinedError(
        f"{objective.loss_name} is not a negative log-likelihood that is known here, so it has no Fisher matrix; use "
        "cross_entropy, nll_loss, binary_cross_entropy_with_logits or mse_loss, or ls.EmpiricalFisher"
    )


def loss_curvature(objective: Objective, outputs: Tensor, batch: Batch, criterion: Criterion | None = None) -> Middle:
    """Return t ↦ (∇²_f ℓ_b) t: the Hessian of a batch's loss (or of another criterion) in its outputs times a tangent, exactly.

    By reverse over reverse mode: forward mode fails in the derivative of `mse_loss` (an immutable zero tangent).
    """

    def loss(f: Tensor) -> Tensor:
        if criterion is None:
            return objective.criterion(f, batch).reshape(())
        assert batch.target is not None
        return (criterion(f, batch.target) * batch.scale).reshape(())

    return _derivatives(loss, outputs)[1]


def _derivatives(loss: Middle, outputs: Tensor) -> tuple[Tensor, Middle]:
    """Return the gradient of a function of the outputs, and t ↦ its Hessian times t."""
    if inside_transform():
        pulled = vjp(grad(loss), outputs)
        return pulled[0], lambda tangent: pulled[1](tangent)[0]
    with torch.enable_grad():  # a transform would keep more copies of the outputs, and import the compiler
        at = outputs.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(at), at, create_graph=True, materialize_grads=True)
    if not gradient.requires_grad:
        return gradient, torch.zeros_like
    return gradient, lambda tangent: torch.autograd.grad(
        gradient, at, tangent, retain_graph=True, materialize_grads=True
    )[0]


def class_weights(objective: Objective, outputs: Tensor, batch: Batch) -> Tensor:
    """Return the weight of every class index in a batch's share of L, (n, …).

    Read off the criterion itself, so that reductions, ignored targets, class weights and label smoothing all count: at
    outputs of zero the Hessian of a cross-entropy is w (I/C − 11ᵀ/C²), and nll_loss has the gradient −w at its target.
    """

    def loss(f: Tensor) -> Tensor:
        return objective.criterion(f, batch).reshape(())

    zero, classes = torch.zeros_like(outputs), outputs.shape[1]
    gradient, curvature = _derivatives(loss, zero)
    first = torch.cat([torch.ones_like(zero[:, :1]), zero[:, 1:]], 1)
    # nll_loss is linear in its log-probabilities: no curvature, but a gradient that does not sum to zero
    return (curvature(first)[:, 0] * (classes**2 / (classes - 1)) - gradient.sum(1)).detach()
