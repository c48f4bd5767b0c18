"""The Fisher information matrix, exact or sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.operators.curvature import Curvature
from landscape.operators.jacobian import JacobianRule, Middle, class_weights, family_of, loss_curvature


class FisherRule(JacobianRule):
    """Jᵀ E_y[s sᵀ] J with the scores s of targets y that the network itself predicts; exact, or of some samples of y."""

    def __init__(self, objective: Objective, samples: int = 0, seed: int = 0):
        super().__init__(objective)
        self.family, self.samples, self.seed = family_of(objective), samples, seed
        self._before = objective.world.before(self._drawn(objective.batches.stored)) if samples else 0

    def dress(self, batch: Batch, before: Sequence[Batch]) -> Batch:
        """Give the batch its uniform random numbers (n, …, S): the same ones however the data is cut into batches."""
        if not self.samples:
            return batch
        assert batch.target is not None
        shape = (*self._targets(batch), self.samples)
        skipped = self._before + self._drawn(before)
        stream = np.random.Philox(key=self.seed).advance(skipped // 4)  # a step of the counter makes four numbers
        numbers = np.random.Generator(stream).random(skipped % 4 + int(np.prod(shape)))[skipped % 4 :]
        uniform = torch.as_tensor(numbers.reshape(shape)).to(self.objective.device, self.objective.dtype)
        return replace(batch, draws=uniform)

    def _drawn(self, batches: Sequence[Batch]) -> int:
        return self.samples * sum(int(np.prod(self._targets(batch))) for batch in batches)

    def _targets(self, batch: Batch) -> tuple[int, ...]:
        """The shape of what is drawn once: class indices, or every element of the target."""
        assert batch.target is not None
        shape = tuple(batch.target.shape)
        soft = self.family == "categorical" and batch.target.is_floating_point()
        return (shape[0], *shape[2:]) if soft else shape

    def values(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return the outputs."""
        return self.objective.batch_outputs(theta, batch)

    def middle(self, values: Tensor, batch: Batch) -> Middle:
        """Multiply by the second moment of the scores at every target."""
        if self.family == "categorical":
            return self._categorical(values, batch)
        # for these two the second moment is the loss's own (diagonal) Hessian in the outputs
        if not self.samples:
            return loss_curvature(self.objective, values, batch)
        ones, uniform = torch.ones_like(values), batch.draws
        assert uniform is not None
        if self.family == "bernoulli":
            p = values.sigmoid()[..., None]
            drawn = (p - (uniform < p).to(p.dtype)).square().mean(-1)
            weight = 4 * loss_curvature(self.objective, torch.zeros_like(values), batch)(ones)
        else:
            tiny = torch.finfo(uniform.dtype).tiny
            drawn = torch.special.ndtri(uniform.clamp_min(tiny)).square().mean(-1)
            weight = loss_curvature(self.objective, values, batch)(ones)
        return lambda tangent: weight * drawn * tangent

    def _categorical(self, values: Tensor, batch: Batch) -> Middle:
        weight, p = class_weights(self.objective, values, batch).unsqueeze(1), values.softmax(1)
        if not self.samples:
            # Σ_c p_c (e_c − p)(e_c − p)ᵀ, the sum over all classes in closed form
            return lambda tangent: weight * p * (tangent - (p * tangent).sum(1, keepdim=True))
        assert batch.draws is not None
        below = p.cumsum(1).unsqueeze(-1) < batch.draws.unsqueeze(1)
        drawn = below.sum(1, keepdim=True).clamp_max(p.shape[1] - 1)
        classes = torch.arange(p.shape[1], device=p.device).reshape(1, -1, *[1] * (below.ndim - 2))
        scores = p.unsqueeze(-1) - (drawn == classes).to(p.dtype)  # (n, C, …, S)

        def multiply(tangent: Tensor) -> Tensor:
            along = (scores * tangent.unsqueeze(-1)).sum(1, keepdim=True)
            return weight * (scores * along).mean(-1)

        return multiply


class Fisher(Curvature):
    r"""The Fisher information matrix of the network's own predictions.

    .. math:: F = \sum_i \omega_i\, J_i^\top\, \mathrm{E}_{y \sim p(\cdot \mid f_i)}\big[s\,s^\top\big]\, J_i,
              \qquad s = -\nabla_f \log p(y \mid f_i)

    Weights ω_i are those of the loss (1/N for a plain mean). For cross-entropy the expectation is the exact sum over all
    classes, diag(p) − ppᵀ; ``samples`` replaces it by draws, which have F as their mean. A squared error is taken as
    a Gaussian of the variance that makes the loss its negative log-likelihood, so that F = G there (Martens 2020, §9).

    Args:
        objective: The loss L; a negative log-likelihood.
        samples: Targets drawn per example; `None`: exact.
        seed: Seed of the draws; they do not depend on how the data is cut into batches, nor on the device.
        options: How products are computed, see `Curvature`.

    Raises:
        NotDefinedError: The loss is not a known negative log-likelihood.
        LandscapeError: ``samples`` is below 1.

    >>> import torch, landscape as ls
    >>> model = torch.nn.Linear(1, 2, bias=False)
    >>> objective = ls.Objective(model, (torch.ones(4, 1), torch.tensor([0, 1, 0, 1])), "cross_entropy")
    >>> F = ls.Fisher(objective.at(torch.zeros(2)))  # p = (1/2, 1/2)
    >>> F.dense()
    tensor([[ 0.2500, -0.2500],
            [-0.2500,  0.2500]])
    """

    name = "Fisher matrix"
    positive_semidefinite = True

    def __init__(self, objective: Objective, *, samples: int | None = None, seed: int = 0, **options: Any):
        if samples is not None and samples < 1:
            raise LandscapeError(f"samples is {samples}, expected at least 1, or None for the exact matrix")
        self.samples, self.seed = samples, seed
        if samples is not None:
            self.name = f"Fisher matrix ({samples} sample{'s' * (samples > 1)}, seed {seed})"
        super().__init__(objective, **options)

    def _rule(self) -> FisherRule:
        return FisherRule(self.objective, self.samples or 0, self.seed)
