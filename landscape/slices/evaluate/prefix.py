"""Prefix reuse: what does not depend on the grid coordinates, or depends on them affinely, is computed once.

A network's first layer is affine in its weights while its input stays fixed, so its output at θ + x d₁ + y d₂ is
Z₀ + x Z₁ + y Z₂ with three responses that never change: two fused updates a point replace the layer. The same holds for
whatever follows as long as it stays affine (pooling, a norm layer whose parameters do not move), and what lies before
the first moving parameter does not change at all. The network is traced once a batch shape, and its graph is cut into
those parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from landscape.function.batches import Batch
from landscape.function.forward import forward, logits
from landscape.function.objective import Objective
from landscape.graphs import Piece, extract, flatten, fuse_convolutions, trace
from landscape.graphs.affine import Dependence, ancestors, dependence
from landscape.graphs.ops import elements, flops

FLOPS_A_BYTE = {"cpu": 4, "cuda": 16}
"""Work that must be saved for each byte of the responses read and written; measured break-even on a CPU: 1 to 2."""
WORTH = 0.05
"""Share of the network's work below which nothing is gained by cutting."""
KEPT_BYTES = 2 << 30
"""Memory that responses and kept activations may take."""


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
