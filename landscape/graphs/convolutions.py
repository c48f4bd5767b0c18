"""Convolutions in the form a CPU runs fastest: frozen norm layers folded in, channels last, oneDNN's own operation."""

from __future__ import annotations

import operator

import torch
from torch import Tensor, fx

from landscape.graphs.trace import views_to_reshapes

aten = torch.ops.aten


def fuse_convolutions(module: fx.GraphModule) -> None:
    r"""Rewrite the two-dimensional convolutions of a traced network, in place; other networks stay as they are.

    A norm layer with frozen statistics after a convolution is an affine map of each channel and moves into its weights,

    .. math:: W' = s\,W, \qquad b' = \beta + s\,(b - \mu), \qquad s = \gamma / \sqrt{\sigma^2 + \epsilon}

    which are three passes over the weights in place of one over the activations. The convolution itself becomes
    oneDNN's, into which Inductor then merges the activation and the sum with a shortcut that follow; for PyTorch's own
    it does so only when the weights never change. The result is the same up to rounding.

    Args:
        module: as `trace` returns it, of a network in evaluation mode.

    >>> from landscape.graphs.trace import trace
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).eval()
    >>> images = torch.ones(1, 1, 4, 4)
    >>> graph = trace(net, [images])
    >>> fuse_convolutions(graph)
    >>> torch.allclose(graph(images), net(images), atol=1e-6)
    True
    """
    if not _available():
        return
    graph = module.graph
    _drop_idle(graph)
    for node in list(graph.nodes):
        if _suits(node):
            _rewrite(graph, node)
    views_to_reshapes(graph)  # channels last, what a convolution returns cannot be viewed as it was
    graph.eliminate_dead_code()
    module.recompile()


def _available() -> bool:
    """Whether this PyTorch has the operation, which is not part of its public interface."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _drop_idle(graph: fx.Graph) -> None:
    """Remove operations that return their input, which stand between a convolution and what could merge with it."""
    for node in list(graph.nodes):
        padding_of_nothing = node.target is aten.constant_pad_nd.default and not any(node.args[1])
        if padding_of_nothing or node.target is aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


def _suits(node: fx.Node) -> bool:
    if node.target is not aten.convolution.default or node.args[6]:  # transposed
        return False
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.ndim == 4 and value.dtype == torch.float32 and value.device.type == "cpu"


def _rewrite(graph: fx.Graph, node: fx.Node) -> None:
    inputs, weight, bias, stride, padding, dilation, _, _, groups = node.args
    assert isinstance(weight, fx.Node)
    norm = next(iter(node.users)) if len(node.users) == 1 else None
    last = node
    with graph.inserting_before(node if norm is None else norm):
        if norm is not None and _is_frozen_norm(norm):
            weight, bias = _folded(graph, weight, bias, norm)
            last = next(iter(norm.users))
        ordered = _call(graph, aten.clone.default, weight, like=weight, memory_format=torch.channels_last)
        merged = graph.call_function(
            torch.ops.mkldnn._convolution_pointwise.default,
            (inputs, ordered, bias, padding, stride, dilation, groups, "none", [], ""),
        )
    merged.meta["val"] = node.meta["val"]
    last.replace_all_uses_with(merged)


def _is_frozen_norm(node: fx.Node) -> bool:
    """Whether the node is a batch norm with given statistics, of which only the normalised values are used."""
    if node.target is not aten.native_batch_norm.default or node.args[5]:  # training
        return False
    return [(user.target, user.args[1]) for user in node.users] == [(operator.getitem, 0)]


def _folded(graph: fx.Graph, weight: fx.Node, bias: fx.node.Argument, norm: fx.Node) -> tuple[fx.Node, fx.Node]:
    """Return the weights and the bias of a convolution that does what it did with the norm layer behind it."""
    _, gamma, beta, mean, variance, _, _, epsilon = norm.args
    assert isinstance(mean, fx.Node)
    shifted = _call(graph, aten.add.Scalar, variance, epsilon, like=mean)
    scale = _call(graph, aten.rsqrt.default, shifted, like=mean)
    if gamma is not None:
        scale = _call(graph, aten.mul.Tensor, scale, gamma, like=mean)
    column = _call(graph, aten.view.default, scale, [-1, 1, 1, 1], like=mean)
    offset = mean if bias is None else _call(graph, aten.sub.Tensor, mean, bias, like=mean)
    moved = _call(graph, aten.mul.Tensor, offset, scale, like=mean)
    if beta is None:
        out = _call(graph, aten.neg.default, moved, like=mean)
    else:
        out = _call(graph, aten.sub.Tensor, beta, moved, like=mean)
    return _call(graph, aten.mul.Tensor, weight, column, like=weight), out


def _call(
    graph: fx.Graph, target: torch._ops.OpOverload, *arguments: object, like: fx.Node, **options: object
) -> fx.Node:
    """Add an operation whose result is as large as another's."""
    node = graph.call_function(target, arguments, options)  # type: ignore[arg-type]
    node.meta["val"] = like.meta["val"]
    return node
