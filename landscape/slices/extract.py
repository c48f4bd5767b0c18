"""Cutting a piece out of a traced graph: some of its values as a function of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx


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
    needed = _needed(set(inputs), outputs)
    used = tuple(node for node in inputs if node in needed)
    graph = fx.Graph()
    copies = {}
    for index, node in enumerate(used):
        copies[node] = graph.placeholder(f"in{index}")
        copies[node].meta = dict(node.meta)
    for node in module.graph.nodes:
        if node in needed and node not in copies:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    return Piece(fx.GraphModule(module, graph), used)


def _needed(inputs: set[fx.Node], outputs: Sequence[fx.Node]) -> set[fx.Node]:
    seen, waiting = set(outputs), [node for node in outputs if node not in inputs]
    while waiting:
        for argument in waiting.pop().all_input_nodes:
            if argument not in seen:
                seen.add(argument)
                if argument not in inputs:
                    waiting.append(argument)
    return seen
