"""What counts as one filter of a parameter (the weights that produce one output), and scaling directions to filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.function.parameters import ParameterSpace
from landscape.graphs.units.factors import products_of

Attention = Literal["row", "head"]
Normalize = Literal["filter", "layer", "model", "element"] | None
Vectors = Literal["zero", "scale", "keep"]


@dataclass(frozen=True)
class Layout:
    """How one parameter is cut into filters.

    Attributes:
        name: the parameter's name.
        where: its place in theta.
        blocks: the shape it is viewed in.
        over: the dimensions of ``blocks`` that make up one filter; the others count the filters.
        vector: whether it is a bias, a parameter of a norm layer, or another parameter with one number per channel.
        groups: the number of each entry's filter, (size,), where filters are no blocks, as heads are not; else `None`.

    >>> space = ParameterSpace.select(nn.ConvTranspose2d(4, 6, 3, groups=2))
    >>> layouts(nn.ConvTranspose2d(4, 6, 3, groups=2), space)[0].blocks  # groups, inputs, outputs, kernel
    (2, 2, 3, 9)
    """

    name: str
    where: slice
    blocks: tuple[int, ...]
    over: tuple[int, ...]
    vector: bool
    groups: Tensor | None = None

    def filters(self, theta: Tensor) -> Tensor:
        """Return the Euclidean norm of each filter of theta (P,)."""
        if self.groups is None:
            return self.norms(theta)
        squares = theta.new_zeros(int(self.groups.max()) + 1)
        return squares.index_add(0, self.groups, theta[self.where].square()).sqrt()

    def norms(self, theta: Tensor) -> Tensor:
        """Return these norms in a shape that goes with ``blocks``."""
        if self.groups is not None:
            return self.filters(theta)[self.groups]
        return torch.linalg.vector_norm(theta[self.where].view(self.blocks), dim=self.over, keepdim=True)


def layouts(
    model: nn.Module, space: ParameterSpace, heads: Mapping[str, Sequence[Tensor]] | None = None
) -> list[Layout]:
    """Say for each parameter of theta which of its entries make up one filter.

    The rule goes by the module that owns the parameter: rows (outputs) of linear, bilinear and recurrent weights and of
    attention projections, output channels of convolutions (for transposed ones the second axis within each group), rows
    (tokens) of embeddings. Parameters owned by anything else are cut along their first dimension. Biases, parameters of
    norm layers and whatever has one number per channel are vectors. A tied parameter follows the first module that owns
    it. Where ``heads`` has positions of a parameter, as `heads_of` finds them, each of these is one filter instead.
    """
    owners = {
        name: module
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(prefix, recurse=False, remove_duplicate=False)
    }
    out = []
    for name, where, shape in zip(space.names, space.slices.values(), space.shapes, strict=True):
        layout = Layout(name, where, *_cut(owners[name], name, tuple(shape)))
        out.append(_by_heads(layout, heads[name]) if heads and name in heads and not layout.vector else layout)
    return out


def _cut(module: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], bool]:
    """Return ``blocks``, ``over`` and ``vector`` of a `Layout`."""
    size = prod(shape)
    by_columns = type(module).__name__ == "Conv1D" and hasattr(module, "nf")  # GPT-2's linear layer, (inputs, outputs)
    known = by_columns or isinstance(module, nn.Linear | _ConvNd | nn.Embedding | nn.EmbeddingBag)
    extra_token = isinstance(module, nn.MultiheadAttention) and name.endswith(("bias_k", "bias_v"))
    norm = isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm | nn.RMSNorm)
    if len(shape) < 2 or norm or extra_token or (size == shape[0] and not known):
        return (size,), (0,), True
    if isinstance(module, _ConvTransposeNd):
        return (module.groups, shape[0] // module.groups, shape[1], prod(shape[2:])), (1, 3), False
    return (shape, (0,), False) if by_columns else ((shape[0], size // shape[0]), (1,), False)


def _by_heads(layout: Layout, heads: Sequence[Tensor]) -> Layout:
    counted = [1 if d in layout.over else n for d, n in enumerate(layout.blocks)]
    groups = torch.arange(prod(counted)).reshape(counted).expand(layout.blocks).flatten().clone()
    for number, where in enumerate(heads):
        groups[where] = prod(counted) + number
    return replace(layout, blocks=(len(groups),), over=(0,), groups=groups.unique(return_inverse=True)[1])


def heads_of(objective: Objective, attention: Attention) -> dict[str, list[Tensor]]:
    """Return where the heads of attention lie in each parameter: rows of projections, columns of the output projection.

    With ``row`` there are none; with ``head`` the network is traced on two examples.

    Raises:
        LandscapeError: ``attention`` is something else, or the network has attention whose heads cannot be told apart.
    """
    if attention not in ("row", "head"):
        raise LandscapeError(f"attention is {attention!r}, expected 'row' or 'head'")
    if attention == "row":
        return {}
    heads = _packed_heads(objective.model)
    try:
        products, left = products_of(objective)
    except LandscapeError as error:
        products, left = [], () if heads else (str(error).rstrip("."),)
    if left:
        raise LandscapeError(
            f"attention='head' does not find all heads of this network: {left[0]}; pass attention='row'"
        )
    found: dict[str, list[Tensor]] = {}
    for product in products:
        for name, where in (*product.left, *product.right) if product.attention else ():
            found.setdefault(name, []).append(where.flatten())
    return found | heads


def _packed_heads(model: nn.Module) -> dict[str, list[Tensor]]:
    """Return the heads of PyTorch's own attention, which need no tracing."""
    heads: dict[str, list[Tensor]] = {}
    for prefix, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            for name, tensor in module.named_parameters(prefix=prefix):
                if tensor.ndim == 2:
                    places = torch.arange(tensor.numel()).reshape(tensor.shape)
                    parts = places.split(module.head_dim, 1 if "out_proj" in name else 0)
                    heads[name] = [part.flatten() for part in parts]
    return heads


