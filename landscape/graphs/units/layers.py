"""Rules for the operations with parameters: linear, convolution, embedding and the norm layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.fx import Node

from landscape.graphs.exported import View, shape
from landscape.graphs.ops import operation
from landscape.graphs.units.spaces import (
    Axis,
    Layer,
    NormStatistics,
    Rule,
    Segment,
    Signal,
    Tracker,
    Use,
    module_of,
    uses_along,
)


def _linear(tracker: Tracker, node: Node) -> Any:
    x, weight, bias = (tracker.argument(node, i, name) for i, name in enumerate(("input", "weight", "bias")))
    if not (isinstance(x, Signal) and isinstance(weight, View) and (bias is None or isinstance(bias, View))):
        return tracker.refuse(node, "its layer's weight is computed from others")
    for segment, use in uses_along(weight, 1, _entering(tracker, x.axes[-1], weight), node.name):
        tracker.consume(segment, use)
    _keep_order_elsewhere(Signal(x.axes[:-1]), bias)
    return Signal((*x.axes[:-1], _outputs(tracker, node, weight, bias)))


def _convolution(tracker: Tracker, node: Node) -> Any:
    x, weight, bias = (tracker.argument(node, i, name) for i, name in enumerate(("input", "weight", "bias")))
    if not (isinstance(x, Signal) and isinstance(weight, View) and (bias is None or isinstance(bias, View))):
        return tracker.refuse(node, "its layer's weight is computed from others")
    groups = tracker.argument(node, 6, "groups", 1)
    out = weight.index.shape[0]
    axis = x.axes[1]
    spatial = Signal(x.axes[2:])
    spatial.pin("a convolution slides over it")
    if groups == 1:
        for segment, use in uses_along(weight, 1, _entering(tracker, axis, weight), node.name):
            tracker.consume(segment, use)
        made = _outputs(tracker, node, weight, bias)
    elif groups == out and weight.index.shape[1] == 1 and axis:
        made = _depthwise(tracker, node, axis, weight, bias)
    else:
        Signal((axis,)).pin("a convolution reads it in groups")
        made = _outputs(tracker, node, weight, bias)
        made[0].units.pin("a convolution makes it in groups")
    return Signal((x.axes[0], made, *(None for _ in x.axes[2:])))


def _outputs(tracker: Tracker, node: Node, weight: View, bias: View | None) -> Axis:
    producers = [(weight, 0)] + ([(bias, 0)] if bias is not None else [])
    return (tracker.fresh(weight.index.shape[0], producers, node, Layer(weight, bias)),)


def _depthwise(tracker: Tracker, node: Node, axis: Axis, weight: View, bias: View | None) -> Axis:
    """Every unit is filtered on its own: the same units, a new scale."""
    made = []
    for segment, use in uses_along(weight, 0, axis, node.name):
        tracker.consume(segment, use)
        scale = tracker.scale()
        scale.producers.append(use)
        made.append(replace(segment, scale=scale, layer=None))
    if bias is not None:
        for segment, use in uses_along(bias, 0, tuple(made), node.name):
            tracker.produce(segment, use)
    return tuple(made)


def _keep_order_elsewhere(rest: Signal, bias: View | None) -> None:
    for segment in rest.segments():
        if bias is not None:
            segment.scale.pin("a bias is added along another dimension")


def _embedding(tracker: Tracker, node: Node) -> Any:
    weight = tracker.argument(node, 0)
    if not isinstance(weight, View):
        return tracker.refuse(node, "it passes through embedding")
    for segment, use in uses_along(weight, 0, (_unordered(tracker, weight.index.shape[0]),), node.name):
        segment.units.uses.append(use)
    made = tracker.fresh(weight.index.shape[1], [(weight, 1)], node)
    return Signal((*(None for _ in range(len(shape(node)) - 1)), (made,)))


def _batch_norm(tracker: Tracker, node: Node) -> Any:
    names = ("input", "weight", "bias", "running_mean", "running_var")
    x, weight, bias, mean, variance = (tracker.argument(node, i, name) for i, name in enumerate(names))
    if not isinstance(x, Signal) or any(isinstance(v, Signal) for v in (weight, bias, mean, variance)):
        return tracker.refuse(node, "its norm's parameters are computed from others")
    size = shape(node)[1]
    Signal(x.axes[2:]).pin("a norm averages over it")
    axis = x.axes[1] or (_unordered(tracker, size),)
    _note_fold(tracker, node, axis, mean)
    made, start = [], 0
    for segment in axis:
        about, spread = (view and _at(view, segment, start, node) for view in (mean, variance))
        segment.units.root().uses += filter(None, (about, spread))
        segment.scale.root().norms.append(NormStatistics(about, spread, _owner(node)))
        made.append(_normalised(tracker, node, segment, [(v, 0) for v in (weight, bias) if v is not None], start))
        start += segment.length
    return Signal((x.axes[0], tuple(made), *(None for _ in x.axes[2:])))


def _layer_norm(tracker: Tracker, node: Node) -> Any:
    x, normalised, weight = (tracker.argument(node, i) for i in range(3))
    bias = tracker.argument(node, 3, "bias") if operation(node) == "layer_norm" else None
    if not isinstance(x, Signal) or isinstance(weight, Signal) or isinstance(bias, Signal):
        return tracker.refuse(node, "its norm's parameters are computed from others")
    first = len(x.axes) - len(normalised)
    Signal(x.axes[:first]).pin("a norm over other dimensions divides it out")
    axes: list[Axis | None] = [None] * first
    for dim in range(first, len(x.axes)):
        if len(normalised) > 1 and x.axes[dim] is None:
            axes.append(None)
            continue
        axis = x.axes[dim] or (_unordered(tracker, shape(node)[dim]),)
        affine = [(v, dim - first) for v in (weight, bias) if v is not None]
        axes.append(_divided_out(tracker, node, axis, affine))
    return Signal(tuple(axes))


def _group_norm(tracker: Tracker, node: Node) -> Any:
    x, groups, weight, bias = (tracker.argument(node, i) for i in range(4))
    if not isinstance(x, Signal) or isinstance(weight, Signal) or isinstance(bias, Signal):
        return tracker.refuse(node, "its norm's parameters are computed from others")
    size = shape(node)[1]
    Signal(x.axes[2:]).pin("a norm averages over it")
    axis = x.axes[1] or (_unordered(tracker, size),)
    if 1 < groups < size:
        for segment in axis:
            segment.units.pin("a group norm treats its groups apart")
    made = _divided_out(tracker, node, axis, [(v, 0) for v in (weight, bias) if v is not None])
    return Signal((x.axes[0], made, *(None for _ in x.axes[2:])))


def _owner(node: Node) -> str:
    """Return the module that an operation is called in, by name."""
    stack: dict[str, tuple[str, str]] = node.meta.get("nn_module_stack") or {"": ("", "")}
    return list(stack.values())[-1][0]


def _divided_out(tracker: Tracker, node: Node, axis: Axis, affine: list[tuple[View, int]]) -> Axis:
    """A norm over all units at once divides out the scale they share."""
    if len(axis) > 1:
        for segment in axis:
            segment.scale.pin("a norm mixes it with other units")
    made, start = [], 0
    for segment in axis:
        segment.scale.root().norms.append(NormStatistics(None, None, _owner(node)))
        made.append(_normalised(tracker, node, segment, affine, start))
        start += segment.length
    return tuple(made)


def _normalised(tracker: Tracker, node: Node, segment: Segment, affine: list[tuple[View, int]], start: int) -> Segment:
    """The same units after a norm, with the scale that the norm's own parameters set."""
    after = replace(segment, scale=tracker.scale(), layer=None)
    for view, dim in affine:
        tracker.produce(after, replace(_at(view, segment, start, node), dim=dim))
    if not affine:
        after.scale.pin("the norm before it has no parameters")
    return after


