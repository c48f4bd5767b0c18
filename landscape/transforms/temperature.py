"""T7: sharper or softer predictions with the same decisions."""

from __future__ import annotations

import torch
from torch import nn

from landscape.transforms.apply import Transformed, duplicate, finish, positive, rescale
from landscape.transforms.graph import Inputs
from landscape.transforms.head import find_head
from landscape.transforms.spaces import Use


def temperature(model: nn.Module, example_inputs: Inputs, *, t: float = 2.0) -> Transformed:
    r"""Multiply the last layer, and so every logit, by t: every decision stays, every confidence changes.

    This does not preserve the function. A score that moves under it measures confidence as well as geometry: at a
    cross-entropy of 2.4e-4, doubled logits lower the largest Hessian eigenvalue more than a hundredfold.

    Args:
        model: the network; a copy is transformed.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.
        t: the factor, positive; an inverse temperature.

    Returns:
        The new network and the largest change of its predicted probabilities.

    Raises:
        NotDefinedError: the outputs are not logits of two or more classes.
        LandscapeError: a factor that is not positive, or logits that do not come straight from one layer of their own.

    Source: Granziol 2020, *Flatness is a false friend* (arXiv 2006.09091).

    >>> from landscape.models import mlp
    >>> net, x = mlp((6, 5, 4, 3)).double(), torch.ones(2, 6).double()
    >>> torch.allclose(temperature(net, x, t=4.0).model(x), 4 * net(x))
    True
    """
    positive(t, "t")
    layer = find_head(model, example_inputs, "Temperature")
    clone, tensors = duplicate(model)
    for view in filter(None, (layer.weight, layer.bias)):
        classes = view.index.shape[0]
        rescale(tensors, Use(view, 0, 0, classes, 1, 1, layer.name), torch.full((classes,), t, dtype=torch.float64))
    return finish(model, clone, "temperature", example_inputs, (layer.name,), preserves=False)
