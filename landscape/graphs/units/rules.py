"""One rule an operation: what becomes of hidden units that pass through it.

A scale survives an operation f only if f(s·x) = s·f(x) for s > 0; an order survives every operation that treats units
alike. Operations without a rule pin what enters them.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from torch.fx import Node

from landscape.graphs.exported import View, shape
from landscape.graphs.ops import OPS, facts, operation
from landscape.graphs.units.layers import LAYER_RULES
from landscape.graphs.units.spaces import Axis, Rule, Segment, Signal, Tracker, pin, uses_along


def _elementwise(tracker: Tracker, node: Node) -> Any:
    op = facts(node)
    return tracker.argument(node, 0) if op.linear is not None else _activation(tracker, node, op.homogeneous)


def _clamp(tracker: Tracker, node: Node) -> Any:
    """Clamping at zero is a ReLU; at any other bound it is not homogeneous."""
    return _activation(tracker, node, all(bound in (None, 0) for bound in (*node.args[1:], *node.kwargs.values())))


def _activation(tracker: Tracker, node: Node, homogeneous: bool) -> Any:
    x = tracker.argument(node, 0)
    return (
        x.without_layer()
        if homogeneous
        else _scale_ends(tracker, x, f"{operation(node)} is not positively homogeneous")
    )


def _prelu(tracker: Tracker, node: Node) -> Any:
    x, slope = tracker.argument(node, 0), tracker.argument(node, 1)
    if not (isinstance(x, Signal) and isinstance(slope, View)):
        return tracker.refuse(node, "it passes through prelu")
    axis = x.axes[1] if len(x.axes) > 1 else None
    if axis and slope.index.numel() > 1:
        for segment, use in uses_along(slope, 0, axis, node.name):
            segment.reordered(use)
    return x.without_layer()


def _add(tracker: Tracker, node: Node) -> Any:
    first, second = tracker.argument(node, 0), tracker.argument(node, 1)
    if isinstance(first, View):
        first, second = second, first
    if isinstance(second, View):
        return _add_parameter(tracker, node, first, second)
    if isinstance(first, Signal) and isinstance(second, Signal):
        return _meet(tracker, node, first, second, "it enters a residual sum")
    signal = first if isinstance(first, Signal) else second
    return _scale_ends(tracker, signal, "a constant is added to it")


def _add_parameter(tracker: Tracker, node: Node, x: Signal, view: View) -> Any:
    offset = len(x.axes) - view.index.ndim
    for dim, axis in enumerate(x.axes):
        carried = dim - offset
        if not axis:
            continue
        if carried >= 0 and view.index.shape[carried] > 1:
            for segment, use in uses_along(view, carried, axis, node.name):
                segment.set_by(use)
        else:
            for segment in axis:
                segment.scale.pin(f"{view.name} is added to all units alike")
    if len(shape(node)) != len(x.axes):
        return tracker.refuse(node, "it is broadcast")
    return x.without_layer()


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
                    segment.reordered(use)
        return first.without_layer()
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
    return met.without_layer()


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


def _scale_ends(tracker: Tracker, x: Signal, reason: str) -> Signal:
    """Keep the units and end their scale here."""

    def ended(segment: Segment) -> Segment:
        segment.scale.pin(reason)
        after = tracker.scale()
        after.pin(reason)
        return replace(segment, scale=after, layer=None)

    return x.each(ended)


def _reshape(tracker: Tracker, node: Node) -> Any:
    x = tracker.argument(node, 0)
    old, new = list(shape(node.all_input_nodes[0])), list(shape(node))
    axes: list[Axis | None] = []
    i = j = 0
    while i < len(old) or j < len(new):
        olds, news = [i] if i < len(old) else [], [j] if j < len(new) else []
        while prod(old[d] for d in olds) != prod(new[d] for d in news):
            if prod(old[d] for d in olds) < prod(new[d] for d in news):
                olds.append((olds or [i - 1])[-1] + 1)
            else:
                news.append((news or [j - 1])[-1] + 1)
        i, j = i + len(olds), j + len(news)
        axes += _regrouped([x.axes[d] for d in olds], [old[d] for d in olds], [new[d] for d in news])
    return Signal(tuple(axes))


def _regrouped(axes: list[Axis | None], old: list[int], new: list[int]) -> list[Axis | None]:
    """Merge a group of dimensions into one and split it into others, keeping track of at most one that holds units."""
    nothing: list[Axis | None] = [None] * len(new)
    holding = [d for d, axis in enumerate(axes) if axis]
    if not holding:
        return nothing
    merged = _merged(axes[holding[0]] or (), prod(old[: holding[0]]), prod(old[holding[0] + 1 :]))
    if len(holding) == 1 and merged:
        for place in range(len(new)):
            before, after = prod(new[:place]), prod(new[place + 1 :])
            split = _split(merged, before, after)
            if split:
                return [split if d == place else None for d in range(len(new))]
    for d in holding:
        pin(axes[d], "it is reshaped into parts")
    return nothing


def _merged(axis: Axis, before: int, after: int) -> Axis | None:
    if len(axis) > 1 and before > 1:
        return None
    return tuple(replace(s, outer=s.outer * before, inner=s.inner * after) for s in axis)


def _split(axis: Axis, before: int, after: int) -> Axis | None:
    if any(s.outer % before or s.inner % after for s in axis) or (len(axis) > 1 and before > 1):
        return None
    return tuple(replace(s, outer=s.outer // before, inner=s.inner // after) for s in axis)


def _permute(tracker: Tracker, node: Node) -> Any:
    x = tracker.argument(node, 0)
    order = list(range(len(x.axes)))
    if operation(node) == "permute":
        order = [d % len(order) for d in tracker.argument(node, 1)]
    elif operation(node) == "transpose":
        a, b = tracker.argument(node, 1), tracker.argument(node, 2)
        order[a], order[b] = order[b], order[a]
    else:
        order.reverse()
    return Signal(tuple(x.axes[d] for d in order))


def _slice(tracker: Tracker, node: Node) -> Any:
    x, dim = tracker.argument(node, 0), tracker.argument(node, 1, "dim", 0) % len(tracker.argument(node, 0).axes)
    if shape(node) == shape(node.all_input_nodes[0]):
        return x
    return _without(x, dim)


def _select(tracker: Tracker, node: Node) -> Any:
    x, dim = tracker.argument(node, 0), tracker.argument(node, 1, "dim", 0) % len(tracker.argument(node, 0).axes)
    cut = _without(x, dim)
    left = Signal(tuple(axis for d, axis in enumerate(cut.axes) if d != dim))
    return (left,) * len(node.meta["val"]) if operation(node) == "unbind" else left


def _parts(tracker: Tracker, node: Node) -> Any:
    x, dim = tracker.argument(node, 0), tracker.argument(node, 2, "dim", 0) % len(tracker.argument(node, 0).axes)
    left = _without(x, dim)
    return (left,) * len(node.meta["val"])


def _without(x: Signal, dim: int) -> Signal:
    """Pin the units along a dimension that is cut into parts, and forget them."""
    pin(x.axes[dim], "it is cut into parts")
    return Signal(tuple(None if d == dim else axis for d, axis in enumerate(x.axes)))


def _expand(tracker: Tracker, node: Node) -> Any:
    x = tracker.argument(node, 0)
    old, new = shape(node.all_input_nodes[0]), shape(node)
    added = len(new) - len(old)
    for d, axis in enumerate(x.axes):
        if axis and old[d] != new[d + added]:
            return tracker.refuse(node, "it is expanded")
    return Signal((*(None for _ in range(added)), *x.axes))


def _pad(tracker: Tracker, node: Node) -> Any:
    x, widths = tracker.argument(node, 0), tracker.argument(node, 1)
    constant = operation(node) == "constant_pad_nd" or tracker.argument(node, 2, "mode", "constant") == "constant"
    value = tracker.argument(node, 2 if operation(node) == "constant_pad_nd" else 3, "value", 0)
    if constant and value:
        for segment in x.segments():
            segment.scale.pin("it is padded with a constant")
    axes = list(x.axes)
    for pair in range(len(widths) // 2):
        if any(widths[2 * pair : 2 * pair + 2]):
            pin(axes[-1 - pair], "it is padded with other units")
            axes[-1 - pair] = None
    return Signal(tuple(axes))


def _pool(tracker: Tracker, node: Node) -> Any:
    """Pooling over the last dimensions is homogeneous, and the same for every channel."""
    x, name = tracker.argument(node, 0), operation(node)
    pooled = int(next(c for c in name if c.isdigit()))
    Signal(x.axes[-pooled:]).pin("it is pooled")
    kept = Signal((*x.axes[:-pooled], *[None] * pooled))
    if "max" in name:
        kept = kept.without_layer()
    return (kept, None) if isinstance(node.meta["val"], tuple | list) else kept


def _reduce(tracker: Tracker, node: Node) -> Any:
    """A sum, mean or extreme over units does not mind their order, but mixes their scales."""
    x, dims = tracker.argument(node, 0), tracker.argument(node, 1, "dim")
    dims = range(len(x.axes)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    over = {d % len(x.axes) for d in dims}
    keep = len(shape(node)) == len(x.axes)
    for d in over:
        for segment in x.axes[d] or ():
            segment.scale.pin(f"{operation(node)} is taken over it")
    extreme = operation(node) in ("amax", "amin")
    kept = Signal(tuple(None if d in over else axis for d, axis in enumerate(x.axes) if keep or d not in over))
    return kept.without_layer() if extreme else kept


def _cat(tracker: Tracker, node: Node) -> Any:
    parts, dim = tracker.argument(node, 0), tracker.argument(node, 1, "dim", 0)
    if not all(isinstance(part, Signal) for part in parts):
        return tracker.refuse(node, "it is joined with something else")
    dim %= len(parts[0].axes)
    if any(axis for part in parts for d, axis in enumerate(part.axes) if d != dim):
        return tracker.refuse(node, "it is joined along another dimension")
    if not all(part.axes[dim] for part in parts):
        return tracker.refuse(node, "it is joined with values that cannot be reordered")
    joined = tuple(segment for part in parts for segment in part.axes[dim])
    return Signal(tuple(joined if d == dim else None for d in range(len(parts[0].axes))))


RULES: dict[str, Rule] = {
    **{name: _elementwise for name, op in OPS.items() if op.elementwise},
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max"), _clamp),
    "prelu": _prelu,
    "add": _add,
    "sub": _add,
    "mul": _multiply,
    "div": _multiply,
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshape),
    **dict.fromkeys(("permute", "transpose", "t", "numpy_T"), _permute),
    **dict.fromkeys(("slice", "narrow"), _slice),
    **dict.fromkeys(("select", "unbind"), _select),
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _parts),
    **dict.fromkeys(("expand", "expand_as"), _expand),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **{name: _pool for name in OPS if "_pool" in name and not name.startswith("_")},
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduce),
    "cat": _cat,
    **LAYER_RULES,
}
"""Rules by operation; whatever is missing here is refused."""
