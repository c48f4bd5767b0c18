"""The layer that computes the logits: T5, its gauge fix, and T7, on a network or on an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape.arguments import seeded_generator
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import few as few_of
from landscape.function.forward import forward, logits
from landscape.function.guard import guard
from landscape.function.objective import Objective
from landscape.function.structure import Structure
from landscape.graphs.exported import Inputs, View, positions
from landscape.graphs.units.flow import Analysis, follow, follow_objective
from landscape.graphs.units.spaces import Layer
from landscape.transforms.apply import Transformed, duplicate, finish, has_classes, positive

Hook = Callable[[nn.Module, tuple[Any, ...], Any], None]


def softmax_shift(model: nn.Module, example_inputs: Inputs, *, scale: float = 1.0, seed: int = 0) -> Transformed:
    r"""Add one random vector to every row of the last weight matrix and one random number to every last bias.

    $W \to W + \mathbf 1 v^\top$, $b \to b + c\mathbf 1$, $v, c \sim N(0, s^2)$: every logit of an example moves alike,
    no probability does, and every score that reads |w| changes.

    Args:
        model, example_inputs: as every transformation takes them.
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
    generator = seeded_generator(seed)

    def shifted(rows: Tensor) -> Tensor:
        shift = scale * torch.randn(rows.shape[1:], generator=generator, dtype=torch.float64)
        return rows + shift.to(rows)

    return _transformed(model, example_inputs, shifted, "Softmax shift")


def gauge_fix(model: nn.Module, example_inputs: Inputs) -> Transformed:
    r"""Subtract the mean row from the last weight matrix and the mean from the last bias.

    $W \to W - \frac1C \mathbf 1 \mathbf 1^\top W$, $b \to b - \bar b$: of all networks that differ by a softmax shift,
    the one of smallest norm, so that scores that read |w| agree on all of them.

    Args:
        model, example_inputs: as every transformation takes them.

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
    return _transformed(model, example_inputs, _centred, "Gauge fixing", name="gauge fix")


def temperature(model: nn.Module, example_inputs: Inputs, *, t: float = 2.0) -> Transformed:
    r"""Multiply the last layer, and so every logit, by t: every decision stays, every confidence changes.

    This does not preserve the function. A score that moves under it measures confidence as well as geometry: at a
    cross-entropy of 2.4e-4, doubled logits lower the largest Hessian eigenvalue more than a hundredfold.

    Args:
        model, example_inputs: as every transformation takes them.
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
    return _transformed(model, example_inputs, lambda rows: t * rows, "Temperature", preserves=False)


def gauge_fixed(objective: Objective) -> Objective:
    r"""Return the objective with the mean row of the last weight matrix, and the mean of the last bias, subtracted.

    .. math:: W \to W - \tfrac1C 1 1^T W, \qquad b \to b - \bar b

    Of all networks with the same probabilities that differ by a shift of all logits this is the one of smallest norm, so
    that scores that read |w| do not depend on the shift. Networks without a last layer of their own come back unchanged.
    """
    layer = head_of(objective)
    return objective if layer is None else _on_objective(objective, layer, _centred)


def tempering(objective: Objective) -> Callable[[float], Objective]:
    """Return what multiplies the last layer of an objective, and so every logit, by a factor t.

    Raises:
        NotDefinedError: no class logits, or no last layer of its own among the selected parameters.
    """
    layer = head_of(objective)
    if layer is None or not {view.name for view in _views(layer)} <= set(objective.names):
        raise NotDefinedError(
            "temperature is not defined here: it needs class logits from a last layer of its own among the parameters; "
            "train to the same loss instead"
        )
    return lambda t: _on_objective(objective, layer, lambda rows: t * rows)


def find_head(model: nn.Module, example_inputs: Inputs, what: str) -> Layer:
    """Return the linear or convolutional layer that computes the logits.

    Args:
        model: the network.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.
        what: the transformation, for messages.

    Raises:
        NotDefinedError: the outputs are not logits of two or more classes.
        LandscapeError: the logits do not come straight from one layer, or its weight is used elsewhere too.
    """
    network = Structure(model).model
    with guard(network), torch.no_grad():
        return _find(
            network, lambda: logits(forward(network, example_inputs)), partial(follow, model, example_inputs), what
        )


