"""T5: the shift of all logits that softmax does not see, and the gauge that removes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.arguments import seeded_generator
from landscape.transforms.apply import Transformed, duplicate, finish
from landscape.transforms.graph import Inputs
from landscape.transforms.head import find_head
from landscape.transforms.spaces import View


def softmax_shift(model: nn.Module, example_inputs: Inputs, *, scale: float = 1.0, seed: int = 0) -> Transformed:
    r"""Add one random vector to every row of the last weight matrix and one random number to every last bias.

    $W \to W + \mathbf 1 v^\top$, $b \to b + c\mathbf 1$, $v, c \sim N(0, s^2)$: every logit of an example moves alike,
    no probability does, and every score that reads |w| changes.

    Args:
        model: the network; a copy is transformed.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.
        scale: s, the standard deviation of the shift.
        seed: of the shift.

    Returns:
        The new network and the largest change of its predicted probabilities.

    Raises:
        NotDefinedError: the outputs are not logits of two or more classes.
        LandscapeError: the logits do not come straight from one layer of their own.

    Source: the row-shift symmetry of softmax regression; its effect on adaptive scores was measured for this package.

    >>> from landscape.models import mlp
    >>> softmax_shift(mlp((6, 5, 4, 3)).double(), torch.ones(2, 6).double()).where
    ('linear3',)
    """
    layer = find_head(model, example_inputs, "Softmax shift")
    clone, tensors = duplicate(model)
    generator = seeded_generator(seed)
    for view in filter(None, (layer.weight, layer.bias)):
        rows = _rows(tensors, view)
        shift = scale * torch.randn(rows.shape[1:], generator=generator, dtype=torch.float64)
        _write(tensors, view, rows + shift.to(rows))
    return finish(model, clone, "softmax shift", example_inputs, (layer.name,))


def gauge_fix(model: nn.Module, example_inputs: Inputs) -> Transformed:
    r"""Subtract the mean row from the last weight matrix and the mean from the last bias.

    $W \to W - \frac1C \mathbf 1 \mathbf 1^\top W$, $b \to b - \bar b$: of all networks that differ by a softmax shift,
    the one of smallest norm, so that scores that read |w| agree on all of them.

    Args:
        model: the network; a copy is transformed.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.

    Returns:
        The new network and the largest change of its predicted probabilities.

    Raises:
        NotDefinedError: the outputs are not logits of two or more classes.
        LandscapeError: the logits do not come straight from one layer of their own.

    >>> from landscape.models import mlp
    >>> fixed = gauge_fix(mlp((6, 5, 4, 3)).double(), torch.ones(2, 6).double())
    >>> bool(fixed.model.linear3.weight.mean(0).abs().max() < 1e-15)
    True
    """
    layer = find_head(model, example_inputs, "Gauge fixing")
    clone, tensors = duplicate(model)
    for view in filter(None, (layer.weight, layer.bias)):
        rows = _rows(tensors, view)
        _write(tensors, view, rows - rows.mean(dim=0, keepdim=True))
    return finish(model, clone, "gauge fix", example_inputs, (layer.name,))


def _rows(tensors: dict[str, Tensor], view: View) -> Tensor:
    tensor = tensors[view.name]
    return tensor.reshape(-1)[view.index.to(tensor.device)]


def _write(tensors: dict[str, Tensor], view: View, values: Tensor) -> None:
    tensor = tensors[view.name]
    flat = tensor.reshape(-1).clone()
    flat[view.index.to(tensor.device)] = values
    tensor.copy_(flat.reshape(tensor.shape))
