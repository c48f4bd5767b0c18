"""Running statistics of norm layers, estimated again over a data set."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from landscape.function.data import DEFAULT_BATCH, Data
from landscape.function.forward import forward
from landscape.function.function import Function

_STATISTICS = {"running_mean": 0, "running_var": 1, "num_batches_tracked": 0}
"""What a norm layer of PyTorch starts with."""


def reestimated(function: Function, theta: Tensor, data: Data) -> dict[str, Tensor]:
    """Return the fixed tensors of a function with the statistics of its norm layers at theta averaged over data.

    Every layer's mean and variance become the average over batches of 1,024 examples (over the batches as they are, where
    they cannot be cut), as in
    `torch.optim.swa_utils.update_bn`. The layers' own momentum and mode are put back. Layers that keep statistics in
    another way than PyTorch's norm layers do keep theirs.
    """
    fixed = {name: tensor.clone() for name, tensor in function.fixed.items()}
    named: dict[str, Any] = {
        name: module
        for name, module in function.network.named_modules()
        if all(getattr(module, key, None) is not None for key in _STATISTICS) and hasattr(module, "momentum")
    }
    if not named:
        return fixed
    for name in named:
        prefix = f"{name}." if name else ""
        for key, value in _STATISTICS.items():
            fixed[prefix + key].fill_(value)
    momenta = {name: layer.momentum for name, layer in named.items()}
    tensors = {**fixed, **function.space.unflatten(theta)}
    with function.guard(), torch.no_grad():
        try:
            for layer in named.values():
                layer.momentum = None  # cumulative average
                layer.train()
            for batch in data if data.uncut else data.regrouped(None, DEFAULT_BATCH):
                function.call_with(tensors, partial(forward, inputs=batch.inputs))
        finally:
            for name, layer in named.items():
                layer.momentum = momenta[name]
    return fixed
