"""Reusing what stays the same: what does not depend on a point's coordinates, or depends on them affinely, is computed once.

A network's first layer is affine in its weights while its input stays fixed, so its output at θ + x d₁ + y d₂ is
Z₀ + x Z₁ + y Z₂ with three responses that never change: two fused updates a point replace the layer. The same holds for
whatever follows as long as it stays affine (pooling, a norm layer whose parameters do not move), and what lies before
the first moving parameter does not change at all. The network is traced once a batch shape, and its graph is cut into
those parts; the rest runs at every point, compiled if asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from landscape.errors import LandscapeError
from landscape.function.batches import Batch, few
from landscape.function.forward import forward, logits
from landscape.function.objective import Objective
from landscape.graphs import Piece, TraceError, extract, flatten, fuse_convolutions, signature, trace
from landscape.graphs.ops import elements, flops
from landscape.graphs.split import Dependence, ancestors, dependence

FLOPS_A_BYTE = {"cpu": 4, "cuda": 16}
"""Work that must be saved for each byte of the responses read and written; measured break-even on a CPU: 1 to 2."""
WORTH = 0.05
"""Share of the network's work below which nothing is gained by cutting."""
KEPT_BYTES = 2 << 30
"""Memory that responses and kept activations may take."""
CACHE_BYTES = 2 << 20
"""Compiled on a CPU, the network sees as many examples at once as keep its widest activation within this much memory.

ResNet-20 on 256 images took 139 ms per point at once, 127 to 134 ms in parts of 24 to 48 images (32 fill 2 MB), and 149 ms
in parts of 16.
"""
_SIGNATURES = 4


@dataclass(frozen=True, eq=False)
class Program:
    """A network cut by how its values depend on the coordinates.

    Attributes:
        once: computes ``kept`` from parameters and inputs that do not move.
        head: computes the values in ``hoisted`` from moving parameters; affine in them.
        point: computes ``prepared`` from moving parameters and kept values alone, whatever the batch.
        rest: computes the outputs from hoisted and prepared values, moving parameters and kept values.
        kept: nodes that ``once`` computes.
        hoisted: nodes that each point makes from three responses.
        prepared: nodes that each point makes once for all batches of a shape, such as weights with a norm folded in.
        common: kept nodes that no batch decides.
        inputs: the placeholders of the traced function: parameters, buffers and frozen parameters, tensors of the
            batch.
        saved: share of the floating-point work that no point repeats.
        bytes_kept: memory of a batch's kept values and responses, for two directions.
        bytes_widest: memory of the largest value that a batch passes through.
    """

    once: Piece
    head: Piece
    point: Piece
    rest: Piece
    kept: tuple[fx.Node, ...]
    hoisted: tuple[fx.Node, ...]
    prepared: tuple[fx.Node, ...]
    common: frozenset[fx.Node]
    inputs: tuple[fx.Node, ...]
    saved: float
    bytes_kept: int
    bytes_widest: int


def cut(objective: Objective, batch: Batch, moving: Sequence[str], *, fused: bool = False) -> Program:
    """Trace a network on a batch and cut it. Use inside `Objective.guard` without gradients.

    Args:
        objective: whose outputs are wanted.
        batch: an example of the shapes; they are baked in.
        moving: names of the parameters that differ between grid points.
        fused: bring convolutions into the form that compiles best (`landscape.graphs.fuse_convolutions`).

    Raises:
        TraceError: the network cannot be traced.
    """
    leaves, rebuild = flatten(batch.inputs)
    names = [*objective.names, *objective.fixed]

    def outputs(*tensors: Tensor) -> Tensor:
        weights = dict(zip(names, tensors[: len(names)], strict=True))
        inputs = rebuild(tensors[len(names) :])
        found = objective.call_with(weights, lambda m: logits(forward(m, inputs)))
        return found.movedim(-1, 1) if objective.classes_last else found

    given = [*objective.space.unflatten(objective.theta).values(), *objective.fixed.values(), *leaves]
    module = trace(outputs, given)
    if fused:
        fuse_convolutions(module)
    return _cut(module, set(moving), objective.names, len(names), FLOPS_A_BYTE.get(objective.device.type, 16))


def _cut(module: fx.GraphModule, moving: set[str], names: Sequence[str], parameters: int, threshold: float) -> Program:
    nodes = list(module.graph.nodes)
    inputs = tuple(node for node in nodes if node.op == "placeholder")
    movers = [node for node, name in zip(inputs, names, strict=False) if name in moving]
    output = nodes[-1].args[0]
    assert isinstance(output, fx.Node)
    found = dependence(nodes, movers)
    still = [node for node in nodes if node not in found.moving and any(user in found.moving for user in node.users)]
    hoisted = tuple(node for node in nodes if _worth_hoisting(node, found, threshold))
    batchwise = dependence(nodes, inputs[parameters:]).moving
    prepared = tuple(node for node in nodes if _belongs_to_point(node, found, movers, batchwise))
    head = extract(module, [*movers, *still], hoisted)
    point = extract(module, [*movers, *still], prepared)
    rest = extract(module, [*hoisted, *prepared, *movers, *still], [output])
    needed = {*head.inputs, *point.inputs, *rest.inputs}
    kept = tuple(node for node in still if node not in inputs and node in needed)
    total, left = (sum(flops(node) for node in graph.nodes) for graph in (module.graph, rest.module.graph))
    return Program(
        once=extract(module, [node for node in inputs if node not in movers], kept),
        head=head,
        point=point,
        rest=rest,
        kept=kept,
        hoisted=hoisted,
        prepared=prepared,
        common=frozenset(kept) - batchwise,
        inputs=inputs,
        saved=1 - left / total if total else 0.0,
        bytes_kept=sum(_size(node) for node in kept if node in batchwise) + 5 * sum(map(_size, hoisted)),
        bytes_widest=max(map(_size, batchwise), default=0),
    )


