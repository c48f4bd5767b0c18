"""A curvature matrix of an objective: an operator whose products are sums over batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from landscape.arguments import expect_objective, settled
from landscape.errors import NotDefinedError, NumericalError
from landscape.function.objective import Objective
from landscape.function.parameters import match
from landscape.function.weighting import culprit
from landscape.operators.base import Block, Operator
from landscape.operators.block_diagonal import BlockDiagonal
from landscape.operators.programs import BatchSum, Plan
from landscape.operators.programs.rule import Rule
from landscape.operators.programs.settings import Choice, Keep, Settings


class Curvature(Operator):
    """A curvature matrix by exact products; its subclasses say which.

    Args:
        objective: The loss L as a function of theta.
        program: ``kept`` (a retained graph), ``split`` (traced, cut into a part that runs once and a part a vector),
            ``recompute`` (nothing kept), or ``auto``: chosen by a fixed cost model and the memory budget.
        memory: Bytes that kept states may take, or (a float of at most 1) the fraction of what is free.
        products: About how many products will follow; tracing pays for many only.
        keep: What the split program keeps: ``all`` that both parts use, the ``fewest`` bytes (a minimum cut, 0.1–0.4 gradients a
            product slower, a third to a half of the memory less), or ``auto``: all, when a quarter of the memory is enough.
        coalesce: Join small batches, and cut those that do not fit into memory, where that changes nothing but speed.
        compile: Send the split program through Inductor (on CUDA also CUDA graphs). Compiling takes 2–25 s.
        tune: Choose between the programs (compiled ones too, with ``compile=True``) by timing them on the first batch. The choice
            may then differ from run to run, and with it the last digits.
        tf32: Allow TF32 in matrix products and convolutions on CUDA: faster, three digits.
        check: Whether a product of the Hessian is compared with a difference of gradients on a few examples, once per program.
            `None`: where the network or the loss holds what may hide a term from PyTorch (custom autograd functions, script
            modules, hooks, values cut off the graph), and where the package went over to another program by itself.

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
        keep: Keep = "auto",
        coalesce: bool = True,
        compile: bool = False,
        tune: bool = False,
        tf32: bool = False,
        check: bool | None = None,
    ):
        expect_objective(objective, self.name)
        self.objective = objective
        self.size, self.dtype, self.device = objective.size, objective.dtype, objective.theta.device
        self.world = objective.world
        settings = Settings(
            program=program,
            memory=memory,
            products=products,
            keep=keep,
            coalesce=coalesce,
            compile=compile,
            tune=tune,
            tf32=tf32,
            check=check,
        )
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
        plan = self.plan
        return {
            **self.objective.provenance(),
            "operator": self.name,
            "program": plan.program,
            "plan": plan.to_dict(),
        }

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
        if self.world.sharded:
            raise NotDefinedError(
                "a block by name is not defined for a sharded model; pass parameters= to the objective"
            )
        names = match(self.objective.names, patterns)
        index = torch.cat([torch.arange(self.size)[self.objective.space.slices[name]] for name in names])
        return Block(self, index, f"{self.name}[{', '.join(names)}]")

    def block_diagonal(self, by: Literal["layer", "parameter"] = "layer") -> BlockDiagonal:
        """Return the operator restricted to the diagonal blocks of its layers (or of its single parameter tensors).

        One product with it multiplies every block by its part of the vector, in one pass over the data.
        """
        blocks: dict[str, list[slice]] = {}
        for name, place in self.objective.space.slices.items():
            blocks.setdefault(name.rpartition(".")[0] or name if by == "layer" else name, []).append(place)
        return BlockDiagonal(self, blocks)

    @settled()
    def check(self) -> None:
        """Check that the operator is one symmetric matrix, by three products.

        One vector is multiplied twice, with nothing kept between and the random state moved; then ⟨u, Av⟩ = ⟨v, Au⟩ is tried.

        Raises:
            NumericalError: The products differ, or are not those of a symmetric matrix; the message names the likely culprit.
        """
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(2, self.size, generator=generator, dtype=torch.float64).to(self.device, self.dtype)
        v, u = self.world.part(drawn)
        first, second = (self._fresh_product(v, seed) for seed in (1, 2))
        norm, dot = self.world.norm, self.world.dot
        difference = float(norm(first - second) / norm(first).clamp_min(1e-300))
        slack = 1e3 * torch.finfo(self.dtype).eps  # scatter operations on CUDA add in any order
        if difference > slack:
            raise NumericalError(
                f"the {self.name} gave two products of one vector that differ by {difference:.1e}: {culprit(self.objective)}"
            )
        Au = self._fresh_product(u, 2)
        left, right = float(dot(u, first)), float(dot(v, Au))
        scale = float(norm(u.double()) * norm(first) + norm(v.double()) * norm(Au))
        if abs(left - right) > slack * scale:
            raise NumericalError(
                f"the {self.name} is not symmetric (⟨u, Av⟩ = {left:.6g}, ⟨v, Au⟩ = {right:.6g}): an operation has a wrong "
                "second derivative, usually a custom autograd function whose backward is not made of differentiable operations"
            )

    def _fresh_product(self, v: Tensor, seed: int) -> Tensor:
        """Multiply with nothing kept from before, nor for later."""
        self.release()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            product: Tensor = (self @ v).double()
        self.release()
        return product
