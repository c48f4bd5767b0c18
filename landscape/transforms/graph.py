"""The data flow of a network on example inputs, as a graph of ATen operations with named parameters.

`torch.export` is used rather than `torch.fx.symbolic_trace`: it sees ``nn.ReLU``, ``F.relu`` and ``x.relu()`` as one
operation, knows every shape, follows Python code that branches on shapes, and names each parameter it meets.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node

from landscape.errors import LandscapeError
from landscape.transforms.spaces import View, whole

Inputs = Tensor | tuple[Tensor, ...]

SHAPE_ONLY = frozenset(
    [
        "view",
        "reshape",
        "_unsafe_view",
        "flatten",
        "unflatten",
        "squeeze",
        "unsqueeze",
        "permute",
        "transpose",
        "t",
        "movedim",
        "slice",
        "select",
        "narrow",
        "unbind",
        "chunk",
        "split",
        "split_with_sizes",
        "tensor_split",
        "expand",
        "expand_as",
        "alias",
        "contiguous",
        "clone",
        "detach",
        "to",
        "lift_fresh_copy",
    ]
)
"""Operations that move entries without changing them."""


@dataclass(frozen=True)
class Flow:
    """A traced network.

    Attributes:
        graph: operations in the order in which they run.
        views: the parameter or buffer behind each placeholder that is one.
    """

    graph: Graph
    views: dict[str, View]


def as_tuple(example_inputs: Inputs) -> tuple[Tensor, ...]:
    """Return example inputs as a tuple of tensors."""
    return (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)


def operation(node: Node) -> str:
    """Return the name of a node's operation, such as ``conv2d`` or ``getitem``."""
    text = str(node.target)
    return text.split(".")[1].rstrip("_") if text.startswith("aten.") else getattr(node.target, "__name__", text)


def index_of(node: Node) -> int:
    """Return which part a ``getitem`` node takes."""
    index = node.args[1]
    assert isinstance(index, int)
    return index


def shape(node: Node) -> torch.Size:
    """Return the shape of a node's value."""
    return node.meta["val"].shape


def trace(model: nn.Module, example_inputs: Inputs) -> Flow:
    """Trace a copy of a network in evaluation mode; the network itself is left alone.

    Args:
        model: any module that `torch.export` can follow.
        example_inputs: a tensor (N, …) or a tuple of the arguments; of a single tensor two examples are traced.

    Returns:
        The graph and the tensors behind its placeholders.

    Raises:
        LandscapeError: the network cannot be traced, for instance because it branches on values.
    """
    inputs = as_tuple(example_inputs)
    if len(inputs) == 1 and inputs[0].ndim:
        inputs = (inputs[0][:2],)
    plain = copy.deepcopy(model).eval()
    try:
        with torch.no_grad():
            program = torch.export.export(plain, inputs, strict=False)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LandscapeError(
            f"The network cannot be traced on the example inputs ({first}): give inputs it accepts, and a forward pass "
            "that does not branch on values."
        ) from error
    tensors = {
        **dict(plain.named_parameters(remove_duplicate=False)),
        **dict(plain.named_buffers(remove_duplicate=False)),
    }
    first_name: dict[int, str] = {}
    for name, tensor in tensors.items():
        first_name.setdefault(id(tensor), name)
    signature = program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    views = {
        placeholder: View(first_name[id(tensors[name])], whole(tensors[name].shape))
        for placeholder, name in named.items()
        if name in tensors
    }
    return Flow(program.graph, views)
