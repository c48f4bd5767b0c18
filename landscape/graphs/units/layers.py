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
    module_of,
    pin,
    starts,
    uses_along,
)

OF_OTHERS = "its layer's weight is computed from others"
NORM_OF_OTHERS = "its norm's parameters are computed from others"


def _arguments(tracker: Tracker, node: Node, *names: str) -> list[Any] | None:
    """Return input, weight, bias and so on of a layer; `None` where one is computed from others."""
    x, *tensors = (tracker.argument(node, i, name) for i, name in enumerate(("input", *names)))
    known = isinstance(x, Signal) and all(tensor is None or isinstance(tensor, View) for tensor in tensors)
    return [x, *tensors] if known else None


def _linear(tracker: Tracker, node: Node) -> Any:
    found = _arguments(tracker, node, "weight", "bias")
    if found is None:
        return tracker.refuse(node, OF_OTHERS)
    x, weight, bias = found
    _reads(tracker, node, x.axes[-1], weight)
    if bias is not None:
        for segment in Signal(x.axes[:-1]).segments():
            segment.scale.pin("a bias is added along another dimension")
    return Signal((*x.axes[:-1], _outputs(tracker, node, weight, bias)))


def _convolution(tracker: Tracker, node: Node) -> Any:
    found = _arguments(tracker, node, "weight", "bias")
    if found is None:
        return tracker.refuse(node, OF_OTHERS)
    x, weight, bias = found
    groups = tracker.argument(node, 6, "groups", 1)
    out, inputs = weight.index.shape[:2]
    axis = x.axes[1]
    Signal(x.axes[2:]).pin("a convolution slides over it")
    if groups == out and groups > 1 and inputs == 1 and axis:
        made = _depthwise(tracker, node, axis, weight, bias)
    else:
        if groups == 1:
            _reads(tracker, node, axis, weight)
        else:
            pin(axis, "a convolution reads it in groups")
        made = _outputs(tracker, node, weight, bias)
        if groups > 1:
            made[0].units.pin("a convolution makes it in groups")
    return Signal((x.axes[0], made, *(None for _ in x.axes[2:])))


def _reads(tracker: Tracker, node: Node, axis: Axis | None, weight: View) -> None:
    """Record that columns of a weight read these units; if they have a fixed order, a weight it shares must keep it too."""
    for segment, use in uses_along(weight, 1, axis or (_unordered(tracker, weight.index.shape[1]),), node.name):
        segment.read_by(use)


def _outputs(tracker: Tracker, node: Node, weight: View, bias: View | None) -> Axis:
    producers = [(weight, 0)] + ([(bias, 0)] if bias is not None else [])
    return (tracker.fresh(weight.index.shape[0], producers, node, Layer(weight, bias)),)


def _depthwise(tracker: Tracker, node: Node, axis: Axis, weight: View, bias: View | None) -> Axis:
    """Every unit is filtered on its own: the same units, a new scale."""
    made = []
    for segment, use in uses_along(weight, 0, axis, node.name):
        segment.read_by(use)
        scale = tracker.scale()
        scale.producers.append(use)
        made.append(replace(segment, scale=scale, layer=None))
    if bias is not None:
        for segment, use in uses_along(bias, 0, tuple(made), node.name):
            segment.set_by(use)
    return tuple(made)


def _embedding(tracker: Tracker, node: Node) -> Any:
    weight = tracker.argument(node, 0)
    if not isinstance(weight, View):
        return tracker.refuse(node, "it passes through embedding")
    for segment, use in uses_along(weight, 0, (_unordered(tracker, weight.index.shape[0]),), node.name):
        segment.reordered(use)
    made = tracker.fresh(weight.index.shape[1], [(weight, 1)], node)
    return Signal((*(None for _ in range(len(shape(node)) - 1)), (made,)))


def _batch_norm(tracker: Tracker, node: Node) -> Any:
    names = ("input", "weight", "bias", "running_mean", "running_var")
    x, weight, bias, mean, variance = (tracker.argument(node, i, name) for i, name in enumerate(names))
    if not isinstance(x, Signal) or any(isinstance(v, Signal) for v in (weight, bias, mean, variance)):
        return tracker.refuse(node, NORM_OF_OTHERS)
    Signal(x.axes[2:]).pin("a norm averages over it")
    axis = x.axes[1] or (_unordered(tracker, shape(node)[1]),)
    _note_fold(tracker, node, axis, mean)
    made = []
    for segment, start in starts(axis):
        about, spread = (view and segment.use(view, 0, start, node.name) for view in (mean, variance))
        for use in filter(None, (about, spread)):
            segment.reordered(use)
        segment.scale.norms.append(NormStatistics(about, spread, _owner(node)))
        made.append(_normalised(tracker, node, segment, [(v, 0) for v in (weight, bias) if v is not None], start))
    return Signal((x.axes[0], tuple(made), *(None for _ in x.axes[2:])))


def _layer_norm(tracker: Tracker, node: Node) -> Any:
    x, normalised, weight = (tracker.argument(node, i) for i in range(3))
    bias = tracker.argument(node, 3, "bias") if operation(node) == "layer_norm" else None
    if not isinstance(x, Signal) or isinstance(weight, Signal) or isinstance(bias, Signal):
        return tracker.refuse(node, NORM_OF_OTHERS)
    first = len(x.axes) - len(normalised)
    Signal(x.axes[:first]).pin("a norm over other dimensions divides it out")
    axes: list[Axis | None] = [None] * first
    for dim in range(first, len(x.axes)):
        if len(normalised) > 1 and x.axes[dim] is None:
            axes.append(None)
            continue
        axis = x.axes[dim] or (_unordered(tracker, shape(node)[dim]),)
        axes.append(_divided_out(tracker, node, axis, [(v, dim - first) for v in (weight, bias) if v is not None]))
    return Signal(tuple(axes))


def _group_norm(tracker: Tracker, node: Node) -> Any:
    x, groups, weight, bias = (tracker.argument(node, i) for i in range(4))
    if not isinstance(x, Signal) or isinstance(weight, Signal) or isinstance(bias, Signal):
        return tracker.refuse(node, NORM_OF_OTHERS)
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
    made = []
    for segment, start in starts(axis):
        if len(axis) > 1:
            segment.scale.pin("a norm mixes it with other units")
        segment.scale.norms.append(NormStatistics(None, None, _owner(node)))
        made.append(_normalised(tracker, node, segment, affine, start))
    return tuple(made)


def _normalised(tracker: Tracker, node: Node, segment: Segment, affine: list[tuple[View, int]], start: int) -> Segment:
    """The same units after a norm, with the scale that the norm's own parameters set."""
    after = replace(segment, scale=tracker.scale(), layer=None)
    for view, dim in affine:
        after.set_by(segment.use(view, dim, start, node.name))
    if not affine:
        after.scale.pin("the norm before it has no parameters")
    return after


def _unordered(tracker: Tracker, size: int) -> Segment:
    """Units whose order is not ours to change, such as the inputs of the network."""
    segment = Segment(tracker.units(size), tracker.scale(), size)
    segment.pin("it is computed from values that cannot be reordered")
    return segment


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
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    "embedding": _embedding,
    **dict.fromkeys(("batch_norm", "instance_norm"), _batch_norm),
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "group_norm": _group_norm,
}
"""Rules of the operations that own parameters."""