def _entering(tracker: Tracker, axis: Axis | None, weight: View) -> Axis:
    """Return the units a layer reads; if they have a fixed order, a weight it shares must keep it too."""
    return axis or (_unordered(tracker, weight.index.shape[1]),)


def _unordered(tracker: Tracker, size: int) -> Segment:
    """Units whose order is not ours to change, such as the inputs of the network."""
    segment = Segment(tracker.units(size), tracker.scale(), size)
    segment.pin("it is computed from values that cannot be reordered")
    return segment


def _at(view: View, segment: Segment, start: int, node: Node) -> Use:
    return Use(view, 0, start, segment.size, segment.inner, segment.outer, node.name)


def _note_fold(tracker: Tracker, node: Node, axis: Axis, mean: View | None) -> None:
    source = node.args[0]
    layer = axis[0].layer
    if mean is None or layer is None or not isinstance(source, Node) or len(axis) > 1:
        return
    if len(source.users) == 1 and operation(source) in LAYER_OPERATIONS:
        tracker.folds.append((layer, module_of(mean.name)))


LAYER_OPERATIONS = ("linear", "conv1d", "conv2d", "conv3d")

LAYER_RULES: dict[str, Rule] = {
    "linear": _linear,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "instance_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "group_norm": _group_norm,
}
"""Rules of the operations that own parameters."""
