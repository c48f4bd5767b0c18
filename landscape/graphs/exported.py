"""The data flow of a network on example inputs, as a graph of ATen operations with named parameters.

`torch.export` is used rather than `torch.fx.symbolic_trace`: it sees ``nn.ReLU``, ``F.relu`` and ``x.relu()`` as one
operation, knows every shape, follows Python code that branches on shapes, and names each parameter it meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node, map_arg

from landscape.errors import LandscapeError
from landscape.function.forward import takes_keywords
from landscape.function.structure import deep_copy
from landscape.graphs.ops import facts

T = TypeVar("T")
Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class View:
    """A parameter or buffer, or part of one, as it enters an operation.

    Attributes:
        name: qualified name in the network.
        index: flat positions in that tensor, in the shape of the view.
    """

    name: str
    index: Tensor


def arguments(model: nn.Module, example_inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a network is called with: positional and keyword arguments.

    Raises:
        LandscapeError: The inputs are something else than tensors, such as a graph.
    """
    if isinstance(example_inputs, Tensor):
        return (example_inputs,), {}
    parts = example_inputs.values() if isinstance(example_inputs, Mapping) else example_inputs
    if not (isinstance(parts, Iterable) and all(isinstance(part, Tensor) for part in parts)):
        raise LandscapeError(
            f"The network is called with a {type(example_inputs).__name__}, through which hidden units are not followed; "
            "expected tensors: one, a tuple, or a mapping"
        )
    if not isinstance(example_inputs, Mapping):
        return tuple(example_inputs), {}
    return ((), dict(example_inputs)) if takes_keywords(model, example_inputs) else ((dict(example_inputs),), {})


def index_of(node: Node) -> int:
    """Return which part a ``getitem`` node takes."""
    index = node.args[1]
    assert isinstance(index, int)
    return index


def shape(node: Node) -> torch.Size:
    """Return the shape of a node's value."""
    return node.meta["val"].shape


def export(model: nn.Module, example_inputs: Inputs) -> tuple[Graph, dict[str, View]]:
    """Trace a copy of a network in evaluation mode; the network itself is left alone.

    Args:
        model: any module that `torch.export` can follow.
        example_inputs: a tensor (N, …) or a tuple of the arguments; of a single tensor two examples are traced.

    Returns:
        The graph, and the parameter or buffer behind each placeholder that is one.

    Raises:
        LandscapeError: the network cannot be traced, for instance because it branches on values.
    """
    inputs, keywords = arguments(model, example_inputs)
    if len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].ndim:
        inputs = (inputs[0][:2],)
    plain = deep_copy(model).eval()
    try:
        with torch.no_grad():
            program = torch.export.export(plain, inputs, keywords, strict=False)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LandscapeError(
            f"The network cannot be traced on the example inputs ({first}): give inputs it accepts, and a forward pass "
            "that does not branch on values."
        ) from error
    tensors = dict(chain(plain.named_parameters(remove_duplicate=False), plain.named_buffers(remove_duplicate=False)))
    first_name: dict[int, str] = {}
    for name, tensor in tensors.items():
        first_name.setdefault(id(tensor), name)
    signature = program.graph_signature
    views = {
        placeholder: View(first_name[id(tensors[name])], positions(tensors[name]))
        for placeholder, name in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()
        if name in tensors
    }
    return program.graph, views


def positions(tensor: Tensor) -> Tensor:
    """Return the flat position of each entry of a tensor, in its shape."""
    return torch.arange(tensor.numel()).reshape(tensor.shape)


def moved(node: Node, places: Tensor, like: Callable[[Tensor], T]) -> T | tuple[T, ...]:
    """Return where entries are after an operation that only moves them, each part of the result made by ``like(places)``."""
    if facts(node).elementwise:
        return like(places)
    # contiguous, because a view that suits the strides of the values need not suit those of their positions
    args, kwargs = map_arg((node.args, node.kwargs), lambda n: places.contiguous())
    parts = node.target(*args, **kwargs)  # type: ignore[operator]
    return like(parts) if isinstance(parts, Tensor) else tuple(map(like, parts))


def overlap(indices: list[Tensor]) -> bool:
    """Return whether any position is in two of these sets of positions."""
    entries = [index.unique() for index in indices]
    return len(torch.cat(entries).unique()) < sum(len(part) for part in entries)
