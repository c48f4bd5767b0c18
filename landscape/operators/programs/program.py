"""The interface of the three programs: build a state for a batch, multiply vectors with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from landscape.function.batches import Batch
from landscape.operators.programs.rule import Rule


class Program(ABC):
    """A way to compute one batch's share of a product.

    Args:
        rule: What is multiplied.
        theta: Where, (P,).
    """

    name: str
    keeps: bool = True
    """Whether a state is worth keeping between products."""

    replays: bool = False
    """Whether a product from a kept state may run parts of the network again, as checkpointed blocks do."""

    compiled: bool = False
    """Whether its code went through the compiler."""

    @property
    def label(self) -> str:
        """Name in messages."""
        return f"compiled {self.name}" if self.compiled else self.name

    def __init__(self, rule: Rule, theta: Tensor):
        self.rule, self.theta = rule, theta.detach()

    @abstractmethod
    def build(self, batch: Batch) -> Any:
        """Return the state for a batch (of scale 1): all that does not depend on the vector."""

    @abstractmethod
    def multiply(self, state: Any, batch: Batch, V: Tensor) -> Tensor:
        """Return A_b V (P, K) from the state."""
