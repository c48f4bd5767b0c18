"""The share of one batch in a curvature matrix, and the programs that multiply with it: by a kept graph, or from scratch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.operators.failures import out_of_memory
from landscape.operators.programs.plan import Plan, Settings
from landscape.operators.rewrites import Rewrites
from landscape.operators.saved_derivatives import SavedDerivatives

Multiply = Callable[[Tensor], Tensor]


class Rule(ABC):
    """One mathematical object on one batch: its share A_b, with A = Σ_b A_b, linear in the batch's scale."""

    def __init__(self, objective: Objective):
        self.objective = objective

    def dress(self, batch: Batch, before: Sequence[Batch]) -> Batch:
        """Return the batch with what else the rule needs of it in ``draws``, given the batches before it in the data."""
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


class Program(ABC):
    """A way to compute one batch's share of a product with a matrix at theta (P,)."""

    name: str
    keeps: bool = True
    """Whether a state is worth keeping between products."""

    replays: bool = False
    """Whether a product from a kept state may run parts of the network again, as checkpointed blocks do."""

    compiled: bool = False
    """Whether its code went through the compiler."""

    trace_seconds = compile_seconds = 0.0

    def __init__(self, rule: Rule, theta: Tensor):
        self.rule, self.theta = rule, theta.detach()

    def mapped(self) -> bool:
        """Whether several vectors go through it together."""
        return False

    @abstractmethod
    def build(self, batch: Batch) -> Any:
        """Return the state for a batch (of scale 1): all that does not depend on the vector."""

    @abstractmethod
    def multiply(self, state: Any, batch: Batch, V: Tensor) -> Tensor:
        """Return A_b V (P, K) from the state."""


class Kept(Program):
    """The forward and first backward pass stay in memory as an autograd graph; a product is one more backward pass.

    Works wherever reverse mode works twice. Building costs about 1.3 gradients, a product 1.6 to 3 (measured: 1.9 on an MLP, 2.1
    on a transformer, 3.0 on a ResNet-20 on a CPU).
    """

    name = "kept"

    def __init__(self, rule: Rule, theta: Tensor):
        super().__init__(rule, theta)
        # activations that keep two derivatives have no third, and keep inputs that PyTorch lets one change in place
        self.plain = rule.objective.nested
        self.replays = self.plain

    def build(self, batch: Batch) -> Multiply:
        """Record the graph on the objective's own copy of theta."""
        if not self.plain:
            try:
                with torch.enable_grad(), SavedDerivatives() as recording:
                    state = self.rule.record(self.theta, batch)
                self.replays = self.replays or recording.hooked
                return state
            except RuntimeError as error:
                if "modified by an inplace operation" not in str(error):
                    raise
                self.plain = True
        with torch.enable_grad(), Rewrites():
            return self.rule.record(self.theta, batch)

    def multiply(self, state: Multiply, batch: Batch, V: Tensor) -> Tensor:
        """One backward pass a vector: mapping them together would hold K graphs' worth of intermediate values."""
        return torch.stack([state(v) for v in V.T.contiguous()], dim=1)


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
