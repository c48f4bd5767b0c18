"""What may be rescaled or reordered together: hidden units, their scales, and the parameters that carry them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class View:
    """A parameter or buffer, or part of one, as it enters an operation.

    Attributes:
        name: qualified name in the network.
        index: flat positions in that tensor, in the shape of the view.
    """

    name: str
    index: Tensor


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


C = TypeVar("C", bound="_Class")


@dataclass(eq=False)
class _Class:
    """An equivalence class that grows as the data flow is followed (a union–find forest)."""

    parent: _Class | None = None
    pinned: str | None = None

    def root(self: C) -> C:
        node = self
        while node.parent is not None:
            node = node.parent  # type: ignore[assignment]
        return node

    def pin(self, reason: str) -> None:
        """Forbid any change of this class; the first reason is kept for the message."""
        root = self.root()
        root.pinned = root.pinned or reason


@dataclass(eq=False)
class Units(_Class):
    """Hidden units that must be permuted together."""

    size: int = 0
    uses: list[Use] = field(default_factory=list)

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
    """The running mean and variance, where there are any, of a norm layer that divides a scale out."""

    mean: Use | None
    variance: Use | None


@dataclass(eq=False)
class Scale(_Class):
    """The scale of hidden units between the parameters that set it and those that read it."""

    producers: list[Use] = field(default_factory=list)
    consumers: list[Use] = field(default_factory=list)
    norms: list[NormStatistics] = field(default_factory=list)

    def join(self, other: Scale) -> None:
        """Merge with a scale that must stay equal to this one."""
        mine, theirs = self.root(), other.root()
        if mine is theirs:
            return
        theirs.parent = mine
        mine.producers += theirs.producers
        mine.consumers += theirs.consumers
        mine.norms += theirs.norms
        mine.pinned = mine.pinned or theirs.pinned

    @property
    def name(self) -> str:
        """The module whose parameters set the scale."""
        return module_of(self.root().producers[0].view.name) if self.root().producers else "the input"


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear or convolutional layer: the views of its weight and bias."""

    weight: View
    bias: View | None

    @property
    def name(self) -> str:
        """The module that owns the weight."""
        return module_of(self.weight.name)


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


def module_of(name: str) -> str:
    """Return the module that owns a tensor: the name without its last part, or the name itself at the top level."""
    return name.rpartition(".")[0] or name


def uses_along(view: View, dim: int, axis: Axis, node: str) -> list[tuple[Segment, Use]]:
    """Lay the segments of an axis along a dimension of a tensor."""
    found, start = [], 0
    for segment in axis:
        found.append((segment, Use(view, dim, start, segment.size, segment.inner, segment.outer, node)))
        start += segment.length
    return found


def whole(shape: torch.Size) -> Tensor:
    """Return the flat positions of a tensor of that shape."""
    return torch.arange(shape.numel()).reshape(shape)
