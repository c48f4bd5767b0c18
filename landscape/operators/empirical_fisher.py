"""The second moment of single examples' gradients (the empirical Fisher matrix), and their covariance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor

from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import Batch, pick
from landscape.function.gradients import value_and_gradient
from landscape.function.losses import BatchLoss
from landscape.function.objective import Objective
from landscape.operators.curvature import Curvature
from landscape.operators.jacobian import JacobianRule, Middle, class_weights

Example = Literal["row", "target"]


class EmpiricalFisherRule(JacobianRule):
    """JᵀJ with J the Jacobian of √ω_i ℓ_i over the examples of a batch."""

    def __init__(self, objective: Objective, example: Example = "row"):
        super().__init__(objective)
        self.example = example
        if example not in ("row", "target"):
            raise LandscapeError(f"example is {example!r}, expected 'row' or 'target'")
        if example == "target" and (objective.count is not None or objective.known.per_example is None):
            raise NotDefinedError(
                "single targets are known of PyTorch's own losses; example='row' is defined for others"
            )
        if objective.coupled or not objective.has_criterion or objective.count is not None:
            objective.batches.require_rows("a matrix of single examples' gradients")

    def dress(self, batch: Batch, before: Sequence[Batch]) -> Batch:
        """Put the weights (n,) beside the batch where only the user's own count knows them."""
        loss = self.objective.given_loss
        if isinstance(loss, BatchLoss):
            counts = [loss.count(self._one(batch, i).raw) if loss.count else 1.0 for i in range(batch.size)]
        elif self.objective.count is not None:
            counts = [self._counted(self._one(batch, i)) for i in range(batch.size)]
        else:
            return batch
        weights = torch.tensor(counts, dtype=self.objective.dtype, device=self.objective.device)
        if self.objective.reduction == "mean":
            weights = weights / weights.sum()
        return replace(batch, draws=weights * batch.scale)

    def _one(self, batch: Batch, i: int) -> Batch:
        return pick(batch, torch.tensor([i], device="cpu"))

    def _counted(self, one: Batch) -> float:
        assert self.objective.known.count is not None
        assert one.target is not None
        with torch.no_grad():
            return float(
                self.objective.known.count(self.objective.batch_outputs(self.objective.theta, one), one.target)
            )

    def values(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return √ω_i ℓ_i, (n,), with the weights of L = Σ_i ω_i ℓ_i."""
        if isinstance(self.objective.given_loss, BatchLoss):
            values = [self.objective.batch_value(theta, self._one(batch, i)).reshape(()) for i in range(batch.size)]
            losses, weights = torch.stack(values), batch.draws
            assert weights is not None
            return (losses / weights if self.objective.reduction == "sum" else losses) * weights.sqrt()
        known, target = self.objective.known, batch.target
        assert target is not None
        outputs = self.objective.batch_outputs(theta, batch)
        weights = self._weights(outputs.detach(), batch).to(outputs.dtype).sqrt()
        if self.example == "target":
            outputs, target = self._as_rows(outputs), self._as_rows(target)
        if known.per_example is not None:
            losses = known.per_example(outputs, target)
        else:
            pieces = zip(outputs.split(1), target.split(1), strict=True)
            losses = torch.stack([known.fn(output, y).reshape(()) for output, y in pieces])
            losses = losses / target[0].numel() if known.reduction == "sum" else losses
        return losses * weights

    def _as_rows(self, values: Tensor) -> Tensor:
        """Return outputs or targets with a row for every single target; of classes a row holds their logits."""
        if self.objective.known.task != "classes" or not values.is_floating_point():
            return values.flatten()
        return values.movedim(1, -1).flatten(0, -2)

    def total_weight(self) -> float:
        """Return Ω = Σ_i ω_i of a loss that is a sum: what its mean would have divided by."""
        total = 0.0
        with self.objective.guard(), torch.no_grad():
            for batch in self.objective.batches:
                dressed = self.dress(batch, ())
                if dressed.draws is not None:
                    total += float(dressed.draws.sum())
                else:
                    outputs = self.objective.batch_outputs(self.objective.theta, batch)
                    total += float(self._weights(outputs, dressed).sum())
        return self.objective.world.sum(total)

    def _weights(self, outputs: Tensor, batch: Batch) -> Tensor:
        if batch.draws is not None:
            return batch.draws
        assert batch.target is not None
        if self.objective.known.task == "classes" and not batch.target.is_floating_point():
            # rounding may leave an ignored target a weight of −1e-17
            weights = class_weights(self.objective, outputs, batch).clamp_min(0)
            if self.example == "target":
                return weights.flatten()
            return weights.flatten(1).sum(1) if weights.ndim > 1 else weights
        known = self.objective.known
        count = known.count(outputs, batch.target) if known.count is not None else float(batch.target.numel())
        single = self.example == "target"
        rows, each = (len(self._as_rows(batch.target)), 1.0) if single else (batch.size, count / batch.size)
        each = batch.scale * (each / count if self.objective.reduction == "mean" else each)
        return torch.full((rows,), each, dtype=outputs.dtype, device=outputs.device)

    def middle(self, values: Tensor, batch: Batch) -> Middle:
        """Nothing: the weights are in the values."""
        return lambda tangent: tangent


class EmpiricalFisher(Curvature):
    r"""The second moment of single examples' gradients (for a negative log-likelihood: the empirical Fisher matrix).

    .. math:: \hat F = \sum_i \omega_i\, g_i g_i^\top, \qquad g_i = \nabla\ell_i(\theta), \quad L = \sum_i \omega_i \ell_i

    With a plain mean ω_i = 1/N; ignored targets have no weight and class weights are weights; in a sum ω_i is what the mean of
    that example divides by (the number of its elements, in elementwise losses). It is not the Fisher matrix, since its labels
    are the data's (Kunstner et al. 2019).

    Args:
        objective: The loss L; a sum over examples.
        example: What counts as one example. ``row``: an entry along the first dimension of a batch, such as a sequence, an image
            or all outputs of a regression; ``target``: a single target, such as a token, a pixel or an element. Their gradients
            add up to the same ∇L, and their second moments differ.
        options: How products are computed, see `Curvature`.

    >>> import torch, landscape as ls
    >>> X, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 1)
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> objective = ls.Objective(model, (X, y), "mse_loss").at(torch.ones(2))
    >>> ls.EmpiricalFisher(objective).dense().round(decimals=4)  # g₁ = (2, 0), g₂ = (0, 8)
    tensor([[ 2.,  0.],
            [ 0., 32.]])
    """

    name = "empirical Fisher matrix"
    positive_semidefinite = True
    rule: EmpiricalFisherRule

    def __init__(self, objective: Objective, *, example: Example = "row", **options: Any):
        self.example: Example = example
        super().__init__(objective, **options)

    def _rule(self) -> EmpiricalFisherRule:
        return EmpiricalFisherRule(self.objective, self.example)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator; with single targets as examples that is said."""
        return {**super().provenance, **({"example": "target"} if self.example == "target" else {})}


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
                loss = partial(self.objective.batch_loss, theta, batch)
                gradient += value_and_gradient(self.objective, theta, loss, theta)[1]
        # a sum's Ω is what the mean would have divided by
        weight = 1.0 if self.objective.reduction == "mean" else self.rule.total_weight()
        return self.world.sum_vectors(gradient), weight

    def multiply(self, V: Tensor) -> Tensor:
        """Return F̂ V − g (gᵀV) / Ω."""
        gradient, weight = self._mean
        return super().multiply(V) - torch.outer(gradient, self.world.over_parts(gradient @ V.double())) / weight
