"""The layer that computes the logits: T5, its gauge fix, and T7, on a network or on an objective."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from landscape.arguments import seeded_generator
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import few as few_of
from landscape.function.forward import forward, logits
from landscape.function.guard import Guard
from landscape.function.objective import Objective
from landscape.function.structure import Structure
from landscape.graphs.exported import Inputs, View, positions
from landscape.graphs.units.flow import Analysis, follow, follow_objective
from landscape.graphs.units.spaces import Layer
from landscape.transforms.apply import Transformed, duplicate, entries, finish, has_classes, positive, replaced

Hook = Callable[[nn.Module, tuple[Any, ...], Any], None]


def softmax_shift(model: nn.Module, example_inputs: Inputs, *, scale: float = 1.0, seed: int = 0) -> Transformed:
    r"""Add one random vector to every row of the last weight matrix and one random number to every last bias.

    $W \to W + \mathbf 1 v^\top$, $b \to b + c\mathbf 1$, $v, c \sim N(0, s^2)$: every logit of an example moves alike,
    no probability does, and every score that reads |w| changes.

    Args:
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.
        scale: s, the standard deviation of the shift.
        seed: of the shift.

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
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.

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
        model, example_inputs: a network, which is copied, and inputs of it: a tensor (N, …) or a tuple of arguments.
        t: the factor, positive; an inverse temperature.

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


def gauge_fixed(objective: Objective) -> tuple[Objective, tuple[str, ...]]:
    """Return an objective as `gauge_fix` makes its network, and in words what was left in.

    Of a tied weight no shift is possible, only of its bias; a classifier without a last layer of its own comes back unchanged.
    """
    if objective.task != "classes":
        return objective, ()
    try:
        head = _search(objective)
    except LandscapeError as error:
        return objective, (f"the shift of all logits is left in: {str(error).rstrip('.')}",)
    if head.shared == "tied":
        parts = [] if head.layer.bias is None else [head.layer.bias]
        return _on_objective(objective, head.layer, _centred, parts), ()
    return (objective if head.shared else _on_objective(objective, head.layer, _centred)), ()


def tempering(objective: Objective) -> Callable[[float], Objective]:
    """Return what multiplies the last layer of an objective, and so every logit, by a factor t.

    Raises:
        NotDefinedError: no class logits, or no last layer of its own among the selected parameters.
    """
    layer = head_of(objective)
    if layer is None or not {view.name for view in layer.views} <= set(objective.names):
        raise NotDefinedError(
            "temperature is not defined here: it needs class logits from a last layer of its own among the parameters; "
            "train to the same loss instead"
        )
    return lambda t: _on_objective(objective, layer, lambda rows: t * rows)


@dataclass(frozen=True)
class Head:
    """The layer that computes the logits.

    Attributes:
        layer: its parameters.
        axis: the dimension of the classes in the outputs.
        shared: ``tied`` if another module has the same weight, ``used`` if the layer or weight is used elsewhere too.
    """

    layer: Layer
    axis: int = 1
    shared: str = ""


def find_head(model: nn.Module, example_inputs: Inputs, what: str) -> Head:
    """Return the linear or convolutional layer that computes the logits; ``what`` is the transformation, for messages.

    Raises:
        NotDefinedError: the outputs are not logits of two or more classes.
        LandscapeError: the logits do not come straight from one layer, or its weight is used elsewhere too.
    """
    network = Structure(model).model
    with Guard(network), torch.no_grad():
        call, analyse = (lambda: logits(forward(network, example_inputs))), partial(follow, model, example_inputs)
        head = _find(network, call, analyse, what)
    if head.shared:
        raise LandscapeError(
            f"{what} cannot act at {head.layer.name!r}: its weight is used elsewhere too, as tied weights are."
        )
    return head


def head_of(objective: Objective) -> Layer | None:
    """Return the layer that computes the logits of a classifier; `None` where `find_head` would refuse."""
    if objective.task != "classes":
        return None
    try:
        head = _search(objective)
    except LandscapeError:
        return None
    return None if head.shared else head.layer


def _search(objective: Objective) -> Head:
    """Find the head of a classifier, whose loss reads the classes along dimension 1."""
    few = few_of(objective.batches[0], 2)  # layers with batch statistics need more than one
    with objective.guard(), torch.no_grad():
        call = partial(objective.batch_outputs, objective.theta, few)
        head = _find(objective.network, call, partial(follow_objective, objective), "the head")
    if head.axis != 1:
        raise LandscapeError(f"the last layer's outputs lie along dimension {head.axis}, and the classes along 1")
    return head


def _find(network: nn.Module, call: Callable[[], Tensor], analyse: Callable[[], Analysis], what: str) -> Head:
    """Watch which module's outputs the logits are; where none is, follow the graph to where they come from.

    The first takes one forward pass and works on any network, transposed or reshaped logits included. The second sees through
    pooling, copies and layers that are called as functions, but only a network that `torch.export` can follow has a graph.
    """
    # a subclass whose forward does more, such as transposing, is left to the graph
    known = {kind.forward for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)}
    candidates = {name: module for name, module in network.named_modules() if type(module).forward in known}
    calls: list[tuple[str, Tensor, int]] = []

    def hook(name: str) -> Hook:
        return lambda module, inputs, output: calls.append((name, output, output._version))

    with observed(network, {name: hook(name) for name in candidates}):
        outputs = call()
    for name, output, version in calls:
        channels = output.ndim - 1 if isinstance(candidates[name], nn.Linear) else 1
        axis = _axis_of(channels, output, outputs) if output._version == version else None
        layer = None if axis is None else _whole(network, name)
        if axis is not None and layer is not None:
            head = Head(layer, axis, _shared(network, candidates[name], sum(n == name for n, *_ in calls)))
            break
    else:
        head = _followed(analyse, outputs, what)
    if not has_classes(outputs, head.axis):
        raise _no_classes(outputs, what)
    return head


