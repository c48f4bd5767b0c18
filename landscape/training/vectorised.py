"""Many small networks at once: parameters stacked along a first axis, one batched operation instead of K small ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.bars import bar
from landscape.errors import LandscapeError, NumericalError
from landscape.models.common import ACTIVATIONS, seeded
from landscape.training.recipes import Recipe
from landscape.training.runs import ModelFactory
from landscape.training.trainer import optimiser_of
from landscape.training.training_data import orders

_CHUNK = 512


@dataclass(frozen=True, eq=False)
class Stacked:
    """K networks of one architecture: parameters and buffers by name, (K, …); the module is never run with its own weights."""

    module: nn.Module
    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def network(self, k: int) -> dict[str, Tensor]:
        """Return the state dict of network k."""
        return {name: stack[k].clone() for name, stack in {**self.parameters, **self.buffers}.items()}

    def logits(self, X: Tensor) -> Tensor:
        """Return the logits (K, N, C) of each network for inputs of its own, (K, N, …), in the mode that the module is in.

        A plain chain of linear layers and elementwise activations becomes batched matrix products, which take two thirds to
        four fifths of the time of the general way, `torch.func.vmap`.

        Raises:
            LandscapeError: the architecture cannot be vectorised.
        """
        if isinstance(self.module, nn.Sequential) and _is_chain(self.module):
            return _chain(self.module, self.parameters, X)

        def one(*state_and_inputs: Any) -> Any:
            return functional_call(self.module, state_and_inputs[:2], state_and_inputs[2:])

        try:
            with sdpa_kernel(SDPBackend.MATH):  # the only attention with a batching rule
                logits: Tensor = vmap(one, randomness="different")(dict(self.parameters), dict(self.buffers), X)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise LandscapeError(
                f"{type(self.module).__name__} cannot be run for many networks at once ({reason}); train them one by one"
            ) from error
        return logits

    @torch.no_grad()
    def predictions(self, X: Tensor) -> Tensor:
        """Return the class (K, N) that each network gives to each of the same inputs (N, …), in evaluation mode."""
        return torch.cat([logits.argmax(2) for logits in self._chunks(X)], dim=1)

    def __getitem__(self, chosen: Any) -> Stacked:
        """Return some of the networks, by their positions or by whether they are chosen, (K,)."""
        parts = ({name: stack[chosen] for name, stack in part.items()} for part in (self.parameters, self.buffers))
        return Stacked(self.module, *parts)

    def accuracy(self, X: Tensor, y: Tensor) -> Tensor:
        """Return the share (K,) of inputs to which each network gives their labels, in evaluation mode."""
        return (self.predictions(X) == y).double().mean(1)

    @torch.no_grad()
    def losses(self, X: Tensor, y: Tensor) -> Tensor:
        """Return the mean cross-entropy (K,) of each network in nats, in evaluation mode, summed in float64."""
        total = torch.zeros(len(self), dtype=torch.float64)
        for logits, labels in zip(self._chunks(X), y.split(_CHUNK), strict=True):
            total -= logits.double().log_softmax(2).gather(2, labels.expand(len(self), -1)[..., None]).sum((1, 2))
        return total / len(y)

    def _chunks(self, X: Tensor) -> list[Tensor]:
        training = self.module.training
        self.module.eval()
        found = [self.logits(x.expand(len(self), *x.shape)) for x in X.split(_CHUNK)]
        self.module.train(training)
        return found


def stack(factory: ModelFactory, seeds: Sequence[int]) -> Stacked:
    """Build one network per seed and stack their parameters.

    >>> from landscape.models import mlp
    >>> stack(mlp, range(3)).parameters["linear1.weight"].shape
    torch.Size([3, 256, 64])
    """
    if not len(seeds):
        raise LandscapeError("no seeds; a stack holds at least one network")
    networks = [factory(seed=seed) for seed in seeds]
    parameters, buffers = stack_module_state(networks)
    return Stacked(networks[0], {name: p.detach().clone() for name, p in parameters.items()}, buffers)


def _is_chain(module: nn.Sequential) -> bool:
    layers = list(module)
    flat = [layer for layer in layers if type(layer) is nn.Flatten]
    known = all(type(layer) is nn.Linear or type(layer) in ACTIVATIONS.values() for layer in layers[len(flat) :])
    return known and flat == layers[: len(flat)] and all((f.start_dim, f.end_dim) == (1, -1) for f in flat)


def _chain(module: nn.Sequential, parameters: Mapping[str, Tensor], X: Tensor) -> Tensor:
    if isinstance(module[0], nn.Flatten):
        X = X.flatten(2)
    for name, layer in module.named_children():
        if isinstance(layer, nn.Linear):
            product = X @ parameters[f"{name}.weight"].transpose(1, 2)
            X = product + parameters[f"{name}.bias"][:, None] if layer.bias is not None else product
        elif not isinstance(layer, nn.Flatten):
            X = layer(X)
    return X


def train_stacked(
    stacked: Stacked,
    X: Tensor,
    y: Tensor,
    chosen: Tensor,
    recipe: Recipe,
    *,
    epochs: int,
    seeds: Sequence[int],
    watch: Callable[[Stacked], None] | None = None,
) -> Stacked:
    """Train K networks at once, each on examples of its own, for a fixed number of epochs.

    Network k sees its examples in the order in which `train` would show them with that seed, and takes the same steps
    up to rounding; nothing stops early, so that all take equally many.

    Args:
        stacked: the networks before training; left as they are.
        X: inputs (N, …) that all choose from.
        y: labels (N,).
        chosen: positions (K, n) of the examples of each network.
        recipe: its optimiser, lr, momentum, batch_size and weight_decay are used.
        epochs: passes over the n examples.
        seeds: K seeds of the order of examples; the first also seeds dropout.
        watch: called after every epoch with the networks as they are, whose tensors the next epoch overwrites.

    Raises:
        LandscapeError: counts that do not fit each other, a recipe with augmentation, or networks that cannot be
            vectorised.
        NumericalError: a loss became NaN or infinite.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> from landscape.models import mlp
    >>> X, y = digits(train=100).train
    >>> chosen = torch.arange(100).expand(2, 100)
    >>> trained = train_stacked(stack(mlp, [0, 1]), X, y, chosen, get_recipe("momentum"), epochs=20, seeds=[0, 1])
    >>> (trained.predictions(X) == y).double().mean(1).tolist()
    [1.0, 1.0]
    """
    if chosen.ndim != 2 or len(chosen) != len(stacked) or len(seeds) != len(stacked):
        raise LandscapeError(
            f"{len(stacked)} networks, {len(seeds)} seeds and choices of shape {tuple(chosen.shape)}; expected "
            f"as many seeds and a row of choices a network"
        )
    if recipe.shift:
        raise LandscapeError(f"recipe {recipe.name!r} augments images, which stacked training does not; use shift=0")
    leaves = {name: value.clone().requires_grad_() for name, value in stacked.parameters.items()}
    moving = Stacked(stacked.module, leaves, {name: value.clone() for name, value in stacked.buffers.items()})
    now = replace(moving, parameters={name: leaf.detach() for name, leaf in leaves.items()})
    optimiser, training = optimiser_of(recipe, list(leaves.values())), stacked.module.training
    stacked.module.train()
    try:
        with seeded(seeds[0]):
            for epoch in bar(range(1, epochs + 1), desc=f"{len(stacked)} networks", unit="epoch"):
                loss = float("nan")
                order = orders(seeds, repeat(epoch), chosen.shape[1])
                for batch in chosen.gather(1, order).split(recipe.batch_size, dim=1):
                    logits = moving.logits(X[batch])
                    # The sum over networks: each network's gradient is that of its own mean.
                    value = F.cross_entropy(logits.flatten(0, 1), y[batch].flatten(), reduction="sum") / batch.shape[1]
                    optimiser.zero_grad()
                    value.backward()
                    optimiser.step()
                    loss = value.item()
                if not np.isfinite(loss):
                    raise NumericalError(f"recipe {recipe.name!r}: a loss of {loss} in epoch {epoch}; use a smaller lr")
                if watch is not None:
                    watch(now)
    finally:
        stacked.module.train(training)
    return now
