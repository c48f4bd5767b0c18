"""Evaluating a traced network: its fixed and affine parts once, the rest at every point, compiled if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from landscape.errors import LandscapeError
from landscape.function.batches import Batch
from landscape.function.batches import few as few_of
from landscape.function.objective import Objective
from landscape.graphs import TraceError, flatten, signature
from landscape.slices.evaluate.plain import Evaluator, Plain, combined
from landscape.slices.evaluate.prefix import KEPT_BYTES, Program, cut

CACHE_BYTES = 2 << 20
"""Compiled on a CPU, the network sees as many examples at once as keep its widest activation within this much memory.

ResNet-20 on 256 images took 139 ms a point at once, 127 to 134 ms in parts of 24 to 48 images (32 fill 2 MB), and 149 ms
in parts of 16.
"""
_SIGNATURES = 4


class Reusing(Evaluator):
    """Runs what is left of a traced network once its fixed and affine parts are taken out.

    Raises:
        TraceError: the network cannot be traced, has too many batch shapes, needs too much memory, or the traced
            network does not give the same outputs as the plain one on another batch at another point.
        LandscapeError: it cannot be compiled, for want of a C++ compiler for example.
    """

    def __init__(self, objective: Objective, theta: Tensor, directions: Tensor, *, compiled: bool = False):
        spans = objective.space.slices
        self.compiled = compiled
        self.moving = [name for name in objective.names if bool(directions[:, spans[name]].any())]
        pieces = [spans[name] for name in self.moving]
        moved = torch.cat([directions[:, piece] for piece in pieces], dim=1)
        super().__init__(objective, torch.cat([theta[piece] for piece in pieces]), moved)
        shapes = dict(zip(objective.names, objective.space.shapes, strict=True))
        parts = self.point.split([shapes[name].numel() for name in self.moving])
        self.views = {name: part.view(shapes[name]) for name, part in zip(self.moving, parts, strict=True)}
        self.networks: dict[Any, _Network] = {}
        limit = self._examples_at_once()
        self.batches = [[self._prepared(part) for part in _parts(batch, limit)] for batch in objective.batches]
        share = max(network.program.saved for network in self.networks.values())
        self.description = f"traced{' and compiled' if compiled else ''}, {share:.1%} of the work computed once"
        self._check(Plain(objective, theta, directions))

    def _examples_at_once(self) -> int | None:
        """Return how many examples of a batch fit into the cache together; `None` for all of them."""
        if not self.compiled or self.theta.device.type != "cpu":
            return None
        first = self.objective.batches[0]
        few = few_of(first, 2)
        widest = cut(self.objective, few, self.moving, fused=True).bytes_widest
        return max(1, CACHE_BYTES * few.size // max(widest, 1))

    def _prepared(self, batch: Batch) -> _Part:
        key = signature(batch.inputs)
        if key not in self.networks:
            if len(self.networks) == _SIGNATURES:
                raise TraceError("the batches have too many different shapes to trace each")
            self.networks[key] = _Network(self, cut(self.objective, batch, self.moving, fused=self.compiled))
        part = _Part(self, batch, self.networks[key])
        if sum(network.bytes_kept for network in self.networks.values()) > KEPT_BYTES:
            raise TraceError("the responses need more memory than is set aside for them")
        return part

    def start_row(self, x: Sequence[float], rest: Sequence[float]) -> None:
        """As `Evaluator.start_row`."""
        super().start_row(x, rest)
        for part in (part for parts in self.batches for part in parts):
            part.start_row(rest)

    def move(self, i: int) -> None:
        """As `Evaluator.move`."""
        super().move(i)
        self.at = float(self.x[i])
        for network in self.networks.values():
            network.move()

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """As `Evaluator.shares`."""
        return self.objective.metrics_of(self._outputs(index), batch)

    def _outputs(self, index: int) -> Tensor:
        """Return the network's outputs on a batch at the present point."""
        outputs = [part.outputs(self.at) for part in self.batches[index]]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _first_outputs(self, index: int) -> Tensor:
        """Return the outputs on a batch of a new shape, for which the compiler runs now."""
        try:
            return self._outputs(index)
        except Exception as error:  # the compiler raises whatever it met
            if not self.compiled:
                raise
            first = (str(error).strip().splitlines() or ["no message"])[0]
            raise LandscapeError(
                f"the network could not be compiled ({type(error).__name__}: {first}); pass compiled=False"
            ) from error

    def _check(self, plain: Plain) -> None:
        """Compare outputs with the plain network's away from where the trace was made."""
        rest = [0.61] * (len(self.directions) - 1)
        evaluators: tuple[Evaluator, Evaluator] = (self, plain)
        for evaluator in evaluators:
            evaluator.start_row([0.37], rest)
            evaluator.move(0)
        batches = self.objective.batches
        last = {signature(batch.inputs): index for index, batch in enumerate(batches)}
        for index in last.values():
            found, expected = self._first_outputs(index), self.objective.batch_outputs(plain.point, batches[index])
            slack = 1e3 * torch.finfo(expected.dtype).eps * expected.abs().max().clamp_min(1.0)
            if found.shape != expected.shape or not bool(((found - expected).abs() <= slack).all()):
                raise TraceError("the traced network differs from the network itself")


