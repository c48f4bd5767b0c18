"""T2: the rescaling of single hidden units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from landscape.arguments import seeded_generator
from landscape.errors import LandscapeError
from landscape.transforms.apply import Transformed, duplicate, finish, positive, rescale
from landscape.transforms.flow import follow
from landscape.transforms.graph import Inputs
from landscape.transforms.places import choose, scalable


def node_scale(
    model: nn.Module, example_inputs: Inputs, *, spread: float = 1.5, layers: Sequence[str] | None = None, seed: int = 0
) -> Transformed:
    r"""Multiply what enters each hidden unit by a factor of its own and divide what leaves it.

    Row i of $(W_l, b_l)$ times $s_i$, column i of $W_{l+1}$ divided by $s_i$, $\log s_i \sim U(-r, r)$; channels of a
    convolution keep one factor through pooling and flattening.

    Args:
        model: the network; a copy is transformed.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.
        spread: r > 0, in units of the natural logarithm.
        layers: names of the layers whose units are scaled, from `places`; by default every valid one.
        seed: of the factors.

    Returns:
        The new network and the largest change of its predicted probabilities.

    Raises:
        LandscapeError: no valid place, for instance because the activation is not homogeneous.

    Source: Dinh et al. 2017 (arXiv 1703.04933); Neyshabur, Salakhutdinov and Srebro 2015, *Path-SGD* (arXiv
    1506.02617), §2, for the rescaling of nodes.

    >>> from landscape.models import mlp
    >>> scaled = node_scale(mlp((6, 5, 4, 3)).double(), torch.ones(2, 6).double())
    >>> scaled.where, scaled.change < 1e-10
    (('linear1', 'linear2'), True)
    """
    positive(spread, "spread")
    analysis = follow(model, example_inputs)
    chosen = choose(scalable(analysis), analysis, layers, "Node scaling")
    generator = seeded_generator(seed)
    clone, tensors = duplicate(model)
    for scale in chosen:
        sizes = {use.size for use in (*scale.producers, *scale.consumers)}
        if len(sizes) > 1:
            raise LandscapeError(f"Node scaling cannot act at {scale.name!r}: its units differ in number ({sizes}).")
        factors = torch.exp(spread * (2 * torch.rand(sizes.pop(), generator=generator, dtype=torch.float64) - 1))
        for use in scale.producers:
            rescale(tensors, use, factors)
        for use in scale.consumers:
            rescale(tensors, use, 1 / factors)
    return finish(model, clone, "node scaling", example_inputs, (scale.name for scale in chosen))
