"""Cut a traced function: into a part that runs once and one that runs for every new value of what moves, or a piece of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from landscape.graphs.affine import dependence
from landscape.graphs.keep import everything, fewest_bytes
from landscape.graphs.trace import TraceError, size_of, trace, views_to_reshapes


@dataclass(frozen=True, eq=False)
class Split:
    """A function in two parts: ``second(kept, fixed, moving)`` equals ``function(*fixed, *moving)``.

    ``kept = first(fixed)`` runs once for every value of the fixed arguments. Neither part records a graph.
    """

    first_part: fx.GraphModule
    second_part: fx.GraphModule
    kept_bytes: int
    """Bytes of the values kept between the parts, each storage once."""
    all_bytes: int
    """Bytes that keeping every shared value would take."""
    constants: tuple[Tensor, ...]
    """Tensors that the function took from elsewhere than its arguments."""
    seconds: float
    """Time it took to trace and cut."""

    def first(self, fixed: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Compute the values to keep for these fixed arguments."""
        with torch.no_grad():
            return tuple(self.first_part(*fixed))

    def second(self, kept: Sequence[Tensor], fixed: Sequence[Tensor], moving: Sequence[Tensor]) -> Any:
        """Compute the function's result from the kept values."""
        with torch.no_grad():
            return self.second_part(*kept, *fixed, *moving)


def split(
    function: Callable[..., Any],
    fixed: Sequence[Tensor],
    moving: Sequence[Tensor],
    *,
    room: float = 0,
) -> Split:
    """Trace a function and cut it by what depends on its moving arguments.

    Args:
        function: ``function(*fixed, *moving)`` returns a tensor or a tuple of tensors.
        fixed: Example tensors that stay the same over many calls (parameters, a batch).
        moving: Example tensors that change with every call (a tangent).
        room: Bytes. Every value that both parts use is kept when that takes at most so many, which is fastest; otherwise the
            fewest bytes are kept (a minimum cut), and cheap values computed again.

    Raises:
        TraceError: The function cannot be traced, or its result does not depend on the moving arguments.

    >>> import torch
    >>> program = split(lambda a, v: a.exp().sin() * v, [torch.ones(3)], [torch.ones(3)])
    >>> kept = program.first([torch.zeros(3)])
    >>> program.second(kept, [torch.zeros(3)], [torch.full((3,), 2.0)])
    tensor([1.6829, 1.6829, 1.6829])
    """
    begun = time.perf_counter()
    module = trace(function, [*fixed, *moving])
    nodes = list(module.graph.nodes)
    inputs = [n for n in nodes if n.op == "placeholder"]
    moves = dependence(nodes, inputs[len(fixed) :]).moving
    primal = [n for n in nodes if n not in moves and n.op != "output"]
    output = nodes[-1]
    if output not in moves:
        raise TraceError("the result does not depend on the moving arguments, so there is nothing to split")
    free = {n for n in primal if n.op in ("placeholder", "get_attr")}
    wanted = list(dict.fromkeys(a for n in nodes if n in moves for a in n.all_input_nodes if a not in moves))
    shared = [n for n in everything(wanted) if n not in free]
    everything_fits = sum(size_of(n) for n in shared) <= room
    kept = shared if everything_fits else fewest_bytes(primal, wanted, free)
    return Split(
        first_part=_first(module, inputs[: len(fixed)], kept),
        second_part=_second(module, [*kept, *inputs], [n for n in nodes if n in moves]),
        kept_bytes=sum(size_of(n) for n in kept),
        all_bytes=sum(size_of(n) for n in shared),
        constants=tuple(getattr(module, n.target) for n in nodes if n.op == "get_attr"),
        seconds=time.perf_counter() - begun,
    )


def _first(module: fx.GraphModule, fixed: Sequence[fx.Node], kept: Sequence[fx.Node]) -> fx.GraphModule:
    graph, copies = _copied(fixed, kept)
    graph.output(tuple(copies[n] for n in kept))
    return fx.GraphModule(module, graph)


def _second(module: fx.GraphModule, inputs: Sequence[fx.Node], moves: Sequence[fx.Node]) -> fx.GraphModule:
    graph, _ = _copied(inputs, moves)
    views_to_reshapes(graph)
    return fx.GraphModule(module, graph)


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a graph as a function: ``module(*values of inputs) -> tuple of outputs``.

    Attributes:
        module: what computes it.
        inputs: the nodes of the original graph whose values it takes, in order; those it does not need are left out.
    """

    module: fx.GraphModule
    inputs: tuple[fx.Node, ...]


def extract(module: fx.GraphModule, inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]) -> Piece:
    """Return the part of a traced function that computes some nodes from others.

    Args:
        module: the traced function.
        inputs: nodes whose values are given; nothing before them is computed.
        outputs: nodes to return, in this order.
    """
    inputs = list(dict.fromkeys(inputs))
    graph, copies = _copied(inputs, outputs)
    graph.output(tuple(copies[node] for node in outputs))
    used = tuple(node for node in inputs if copies[node].users)
    for node in inputs:
        if not copies[node].users:
            graph.erase_node(copies[node])
    return Piece(fx.GraphModule(module, graph), used)


def _copied(inputs: Sequence[fx.Node], nodes: Iterable[fx.Node]) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """Start a graph that takes the values of some nodes and computes others in order, each from what it needs."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in inputs:
        copies[node] = graph.placeholder(node.name)
        copies[node].meta = dict(node.meta)
    for node in nodes:
        _copy_with_inputs(node, graph, copies)
    return graph, copies


def _copy_with_inputs(node: fx.Node, graph: fx.Graph, copies: dict[fx.Node, fx.Node]) -> None:
    """Copy a node, and before it whatever it needs that is not there yet, just before its first use."""
    waiting = [node]
    while waiting:
        top = waiting[-1]
        missing = [a for a in top.all_input_nodes if a not in copies]
        if top in copies or not missing:
            waiting.pop()
            if top not in copies:
                copies[top] = graph.node_copy(top, copies.__getitem__)
        else:
            waiting.extend(reversed(missing))
