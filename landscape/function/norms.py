"""Norm layers by where their statistics come from: the batch, the layer's own buffers, or a whole data set anew."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm

from landscape.errors import LandscapeError
from landscape.function.data import DEFAULT_BATCH, Data
from landscape.function.forward import forward

if TYPE_CHECKING:
    from landscape.function.function import Function

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


# --- re-estimated statistics ------------------------------------------------------------------------------------------

Fixed = dict[str, Tensor]


def reestimated(function: Function, theta: Tensor, data: Data) -> Fixed:
    r"""Return the fixed tensors of a function with the statistics that its norm layers have at theta over all of the data.

    Those of one training pass over the data as a single batch, however it is cut and ordered: mean and variance of all
    examples. Up to 1,024 examples are such a batch. More are gone through once for each layer, in the order in which
    the network calls them, and batches are joined by the law of total variance, in float64:

    .. math:: n\sigma^2 = \sum_b \left(n_b\sigma_b^2 + n_b(\mu_b - \mu)^2\right)

    The variance that is kept is divided by n − 1, as the layers do. Layers that are frozen keep what they have: in eval mode
    while the network trains, or with a momentum of 0 or `None` (an average of its own); so do those of other kinds.
    """
    fixed = {name: tensor.clone() for name, tensor in function.fixed.items()}
    layers = [layer for layer in function.norm_layers if layer.momentum]
    if not layers:
        return fixed
    prefixes = {
        layer: f"{name}." if name else "" for name, layer in function.network.named_modules() if layer in layers
    }
    if not data.uncut and data.n <= DEFAULT_BATCH:
        data = data.regrouped(None, DEFAULT_BATCH)
    if data.n < 2 and any(not isinstance(layer, _InstanceNorm) for layer in layers) and not data.uncut:
        raise LandscapeError("norm statistics cannot be re-estimated from one example; pass recalibrated=False")
    function = copy.copy(function)
    function.mode, function.norm = "eval", "frozen"
    with function.guard(), torch.no_grad():
        if len(data) == 1:
            _in_one_pass(function, theta, data, fixed, prefixes)
        else:
            _by_layers(function, theta, data, fixed, prefixes)
    return fixed


def _evaluate(function: Function, theta: Tensor, batch: Any, fixed: Fixed) -> None:
    """Run the network on a batch, as its loss does where only that knows how."""
    here = copy.copy(function)
    here._fixed = fixed
    if function.has_criterion:
        here.call(theta, lambda model: forward(model, batch.inputs))
    else:
        here.batch_value(theta, batch)


def _in_one_pass(function: Function, theta: Tensor, data: Data, fixed: Fixed, layers: dict[_NormBase, str]) -> None:
    """Let the layers themselves write their statistics over the only batch, as cumulative averages."""
    momenta = {layer: layer.momentum for layer in layers}
    for prefix in layers.values():
        for key, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            if prefix + key in fixed:
                fixed[prefix + key].fill_(value)
    try:
        for layer in layers:
            layer.training = True  # the guard puts it back
            # a cumulative average, which instance norm takes for no update
            layer.momentum = 1.0 if isinstance(layer, _InstanceNorm) else None
        _evaluate(function, theta, data[0], fixed)
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum


def _by_layers(function: Function, theta: Tensor, data: Data, fixed: Fixed, layers: dict[_NormBase, str]) -> None:
    """Estimate one layer after another, each with those before it normalised by what they have over all of the data."""
    unbiased, left = {}, dict(layers)
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(take_statistics(layer, of_batch=True))
        while left:
            moments = _Moments()
            for batch in data:
                # the pass ends at the first of the layers that are left
                with _intercepted(tuple(left), moments), suppress(_Reached):
                    _evaluate(function, theta, batch, fixed)
            if moments.layer is None:  # the network calls none of those that are left
                break
            prefix = left.pop(moments.layer)
            fixed[prefix + "running_mean"].copy_(moments.mean)
            fixed[prefix + "running_var"].copy_(moments.squares / moments.n)
            if not isinstance(moments.layer, _InstanceNorm):  # which normalises each example by itself
                unbiased[prefix + "running_var"] = moments.squares / max(moments.n - 1, 1)
                stack.callback(take_statistics(moments.layer, of_batch=False))
    for name, variance in unbiased.items():
        fixed[name].copy_(variance)
    for prefix in layers.values():
        if prefix + "num_batches_tracked" in fixed:
            fixed[prefix + "num_batches_tracked"].fill_(len(data))


class _Reached(Exception):  # noqa: N818 - no error: ends a pass
    """The layer that is being estimated has seen its input."""


class _Moments:
    """Mean and sum of squares about it of a layer's inputs, per channel in float64, joined over batches.

    Of instance norm: the mean and variance of each example, averaged over examples.
    """

    def __init__(self) -> None:
        self.layer: _NormBase | None = None
        self.n, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, layer: _NormBase, x: Tensor) -> None:
        """Join the moments of a batch."""
        self.layer, wide = layer, x.detach().double()
        if isinstance(layer, _InstanceNorm):
            wide = wide if wide.ndim == layer._get_no_batch_dim() + 1 else wide[None]
            n, space = len(wide), list(range(2, wide.ndim))
            self.mean = self.mean + (wide.mean(space).sum(0) - n * self.mean) / (self.n + n)
            self.squares = self.squares + wide.var(space).sum(0)
            self.n += n
            return
        rows = wide.transpose(0, 1).flatten(1)  # (channel, example and place)
        n, mean = rows.shape[1], rows.mean(1)
        gap, total = mean - self.mean, self.n + n
        self.squares = self.squares + (rows - mean[:, None]).square().sum(1) + gap.square() * (self.n * n / total)
        self.mean, self.n = self.mean + gap * (n / total), total


@contextmanager
def _intercepted(layers: Layers, moments: _Moments) -> Iterator[None]:
    """End the forward pass at the first of some layers that is called, with what came in; of later batches at the same one.

    The layers' methods are replaced, since hooks of the private network may be those of the user's.
    """

    def taking(layer: _NormBase) -> Callable[[Tensor], Tensor]:
        def take(x: Tensor) -> Tensor:
            moments.add(layer, x)
            raise _Reached

        return take

    chosen = [layer for layer in layers if moments.layer in (None, layer)]
    before = {layer: vars(layer).get("forward") for layer in chosen}
    try:
        for layer in chosen:
            layer.forward = taking(layer)
        yield
    finally:
        for layer, method in before.items():
            if method is None:
                vars(layer).pop("forward", None)
            else:
                layer.forward = method
