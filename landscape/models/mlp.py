"""Multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from landscape.errors import LandscapeError
from landscape.models.common import ACTIVATIONS, choose, seeded


def mlp(sizes: Sequence[int] = (64, 256, 256, 10), *, activation: str = "relu", seed: int = 0) -> nn.Sequential:
    """Build a fully connected network.

    Inputs of any shape are flattened first. The default is the network of the digits experiments (P = 85,002);
    ``(2352, 512, 10)`` and ``(2352, 512, 512, 512, 10)`` are the MLPs 1×512 and 3×512 of Zhang et al. 2017
    (arXiv 1611.03530, Table 1).

    Args:
        sizes: number of features at the input, after each hidden layer, and at the output (C).
        activation: ``relu``, ``gelu``, ``tanh``, ``silu``, ``softplus`` or ``none`` (a deep linear network).
        seed: of PyTorch's default initialisation of linear layers.

    Returns:
        A module from (N, …) to logits (N, C), with layers ``linear1``, ``linear2``, ….

    Raises:
        LandscapeError: fewer than two sizes, or an unknown activation.

    >>> sum(p.numel() for p in mlp().parameters())
    85002
    """
    if len(sizes) < 2:
        raise LandscapeError(f"sizes={tuple(sizes)}; expected at least inputs and outputs, as in (64, 10)")
    nonlinearity = choose("activation", activation, ACTIVATIONS)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    with seeded(seed):
        for index, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
            layers[f"linear{index}"] = nn.Linear(inputs, outputs)
            if index < len(sizes) - 1:
                layers[f"activation{index}"] = nonlinearity()
    return nn.Sequential(layers)
