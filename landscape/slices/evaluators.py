"""How the values at grid points are computed: the network as it is, or a traced one whose fixed parts are reused."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.batches import pick
from landscape.function.objective import Objective
from landscape.graphs import TraceError
from landscape.slices.calling import Evaluator, Plain, Together
from landscape.slices.prefix import WORTH, cut
from landscape.slices.reusing import Reusing

TRACED_FROM = 64
"""Grid points from which tracing can pay for itself."""


def evaluator_for(
    objective: Objective,
    theta: Tensor,
    directions: Tensor,
    *,
    points: int,
    compiled: bool = False,
    together: int = 1,
) -> Evaluator:
    """Choose how to evaluate an objective at many points, by a fixed rule: no timing, so that digits do not vary.

    Tracing needs a criterion of outputs and targets, data on the device, single or double precision and evaluation
    mode. It is tried for 64 points or more, and kept when at least 5 % of the network's work can be computed once; a
    trace of two examples tells.

    Args:
        objective: the function.
        theta: (P,) the centre.
        directions: (n, P).
        points: how many points there will be in all.
        compiled: compile the traced network with Inductor, whatever can be reused; on CUDA with its CUDA graphs.
        together: points to call the network for at once, instead of tracing it.

    Raises:
        LandscapeError: several points together, for a loss that is not a function of outputs or together with
            compiling.
    """
    if together > 1:
        if compiled or not objective.has_criterion:
            raise LandscapeError("together= needs a criterion of outputs and targets, and compiled=False")
        return Together(objective, theta, directions, chunk=together)
    suited = (
        objective.has_criterion
        and objective.batches.resident
        and objective.mode == "eval"
        and set(objective.space.dtypes) == {theta.dtype}
        and theta.dtype in (torch.float32, torch.float64)
    )
    if suited and (compiled or points >= TRACED_FROM):
        try:
            if compiled or _worth_reusing(objective, directions):
                return Reusing(objective, theta, directions, compiled=compiled)
        except TraceError:
            pass
    return Plain(objective, theta, directions)


def _worth_reusing(objective: Objective, directions: Tensor) -> bool:
    moving = [name for name, where in objective.space.slices.items() if bool(directions[:, where].any())]
    first = objective.batches[0]
    return cut(objective, pick(first, torch.arange(min(2, first.size))), moving).saved >= WORTH
