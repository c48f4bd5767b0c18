"""Trace a function of tensors into a graph of ATen operations. The only place that touches private PyTorch API."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from landscape.errors import LandscapeError
from landscape.function.guard import raise_handled
from landscape.graphs.ops import facts

try:
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils import _pytree as pytree
except ImportError:  # a PyTorch that moved them: callers fall back to programs that need no trace
    make_fx = None  # type: ignore[assignment]


_KNOWN = (Tensor, str, bytes, bool, int, float, complex, type(None), torch.dtype, torch.device)
"""Leaves that a trace sees, or may keep as they are."""


class TraceError(LandscapeError):
    """The function cannot be traced or split; a caller falls back to a program that needs no trace."""


def flatten(tree: Any) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], Any]]:
    """Take the tensors out of nested tuples, lists and dicts, and say how to put others back in their place.

    Leaves that are not tensors (flags, strings, None) stay where they are.

    >>> import torch
    >>> tensors, rebuild = flatten({"x": torch.ones(2), "training": False})
    >>> rebuild([torch.zeros(2)])
    {'x': tensor([0., 0.]), 'training': False}
    """
    leaves, spec = pytree.tree_flatten(tree)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    plain = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def rebuild(tensors: Sequence[Tensor]) -> Any:
        filled = list(plain)
        for place, tensor in zip(places, tensors, strict=True):
            filled[place] = tensor
        return pytree.tree_unflatten(filled, spec)

    return [leaves[place] for place in places], rebuild


def signature(tree: Any) -> tuple[Any, ...]:
    """What a trace bakes in: structure, shapes, dtypes, devices and plain values. Equal signatures may share a trace.

    >>> import torch
    >>> signature(torch.ones(2)) == signature(torch.zeros(2)), signature(torch.ones(2)) == signature(torch.ones(3))
    (True, False)

    Raises:
        TraceError: it holds an object, whose tensors a trace would take for constants.
    """
    leaves, spec = pytree.tree_flatten(tree)
    opaque = next((leaf for leaf in leaves if not isinstance(leaf, _KNOWN)), None)
    if opaque is not None:
        raise TraceError(f"a batch that holds a {type(opaque).__name__} cannot be traced; use program='kept'")
    parts = tuple(
        (tuple(leaf.shape), leaf.stride(), leaf.dtype, str(leaf.device)) if isinstance(leaf, Tensor) else repr(leaf)
        for leaf in leaves
    )
    return (str(spec), *parts)


def trace(function: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """Record what ``function(*inputs)`` does as a graph without mutations.

    Args:
        function: Takes tensors, returns a tensor or a tuple of tensors.
        inputs: Example tensors; their shapes are baked in.

    Raises:
        TraceError: Tracing failed: a value read by Python, an opaque operation, a checkpointed block.
    """
    if make_fx is None:
        raise TraceError("this PyTorch has no make_fx; use a program that needs no trace, or another PyTorch (≥ 2.10)")
    graph = _record(function, inputs)
    _drop_mutations(graph.graph)
    _drop_detach(graph.graph)
    _merge_equal(graph.graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _record(function: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    try:
        # Nothing is computed. A tensor given twice would be one input of the graph: every place gets an object of its own.
        record = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)
        return record(*(tensor.detach() for tensor in inputs))
    except Exception as error:  # the tracer raises whatever the traced code met
        raise_handled(error)
        first = (str(error).strip().splitlines() or ["no message"])[0]
        raise TraceError(
            f"tracing failed ({type(error).__name__}: {first}); use a program that needs no trace"
        ) from error


def _drop_mutations(graph: fx.Graph) -> None:
    """Replace in-place operations on the function's own intermediate values by ones that make a new value."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
            continue
        target = _functional(node.target)
        if target is not None and facts(node).moves:  # touches no data
            _replace(node, target, order)
            continue
        changed = node.all_input_nodes[0]
        earlier = [n for n in order if order[n] < order[node] and storage_of(n) is storage_of(changed)]
        later = [u for n in earlier if n is not changed for u in n.users if order[u] > order[node]]
        if target is None or later or storage_of(changed).op != "call_function":
            name = node.target.overloadpacket.__name__
            raise TraceError(f"{name} changes a tensor that is used elsewhere; use a program that needs no trace")
        _replace(node, target, order)


def _functional(target: torch._ops.OpOverload) -> torch._ops.OpOverload | None:
    """Return the operation that makes a new value of the same arguments, `None` when there is none."""
    packet = getattr(torch.ops.aten, target.overloadpacket.__name__.removesuffix("_"), None)
    overloads = [getattr(packet, name) for name in packet.overloads()] if packet is not None else []
    return next((other for other in overloads if _takes(other) == _takes(target)), None)


def _takes(target: torch._ops.OpOverload) -> list[str]:
    return [str(argument.type) for argument in target._schema.arguments]


def _replace(node: fx.Node, target: torch._ops.OpOverload, order: dict[fx.Node, int]) -> None:
    """Let a node make a new value, which whatever follows uses instead of the one that was changed."""
    node.target = target
    node.all_input_nodes[0].replace_all_uses_with(node, delete_user_cb=lambda user: order[user] > order[node])


def _drop_detach(graph: fx.Graph) -> None:
    """Every part runs without autograd, where detach only costs a call."""
    for node in graph.nodes:
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])


def _merge_equal(graph: fx.Graph) -> None:
    """Compute once what the function computes twice, such as a forward pass under forward and under reverse mode."""
    seen: dict[tuple[Any, str], fx.Node] = {}
    for node in graph.nodes:
        if node.op != "call_function" or _is_random(node):
            continue
        key = (node.target, f"{node.args} {node.kwargs}")
        if key in seen:
            node.replace_all_uses_with(seen[key])
        else:
            seen[key] = node


def views_to_reshapes(graph: fx.Graph) -> None:
    """Let every view copy where it must: strides change when values are mapped over vectors (`torch.vmap`)."""
    for node in graph.nodes:
        if node.target in (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default):
            node.target = torch.ops.aten.reshape.default


def _is_random(node: fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def size_of(node: fx.Node) -> int:
    """Bytes of the storage a node creates: 0 when it is not a tensor."""
    value = node.meta.get("val")
    return value.untyped_storage().nbytes() if isinstance(value, Tensor) else 0


def is_part(node: fx.Node) -> bool:
    """Whether the node picks one of several results."""
    return node.target is operator.getitem


def is_view(node: fx.Node) -> bool:
    """Whether the node's result shares storage with its first tensor argument."""
    target = node.target
    if is_part(node):
        return is_view(node.all_input_nodes[0])
    if not isinstance(target, torch._ops.OpOverload):
        return False
    if target is torch.ops.aten._unsafe_view.default:
        return True
    returns = target._schema.returns
    return bool(returns) and all(r.alias_info is not None for r in returns)


def storage_of(node: fx.Node) -> fx.Node:
    """The node that made the storage a view looks at."""
    while is_view(node):
        node = node.all_input_nodes[0]
    return node


def is_cheap(node: fx.Node) -> bool:
    """Whether running the node again costs about one pass over its result, and gives the same numbers."""
    target = node.target
    if is_part(node):
        return True
    if not isinstance(target, torch._ops.OpOverload) or _is_random(node):
        return False
    return torch.Tag.pointwise in target.tags or is_view(node) or facts(node).cheap


def saving_is_hooked() -> bool:
    """Return whether saved tensors pass through hooks here: inside a checkpointed block, or when they are moved to the CPU.

    >>> with torch.autograd.graph.save_on_cpu():
    ...     inside = saving_is_hooked()
    >>> inside, saving_is_hooked()
    (True, False)
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
