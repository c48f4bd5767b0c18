"""The same function with its parameters listed in another order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.function.objective import Objective
from landscape.function.parameters import ParameterSpace


@dataclass(frozen=True)
class ReorderedSpace(ParameterSpace):
    """A parameter space whose flat vector lists the entries of each tensor in another order.

    Attributes:
        order: entry i of the network's own flat vector is entry ``order[i]`` of this one's.
    """

    order: Tensor

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Concatenate named tensors into one vector (P,), in this order."""
        own = super().flatten(tensors)
        return torch.empty_like(own).index_copy_(0, self.order.to(own.device), own)

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Split a vector (P,) in this order into named tensors."""
        return super().unflatten(theta[self.order.to(theta.device)])


def reindexed(objective: Objective, mapping: Mapping[str, Tensor]) -> Objective:
    """Return the objective of a permuted network in the coordinates of the network it was permuted from.

    Every draw, direction and probe of a score then meets the weight it met before the permutation, as a comparison of both
    networks requires: a permuted network needs permuted noise.

    Args:
        objective: the objective at the permuted weights.
        mapping: for each tensor whose entries moved, the flat positions they came from.
    """
    order = torch.arange(objective.size)
    for name, where in objective.space.slices.items():
        if name in mapping:
            order[where] = where.start + mapping[name].cpu()
    space = objective.space
    return objective.with_space(ReorderedSpace(space.names, space.shapes, space.dtypes, space.dtype, order))
