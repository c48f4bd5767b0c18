"""What a program needs to know of a curvature matrix: two ways to multiply by one batch's share of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.operators.programs.plan import Plan
from landscape.operators.programs.settings import Settings

Multiply = Callable[[Tensor], Tensor]


class Rule(ABC):
    """One mathematical object on one batch: its share A_b, with A = Σ_b A_b, linear in the batch's scale.

    Args:
        objective: The function it is the curvature of.
    """

    def __init__(self, objective: Objective):
        self.objective = objective

    def dress(self, batch: Batch, before: Sequence[Batch]) -> Batch:
        """Return the batch with what else the rule needs of it in ``raw``, given the batches before it in the data."""
        return batch

    def verified(self, plan: Plan, settings: Settings) -> Plan:
        """Return the plan, with what a comparison of its products with what they are derivatives of has shown."""
        return plan

    @abstractmethod
    def record(self, theta: Tensor, batch: Batch) -> Multiply:
        """Run what does not depend on the vector under autograd, and return v ↦ A_b v (P,), which reuses its graph."""

    @abstractmethod
    def product(self, theta: Tensor, batch: Batch, v: Tensor) -> Tensor:
        """Return A_b v (P,) by functional transforms alone, so that it can be traced and mapped over vectors."""
