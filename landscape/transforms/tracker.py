"""The state of one analysis: what is known of each node, and the classes of units and scales met so far."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node, map_arg

from landscape.transforms.spaces import Layer, Scale, Segment, Signal, Units, Use, View


class Tracker:
    """The state of one analysis: values of the nodes, and the classes met so far."""

    def __init__(self) -> None:
        self.values: dict[Node, Any] = {}
        self.all_units: list[Units] = []
        self.all_scales: list[Scale] = []
        self.opaque: set[str] = set()
        self.folds: list[tuple[Layer, str]] = []

    def units(self, size: int) -> Units:
        """Make a new class of units."""
        self.all_units.append(Units(size=size))
        return self.all_units[-1]

    def scale(self) -> Scale:
        """Make a new class of scales."""
        self.all_scales.append(Scale())
        return self.all_scales[-1]

    def argument(self, node: Node, position: int, name: str = "", default: Any = None) -> Any:
        """Return an argument of a node with the nodes in it replaced by their values."""
        given = node.args[position] if position < len(node.args) else node.kwargs.get(name, default)
        return map_arg(given, lambda n: self.values.get(n))

    def produce(self, segment: Segment, use: Use) -> None:
        """Record that a parameter sets the scale of these units and is reordered with them."""
        segment.units.root().uses.append(use)
        segment.scale.root().producers.append(use)

    def consume(self, segment: Segment, use: Use) -> None:
        """Record that a parameter reads these units."""
        segment.units.root().uses.append(use)
        segment.scale.root().consumers.append(use)

    def fresh(self, size: int, producers: list[tuple[View, int]], node: Node, layer: Layer | None = None) -> Segment:
        """Make units set by the given dimensions of parameters."""
        segment = Segment(self.units(size), self.scale(), size, layer=layer)
        for view, dim in producers:
            self.produce(segment, Use(view, dim, 0, size, 1, 1, node.name))
        return segment

    def refuse(self, node: Node, reason: str) -> Signal | None:
        """Pin everything that enters an operation that is not understood; nothing is known of what leaves it."""
        for source in node.all_input_nodes:
            value = self.values.get(source)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Signal):
                    item.pin(reason)
                elif isinstance(item, View):
                    self.opaque.add(item.name)
        known = node.meta.get("val")
        return unknown(known) if isinstance(known, torch.Tensor) else None


Rule = Callable[[Tracker, Node], Any]


def unknown(value: torch.Tensor) -> Signal:
    """An activation of which nothing may change."""
    return Signal((None,) * value.ndim)
