"""Follow hidden units through a network: which parameters set, read and reorder them, and where they may not change."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from landscape.errors import LandscapeError
from landscape.function.batches import few
from landscape.function.objective import Objective
from landscape.function.structure import converted
from landscape.graphs.exported import Inputs, View, export, index_of, moved, overlap
from landscape.graphs.ops import facts, operation
from landscape.graphs.units.rules import RULES
from landscape.graphs.units.spaces import Layer, Rule, Scale, Signal, Tracker, Units, Use, unknown


@dataclass(frozen=True)
class Analysis:
    """Everything known about the hidden units of a network.

    Attributes:
        units: classes of hidden units, in the order in which they appear.
        scales: classes of scales, in the order in which they appear.
        output: the network's output.
        folds: linear layers that feed one batch norm alone: (layer, the norm's module).
    """

    units: list[Units]
    scales: list[Scale]
    output: Signal
    folds: list[tuple[Layer, str]]


def follow(model: nn.Module, example_inputs: Inputs) -> Analysis:
    """Trace a network and follow its hidden units from the parameters that set them to those that read them.

    Args:
        model: the network.
        example_inputs: a tensor (N, …), or a tuple of the forward pass's arguments.

    Returns:
        The classes of units and of scales, those that must not change with the reason.

    Raises:
        LandscapeError: the network cannot be traced.
    """
    graph, views = export(model, example_inputs)
    tracker = Tracker()
    output = Signal(())
    for node in graph.nodes:
        if node.op == "placeholder":
            tracker.values[node] = views.get(node.name) or unknown(node)
        elif node.op == "output":
            output = _output(tracker, node)
        else:
            tracker.values[node] = _step(tracker, node, RULES.get(operation(node)))
    _settle_shared(tracker)
    return Analysis(
        [u for u in tracker.all_units if u.parent is None],
        tracker.all_scales,
        output,
        tracker.folds,
    )


def follow_objective(objective: Objective) -> Analysis:
    """Follow the hidden units of an objective's network on its first examples, in the objective's own type.

    Raises:
        LandscapeError: the network cannot be traced, or is called with named inputs.
    """
    example = few(objective.batches[0], 2)
    if not isinstance(example.inputs, Tensor | tuple):
        raise LandscapeError("hidden units are followed in networks called with tensors; this one takes named inputs")
    return follow(converted(objective.model, objective.device, objective.dtype), example.inputs)


def _output(tracker: Tracker, node: Node) -> Signal:
    outputs = [tracker.values.get(source) for source in node.all_input_nodes]
    for value in outputs:
        if isinstance(value, Signal):
            value.pin("it is the network's output")
        elif isinstance(value, View):
            tracker.opaque.add(value.name)
    return outputs[0] if outputs and isinstance(outputs[0], Signal) else Signal(())


def _step(tracker: Tracker, node: Node, rule: Rule | None) -> Any:
    name = operation(node)
    sources = [tracker.values.get(source) for source in node.all_input_nodes]
    if name == "getitem":
        source = tracker.values.get(node.args[0])  # type: ignore[arg-type]
        return source[index_of(node)] if isinstance(source, tuple) else tracker.refuse(node, "getitem")
    if len(sources) == 1 and isinstance(sources[0], View) and facts(node).moves:
        return moved(node, sources[0].index, partial(View, sources[0].name))
    if rule is not None and any(isinstance(source, Signal) for source in sources):
        return rule(tracker, node)
    return tracker.refuse(node, f"it passes through {name}")


def _settle_shared(tracker: Tracker) -> None:
    """Units that share a parameter are the same units; a parameter used twice must not be scaled."""
    for name in {use.view.name for units in tracker.all_units for use in units.uses}:
        owners = [(u, use) for u in tracker.all_units if u.parent is None for use in u.uses if use.view.name == name]
        for i, (units, use) in enumerate(owners):
            for other_units, other in owners[:i]:
                _settle_units(units, use, other_units, other)
        if name in tracker.opaque:
            for units, _ in owners:
                units.pin(f"{name} is also used in a way that is not understood")
    users: dict[str, list[tuple[Scale, Use]]] = {}
    for scale in tracker.all_scales:
        for use in [*scale.producers, *scale.consumers]:
            users.setdefault(use.view.name, []).append((scale, use))
    for name, of_name in users.items():
        shared = {use.node for _, use in of_name}
        if name in tracker.opaque or (len(shared) > 1 and _overlap([use for _, use in of_name])):
            for scale, _ in of_name:
                scale.pin(f"{name} is used more than once")


def _settle_units(units: Units, use: Use, other_units: Units, other: Use) -> None:
    if use.node == other.node or not _overlap([use, other]):
        return
    alike = use.view.index.shape == other.view.index.shape and bool((use.view.index == other.view.index).all())
    if not alike:
        units.pin(f"{use.view.name} is used in parts that overlap")
        other_units.pin(f"{use.view.name} is used in parts that overlap")
    elif use.dim == other.dim:
        same = (use.start, use.size, use.inner, use.outer) == (other.start, other.size, other.inner, other.outer)
        if same:
            units.root().join(other_units.root())
        else:
            units.pin(f"{use.view.name} is used with two layouts")
            other_units.pin(f"{use.view.name} is used with two layouts")


def _overlap(uses: list[Use]) -> bool:
    return overlap(list({use.node: use.view.index for use in uses}.values()))
