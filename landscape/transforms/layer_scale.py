"""T1: the rescaling of Dinh et al., one layer up and the next one down."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from landscape.transforms.apply import Transformed, duplicate, finish, positive, rescale
from landscape.transforms.flow import follow
from landscape.transforms.graph import Inputs
from landscape.transforms.places import choose, scalable


def layer_scale(
    model: nn.Module, example_inputs: Inputs, *, alpha: float = 5.0, layers: Sequence[str] | None = None
) -> Transformed:
    r"""Multiply a layer by alpha and divide the next one by it: predictions stay, Euclidean curvatures move.

    $(W_l, b_l) \to \alpha (W_l, b_l)$, $W_{l+1} \to W_{l+1} / \alpha$, $b_{l+1}$ unchanged, where only positively
    homogeneous operations (ReLU, leaky ReLU, pooling, none) lie between. After a norm layer its own weight and bias are
    what is scaled. Inside a residual network this acts within the branches: a trunk cannot be rescaled.

    Args:
        model: the network; a copy is transformed.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.
        alpha: the factor, positive.
        layers: names of the layers to multiply, from `places`; by default the first valid one.

    Returns:
        The new network and the largest change of its predicted probabilities.

    Raises:
        LandscapeError: no valid place, for instance because the activation is not homogeneous.
        NumericalError: the factor is so extreme that rounding moved the predictions.

    Source: Dinh, Pascanu, Bengio and Bengio 2017, *Sharp minima can generalize for deep nets* (arXiv 1703.04933),
    definition 5 and theorem 4.

    >>> from landscape.models import mlp
    >>> scaled = layer_scale(mlp((6, 5, 4, 3)).double(), torch.ones(2, 6).double(), alpha=100.0)
    >>> scaled.where, scaled.change < 1e-10
    (('linear1',), True)
    """
    positive(alpha)
    analysis = follow(model, example_inputs)
    found = choose(scalable(analysis), analysis, layers, "Layer scaling")
    chosen = found if layers is not None else [scale for scale in found if scale.name == found[0].name]
    clone, tensors = duplicate(model)
    for scale in chosen:
        for use in scale.producers:
            rescale(tensors, use, torch.full((use.size,), alpha, dtype=torch.float64))
        for use in scale.consumers:
            rescale(tensors, use, torch.full((use.size,), 1 / alpha, dtype=torch.float64))
    return finish(model, clone, "layer scaling", example_inputs, (scale.name for scale in chosen))
