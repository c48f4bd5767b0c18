"""A curvature matrix of an objective: an operator whose products are sums over batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from landscape.objective import Objective
from landscape.operators.algebra import Block
from landscape.operators.base import Operator
from landscape.operators.programs import BatchSum, Plan
from landscape.operators.programs.choose import Choice, Settings
from landscape.operators.programs.rule import Rule
from landscape.parameters import match


class Curvature(Operator):
    """A curvature matrix by exact products; its subclasses say which.

    Args:
        objective: The loss L as a function of theta.
        program: ``kept`` (a retained graph), ``split`` (traced, cut into a part that runs once and a part a vector),
            ``recompute`` (nothing kept), or ``auto``: chosen by a fixed cost model and the memory budget.
        memory: Bytes that kept states may take, or (a float of at most 1) the fraction of what is free.
        products: About how many products will follow; tracing pays for many only.
        keep: What the split program keeps: the ``fewest`` bytes, or ``all`` that both parts use (a little faster).
        coalesce: Join small batches, and cut those that do not fit into memory, where that changes nothing but speed.
        tf32: Allow TF32 in matrix products and convolutions on CUDA: faster, three digits.

    Attributes:
        plan: How products are computed.

    Raises:
        LandscapeError: An option is out of range.
    """

    rule_class: ClassVar[type[Rule]]

    def __init__(
        self,
        objective: Objective,
        *,
        program: Choice = "auto",
        memory: float = 0.5,
        products: int = 100,
        keep: Literal["fewest", "all"] = "fewest",
        coalesce: bool = True,
        tf32: bool = False,
    ):
        self.objective = objective
        self.size, self.dtype, self.device = objective.size, objective.dtype, objective._theta.device
        settings = Settings(program=program, memory=memory, products=products, keep=keep, coalesce=coalesce, tf32=tf32)
        self._sum = BatchSum(self._rule(), self.name, settings)

    def _rule(self) -> Rule:
        return self.rule_class(self.objective)

    @property
    def plan(self) -> Plan:
        """How products are computed: the program, what it keeps, and why."""
        return self._sum.plan

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results: the objective's provenance and the plan."""
        return {**self.objective.provenance(), "operator": self.name, "program": self.plan.program}

    def multiply(self, V: Tensor) -> Tensor:
        """Return the product with columns (P, K) in float64."""
        return self._sum.multiply(V)

    def release(self) -> None:
        """Give back the memory of everything kept; the next product builds it again."""
        self._sum.release()

    def block(self, patterns: str | Iterable[str]) -> Operator:
        """Return the principal sub-matrix of the parameters whose names match any glob pattern.

        Raises:
            LandscapeError: A pattern matches nothing.
        """
        names = match(self.objective.names, patterns)
        index = torch.cat([torch.arange(self.size)[self.objective.space.slices[name]] for name in names])
        return Block(self, index, f"{self.name}[{', '.join(names)}]")