class _Network:
    """A traced network for batches of one shape, with what belongs to a point whatever the batch."""

    def __init__(self, owner: Reusing, program: Program):
        self.program = program
        self.names = dict(zip(program.inputs, owner.objective.names, strict=False))
        self.views = owner.views
        objective = owner.objective
        fixed = [*objective.space.unflatten(objective.theta).values(), *objective.fixed.values()]
        self.kept: dict[fx.Node, Tensor] = dict(zip(program.inputs, fixed, strict=False))
        self.prepared: tuple[Tensor, ...] = ()
        self.bytes_kept = 0
        module: Any = program.rest.module
        self.graphs = owner.compiled and owner.theta.device.type == "cuda"
        if owner.compiled:
            # shapes, types and modes are fixed here, so that no call need check them again
            options: dict[str, Any] = {
                "guard_filter_fn": lambda guards: [False] * len(guards),
                "triton.cudagraphs": self.graphs,
            }
            module = torch.compile(module, dynamic=False, options=options)
        self.module = module

    def arguments(self, nodes: Sequence[fx.Node], values: dict[fx.Node, Tensor]) -> list[Tensor]:
        """Return the values of nodes: moving parameters at the present point, and those given."""
        return [self.views[self.names[n]] if self.names.get(n) in self.views else values[n] for n in nodes]

    def move(self) -> None:
        """Compute what belongs to the present point."""
        self.prepared = self.program.point.module(*self.arguments(self.program.point.inputs, self.kept))

    def __call__(self, values: dict[fx.Node, Tensor]) -> Tensor:
        """Return the outputs at the present point."""
        values.update(zip(self.program.prepared, self.prepared, strict=True))
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()
        found: Tensor = self.module(*self.arguments(self.program.rest.inputs, values))[0]
        return found


class _Part:
    """A batch, or a part of one, with its kept values and responses."""

    def __init__(self, owner: Reusing, batch: Batch, network: _Network):
        self.network = network
        program = network.program
        inputs = flatten(batch.inputs)[0]
        values = {**network.kept, **dict(zip(program.inputs[-len(inputs) :], inputs, strict=True))}
        once = program.once.module(*(values[node] for node in program.once.inputs))
        for node, value in zip(program.kept, once, strict=True):
            holder = network.kept if node in program.common else values  # what no batch decides is kept once for all
            values[node] = holder.setdefault(node, value)
        network.bytes_kept += program.bytes_kept

        def respond(vector: Tensor) -> tuple[Tensor, ...]:
            parts = vector.split([view.numel() for view in owner.views.values()])
            moved = {name: part.view_as(owner.views[name]) for name, part in zip(owner.views, parts, strict=True)}
            names = network.names
            arguments = [moved[names[n]] if names.get(n) in moved else values[n] for n in program.head.inputs]
            return tuple(program.head.module(*arguments))

        self.centre = [z.clone() for z in respond(owner.theta)]
        # the head is affine: its value at a direction less its value at zero is the response to that direction
        zero = respond(torch.zeros_like(owner.theta))
        self.responses = [[z - z0 for z, z0 in zip(respond(d), zero, strict=True)] for d in owner.directions]
        self.row_values = self.centre
        self.point_values = [torch.empty_like(z) for z in self.centre]
        self.values = {**values, **dict(zip(program.hoisted, self.point_values, strict=True))}

    def start_row(self, rest: Sequence[float]) -> None:
        """Combine the responses to the directions that stay the same along a row."""
        self.row_values = [
            combined(z, [response[k] for response in self.responses[1:]], rest) for k, z in enumerate(self.centre)
        ]

    def outputs(self, x: float) -> Tensor:
        """Return the network's outputs at a point of the row."""
        for k, value in enumerate(self.point_values):
            torch.add(self.row_values[k], self.responses[0][k], alpha=x, out=value)
        return self.network(self.values)


def _parts(batch: Batch, limit: int | None) -> list[Batch]:
    """Return views of a batch of at most so many examples each."""
    if limit is None or batch.size <= limit or not batch.rows:
        return [batch]
    found, rebuild = flatten(batch.inputs)
    out = []
    for first in range(0, batch.size, limit):
        size = min(limit, batch.size - first)
        cut_out = [x.narrow(0, first, size) if x.ndim and len(x) == batch.size else x for x in found]
        out.append(replace(batch, inputs=rebuild(cut_out), size=size))
    return out
