"""Solutions as users hold them, brought onto one objective, and the points between two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Union

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.objective import Objective

if TYPE_CHECKING:
    from landscape.function.checkpoint import Checkpoint

Solution = Union[Objective, "Checkpoint", Tensor, np.ndarray, Mapping[str, Tensor]]


def centred(objective: Objective, solution: Solution) -> Objective:
    """Return the objective centred at a solution, with the solution's buffers where it has any.

    Args:
        objective: the function: its data and loss are kept.
        solution: an objective or a checkpoint of the same network, a state dict, or a vector (P,).

    Raises:
        LandscapeError: another network, or something that is none of these.

    >>> import torch, landscape as ls
    >>> objective = ls.Objective(torch.nn.Linear(1, 1), (torch.ones(2, 1), torch.ones(2, 1)), "mse_loss")
    >>> centred(objective, np.array([1.0, 2.0])).theta
    tensor([1., 2.])
    """
    weights = getattr(solution, "weights", None)
    if isinstance(weights, Mapping):  # a checkpoint
        return objective.at(weights)
    if isinstance(solution, Objective):
        if solution.names != objective.names or solution.space.shapes != objective.space.shapes:
            raise LandscapeError(
                f"a solution with {solution.size} parameters, expected the same network and selection "
                f"({objective.size})"
            )
        return objective.at(solution.theta).with_fixed(solution.fixed)
    if isinstance(solution, np.ndarray):
        solution = torch.as_tensor(solution)
    if isinstance(solution, Tensor | Mapping):
        return objective.at(solution)
    raise LandscapeError(
        f"a solution of type {type(solution).__name__}; expected an objective, a checkpoint, a state dict or "
        "a vector (P,)"
    )


def between(a: Objective, b: Objective, t: float, theta: Tensor | None = None) -> Objective:
    """Return the objective at (1 − t)·a + t·b: parameters, frozen parameters and floating-point buffers alike.

    With ``theta`` (P,) the parameters are those instead, as on a curve.
    """
    fixed = {
        name: torch.lerp(tensor, b.fixed[name], t) if tensor.is_floating_point() else tensor
        for name, tensor in a.fixed.items()
    }
    if theta is None:
        wide = torch.promote_types(a.dtype, torch.float32)
        theta = torch.lerp(a.theta.to(wide), b.theta.to(wide), t)
    return a.at(theta).with_fixed(fixed)


def same_fixed(a: Objective, b: Objective) -> bool:
    """Whether two objectives share all buffers and frozen parameters."""
    return all(torch.equal(tensor, b.fixed[name]) for name, tensor in a.fixed.items())


def has_running_statistics(objective: Objective) -> bool:
    """Whether the function depends on running statistics of norm layers."""
    tracked = any(getattr(module, "running_mean", None) is not None for module in objective.model.modules())
    return tracked and objective.norm == "frozen"
