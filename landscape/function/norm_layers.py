"""Norm layers by where their statistics come from: the batch, as in training, or the layer's own buffers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

Norm = Literal["frozen", "batch"]
"""Where the statistics of norm layers come from: the network, or each batch."""
Layers = tuple[_NormBase, ...]


def following(network: nn.Module) -> Layers:
    """Return the layers that keep running statistics and take those of the batch in training.

    A layer that its user froze is none: one that is in eval mode in a network that trains, or that the network's own
    `train` leaves there.

    >>> network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.LayerNorm(2))
    >>> network[0] = network[0].eval()
    >>> len(following(network))
    1
    """
    before = {module: module.training for module in network.modules()}
    network.train()
    active = {module for module in before if module.training and (before[module] or not before[network])}
    for module, training in before.items():
        module.training = training
    return tuple(layer for layer in before if isinstance(layer, _NormBase) and layer in active and _is_tracked(layer))


def couples(network: nn.Module) -> bool:
    """Whether the network has batch norm that takes the statistics of the batch in eval mode too."""
    return any(isinstance(layer, _BatchNorm) and not _is_tracked(layer) for layer in network.modules())


def take_statistics(layer: _NormBase, *, of_batch: bool) -> Callable[[], None]:
    """Let a layer that keeps running statistics use them, or those of its input without writing any; return what undoes it."""
    state, keys = vars(layer), ("training", "track_running_stats", _APPLY)
    before = {key: state[key] for key in keys if key in state}
    state.pop(_APPLY, None)
    state |= {"training": of_batch, "track_running_stats": not of_batch}
    if of_batch and isinstance(layer, _InstanceNorm):  # which writes them whatever its flags say
        state[_APPLY] = partial(_of_each_example, layer)

    def undo() -> None:
        state.pop(_APPLY, None)
        state.update(before)

    return undo


_APPLY = "_apply_instance_norm"


def _of_each_example(layer: _InstanceNorm, x: Tensor) -> Tensor:
    return F.instance_norm(x, None, None, layer.weight, layer.bias, True, 0.0, layer.eps)


def _is_tracked(layer: _NormBase) -> bool:
    return bool(layer.track_running_stats) and layer.running_mean is not None
