"""Recompute: forward over reverse mode from scratch, when memory allows nothing kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape.operators.programs.program import Program

if TYPE_CHECKING:
    from landscape.batches import Batch


class Recompute(Program):
    """Nothing is kept, also within a product: memory stays near that of one gradient.

    Costs 3.5 gradients a product on an MLP or a transformer, and about 10 on a ResNet-20 on a CPU, where a graph that is
    built and dropped costs less (the program ``kept`` does that for the batches beyond its memory).
    """

    name = "recompute"
    keeps = False

    def build(self, batch: Batch) -> None:
        """Nothing to build."""

    def multiply(self, state: None, batch: Batch, V: Tensor) -> Tensor:
        """Forward over reverse mode for each vector."""
        with torch.no_grad():
            return torch.stack([self.rule.product(self.theta, batch, v) for v in V.T.contiguous()], dim=1)