def _belongs_to_point(
    node: fx.Node, found: Dependence, movers: Sequence[fx.Node], batchwise: frozenset[fx.Node]
) -> bool:
    """Whether a value is the last on its way that a point has whatever the batch."""
    if node not in found.moving or node in batchwise or node in movers:
        return False
    return any(user in batchwise for user in node.users)


def _worth_hoisting(node: fx.Node, found: Dependence, threshold: float) -> bool:
    """Whether a value is the last affine one on its way, and its responses are cheaper to combine than to compute."""
    if node not in found.affine or all(user in found.affine for user in node.users) or not elements(node):
        return False
    saved = sum(flops(other) for other in ancestors(node) if other in found.moving)
    return saved >= threshold * 3 * _size(node)


def _size(node: fx.Node) -> int:
    """Return the bytes of a node's value."""
    value = node.meta.get("val")
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0


class Reusing:
    """Runs what is left of a traced network once its fixed and affine parts are taken out.

    Raises:
        TraceError: the network cannot be traced, has too many batch shapes, needs too much memory, or the traced
            network does not give the same outputs as the plain one on another batch at another point.
        LandscapeError: it cannot be compiled, for want of a C++ compiler for example.
    """

    def __init__(self, objective: Objective, theta: Tensor, directions: Tensor, *, compiled: bool = False):
        self.objective, self.compiled = objective, compiled
        spans, shapes = objective.space.slices, dict(zip(objective.names, objective.space.shapes, strict=True))
        self.moving = [name for name in objective.names if bool(directions[:, spans[name]].any())]
        self.theta = torch.cat([theta[spans[name]] for name in self.moving])
        self.directions = torch.cat([directions[:, spans[name]] for name in self.moving], dim=1)
        self.row, self.point = self.theta.clone(), self.theta.clone()
        parts = self.point.split([shapes[name].numel() for name in self.moving])
        self.views = {name: part.view(shapes[name]) for name, part in zip(self.moving, parts, strict=True)}
        self.networks: dict[Any, _Network] = {}
        limit = self._examples_at_once()
        self.batches = [[self._prepared(part) for part in _parts(batch, limit)] for batch in objective.batches]
        share = max(network.program.saved for network in self.networks.values())
        self.description = f"traced{' and compiled' if compiled else ''}, {share:.1%} of the work computed once"
        self._check(theta, directions)

    def _examples_at_once(self) -> int | None:
        """Return how many examples of a batch fit into the cache together; `None` for all of them."""
        if not self.compiled or self.theta.device.type != "cpu":
            return None
        example = few(self.objective.batches[0], 2)
        widest = cut(self.objective, example, self.moving, fused=True).bytes_widest
        return max(1, CACHE_BYTES * example.size // max(widest, 1))

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
        """As `landscape.slices.evaluate.Plain.start_row`."""
        self.x, self.row = x, combined(self.theta, self.directions[1:], rest)
        for part in (part for parts in self.batches for part in parts):
            part.start_row(rest)

    def move(self, i: int) -> None:
        """As `landscape.slices.evaluate.Plain.move`."""
        self.at = float(self.x[i])
        torch.add(self.row, self.directions[0], alpha=self.at, out=self.point)
        for network in self.networks.values():
            network.move()

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """As `landscape.slices.evaluate.Plain.shares`."""
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

    def _check(self, theta: Tensor, directions: Tensor) -> None:
        """Compare outputs with the plain network's away from where the trace was made."""
        rest = [0.61] * (len(directions) - 1)
        self.start_row([0.37], rest)
        self.move(0)
        there, batches = combined(theta, directions, [0.37, *rest]), self.objective.batches
        last = {signature(batch.inputs): index for index, batch in enumerate(batches)}
        for index in last.values():
            found, expected = self._first_outputs(index), self.objective.batch_outputs(there, batches[index])
            slack = 1e3 * torch.finfo(expected.dtype).eps * expected.abs().max().clamp_min(1.0)
            if found.shape != expected.shape or not bool(((found - expected).abs() <= slack).all()):
                raise TraceError("the traced network differs from the network itself")


def combined(start: Tensor, directions: Sequence[Tensor] | Tensor, coordinates: Sequence[float]) -> Tensor:
    """Return start + Σ coordinates[k]·directions[k]."""
    out = start.clone()
    for direction, coordinate in zip(directions, coordinates, strict=True):
        out.add_(direction, alpha=float(coordinate))
    return out


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