def _no_classes(outputs: Tensor, what: str) -> NotDefinedError:
    return NotDefinedError(
        f"{what} needs logits (N, C, …) of two or more classes, and the outputs have shape {tuple(outputs.shape)}."
    )


def _axis_of(channels: int, output: Tensor, outputs: Tensor) -> int | None:
    """Return the dimension of `outputs` along which the channels of `output` lie, if it is the same memory in another shape."""
    if outputs is output:
        return channels
    same = outputs.data_ptr() == output.data_ptr() and outputs.numel() == output.numel() and outputs.ndim > 1
    if not same or outputs.dtype != output.dtype:
        return None
    along = (output.shape[channels], output.stride(channels))
    found = [d for d in range(1, outputs.ndim) if (outputs.shape[d], outputs.stride(d)) == along]
    return found[0] if len(found) == 1 else None


def _shared(model: nn.Module, module: nn.Module, calls: int) -> str:
    if calls > 1:
        return "used"
    own = set(map(id, module.parameters()))
    owners = [m for m in model.modules() if any(id(p) in own for p in m._parameters.values() if p is not None)]
    inside = list(module.modules())
    return "tied" if any(all(owner is not m for m in inside) for owner in owners) else ""


def _followed(analyse: Callable[[], Analysis], outputs: Tensor, what: str) -> Head:
    if not has_classes(outputs):
        raise _no_classes(outputs, what)
    analysis = analyse()
    axis = analysis.output.axes[1] or ()
    if len(axis) != 1 or axis[0].layer is None or not axis[0].inner == axis[0].outer == 1:
        raise LandscapeError(f"{what} needs logits that come straight from one layer: end the network with that layer.")
    layer = axis[0].layer
    uses = {u.node for units in analysis.units for u in units.uses if u.view.name == layer.weight.name}
    return Head(layer, 1, "used" if len(uses) > 1 else "")


@contextmanager
def observed(model: nn.Module, hooks: Mapping[str, Hook]) -> Iterator[None]:
    """Watch the calls of some modules of a network; the hooks are gone afterwards."""
    modules = dict(model.named_modules())
    with ExitStack() as stack:
        for name, hook in hooks.items():
            stack.callback(modules[name].register_forward_hook(hook).remove)
        yield


def _whole(model: nn.Module, name: str) -> Layer | None:
    """Return a module as a layer with all of its weight and bias; `None` if its weight is computed in an unknown way."""
    own = dict(model.get_submodule(name).named_parameters(prefix=name))

    def view(*keys: str) -> View | None:
        names = (f"{name}.{key}" if name else key for key in keys)
        return next((View(full, positions(own[full])) for full in names if full in own), None)

    bias, gain = view("bias"), view("parametrizations.weight.original0", "weight_g")
    direction = view("parametrizations.weight.original1", "weight_v")
    by_rows = gain is not None and direction is not None and gain.index.numel() == len(direction.index)
    weight = direction if by_rows else view("weight")
    return None if weight is None else Layer(weight, bias, gain if by_rows else None)


def _centred(rows: Tensor) -> Tensor:
    return rows - rows.mean(dim=0, keepdim=True)


def _on_rows(
    tensors: Mapping[str, Tensor],
    layer: Layer,
    change: Callable[[Tensor], Tensor],
    parts: Sequence[View] | None = None,
) -> dict[str, Tensor]:
    """Return those of the tensors that hold weight or bias of a layer, the rows (C, …) in them changed."""
    out: dict[str, Tensor] = {}

    def rows(view: View) -> Tensor:
        return entries(out.get(view.name, tensors[view.name]), view.index)

    def put(view: View, rows: Tensor) -> None:
        out[view.name] = replaced(out.get(view.name, tensors[view.name]), view.index, rows)

    for view in layer.views if parts is None else parts:
        if view.name in tensors and (layer.gain is None or view is layer.bias):
            put(view, change(rows(view)))
    if parts is None and layer.gain is not None and {layer.gain.name, layer.weight.name} <= set(tensors):
        direction, gain = rows(layer.weight), rows(layer.gain)
        lengths = partial(torch.linalg.vector_norm, dim=tuple(range(1, direction.ndim)), keepdim=True)
        old = lengths(direction)
        new = change(gain.reshape(old.shape) * direction / old)
        length = lengths(new)
        put(layer.gain, length.reshape(gain.shape))
        put(layer.weight, torch.where(length > 0, new * (old / length), direction))  # whose own length has no effect
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
    head = find_head(model, inputs, what)
    clone, tensors = duplicate(model)
    for key, tensor in _on_rows(tensors, head.layer, change).items():
        tensors[key].copy_(tensor)
    where = (head.layer.name,)
    return finish(model, clone, name or what.lower(), inputs, where, preserves=preserves, classes=head.axis)


def _on_objective(
    objective: Objective, layer: Layer, change: Callable[[Tensor], Tensor], parts: Sequence[View] | None = None
) -> Objective:
    tensors = objective.whole_tensors(view.name for view in layer.views)
    return objective.with_tensors(_on_rows(tensors, layer, change, parts))
