"""Rules for the operations that reshape, reduce, pool, pad and join activations."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from torch.fx import Node

from landscape.graphs.exported import shape
from landscape.graphs.ops import operation
from landscape.graphs.units.spaces import Axis, Rule, Signal, Tracker


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
        Signal((axes[d],)).pin("it is reshaped into parts")
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
    Signal((x.axes[dim],)).pin("it is cut into parts")
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
            Signal((axes[-1 - pair],)).pin("it is padded with other units")
            axes[-1 - pair] = None
    return Signal(tuple(axes))


def _pool(tracker: Tracker, node: Node) -> Any:
    """Pooling over the last dimensions is homogeneous, and the same for every channel."""
    x, name = tracker.argument(node, 0), operation(node)
    pooled = int(next(c for c in name if c.isdigit()))
    Signal(x.axes[-pooled:]).pin("it is pooled")
    kept = Signal((*x.axes[:-pooled], *[None] * pooled))
    if "max" in name:
        kept = Signal(tuple(axis and tuple(replace(s, layer=None) for s in axis) for axis in kept.axes))
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
    axes = [None if d in over else axis for d, axis in enumerate(x.axes) if keep or d not in over]
    return Signal(tuple(a and tuple(replace(s, layer=None) if extreme else s for s in a) for a in axes))


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


SHAPE_RULES: dict[str, Rule] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshape),
    **dict.fromkeys(("permute", "transpose", "t", "numpy_T"), _permute),
    **dict.fromkeys(("slice", "narrow"), _slice),
    **dict.fromkeys(("select", "unbind"), _select),
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _parts),
    **dict.fromkeys(("expand", "expand_as"), _expand),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys(
        [
            f"{kind}{n}d{suffix}"
            for n in (1, 2, 3)
            for kind in ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool")
            for suffix in ("", "_with_indices")
        ],
        _pool,
    ),
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _reduce),
    "cat": _cat,
}
"""Rules of the operations without parameters that change a shape."""
