"""What public threads describe, made small: the cases of ``benchmarks/kinds.py``, file by file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Case(NamedTuple):
    """What a thread describes.

    Attributes:
        model: the network.
        data: the data as the thread has them.
        loss: the loss as the package takes it.
        plain: the same loss of all the data, as a function of the network.
        options: further arguments of the objective.
    """

    model: nn.Module
    data: Any
    loss: Any
    plain: Callable[[Any], Tensor]
    options: Mapping[str, Any] = MappingProxyType({})


KINDS: dict[str, tuple[str, Callable[[], Case]]] = {}


def kind(name: str, source: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Register a case under a name, with the thread it is from."""

    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        KINDS[name] = source, make
        return make

    return register


def r(*shape: int) -> Tensor:
    """Return normal numbers."""
    return torch.randn(*shape)


def net(*sizes: int) -> nn.Sequential:
    """Return a small network with tanh between its layers."""
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def rows(n: int = 12, features: int = 4, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Return inputs and labels."""
    return r(n, features), torch.arange(n) % classes


def classify(
    model: Any, data: tuple[Any, Tensor] | None = None, plain: Callable[[Any], Tensor] | None = None, **options: Any
) -> Case:
    """Return the case of a classifier, on rows and with its outputs as it gives them unless written plainly."""
    X, y = data or rows()
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(plain(m) if plain else m(X), y), options)


class Layer(nn.Module):
    """A linear layer and whatever the case does with it."""

    def __init__(self, f: Callable[..., Any], *sizes: int, **parts: nn.Module):
        super().__init__()
        self.f, self.a, self.b = f, nn.Linear(sizes[0], sizes[1]), nn.Linear(sizes[1], sizes[-1])
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call it."""
        return self.f(self, *inputs, **named)
