"""Which values of a traced network depend on the grid coordinates, and which of those depend on them affinely."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

_UNARY = {
    aten.t,
    aten.transpose,
    aten.permute,
    aten.view,
    aten._unsafe_view,
    aten.reshape,
    aten.expand,
    aten.squeeze,
    aten.unsqueeze,
    aten.slice,
    aten.select,
    aten.alias,
    aten.clone,
    aten.flatten,
    aten.neg,
    aten.mean,
    aten.sum,
    aten.avg_pool2d,
    aten._adaptive_avg_pool2d,
    aten.cat,
    aten.stack,
    aten.split,
    aten.split_with_sizes,
    aten.unbind,
    aten.add,
    aten.sub,
}
"""Linear in all of their tensor arguments together."""

_PRODUCTS = {aten.mm, aten.bmm, aten.mul, aten.embedding}
"""Linear in each tensor argument while the others stay fixed."""


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
    operation = getattr(node.target, "overloadpacket", node.target)

    def moves(index: int) -> bool:
        return len(node.args) > index and node.args[index] in moving

    if operation in _UNARY or getattr(operation, "__name__", "") == "getitem":
        return True
    if operation in _PRODUCTS:
        return not (moves(0) and moves(1))
    if operation is aten.div:
        return not moves(1)
    if operation is aten.addmm:
        return not (moves(1) and moves(2))
    if operation is aten.convolution:
        return not (moves(0) and moves(1))
    if operation is aten.constant_pad_nd:
        return len(node.args) < 3 or bool(node.args[2] == 0)
    if operation is aten.native_batch_norm:  # (x, weight, bias, mean, variance, training, …)
        return node.args[5] is False and not (moves(0) and moves(1))
    return False


def flops(node: fx.Node) -> int:
    """Return the floating-point operations of a matrix product or convolution, 0 for anything else."""
    count = _COUNTS.get(getattr(node.target, "overloadpacket", None))
    return count(node) if count is not None else 0


def elements(node: Any) -> int:
    """Return the number of elements of a node's value."""
    value = node.meta.get("val")
    return value.numel() if isinstance(value, Tensor) else 0


def _product(first: int) -> Callable[[fx.Node], int]:
    def count(node: fx.Node) -> int:
        left: Any = node.args[first]
        return 2 * elements(node) * int(left.meta["val"].shape[-1])

    return count


def _convolution(node: fx.Node) -> int:
    inputs, weight, transposed = node.args[0], node.args[1], node.args[6]
    taps = prod(weight.meta["val"].shape[1:])  # type: ignore[union-attr]
    return 2 * taps * (elements(inputs) if transposed else elements(node))


def _attention(node: fx.Node) -> int:
    query, key = (argument.meta["val"].shape for argument in node.args[:2])  # type: ignore[union-attr]
    return 4 * prod(query) * int(key[-2])


def _pointwise_convolution(node: fx.Node) -> int:
    return 2 * prod(node.args[1].meta["val"].shape[1:]) * elements(node)  # type: ignore[union-attr]


_COUNTS: dict[Any, Callable[[fx.Node], int]] = {
    getattr(torch.ops.mkldnn, "_convolution_pointwise", "absent"): _pointwise_convolution,
    aten.mm: _product(0),
    aten.bmm: _product(0),
    aten.addmm: _product(1),
    aten.baddbmm: _product(1),
    aten.convolution: _convolution,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}


def ancestors(node: fx.Node) -> set[fx.Node]:
    """Return a node and everything it is computed from."""
    seen, waiting = {node}, [node]
    while waiting:
        for argument in waiting.pop().all_input_nodes:
            if argument not in seen:
                seen.add(argument)
                waiting.append(argument)
    return seen
