"""What counts as one filter of a parameter: the group of weights that produces one output of its module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from landscape.errors import LandscapeError
from landscape.function.parameters import ParameterSpace

Attention = Literal["row", "head"]

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Layout:
    """How one parameter is cut into filters.

    Attributes:
        name: the parameter's name.
        where: its place in theta.
        blocks: the shape it is viewed in.
        over: the dimensions of ``blocks`` that make up one filter; the others count the filters.
        vector: whether it is a bias, a parameter of a norm layer, or another parameter with one number a channel.
        rule: the rule in words, as recorded with the directions.

    >>> space = ParameterSpace.select(nn.ConvTranspose2d(4, 6, 3, groups=2))
    >>> layouts(nn.ConvTranspose2d(4, 6, 3, groups=2), space)[0].blocks  # groups, inputs, outputs, kernel
    (2, 2, 3, 9)
    """

    name: str
    where: slice
    blocks: tuple[int, ...]
    over: tuple[int, ...]
    vector: bool
    rule: str

    def norms(self, theta: Tensor) -> Tensor:
        """Return the Euclidean norm of each filter of theta (P,), with the reduced dimensions kept as ones."""
        return torch.linalg.vector_norm(theta[self.where].view(self.blocks), dim=self.over, keepdim=True)


def layouts(model: nn.Module, space: ParameterSpace, *, attention: Attention = "row") -> list[Layout]:
    """Say for each parameter of theta which of its entries make up one filter.

    The rule goes by the module that owns the parameter: rows (outputs) of linear, bilinear and recurrent weights and of
    attention projections, output channels of convolutions (for transposed ones the second axis within each group), rows
    (tokens) of embeddings. Parameters owned by anything else are cut along their first dimension. Biases, parameters of
    norm layers and whatever has one number a channel are vectors. A tied parameter follows the first module that owns
    it.

    Args:
        model: the network.
        space: the layout of theta.
        attention: ``row`` cuts the packed projections of `torch.nn.MultiheadAttention` by rows, ``head`` by heads.

    Raises:
        LandscapeError: ``attention`` is something else.
    """
    if attention not in ("row", "head"):
        raise LandscapeError(f"attention is {attention!r}, expected 'row' or 'head'")
    owners = dict(_owners(model))
    out = []
    for name, where, shape in zip(space.names, space.slices.values(), space.shapes, strict=True):
        module, own_name = owners[name]
        blocks, over, vector, rule = _cut(module, own_name, tuple(shape), attention)
        out.append(Layout(name, where, blocks, over, vector, rule))
    return out


def _owners(model: nn.Module) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
    """Yield each parameter's full name with the module that owns it and its name there."""
    for prefix, module in model.named_modules():
        for own_name in module._parameters:
            yield (f"{prefix}.{own_name}" if prefix else own_name), (module, own_name)


def _cut(
    module: nn.Module, name: str, shape: tuple[int, ...], attention: Attention
) -> tuple[tuple[int, ...], tuple[int, ...], bool, str]:
    size = prod(shape)
    if len(shape) < 2 or isinstance(module, _NORMS):
        return (size,), (0,), True, "vector"
    if isinstance(module, _TRANSPOSED):
        groups = module.groups
        return (groups, shape[0] // groups, shape[1], prod(shape[2:])), (1, 3), False, "output channels in each group"
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # a linear layer that stores its transpose
        return shape, (0,), False, "columns, the outputs of a transposed linear layer"
    if isinstance(module, nn.MultiheadAttention) and name in ("bias_k", "bias_v"):
        return (size,), (0,), True, "vector"
    if isinstance(module, nn.MultiheadAttention) and attention == "head":
        heads = shape[0] // module.head_dim
        return (heads, size // heads), (1,), False, "attention heads"
    known = isinstance(module, nn.Linear | nn.modules.conv._ConvNd | nn.Embedding | nn.EmbeddingBag)
    if size == shape[0] and not known:
        return (size,), (0,), True, "vector"
    return (shape[0], size // shape[0]), (1,), False, "rows"
