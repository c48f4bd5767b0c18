"""One rule an operation: what becomes of hidden units that pass through it.

A scale survives an operation f only if f(s·x) = s·f(x) for s > 0; an order survives every operation that treats units
alike. Operations without a rule pin what enters them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.fx import Node

from landscape.graphs.exported import View, shape
from landscape.graphs.ops import OPS, facts, operation
from landscape.graphs.units.layers import LAYER_RULES
from landscape.graphs.units.shapes import SHAPE_RULES
from landscape.graphs.units.spaces import Axis, Rule, Scale, Segment, Signal, Tracker, uses_along


def _elementwise(tracker: Tracker, node: Node) -> Any:
    op = facts(node)
    if op.linear is not None:
        return tracker.argument(node, 0)
    return (_homogeneous if op.homogeneous else _not_homogeneous)(tracker, node)


def _homogeneous(tracker: Tracker, node: Node) -> Any:
    return without_layer(tracker.argument(node, 0))


def _not_homogeneous(tracker: Tracker, node: Node) -> Any:
    return with_pinned_scale(tracker, tracker.argument(node, 0), f"{operation(node)} is not positively homogeneous")


def _clamp(tracker: Tracker, node: Node) -> Any:
    """Clamping at zero is a ReLU; at any other bound it is not homogeneous."""
    bounds = [*node.args[1:], *node.kwargs.values()]
    return (_homogeneous if all(b in (None, 0) for b in bounds) else _not_homogeneous)(tracker, node)


def _prelu(tracker: Tracker, node: Node) -> Any:
    x, slope = tracker.argument(node, 0), tracker.argument(node, 1)
    if not (isinstance(x, Signal) and isinstance(slope, View)):
        return tracker.refuse(node, "it passes through prelu")
    axis = x.axes[1] if len(x.axes) > 1 else None
    if axis and slope.index.numel() > 1:
        for segment, use in uses_along(slope, 0, axis, node.name):
            segment.units.root().uses.append(use)
    return without_layer(x)


def _add(tracker: Tracker, node: Node) -> Any:
    first, second = tracker.argument(node, 0), tracker.argument(node, 1)
    if isinstance(first, View):
        first, second = second, first
    if isinstance(second, View):
        return _add_parameter(tracker, node, first, second)
    if isinstance(first, Signal) and isinstance(second, Signal):
        return _meet(tracker, node, first, second, "it enters a residual sum")
    signal = first if isinstance(first, Signal) else second
    return with_pinned_scale(tracker, signal, "a constant is added to it")


def _add_parameter(tracker: Tracker, node: Node, x: Signal, view: View) -> Any:
    offset = len(x.axes) - view.index.ndim
    for dim, axis in enumerate(x.axes):
        carried = dim - offset
        if not axis:
            continue
        if carried >= 0 and view.index.shape[carried] > 1:
            for segment, use in uses_along(view, carried, axis, node.name):
                tracker.produce(segment, use)
        else:
            for segment in axis:
                segment.scale.pin(f"{view.name} is added to all units alike")
    if len(shape(node)) != len(x.axes):
        return tracker.refuse(node, "it is broadcast")
    return without_layer(x)


def _multiply(tracker: Tracker, node: Node) -> Any:
    first, second = tracker.argument(node, 0), tracker.argument(node, 1)
    if isinstance(first, View) or not isinstance(first, Signal | View):
        first, second = second, first
        if operation(node) == "div":
            return tracker.refuse(node, "something is divided by it")
    if not isinstance(first, Signal):
        return tracker.refuse(node, "it passes through a product")
    if isinstance(second, Signal):
        return _meet(tracker, node, first, second, "it enters a product")
    if isinstance(second, View):
        offset = len(first.axes) - second.index.ndim
        if offset < 0:
            return tracker.refuse(node, "it is broadcast")
        for dim, axis in enumerate(first.axes):
            if axis and dim >= offset and second.index.shape[dim - offset] > 1:
                for segment, use in uses_along(second, dim - offset, axis, node.name):
                    segment.units.root().uses.append(use)
        return without_layer(first)
    return first


def _meet(tracker: Tracker, node: Node, a: Signal, b: Signal, reason: str) -> Signal:
    """Two activations meet entry by entry: their units are the same, their scales may not change."""
    sizes = [shape(n) for n in node.all_input_nodes[:2]]
    if len(node.all_input_nodes) < 2:
        sizes = sizes * 2
    rank = len(shape(node))
    axes: list[Axis | None] = []
    for dim in range(rank):
        mine, theirs = ((s.axes[dim - rank + len(s.axes)] if dim - rank + len(s.axes) >= 0 else None) for s in (a, b))
        other_size = [size[dim - rank + len(size)] if dim - rank + len(size) >= 0 else 1 for size in sizes]
        axes.append(_met(mine, theirs, other_size))
    met = Signal(tuple(axes))
    for signal in (a, b, met):
        for segment in signal.segments():
            segment.scale.pin(reason)
    return without_layer(met)


def _met(mine: Axis | None, theirs: Axis | None, sizes: list[int]) -> Axis | None:
    if mine and theirs:
        layouts = [[(s.size, s.inner, s.outer) for s in axis] for axis in (mine, theirs)]
        if layouts[0] == layouts[1]:
            for one, other in zip(mine, theirs):
                one.units.join(other.units)
            return mine
        for segment in (*mine, *theirs):
            segment.pin("it meets units that are laid out differently")
        return None
    alone = mine or theirs
    if alone and min(sizes) > 1:
        for segment in alone:
            segment.pin("it meets values that cannot be reordered with it")
        return None
    return alone


def without_layer(x: Signal) -> Signal:
    """Forget which layer an activation comes from: it is no longer that layer's output."""
    return Signal(tuple(axis and tuple(replace(s, layer=None) for s in axis) for axis in x.axes))


def with_pinned_scale(tracker: Tracker, x: Signal, reason: str) -> Signal:
    """Keep the units and end their scale here."""

    def ended(segment: Segment) -> Segment:
        segment.scale.pin(reason)
        after: Scale = tracker.scale()
        after.pin(reason)
        return replace(segment, scale=after, layer=None)

    return Signal(tuple(axis and tuple(ended(s) for s in axis) for axis in x.axes))


RULES: dict[str, Rule] = {
    **{name: _elementwise for name, op in OPS.items() if op.elementwise},
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), _clamp),
    "prelu": _prelu,
    "add": _add,
    "sub": _add,
    "mul": _multiply,
    "div": _multiply,
    **SHAPE_RULES,
    **LAYER_RULES,
}
"""Rules by operation; whatever is missing here is refused."""
