"""The layer whose outputs are the logits, and the gauge that removes the shift softmax does not see."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landscape.errors import LandscapeError
from landscape.function.batches import Batch, pick
from landscape.function.objective import Objective


@dataclass(frozen=True)
class Head:
    """The last layer of a classifier.

    Attributes:
        module: its name.
        weight: name of its weight, (C, …).
        bias: name of its bias, (C,), or `None`.
    """

    module: str
    weight: str
    bias: str | None


Hook = Callable[[nn.Module, tuple[Any, ...], Any], None]


def observed(objective: Objective, theta: Tensor, batch: Batch, hooks: dict[str, Hook]) -> Tensor:
    """Return the outputs on a batch while hooks watch some modules; the hooks are gone afterwards. Use inside the guard."""
    modules = dict(objective.model.named_modules())
    with ExitStack() as stack:
        for name, hook in hooks.items():
            stack.callback(modules[name].register_forward_hook(hook).remove)
        return objective.batch_outputs(theta, batch)


def find_head(objective: Objective) -> Head | None:
    """Return the linear or convolutional layer whose output is, untouched, the network's; `None` when there is none.

    A layer that runs more than once, or whose weight is shared with another, is none.
    """
    if objective.task != "classes":
        return None
    candidates = {
        name: module
        for name, module in objective.model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    }
    calls: list[tuple[str, Any]] = []

    def hook(name: str) -> Hook:
        return lambda module, inputs, output: calls.append((name, output))

    first = objective.batches[0]
    some = pick(first, torch.arange(min(2, first.size)))  # layers with batch statistics need more than one
    with objective.guard(), torch.no_grad():
        output = observed(objective, objective.theta, some, {name: hook(name) for name in candidates})
    names = [name for name, produced in calls if produced is output]
    if len(names) != 1 or sum(name == names[0] for name, _ in calls) > 1:
        return None
    head = candidates[names[0]]
    users = [name for name, p in objective.model.named_parameters(remove_duplicate=False) if p is head.weight]
    if len(users) != 1:
        return None
    prefix = f"{names[0]}." if names[0] else ""
    return Head(names[0], f"{prefix}weight", f"{prefix}bias" if head.bias is not None else None)


def gauge_fixed(objective: Objective) -> Objective:
    r"""Return the objective with the mean row of the last weight matrix, and the mean of the last bias, subtracted.

    .. math:: W \to W - \tfrac1C 1 1^T W, \qquad b \to b - \bar b

    Of all networks with the same probabilities that differ by a shift of all logits this is the one of smallest norm, so
    that scores that read |w| do not depend on the shift. Networks without a last layer of their own come back unchanged.
    """
    head = find_head(objective)
    if head is None:
        return objective
    tensors = dict(objective.space.unflatten(objective.theta))
    for name in (head.weight, head.bias):
        if name in tensors:
            tensors[name] = tensors[name] - tensors[name].mean(0, keepdim=True)
    return objective.at(objective.space.flatten(tensors))


def head_features(objective: Objective, head: Head) -> Tensor:
    """Return the inputs of the last layer on all examples, (N, d).

    Raises:
        LandscapeError: the inputs are not one vector an example.
    """
    found: list[Tensor] = []

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        found.append(inputs[0])

    with objective.guard(), torch.no_grad():
        for batch in objective.batches:
            observed(objective, objective.theta, batch, {head.module: hook})
    features = torch.cat(found)
    if features.ndim != 2:
        raise LandscapeError(f"the inputs of {head.module!r} have shape {tuple(features.shape)}, expected (N, d)")
    return features
