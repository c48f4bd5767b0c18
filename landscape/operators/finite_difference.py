"""Hessian products by finite differences, for networks that have no second derivative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from landscape.arguments import expect_objective
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.operators.base import Operator


class FiniteDifferenceHessian(Operator):
    r"""Central differences of the gradient: not exact, for who asks for it.

    .. math:: Hv \approx \frac{\nabla L(\theta + h v) - \nabla L(\theta - h v)}{2h},
              \qquad h = \varepsilon^{1/3}\,\frac{1 + \lVert\theta\rVert}{\lVert v\rVert}

    Needs first derivatives only, and costs 2 gradients. Its error is about ε^{2/3} of the largest eigenvalue: 1e-5 in float32,
    1e-10 in float64. Near the kinks of ReLU it sees curvature that the exact Hessian leaves out.

    Args:
        objective: The loss L as a function of theta.
        step: Length ‖h v‖ of the step; `None`: as above.

    >>> import torch, landscape as ls
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> objective = ls.Objective(model, (torch.eye(2), torch.zeros(2, 1)), "mse_loss", dtype=torch.float64)
    >>> (ls.operators.FiniteDifferenceHessian(objective) @ torch.tensor([1.0, 2.0]).double()).round(decimals=6)
    tensor([1., 2.], dtype=torch.float64)
    """

    name = "Hessian by finite differences"

    def __init__(self, objective: Objective, *, step: float | None = None):
        if step is not None and not step > 0:
            raise LandscapeError(f"step is {step}, expected a length above 0")
        expect_objective(objective, self.name)
        self.objective = objective
        theta = objective.theta
        self.size, self.dtype, self.device = objective.size, objective.dtype, theta.device
        self.world = objective.world
        scale = torch.finfo(self.dtype).eps ** (1 / 3) * (1 + float(self.world.norm(theta.double())))
        self.step = scale if step is None else step

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results."""
        return {**self.objective.provenance(), "operator": self.name, "step": self.step}

    def multiply(self, V: Tensor) -> Tensor:
        """Return the differences along each column (P, K) in float64."""
        return torch.stack([self._along(v.double()) for v in V.T], dim=1)

    def _along(self, v: Tensor) -> Tensor:
        norm = float(self.world.norm(v))
        if norm == 0:
            return v
        theta, h = self.objective.theta.double(), self.step / norm
        ahead, behind = (theta + sign * h * v for sign in (1, -1))
        difference = self._gradient(ahead) - self._gradient(behind)
        return difference / (2 * h)

    def _gradient(self, theta: Tensor) -> Tensor:
        return self.objective.gradient(theta.to(self.dtype)).double()
