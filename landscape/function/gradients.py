"""Gradients within a guard, and those of single examples without storing them: norms, sampling noise of the mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.utils._pytree import tree_map

from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import batch_of, plain
from landscape.function.objective import Objective
from landscape.function.weighting import CONSTANT

CHUNK_BYTES = 16 * 2**20
"""Memory that the gradients of the examples treated at once may take: what fits the cache is fastest (1.5× here)."""


def value_and_gradient(
    objective: Objective, theta: Tensor, compute: Callable[[], Tensor], wrt: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what ``compute()`` gives, detached, and the gradient of its sum with respect to a leaf. Use inside the guard.

    The network holds theta (P,) during the backward pass too, in which checkpointed blocks run again: outside
    `Objective.call` they would find the network's own weights.

    Raises:
        LandscapeError: the value does not depend on the leaf.
    """

    def both(_: nn.Module) -> tuple[Tensor, Tensor]:
        value = compute()
        if not value.requires_grad:
            raise LandscapeError(CONSTANT)
        return value.detach(), torch.autograd.grad(value.sum(), wrt, materialize_grads=True)[0]

    with torch.enable_grad():
        return cast("tuple[Tensor, Tensor]", objective.call(theta, both))


def example_gradient_norms(objective: Objective) -> Tensor:
    r"""Return ‖∇ℓ_i‖₂ for every example, (N,), in float64.

    The gradient of the i-th example's own loss at theta; by `torch.func.vmap` over examples, a chunk at a time. Costs about
    one gradient of the data set in arithmetic.

    Raises:
        LandscapeError: the loss or the network couples examples or cannot be mapped over them.
    """
    objective.batches.require_rows("what each example adds to the gradient")
    theta, chunk = objective.theta, max(1, CHUNK_BYTES // (objective.size * objective.theta.element_size()))
    out: list[Tensor] = []
    with objective.guard():
        for batch in objective.batches:
            rows = plain(batch.raw)
            mapped = tree_map(lambda item: 0 if isinstance(item, Tensor) and item.ndim else None, rows)

            def norm(row: Any, mapped: Any = mapped) -> Tensor:
                one = batch_of(tree_map(lambda item, dim: item if dim is None else item[None], row, mapped))
                return grad(objective.batch_value)(theta, one).double().square().sum().sqrt()

            try:
                out.append(vmap(norm, in_dims=(mapped,), chunk_size=chunk, randomness="same")(rows))
            except (RuntimeError, ValueError) as error:
                raise LandscapeError(
                    f"gradients of single examples cannot be computed for this network ({str(error).splitlines()[0]}); "
                    "leave out what needs them"
                ) from error
    return torch.cat(out)


def gradient_noise_ratio(objective: Objective) -> float:
    r"""Return the mean gradient in units of its own sampling noise: ‖g‖ / √(Tr C / n).

    With g the mean gradient and C the covariance of single examples' gradients, E‖g‖² = ‖∇L‖² + Tr C / n for a sample of
    n examples, so a ratio of at most about one means that the data cannot tell the point from a stationary one.
    Where the examples of a batch are coupled, as with ``norm="batch"``, batches are the sample: n batches, whose gradients
    have the (unbiased) covariance C. Invariant to nothing; it says whether curvature at this point is curvature of a minimum.

    Raises:
        NotDefinedError: there is one batch of coupled examples, or one example.
    """
    if objective.n < 2:
        raise NotDefinedError("one example has no sampling noise")
    if objective.coupled and len(objective.batches) > 1:
        return _ratio_over_batches(objective)
    norms, world, n = example_gradient_norms(objective), objective.world, objective.n
    g = float(world.norm(objective.gradient().double()))
    return _over(g, max(float(world.sum(norms.square().sum())) / n - g**2, 0.0) / n)


def _ratio_over_batches(objective: Objective) -> float:
    """Return ‖g‖ / √(Tr C / B) of g = Σ_b w_b g_b; of unequal shares the variance is Σ w_b² ‖g_b − g‖² / (1 − Σ w_b²)."""
    theta, world = objective.theta.requires_grad_(), objective.world
    scales = [batch.scale for batch in objective.batches.stored]
    total = float(world.sum(sum(scales)))
    mean = objective.gradient().double() / total
    spread = shares = 0.0
    with objective.guard():
        for batch, scale in zip(objective.batches, scales, strict=True):
            one = value_and_gradient(objective, theta, partial(objective.batch_value, theta, batch), theta)[1].double()
            spread += (scale / total) ** 2 * float(world.over_parts((one - mean).square().sum()))
            shares += (scale / total) ** 2
    spread, shares = float(world.sum(spread)), float(world.sum(shares))
    return _over(float(world.norm(mean)), spread / (1 - shares))


def _over(size: float, variance: float) -> float:
    return size / variance**0.5 if variance > 0 else (0.0 if size == 0 else float("inf"))
