"""Traced and split: one part of the product runs once a batch, the other, which may be compiled, for every vector."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landscape.function.batches import Batch, few, pick
from landscape.function.data import Data
from landscape.graphs import Split as Traced
from landscape.graphs import TraceError, flatten, signature, split
from landscape.operators.programs.program import Program, Rule

Second = Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], Tensor]

FEW = 4
"""Examples of a comparison that needs no whole batch."""


@dataclass(frozen=True, eq=False)
class State:
    """What the split program keeps for a batch."""

    program: Traced
    second: Second
    kept: tuple[Tensor, ...]
    fixed: tuple[Tensor, ...]


class Split(Program):
    """The product is traced once for every kind of batch and cut by what depends on the vector.

    Kept bytes are the fewest that allow the tangent part to run with cheap values computed again. A product costs about
    2 gradients, on networks of convolutions and norm layers too, where a kept graph costs 3.

    Args:
        room: Bytes a batch's state may take for everything both parts use to be kept, which is a little faster than the fewest
            bytes.
        batches: The data, to check a trace on another batch than the one traced.
    """

    name = "split"

    def __init__(self, rule: Rule, theta: Tensor, *, room: float, batches: Data):
        super().__init__(rule, theta)
        self.room, self.batches = room, batches
        self._traces: dict[Any, tuple[Traced, Second]] = {}

    def trace(self, batch: Batch) -> Traced:
        """Return the split program for batches of this kind, traced and checked when it is the first.

        Raises:
            TraceError: The network cannot be traced, or the trace does not give its numbers.
        """
        key = signature(_parts(batch))
        if key not in self._traces:
            begun = time.perf_counter()
            tensors, rebuild = flatten(_parts(batch))

            def product(theta: Tensor, *rest: Tensor) -> Tensor:
                return self.rule.product(theta, replace(batch, **rebuild(rest[:-1])), rest[-1])

            program = split(product, [self.theta, *tensors], [torch.ones_like(self.theta)], room=self.room)
            moved, v = self._check(program, _another(self.rule, batch, self.batches))
            self.trace_seconds += time.perf_counter() - begun
            self._traces[key] = program, self.second(program, moved, v)
        return self._traces[key][0]

    def second(self, program: Traced, fixed: tuple[Tensor, ...], v: Tensor) -> Second:
        """Return what runs for each vector; the arguments are there to try it out on."""
        return program.second

    def build(self, batch: Batch) -> State:
        """Run the part that does not depend on the vector."""
        program = self.trace(batch)
        fixed = (self.theta, *flatten(_parts(batch))[0])
        second = self._traces[signature(_parts(batch))][1]
        return State(program, second, program.first(fixed), fixed)

    def _check(self, program: Traced, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """Compare a trace with the plain path on a batch, at a point and with a vector that it was not traced with.

        Nothing is computed while a trace is recorded. What it knows of data and theta besides its arguments can only stand in it
        as a constant: where all of these are what the function holds fixed, nothing can, and a few examples are enough to
        compare forward over reverse mode, which is what was traced, with the plain path.

        Returns the fixed arguments and the vector it was checked with.

        Raises:
            TraceError: They differ: the trace has something baked in that depends on the data or on theta.
        """
        generator = torch.Generator().manual_seed(0)
        v, step = torch.randn(2, len(self.theta), generator=generator, dtype=torch.float64).to(self.theta)
        moved = self.theta + 1e-2 * self.theta.square().mean().sqrt() * step
        fixed = (moved, *flatten(_parts(batch))[0])
        held = {id(tensor) for tensor in self.rule.objective.fixed.values()}
        if batch.rows and all(id(constant) in held for constant in program.constants):
            batch = few(batch, FEW)
            product = self.rule.product(moved, batch, v)
        else:
            product = program.second(program.first(fixed), fixed, (v,))
        with torch.enable_grad():
            expected = self.rule.record(moved, batch)(v)
        if not _close(product, expected):
            raise TraceError("the traced product differs from the plain one on another batch; use program='kept'")
        return fixed, v

    def mapped(self) -> bool:
        """Whether several vectors go through the second part together: on GPUs only.

        On a CPU, mapping them costs 3 times a loop on convolutions, and 1.2 times on dense layers of useful size.
        """
        return self.theta.device.type != "cpu"

    def multiply(self, state: State, batch: Batch, V: Tensor) -> Tensor:
        """Run the second part for each vector, or for all of them together."""

        def second(v: Tensor) -> Tensor:
            return state.second(state.kept, state.fixed, (v,))

        if V.shape[1] > 1 and self.mapped() and not self.compiled:
            return torch.vmap(second, in_dims=1, out_dims=1)(V)
        return torch.stack([second(v) for v in V.T.contiguous()], dim=1)


class Compiled(Split):
    """Inductor fuses the elementwise operations of the tangent part; on CUDA, fixed shapes replay as CUDA graphs.

    Compiled code is compared once with the plain part, on another batch and at a moved theta; where it differs or cannot be
    built, the plain part is used, with one warning.
    """

    compiled = True

    def second(self, program: Traced, fixed: tuple[Tensor, ...], v: Tensor) -> Second:
        """Compile the part that runs for each vector, and compare it with the plain one."""
        begun = time.perf_counter()
        mode = "reduce-overhead" if v.device.type == "cuda" else "default"
        try:
            run = torch.compile(program.second_part, dynamic=False, fullgraph=True, mode=mode)

            def second(kept: Any, at: Any, moving: Any) -> Tensor:
                # the guard runs the user's compiled modules eagerly; CUDA graphs overwrite their output at the next call
                with torch.no_grad(), torch.compiler.set_stance("default"):
                    return run(*kept, *at, *moving).clone()

            kept = program.first(fixed)
            if not _close(second(kept, fixed, (v,)), program.second(kept, fixed, (v,))):
                raise TraceError("the compiled product differs from the plain one")
        except Exception as error:  # the compiler raises whatever its back end met
            first = (str(error).strip().splitlines() or ["no message"])[0]
            warnings.warn(f"the product is not compiled ({type(error).__name__}: {first[:200]})", stacklevel=2)
            self.compiled = False
            return program.second
        self.compile_seconds += time.perf_counter() - begun
        return second


def _parts(batch: Batch) -> dict[str, Any]:
    return {"inputs": batch.inputs, "target": batch.target, "raw": batch.raw, "draws": batch.draws}


def _close(product: Tensor, expected: Tensor) -> bool:
    """Whether products differ by rounding, by orders of sums and by kinks passed; wrong ones are off by tens of percent."""
    limit = 100 * torch.finfo(expected.dtype).eps ** 0.75 * float(expected.double().norm())
    off = float((product.double() - expected.double()).norm())
    return off <= max(limit, torch.finfo(expected.dtype).tiny)


def _another(rule: Rule, batch: Batch, batches: Data) -> Batch:
    """Return a batch of the same kind with other data: from the data's end, or the same examples in another order."""
    kind = signature(_parts(batch))
    for i in range(len(batches) - 1, max(0, len(batches) - 3), -1):
        other = rule.dress(batches[i].rescaled(1.0), batches.stored[:i])
        if signature(_parts(other)) == kind:
            return other
    return pick(batch, torch.arange(batch.size, device="cpu").roll(1)) if batch.rows else batch
