"""Recompute: forward over reverse mode from scratch, when memory allows nothing kept."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.function.batches import Batch
from landscape.operators.failures import out_of_memory
from landscape.operators.programs.program import Program
from landscape.operators.programs.rule import Rule
from landscape.operators.rewrites import Rewrites


class Recompute(Program):
    """Nothing is kept, also within a product: memory stays near that of one gradient.

    Costs 3.5 gradients per product on an MLP or a transformer, and about 10 on a ResNet-20 on a CPU, where a graph that is
    built and dropped costs less (the program ``kept`` does that for the batches beyond its memory).
    """

    name = "recompute"
    keeps = False

    def __init__(self, rule: Rule, theta: Tensor):
        super().__init__(rule, theta)
        # whether forward mode has worked so far: checkpointed blocks and some operations have none, scripts a wrong one
        scripted = any(isinstance(m, torch.jit.ScriptModule) for m in rule.objective.network.modules())
        self.forward_mode = not scripted and not rule.objective.nested

    def build(self, batch: Batch) -> None:
        """Nothing to build."""

    def multiply(self, state: None, batch: Batch, V: Tensor) -> Tensor:
        """Forward over reverse mode for each vector; where it fails, a graph that is dropped afterwards."""
        vectors = V.T.contiguous()
        if self.forward_mode:
            try:
                with torch.no_grad(), Rewrites():
                    return torch.stack([self.rule.product(self.theta, batch, v) for v in vectors], dim=1)
            except (RuntimeError, NotImplementedError) as error:
                if out_of_memory(error):
                    raise
                self.forward_mode = False
        with torch.enable_grad(), Rewrites():
            product = self.rule.record(self.theta, batch)
        return torch.stack([product(v) for v in vectors], dim=1)
