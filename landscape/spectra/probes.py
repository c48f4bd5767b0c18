"""Random test vectors, each drawn from its own seed so that any of them can be drawn again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from landscape.function.world import ALONE, World

Kind = Literal["gaussian", "rademacher", "sphere"]


@dataclass(frozen=True)
class Probes:
    """Independent random vectors z with E[z zᵀ] = I, numbered from 0.

    Vectors are drawn on the CPU, so that every device sees the same ones, and each from its own generator, so that
    the global random state is untouched and a longer run extends a shorter one.

    Attributes:
        size: P.
        seed: the seed of the family.
        kind: ``rademacher`` (entries ±1), ``gaussian``, or ``sphere`` (uniform with norm √P).
        device: where the vectors are wanted.
        dtype: their type.
        world: which part of each this process gets.

    >>> Probes(4, seed=0, kind="rademacher").rows(0, 2).abs()
    tensor([[1., 1., 1., 1.],
            [1., 1., 1., 1.]])
    """

    size: int
    seed: int
    kind: Kind
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    world: World = ALONE

    def rows(self, start: int, stop: int) -> Tensor:
        """Return vectors number start, …, stop − 1 as rows (stop − start, P)."""
        drawn = torch.empty(stop - start, self.size, dtype=self.dtype)
        for row, number in zip(drawn, range(start, stop), strict=True):
            entropy = np.random.SeedSequence((self.seed, number)).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(entropy >> 1))
            if self.kind == "rademacher":
                row.random_(0, 2, generator=generator).mul_(2).sub_(1)
            else:
                row.normal_(generator=generator)
                if self.kind == "sphere":
                    row.mul_(self.size**0.5 / torch.linalg.vector_norm(row, dtype=torch.float64).item())
        return self.world.part(drawn).to(self.device)
