"""Batch norm folded into the layer before it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from landscape.errors import LandscapeError
from landscape.graphs.exported import Inputs
from landscape.graphs.units.flow import follow
from landscape.transforms.apply import Transformed, duplicate, finish


def fold_batch_norm(model: nn.Module, example_inputs: Inputs) -> Transformed:
    r"""Fold every batch norm that follows a linear or convolutional layer into that layer, as norm-based scores need.

    $W \to \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} W$ per output channel,
    $b \to \beta + \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}} (b - \mu)$; the norm becomes the identity, and the
    layer gains a bias if it had none. In evaluation mode nothing changes; the new network is not for training.

    Args:
        model, example_inputs: as every transformation takes them.

    Returns:
        The new network and the largest change of its predicted probabilities; `where` lists the layers.

    Raises:
        LandscapeError: no batch norm follows a layer directly.

    Source: Dziugaite et al. 2020 (arXiv 2010.11924), appendix; computed by `torch.nn.utils.fusion`.

    >>> from landscape.models import small_cnn
    >>> folded = fold_batch_norm(small_cnn().double(), torch.ones(2, 1, 8, 8).double())
    >>> folded.where, type(folded.model.norm1).__name__, folded.change < 1e-10
    (('conv1', 'conv2'), 'Identity', True)
    """
    pairs = [(layer.name, norm) for layer, norm in follow(model, example_inputs).folds]
    clone, _ = duplicate(model)
    done = [layer for layer, norm in pairs if _fold(clone, layer, norm)]
    if not done:
        raise LandscapeError(
            "No batch norm follows a linear or convolutional layer directly: there is nothing to fold."
        )
    return finish(model, clone, "batch-norm folding", example_inputs, done)


def _fold(model: nn.Module, layer_name: str, norm_name: str) -> bool:
    layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        return False
    if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return False
    trainable = layer.weight.requires_grad
    fuse: Callable[..., tuple[nn.Parameter, nn.Parameter]]
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    gamma = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
    beta = torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias
    weight, bias = fuse(layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, gamma, beta)
    layer.weight = nn.Parameter(weight.detach(), requires_grad=trainable)
    layer.bias = nn.Parameter(bias.detach(), requires_grad=trainable)
    model.set_submodule(norm_name, nn.Identity())
    return True
