"""Feed-forward networks: a multilayer perceptron, and a small convolutional network for small images."""

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


def small_cnn(
    image_shape: Sequence[int] = (1, 8, 8),
    *,
    channels: Sequence[int] = (16, 32),
    classes: int = 10,
    activation: str = "relu",
    norm: str = "batch",
    seed: int = 0,
) -> nn.Sequential:
    """Build stages of 3×3 convolution, norm, activation and 2×2 average pooling, then one linear layer.

    Average pooling is smooth, so that with ``gelu`` the loss has second derivatives everywhere.

    Args:
        image_shape: channels, height and width of an image, e.g. (1, 8, 8) for digits or (1, 28, 28) for MNIST.
        channels: feature maps of each stage; every stage halves height and width.
        classes: number of classes C.
        activation: ``relu``, ``gelu``, ``tanh``, ``silu``, ``softplus`` or ``none``.
        norm: ``batch`` or ``none``.
        seed: of the initialisation.

    Returns:
        A module from images (N, channels, height, width) to logits (N, C).

    Raises:
        LandscapeError: more halvings than the image has pixels for, an unknown activation or norm.

    >>> import torch
    >>> small_cnn()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    inputs, height, width = image_shape
    if min(height, width) >> len(channels) == 0:
        raise LandscapeError(f"{len(channels)} stages halve a {height} × {width} image to nothing; use fewer channels")
    nonlinearity = choose("activation", activation, ACTIVATIONS)
    normalise = choose("norm", norm, {"batch": nn.BatchNorm2d, "none": nn.Identity})
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    with seeded(seed):
        for index, outputs in enumerate(channels, start=1):
            layers[f"conv{index}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers[f"norm{index}"] = normalise(outputs)
            layers[f"activation{index}"] = nonlinearity()
            layers[f"pool{index}"] = nn.AvgPool2d(2)
            inputs, height, width = outputs, height // 2, width // 2
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(inputs * height * width, classes)
    return nn.Sequential(layers)
