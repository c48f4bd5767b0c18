"""The network of an objective as a module of its own, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from landscape.errors import NumericalError
from landscape.function.objective import Objective
from landscape.function.structure import converted

T = TypeVar("T")


def network(objective: Objective) -> nn.Module:
    """Return a copy of the network in float64 that carries the objective's own weights and buffers."""
    model = converted(objective.model, objective.device, torch.float64)
    own = {**objective.fixed, **objective.space.unflatten(objective.theta)}
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            tensor.copy_(own[name])
    return model


def in_double(objective: Objective, model: nn.Module | None = None) -> Objective:
    """Return the objective in float64, on the same data and with the same loss.

    Args:
        objective: the function.
        model: its network in float64; `None`: made by `network`.
    """
    chosen = set(objective.names)
    return Objective(
        network(objective) if model is None else model,
        objective.batches,
        objective.given_loss,
        count=objective.count,
        parameters=lambda name, tensor: name in chosen,
        dtype=torch.float64,
        mode=objective.mode,
        norm=objective.norm,
        group=objective.world.group,
    )


def with_enough_precision(measure: Callable[[Objective], T], objective: Objective) -> T:
    """Measure as the objective is, and in float64 where that fails in a lower precision.

    At a cross-entropy below about 1e-7 the second derivatives of float32 softmax outputs are mostly rounding: the products
    are not symmetric, and Lanczos refuses them.

    Raises:
        NumericalError: it fails in float64 too.
    """
    try:
        return measure(objective)
    except NumericalError:
        if objective.dtype == torch.float64:
            raise
        return measure(in_double(objective))