def normalised(
    direction: Tensor, theta: Tensor, parts: Sequence[Layout], *, normalize: Normalize, vectors: Vectors
) -> Tensor:
    r"""Scale a direction (P,) to the size of the weights theta (P,), both in float64.

    With filters :math:`w_i` of the weights and :math:`d_i` of the direction,

    ========== =========================================================================================
    filter     :math:`d_i \leftarrow d_i\,\|w_i\|/\|d_i\|` (Li et al. 2018, arXiv 1712.09913, section 4)
    layer      the same with whole parameter tensors in place of filters
    model      the same with the whole vector in place of filters
    element    :math:`d_j \leftarrow d_j\,|w_j|`
    `None`     the direction as it is
    ========== =========================================================================================

    With ``vectors="scale"`` each bias and each norm parameter counts as one filter; otherwise their entries stay as they
    are (for ``zero`` they were never drawn). A filter whose weights are all zero gets a zero direction.
    """
    out = direction.clone()
    scaled = [part for part in parts if not part.vector or vectors == "scale"]
    if normalize == "model":
        weights, drawn = (torch.cat([x[part.where] for part in scaled] or [x[:0]]) for x in (theta, out))
        factor = _ratio(weights.norm(), drawn.norm())
    for part in scaled:
        piece = out[part.where]
        if normalize == "model":
            piece *= factor
        elif normalize == "element":
            piece *= theta[part.where].abs()
        elif normalize == "layer":
            piece *= _ratio(theta[part.where].norm(), piece.norm())
        elif normalize == "filter":
            piece.view(part.blocks).mul_(_ratio(part.norms(theta), part.norms(out)))
    return out


def check_rules(normalize: Normalize, vectors: Vectors) -> None:
    """Raise LandscapeError for a rule that does not exist."""
    if normalize not in ("filter", "layer", "model", "element", None):
        raise LandscapeError(f"normalize is {normalize!r}, expected 'filter', 'layer', 'model', 'element' or None")
    if vectors not in ("zero", "scale", "keep"):
        raise LandscapeError(f"vectors is {vectors!r}, expected 'zero', 'scale' or 'keep'")


def zero_filters(theta: Tensor, parts: Sequence[Layout], *, normalize: Normalize, vectors: Vectors) -> list[str]:
    """Say which parameters have filters (layers, for ``layer``) whose weights are all zero: their direction is zero."""
    notes = []
    for part in parts if normalize in ("filter", "layer") else ():
        norms = part.filters(theta) if normalize == "filter" else theta[part.where].norm().reshape(1)
        empty = int((norms == 0).sum())
        if empty and (not part.vector or vectors == "scale"):
            notes.append(
                f"{part.name}: {empty} of {norms.numel()} {normalize}s have zero weights and get a zero direction"
            )
    return notes


def _ratio(weights: Tensor, drawn: Tensor) -> Tensor:
    """Return |w|/|d|, and zero where the direction is zero."""
    return torch.where(drawn > 0, weights / drawn.clamp_min(torch.finfo(drawn.dtype).tiny), 0.0)
