"""Which values of a traced function depend on some of its inputs, and which of those depend on them affinely."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import fx

from landscape.graphs.ops import facts


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
