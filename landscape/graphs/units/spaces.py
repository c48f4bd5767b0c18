"""What may be rescaled or reordered together: hidden units, their scales, the parameters that carry them, a ledger of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from torch import Tensor
from torch.fx import Node, map_arg

from landscape.graphs.exported import View


@dataclass(frozen=True, eq=False)
class Use:
    """Where units lie in a tensor: along dimension `dim`, unit u at start + (o·size + u)·inner + i."""

    view: View
    dim: int
    start: int
    size: int
    inner: int
    outer: int
    node: str

    def positions(self) -> Tensor:
        """Return the flat positions of each unit's entries (size, entries)."""
        along = self.view.index.movedim(self.dim, 0)
        along = along[self.start : self.start + self.outer * self.size * self.inner]
        return along.reshape(self.outer, self.size, -1).transpose(0, 1).reshape(self.size, -1)


@dataclass(eq=False)
class Units:
    """Hidden units that must be permuted together: a class that grows as the data flow is followed (a union–find forest).

    Attributes:
        size: how many.
        pinned: why they may not be permuted, if they may not.
        uses: where they lie in parameters and buffers.
    """

    size: int = 0
    pinned: str | None = None
    uses: list[Use] = field(default_factory=list)
    parent: Units | None = None

    def root(self) -> Units:
        """Return the class that this one has been merged into."""
        node = self
        while node.parent is not None:  # a deep network makes a long chain
            node = node.parent
        return node

    def pin(self, reason: str) -> None:
        """Forbid any change of this class; the first reason is kept for the message."""
        root = self.root()
        root.pinned = root.pinned or reason

    @property
    def distinct(self) -> list[Use]:
        """The uses, one where a shared parameter is used several times."""
        found: dict[tuple[str, bytes], Use] = {}
        for use in self.uses:
            found.setdefault((use.view.name, use.positions().numpy().tobytes()), use)
        return list(found.values())

    def join(self, other: Units) -> None:
        """Merge with units that are the same ones."""
        mine, theirs = self.root(), other.root()
        if mine is theirs:
            return
        theirs.parent = mine
        mine.uses += theirs.uses
        mine.pinned = mine.pinned or theirs.pinned
        if mine.size != theirs.size:
            mine.pin("units of different number meet")


@dataclass(frozen=True, eq=False)
class NormStatistics:
    """The running mean and variance, where there are any, of a norm layer that divides a scale out, and the module it is."""

    mean: Use | None
    variance: Use | None
    module: str


@dataclass(eq=False)
class Scale:
    """The scale of hidden units between the parameters that set it and those that read it; `pinned` says why it must stay."""

    pinned: str | None = None
    producers: list[Use] = field(default_factory=list)
    consumers: list[Use] = field(default_factory=list)
    norms: list[NormStatistics] = field(default_factory=list)

    def pin(self, reason: str) -> None:
        """Forbid any change of this scale; the first reason is kept for the message."""
        self.pinned = self.pinned or reason

    @property
    def name(self) -> str:
        """The module whose parameters set the scale."""
        return module_of(self.producers[0].view.name) if self.producers else "the input"


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear or convolutional layer: the views of its weight and bias.

    With a `gain`, as weight normalisation has it, row i of the weight is gain i times the direction of row i of `weight`.
    """

    weight: View
    bias: View | None
    gain: View | None = None

    @property
    def name(self) -> str:
        """The module that owns the weight."""
        return module_of(self.weight.name).removesuffix(".parametrizations.weight")

    @property
    def views(self) -> list[View]:
        """What it is made of."""
        return [view for view in (self.weight, self.bias, self.gain) if view is not None]


@dataclass(frozen=True, eq=False)
class Segment:
    """Part of an activation's dimension that holds units: o·size·inner entries, laid out as in `Use`.

    `layer` is the layer whose output this is, as long as only operations that are linear along other dimensions lie
    between.
    """

    units: Units
    scale: Scale
    size: int
    inner: int = 1
    outer: int = 1
    layer: Layer | None = None

    @property
    def length(self) -> int:
        """Number of entries."""
        return self.outer * self.size * self.inner

    def pin(self, reason: str) -> None:
        """Forbid permuting and scaling these units."""
        self.units.pin(reason)
        self.scale.pin(reason)

    def use(self, view: View, dim: int, start: int, node: str) -> Use:
        """Return where these units lie in a tensor along whose dimension they are laid out from an entry on."""
        return Use(view, dim, start, self.size, self.inner, self.outer, node)

    def set_by(self, use: Use) -> None:
        """Record that a parameter sets the scale of these units and is reordered with them."""
        self.reordered(use)
        self.scale.producers.append(use)

    def read_by(self, use: Use) -> None:
        """Record that a parameter reads these units."""
        self.reordered(use)
        self.scale.consumers.append(use)

    def reordered(self, use: Use) -> None:
        """Record that a tensor is reordered with these units."""
        self.units.root().uses.append(use)


Axis = tuple[Segment, ...]


@dataclass(frozen=True, eq=False)
class Signal:
    """An activation: for each dimension, the units along it, or None where there are none that may change."""

    axes: tuple[Axis | None, ...]

    def segments(self) -> Iterator[Segment]:
        """Every segment along any dimension."""
        for axis in self.axes:
            yield from axis or ()

    def pin(self, reason: str) -> None:
        """Forbid any change of the units of this activation."""
        for segment in self.segments():
            segment.pin(reason)

    def each(self, change: Callable[[Segment], Segment]) -> Signal:
        """Return the activation with every segment changed."""
        return Signal(tuple(axis and tuple(map(change, axis)) for axis in self.axes))

    def without_layer(self) -> Signal:
        """Forget which layer the activation comes from: it is no longer that layer's output."""
        return self.each(lambda segment: replace(segment, layer=None))


def pin(axis: Axis | None, reason: str) -> None:
    """Forbid permuting and scaling the units along a dimension."""
    Signal((axis,)).pin(reason)


def module_of(name: str) -> str:
    """Return the module that owns a tensor: the name without its last part, or the name itself at the top level."""
    return name.rpartition(".")[0] or name


def starts(axis: Axis) -> Iterator[tuple[Segment, int]]:
    """Yield the segments along a dimension, and at which entry each begins."""
    yield from zip(axis, accumulate((segment.length for segment in axis), initial=0), strict=False)


def uses_along(view: View, dim: int, axis: Axis, node: str) -> list[tuple[Segment, Use]]:
    """Lay the segments of an axis along a dimension of a tensor."""
    return [(segment, segment.use(view, dim, start, node)) for segment, start in starts(axis)]


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

    def fresh(self, size: int, producers: list[tuple[View, int]], node: Node, layer: Layer | None = None) -> Segment:
        """Make units set by the given dimensions of parameters."""
        segment = Segment(self.units(size), self.scale(), size, layer=layer)
        for view, dim in producers:
            segment.set_by(Use(view, dim, 0, size, 1, 1, node.name))
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
        return unknown(node)


Rule = Callable[[Tracker, Node], Any]


def unknown(node: Node) -> Signal | None:
    """An activation of which nothing may change; `None` where the node's value is no tensor."""
    known = node.meta.get("val")
    return Signal((None,) * known.ndim) if isinstance(known, Tensor) else None
