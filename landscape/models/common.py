"""What the reference networks share: seeded initialisation, and activations chosen by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TypeVar

import torch
from torch import nn

from landscape.errors import LandscapeError

T = TypeVar("T")

ACTIVATIONS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "silu": nn.SiLU, "softplus": nn.Softplus, "none": nn.Identity}
)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from PyTorch's CPU generator as if freshly seeded, inside a `with` block, and put its state back.

    Tensors are created on the CPU, so that weights are the same whatever the default device. `torch.manual_seed` would
    reseed the accelerators as well, and they could not be restored without starting them.

    Args:
        seed: of the draws inside the block.

    >>> before = torch.get_rng_state()
    >>> with seeded(3):
    ...     first = torch.rand(2)
    >>> with seeded(3):
    ...     torch.equal(first, torch.rand(2))
    True
    >>> torch.equal(before, torch.get_rng_state())
    True
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        yield


def choose(what: str, name: str, table: Mapping[str, T]) -> T:
    """Look a choice up by name, or say which names there are.

    Raises:
        LandscapeError: `name` is not in `table`.
    """
    if name not in table:
        raise LandscapeError(f"{what}={name!r} is not known; expected one of {', '.join(table)}")
    return table[name]
