"""Traced and split: one part of the product runs once a batch, the other for every vector."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from landscape.batches import Batch, pick
from landscape.operators.programs.program import Program
from landscape.operators.programs.rule import Rule
from landscape.tracing import Split as Traced
from landscape.tracing import TraceError, flatten, signature, split

if TYPE_CHECKING:
    from landscape.batches import Batches

# measured on a CPU: mapping vectors over these costs 3 times a loop, over matrix products half of one
_LOOPED = ("convolution", "pool", "rnn", "lstm", "gru", "fft")


@dataclass(frozen=True, eq=False)
class State:
    """What the split program keeps for a batch."""

    program: Traced
    kept: tuple[Tensor, ...]
    fixed: tuple[Tensor, ...]


class Split(Program):
    """The product is traced once for every kind of batch and cut by what depends on the vector.

    Kept bytes are the fewest that allow the tangent part to run with cheap values computed again. A product costs about
    2 gradients, on networks of convolutions and norm layers too, where a kept graph costs 3.

    Args:
        rule: What is multiplied.
        theta: Where, (P,).
        keep: ``fewest`` or ``all``: keep the fewest bytes, or everything both parts use, which is a little faster.
        batches: The data, to check a trace on another batch than the one traced.
    """

    name = "split"

    def __init__(
        self,
        rule: Rule,
        theta: Tensor,
        *,
        keep: Literal["fewest", "all"] = "fewest",
        batches: Batches | None = None,
    ):
        super().__init__(rule, theta)
        self.keep, self.batches = keep, batches
        self._traces: dict[Any, Traced] = {}

    def trace(self, batch: Batch) -> Traced:
        """Return the split program for batches of this kind, traced and checked when it is the first.

        Raises:
            TraceError: The network cannot be traced, or the trace does not give its numbers.
        """
        key = signature(_parts(batch))
        if key not in self._traces:
            tensors, rebuild = flatten(_parts(batch))

            def product(theta: Tensor, *rest: Tensor) -> Tensor:
                inputs, target, raw = rebuild(rest[:-1])
                return self.rule.product(theta, replace(batch, inputs=inputs, target=target, raw=raw), rest[-1])

            program = split(product, [self.theta, *tensors], [torch.ones_like(self.theta)], keep=self.keep)
            check(self.rule, program, self.theta, another(self.rule, batch, self.batches))
            self._traces[key] = program
        return self._traces[key]

    def build(self, batch: Batch) -> State:
        """Run the part that does not depend on the vector."""
        program = self.trace(batch)
        fixed = (self.theta, *flatten(_parts(batch))[0])
        return State(program, program.first(fixed), fixed)

    def mapped(self, program: Traced) -> bool:
        """Whether several vectors go through the second part together: on GPUs, and where it is all dense layers."""
        if self.theta.device.type != "cpu":
            return True
        return not any(slow in kind for kind in program.kinds for slow in _LOOPED)

    def multiply(self, state: State, batch: Batch, V: Tensor) -> Tensor:
        """Run the second part for each vector, or for all of them together."""

        def second(v: Tensor) -> Tensor:
            return state.program.second(state.kept, state.fixed, (v,))

        if V.shape[1] > 1 and self.mapped(state.program):
            return torch.vmap(second, in_dims=1, out_dims=1)(V)
        return torch.stack([second(v) for v in V.T.contiguous()], dim=1)


def _parts(batch: Batch) -> tuple[Any, Any, Any]:
    return batch.inputs, batch.target, batch.raw


def another(rule: Rule, batch: Batch, batches: Batches | None) -> Batch:
    """Return a batch of the same kind with other data: from the data's end, or the same examples in another order."""
    kind = signature(_parts(batch))
    count = len(batches) if batches is not None else 0
    for i in range(count - 1, max(0, count - 3), -1):
        assert batches is not None
        other = rule.dress(batches[i].rescaled(1.0), batches.stored[:i])
        if signature(_parts(other)) == kind:
            return other
    return pick(batch, torch.arange(batch.size).roll(1))


def check(rule: Rule, program: Traced, theta: Tensor, batch: Batch) -> None:
    """Compare a trace with the plain path on a batch, at a point and with a vector that it was not traced with.

    Raises:
        TraceError: They differ: the trace has something baked in that depends on the data or on theta.
    """
    generator = torch.Generator().manual_seed(0)
    v, step = torch.randn(2, len(theta), generator=generator, dtype=torch.float64).to(theta)
    moved = theta + 1e-2 * theta.square().mean().sqrt() * step
    fixed = (moved, *flatten(_parts(batch))[0])
    found = program.second(program.first(fixed), fixed, (v,)).double()
    with torch.enable_grad():
        expected = rule.record(moved, batch)(v).double()
    # orders of summation differ, kinks of ReLU may be passed: float32 agrees to 1e-5, a wrong trace is off by 1e-1 and more
    limit = 100 * torch.finfo(theta.dtype).eps ** 0.75 * expected.norm()
    if not float((found - expected).norm()) <= max(float(limit), torch.finfo(theta.dtype).tiny):
        raise TraceError("the traced product differs from the plain one on another batch; use program='kept'")
