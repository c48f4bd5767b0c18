"""T3: the rescaling of weights in front of a norm layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from landscape.transforms.apply import Transformed, duplicate, finish, positive, rescale
from landscape.transforms.flow import follow
from landscape.transforms.graph import Inputs
from landscape.transforms.places import choose, normalised_away


def norm_layer_scale(
    model: nn.Module, example_inputs: Inputs, *, alpha: float = 5.0, layers: Sequence[str] | None = None
) -> Transformed:
    r"""Multiply the weights and biases that feed norm layers by alpha: the norm divides the factor out again.

    The running statistics of a batch norm are multiplied as its input was, $\mu \to \alpha\mu$,
    $\sigma^2 \to \alpha^2\sigma^2$, as re-estimating them would find. The function is preserved up to the norm's
    $\epsilon$: the change is of order $\epsilon / \sigma^2$, which `change` reports.

    Args:
        model: the network; a copy is transformed.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.
        alpha: the factor, positive.
        layers: names of the layers to multiply; by default every one that feeds norm layers alone.

    Returns:
        The new network and the largest change of its predicted probabilities.

    Raises:
        LandscapeError: no layer feeds norm layers alone.

    Source: van Laarhoven 2017, *L2 regularization versus batch and weight normalization* (arXiv 1706.05350), §2.

    >>> from landscape.models import small_cnn
    >>> scaled = norm_layer_scale(small_cnn().double(), torch.ones(2, 1, 8, 8).double(), alpha=2.0)
    >>> scaled.where, scaled.change < 1e-4
    (('conv1', 'conv2'), True)
    """
    positive(alpha)
    analysis = follow(model, example_inputs)
    chosen = choose(normalised_away(analysis), analysis, layers, "Norm-layer scaling", "it has no norm layers")
    clone, tensors = duplicate(model)
    for scale in chosen:
        for use in scale.producers:
            rescale(tensors, use, torch.full((use.size,), alpha, dtype=torch.float64))
        for norm in scale.norms:
            for statistic, factor in ((norm.mean, alpha), (norm.variance, alpha**2)):
                if statistic is not None:
                    rescale(tensors, statistic, torch.full((statistic.size,), factor, dtype=torch.float64))
    where = (scale.name for scale in chosen)
    return finish(model, clone, "norm-layer scaling", example_inputs, where, preserves=False)
