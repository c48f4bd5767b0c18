"""A curvature matrix of an objective: an operator whose products are sums over batches, by a plan, in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from landscape.arguments import expect_objective, settled
from landscape.errors import LandscapeError, NotDefinedError, NumericalError
from landscape.function.objective import Objective
from landscape.function.parameters import match
from landscape.function.weighting import culprit
from landscape.function.world import World
from landscape.operators.base import Block, BlockDiagonal, Operator
from landscape.operators.failures import explained, out_of_memory
from landscape.operators.programs.choose import Prepared, prepare
from landscape.operators.programs.plan import Choice, Keep, Plan, Settings
from landscape.operators.programs.program import Recompute, Rule
from landscape.operators.rewrites import Rewrites


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
        tf32: bool = False,
        check: bool | None = None,
    ):
        expect_objective(objective, self.name)
        self.objective = objective
        self.size, self.dtype, self.device = objective.size, objective.dtype, objective.theta.device
        self.world = objective.world
        self.settings = Settings(program, memory, products, keep, coalesce, compile, tf32, check)
        self.rule = self._rule()
        self._states: dict[int, Any] = {}  # of batches, kept between products
        self._prepared: Prepared | None = None

    def _rule(self) -> Rule:
        return self.rule_class(self.objective)

    @property
    def plan(self) -> Plan:
        """How products are computed: the program, what it keeps, and why; made when first asked for."""
        return self._ready().plan

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results: the objective's provenance and the plan."""
        done = {"operator": self.name, "program": self.plan.program, "plan": self.plan.to_dict()}
        return {**self.objective.provenance(), **done}

    def release(self) -> None:
        """Give back the memory of everything kept; the next product builds it again."""
        self._states.clear()

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
        v, u = (self.world.normal(self.size, generator).to(self.device, self.dtype) for _ in range(2))
        first, second = (self._fresh_product(v, seed) for seed in (1, 2))
        norm = self.world.norm
        difference = float(norm(first - second) / norm(first).clamp_min(1e-300))
        slack = 1e3 * torch.finfo(self.dtype).eps  # scatter operations on CUDA add in any order
        if difference > slack:
            raise NumericalError(
                f"the {self.name} gave two products of one vector that differ by {difference:.1e}: {culprit(self.objective)}"
            )
        off = asymmetry(self.world, u, v, self._fresh_product(u, 2), first)
        if off > slack:
            raise NumericalError(
                f"the {self.name} is not symmetric (⟨u, Av⟩ and ⟨v, Au⟩ are off by {off:.1e}): an operation has a wrong second "
                "derivative, usually a custom autograd function whose backward is not made of differentiable operations"
            )

    def _fresh_product(self, v: Tensor, seed: int) -> Tensor:
        """Multiply with nothing kept from before, nor for later."""
        self.release()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            product: Tensor = (self @ v).double()
        self.release()
        return product

    # --- the sum over batches ---------------------------------------------------------------------------------------------

    @contextmanager
    def _setting(self) -> Iterator[None]:
        """Guard the objective, choose kernels with derivatives, and explain what has none."""
        with explained(self.name), self.objective.guard(second=True, tf32=self.settings.tf32):
            yield

    def _ready(self) -> Prepared:
        if self._prepared is None:
            with self._setting(), Rewrites():
                prepared = self._prepare()
            self._prepared = replace(prepared, plan=self.rule.verified(prepared.plan, self.settings))
        return self._prepared

    def _prepare(self) -> Prepared:
        try:
            return prepare(self.rule, self.settings)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or self.settings.program == "recompute":
                raise
        # outside the handler, where the failed attempt's tensors are gone
        frugal = replace(self.settings, program="recompute", compile=False)
        return self._without_states(prepare(self.rule, frugal))

    def multiply(self, V: Tensor) -> Tensor:
        """Return Σ_b scale_b A_b V (P, K) in float64 over the batches of all processes."""
        total = self.world.sum_vectors(self._own(V))
        if not bool(total.isfinite().all()) and bool(V.isfinite().all()):
            raise NumericalError(
                f"the product with the {self.name} holds NaN or infinity: a second derivative is not finite at this point, as "
                "that of a square root or a power at zero; add a small constant there, or use dtype=torch.float64 where "
                "float32 overflows"
            )
        return total

    def _own(self, V: Tensor) -> Tensor:
        """Return the sum over this process's batches; with less memory at a time when an allocation fails."""
        self._ready()
        while True:
            try:
                with self._setting(), torch.enable_grad():
                    if not self._calls_the_network():
                        return self._multiply(V).detach()
                    # a checkpointed block runs its forward pass again inside the product and must find theta there
                    theta = self._ready().program.theta.detach().requires_grad_()
                    return self.objective.call(theta, lambda _: self._multiply(V)).detach()
            except (RuntimeError, MemoryError) as error:
                if isinstance(error, LandscapeError) or not out_of_memory(error):
                    raise
                self._shrink(error, V.shape[1])

    def _calls_the_network(self) -> bool:
        """Whether the next product does; putting theta into a small network takes as long as some of its layers."""
        prepared = self._ready()
        return prepared.program.replays or len(self._states) < len(prepared.batches)

    def _multiply(self, V: Tensor) -> Tensor:
        prepared = self._ready()
        plan, program, batches = prepared.plan, prepared.program, prepared.batches
        total = torch.zeros(V.shape, dtype=torch.float64, device=V.device)
        chunks = [slice(k, k + plan.chunk) for k in range(0, V.shape[1], plan.chunk)]
        given, sharded = V.to(self.dtype), self.world.sharded
        for i, batch in enumerate(batches):
            # products of sharded networks are sums over processes already, whose batches have other shares
            share = 1.0 if sharded else batch.scale
            unit = self.rule.dress(batch if sharded else batch.rescaled(1.0), batches.stored[:i])
            state = self._states.get(i)
            if i not in self._states:
                with Rewrites():
                    state = program.build(unit)
                if i < plan.kept:
                    self._states[i] = state
            for chunk in chunks:
                total[:, chunk].add_(program.multiply(state, unit, given[:, chunk]), alpha=share)
            del state
        return total

    def _shrink(self, error: BaseException, vectors: int) -> None:
        """Ask for less memory: fewer vectors at a time, then fewer kept batches, then nothing kept."""
        prepared = self._ready()
        plan, program = prepared.plan, prepared.program
        self._states.clear()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if min(plan.chunk, vectors) > 1:
            plan = replace(plan, chunk=min(plan.chunk, vectors) // 2)
        elif plan.kept:
            plan = replace(plan, kept=plan.kept // 2, kept_bytes=plan.kept_bytes // 2)
        elif not isinstance(program, Recompute):
            frugal = self._without_states(prepared)
            self._prepared = replace(frugal, plan=self.rule.verified(frugal.plan, self.settings))
            return
        else:
            raise LandscapeError(
                f"out of memory in a product with the {self.name}: P = {self.size:,} and batches of "
                f"{plan.batch_size:,} examples need more than there is; use a smaller batch_size= in the objective"
            ) from error
        self._prepared = replace(prepared, plan=plan)

    def _without_states(self, prepared: Prepared) -> Prepared:
        """Keep nothing, because nothing else fits."""
        program = Recompute(self.rule, prepared.program.theta)
        plan = replace(
            prepared.plan, program=program.name, reason="nothing else fits into memory", mapped=False, compiled=False
        )
        return replace(prepared, plan=plan, program=program)


def asymmetry(world: World, u: Tensor, v: Tensor, Au: Tensor, Av: Tensor) -> float:
    """Return |⟨u, Av⟩ − ⟨v, Au⟩| relative to the lengths of the vectors."""
    norm, dot = world.norm, world.dot
    lengths = norm(u.double()) * norm(Av.double()) + norm(v.double()) * norm(Au.double())
    return float((dot(u, Av) - dot(v, Au)).abs() / lengths.clamp_min(1e-300))
