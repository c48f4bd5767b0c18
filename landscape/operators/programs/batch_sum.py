"""A product as a sum over batches, by a plan, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from landscape.errors import LandscapeError, NumericalError
from landscape.operators.failures import explained, out_of_memory
from landscape.operators.programs.choose import Prepared, prepare
from landscape.operators.programs.plan import Plan
from landscape.operators.programs.recompute import Recompute
from landscape.operators.programs.rule import Rule
from landscape.operators.programs.settings import Settings
from landscape.operators.rewrites import Rewrites


class BatchSum:
    """Σ_b scale_b A_b V with the states of some batches kept between products.

    Args:
        rule: One batch's share of the matrix.
        name: The matrix in messages.
        settings: What the user asked for.
    """

    def __init__(self, rule: Rule, name: str, settings: Settings):
        self.rule, self.name, self.settings = rule, name, settings
        self.objective = rule.objective
        self._states: dict[int, Any] = {}
        self._prepared: Prepared | None = None

    @property
    def plan(self) -> Plan:
        """The plan, made when first asked for."""
        return self._ready().plan

    def release(self) -> None:
        """Give back the memory of all kept states; the next product builds them again."""
        self._states.clear()

    @contextmanager
    def _setting(self) -> Iterator[None]:
        """Guard the objective, choose kernels with derivatives, and explain what has none."""
        with explained(self.name), self.objective.guard(second=True, tf32=self.settings.tf32):
            yield

    def _ready(self) -> Prepared:
        if self._prepared is None:
            with self._setting(), Rewrites():
                prepared = self._prepare()
            self._prepared = self._verified(prepared)
        return self._prepared

    def _verified(self, prepared: Prepared) -> Prepared:
        return replace(prepared, plan=self.rule.verified(prepared.plan, self.settings))

    def _prepare(self) -> Prepared:
        try:
            return prepare(self.rule, self.settings)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or self.settings.program == "recompute":
                raise
        # outside the handler, where the failed attempt's tensors are gone
        frugal = replace(self.settings, program="recompute", compile=False, tune=False)
        return self._without_states(prepare(self.rule, frugal))

    def multiply(self, V: Tensor) -> Tensor:
        """Return Σ_b scale_b A_b V (P, K) in float64 over the batches of all processes."""
        total = self.objective.world.sum_vectors(self._own(V))
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
        given, sharded = V.to(self.objective.dtype), self.objective.world.sharded
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
        if self.objective.device.type == "cuda":
            torch.cuda.empty_cache()
        if min(plan.chunk, vectors) > 1:
            plan = replace(plan, chunk=min(plan.chunk, vectors) // 2)
        elif plan.kept:
            plan = replace(plan, kept=plan.kept // 2, kept_bytes=plan.kept_bytes // 2)
        elif not isinstance(program, Recompute):
            self._prepared = self._verified(self._without_states(prepared))
            return
        else:
            raise LandscapeError(
                f"out of memory in a product with the {self.name}: P = {self.objective.size:,} and batches of "
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