def head_of(objective: Objective) -> Layer | None:
    """Return the layer that computes the logits of a classifier; `None` where `find_head` would refuse."""
    if objective.task != "classes":
        return None
    first = objective.batches[0]
    few = few_of(first, 2)  # layers with batch statistics need more than one
    try:
        with objective.guard(), torch.no_grad():
            outputs = partial(objective.batch_outputs, objective.theta, few)
            return _find(objective.network, outputs, partial(follow_objective, objective), "the head")
    except LandscapeError:
        return None


def _find(network: nn.Module, call: Callable[[], Tensor], analyse: Callable[[], Analysis], what: str) -> Layer:
    """Watch which module returns the logits (N, C, …); where none does, follow the graph to where they come from.

    The first takes one forward pass and works on any network. The second sees through pooling, reshaping and layers that
    are called as functions, but only a network that `torch.export` can follow has a graph.
    """
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    candidates = {name: module for name, module in network.named_modules() if isinstance(module, kinds)}
    calls: list[tuple[str, Any]] = []

    def hook(name: str) -> Hook:
        return lambda module, inputs, output: calls.append((name, output))

    with observed(network, {name: hook(name) for name in candidates}):
        outputs = call()
    if not has_classes(outputs):
        raise NotDefinedError(
            f"{what} needs logits (N, C, …) of two or more classes, and the outputs have shape {tuple(outputs.shape)}."
        )
    names = [name for name, output in calls if output is outputs]
    if len(names) == 1 and (outputs.ndim == 2 or not isinstance(candidates[names[0]], nn.Linear)):
        layer = _whole(network, names[0])
        weights = [p for _, p in network.named_parameters(remove_duplicate=False) if p is candidates[names[0]].weight]
        shared = len(weights) > 1 or sum(name == names[0] for name, _ in calls) > 1
    else:
        analysis = analyse()
        axis = analysis.output.axes[1] or ()
        if len(axis) != 1 or axis[0].layer is None or not axis[0].inner == axis[0].outer == 1:
            raise LandscapeError(
                f"{what} needs logits that come straight from one layer: end the network with that layer."
            )
        layer = axis[0].layer
        shared = len({u.node for units in analysis.units for u in units.uses if u.view.name == layer.weight.name}) > 1
    if shared:
        raise LandscapeError(
            f"{what} cannot act at {layer.name!r}: its weight is used elsewhere too, as tied weights are."
        )
    return layer


@contextmanager
def observed(model: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """Watch the calls of some modules of a network; the hooks are gone afterwards."""
    modules = dict(model.named_modules())
    with ExitStack() as stack:
        for name, hook in hooks.items():
            stack.callback(modules[name].register_forward_hook(hook).remove)
        yield


def _whole(model: nn.Module, name: str) -> Layer:
    """Return a module as a layer with all of its weight and bias."""
    own = model.get_submodule(name)
    prefix = f"{name}." if name else ""
    views = (None if p is None else View(f"{prefix}{key}", positions(p)) for key, p in own._parameters.items())
    weight, bias = views  # in this order in all of PyTorch's layers
    assert weight is not None
    return Layer(weight, bias)


def _views(layer: Layer) -> list[View]:
    return [view for view in (layer.weight, layer.bias) if view is not None]


def _centred(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=0, keepdim=True)


def _on_rows(tensors: Mapping[str, Tensor], layer: Layer, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Return those of the tensors that hold weight or bias of a layer, the rows (C, …) in them changed."""
    out: dict[str, Tensor] = {}
    for view in _views(layer):
        if view.name in tensors:
            tensor = out.get(view.name, tensors[view.name])
            flat, index = tensor.reshape(-1).clone(), view.index.to(tensor.device)
            flat[index] = change(flat[index])
            out[view.name] = flat.reshape(tensor.shape)
    return out


def _transformed(
    model: nn.Module,
    inputs: Inputs,
    change: Callable[[Tensor], Tensor],
    what: str,
    *,
    name: str = "",
    preserves: bool = True,
) -> Transformed:
    layer = find_head(model, inputs, what)
    clone, tensors = duplicate(model)
    for key, tensor in _on_rows(tensors, layer, change).items():
        tensors[key].copy_(tensor)
    return finish(model, clone, name or what.lower(), inputs, (layer.name,), preserves=preserves)


def _on_objective(objective: Objective, layer: Layer, change: Callable[[Tensor], Tensor]) -> Objective:
    tensors = objective.space.unflatten(objective.theta)
    return objective.at(objective.space.flatten({**tensors, **_on_rows(tensors, layer, change)}))
