"""Scaling random directions to the weights they perturb: by filter, layer, model or element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.slices.filters import Layout

Normalize = Literal["filter", "layer", "model", "element"] | None
Vectors = Literal["zero", "scale", "keep"]


def normalised(
    direction: Tensor, theta: Tensor, parts: Sequence[Layout], *, normalize: Normalize, vectors: Vectors
) -> Tensor:
    r"""Scale a direction to the size of the weights.

    With filters :math:`w_i` of the weights and :math:`d_i` of the direction,

    ========== =========================================================================================
    filter     :math:`d_i \leftarrow d_i\,\|w_i\|/\|d_i\|` (Li et al. 2018, arXiv 1712.09913, section 4)
    layer      the same with whole parameter tensors in place of filters
    model      the same with the whole vector in place of filters
    element    :math:`d_j \leftarrow d_j\,|w_j|`
    `None`     the direction as it is
    ========== =========================================================================================

    Args:
        direction: (P,) in float64.
        theta: (P,) the weights in float64.
        parts: how theta is cut into filters (`filters.layouts`).
        normalize: the rule.
        vectors: ``scale`` applies the rule to each bias and each norm parameter as one filter; otherwise their entries
            stay as they are (for ``zero`` they were never drawn).

    Returns:
        The scaled direction (P,). A filter whose weights are all zero gets a zero direction.

    Raises:
        LandscapeError: an unknown rule.
    """
    check_rules(normalize, vectors)
    out = direction.clone()
    scaled = [part for part in parts if not part.vector or vectors == "scale"]
    if normalize == "model":
        weights = torch.cat([theta[part.where] for part in scaled] or [theta[:0]])
        drawn = torch.cat([out[part.where] for part in scaled] or [out[:0]])
        factor = _ratio(weights.norm(), drawn.norm())
        for part in scaled:
            out[part.where] *= factor
    for part in scaled:
        piece = out[part.where]
        if normalize == "element":
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
    if normalize not in ("filter", "layer"):
        return []
    notes = []
    for part in parts:
        if part.vector and vectors != "scale":
            continue
        norms = part.norms(theta) if normalize == "filter" else theta[part.where].norm().reshape(1)
        empty = int((norms == 0).sum())
        if empty:
            what = "filters" if normalize == "filter" else "layers"
            notes.append(f"{part.name}: {empty} of {norms.numel()} {what} have zero weights and get a zero direction")
    return notes


def _ratio(weights: Tensor, drawn: Tensor) -> Tensor:
    """Return |w|/|d|, and zero where the direction is zero."""
    return torch.where(drawn > 0, weights / drawn.clamp_min(torch.finfo(drawn.dtype).tiny), 0.0)
