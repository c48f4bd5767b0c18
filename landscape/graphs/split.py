"""Cut a traced function: into a part that runs once and one that runs for every new value of what moves, or a piece of it.

Every value of the first part that the second part needs is either kept, or computed again from values that are. Keeping costs
its bytes; computing again is allowed for cheap operations only and costs nothing here. The cheapest choice is a minimum
cut: each value is an arc from its *made* to its *at hand* side with its bytes as capacity; operations that may
not run twice are made at the source, values the second part uses are wanted at the sink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import Tensor, fx

from landscape.graphs.ops import facts
from landscape.graphs.trace import TraceError, is_cheap, is_view, size_of, storage_of, trace, views_to_reshapes


@dataclass(frozen=True)
class Dependence:
    """The nodes of a graph by how they depend on the moving inputs.

    Attributes:
        moving: every node that depends on them.
        affine: those that are affine functions of them.
    """

    moving: frozenset[fx.Node]
    affine: frozenset[fx.Node]


def dependence(nodes: Sequence[fx.Node], inputs: Iterable[fx.Node]) -> Dependence:
    """Sort the nodes of a graph, given in its order, by how they depend on some of its inputs."""
    moving = set(inputs)
    affine = set(moving)
    for node in nodes:
        if node in moving or not any(argument in moving for argument in node.all_input_nodes):
            continue
        moving.add(node)
        if node.op == "call_function" and _is_affine(node, moving, affine):
            affine.add(node)
    return Dependence(frozenset(moving), frozenset(affine))


def _is_affine(node: fx.Node, moving: set[fx.Node], affine: set[fx.Node]) -> bool:
    if any(argument in moving and argument not in affine for argument in node.all_input_nodes):
        return False
    linear = facts(node).linear
    return linear is not None and linear(node, lambda place: len(node.args) > place and node.args[place] in moving)


def ancestors(node: fx.Node) -> set[fx.Node]:
    """Return a node and everything it is computed from."""
    seen, waiting = {node}, [node]
    while waiting:
        for argument in waiting.pop().all_input_nodes:
            if argument not in seen:
                seen.add(argument)
                waiting.append(argument)
    return seen


@dataclass(frozen=True, eq=False)
class Split:
    """A function in two parts: ``second(kept, fixed, moving)`` equals ``function(*fixed, *moving)``.

    ``kept = first(fixed)`` runs once for every value of the fixed arguments. Neither part records a graph.
    """

    first_part: fx.GraphModule
    second_part: fx.GraphModule
    kept_bytes: int
    """Bytes of the values kept between the parts, each storage once."""
    constants: tuple[Tensor, ...]
    """Tensors that the function took from elsewhere than its arguments."""

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
    shared = [n for n in dict.fromkeys(map(storage_of, wanted)) if n not in free]
    kept = shared if sum(map(size_of, shared)) <= room else _fewest_bytes(primal, wanted, free)
    first, copies = _copied(inputs[: len(fixed)], kept)
    first.output(tuple(copies[n] for n in kept))
    second, _ = _copied([*kept, *inputs], [n for n in nodes if n in moves])
    views_to_reshapes(second)
    return Split(
        first_part=fx.GraphModule(module, first),
        second_part=fx.GraphModule(module, second),
        kept_bytes=sum(size_of(n) for n in kept),
        constants=tuple(getattr(module, n.target) for n in nodes if n.op == "get_attr"),
    )


def _fewest_bytes(candidates: list[fx.Node], wanted: Iterable[fx.Node], free: set[fx.Node]) -> list[fx.Node]:
    """Return which of the first part's nodes to keep so that their bytes are fewest; `free` ones are at hand anyway."""
    index = {node: i for i, node in enumerate(n for n in candidates if n not in free)}
    if not index:
        return []
    source, sink = 2 * len(index), 2 * len(index) + 1
    unit = max(1, sum(size_of(n) for n in index) // 2**29)  # capacities are 32-bit integers
    unbounded = 2**30
    arcs: dict[tuple[int, int], int] = {}
    for node, i in index.items():
        keepable = size_of(node) > 0 and not is_view(node)
        arcs[2 * i, 2 * i + 1] = -(-size_of(node) // unit) if keepable else unbounded
        if not is_cheap(node):
            arcs[source, 2 * i] = unbounded
        for user in node.users:
            if user in index:
                arcs[2 * i + 1, 2 * index[user]] = unbounded
    for node in wanted:
        if node in index:
            arcs[2 * index[node] + 1, sink] = unbounded
    at_hand = _sink_side(arcs, source, sink)
    return [node for node, i in index.items() if not at_hand[2 * i] and at_hand[2 * i + 1]]


def _sink_side(arcs: dict[tuple[int, int], int], source: int, sink: int) -> np.ndarray:
    """Vertices on the sink's side of the minimum cut nearest to the sink: of equal cuts, the one that computes least again."""
    rows, columns = np.array(list(arcs), dtype=np.int32).reshape(-1, 2).T
    capacity = csr_array((np.array(list(arcs.values()), dtype=np.int32), (rows, columns)), shape=(sink + 1, sink + 1))
    flow = maximum_flow(capacity, source, sink).flow
    residual = (capacity - flow).tocsr()
    residual.eliminate_zeros()
    reached = breadth_first_order(residual.T.tocsr(), sink, return_predecessors=False)
    side = np.zeros(sink + 1, dtype=bool)
    side[reached] = True
    return side


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
