"""The block-diagonal part of an operator: products with all layers' own blocks in one pass over the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from landscape.operators.base import Operator

MOST_BYTES = 2**30
"""Memory that the lifted vectors may take at a time."""


class BlockDiagonal(Operator):
    """The operator with everything outside its diagonal blocks set to zero.

    All blocks are multiplied in one block of vectors, so that they share the forward and the first backward pass.

    Args:
        op: The whole operator (P, P).
        blocks: Name and place of each block; together they cover 0 … P.
    """

    def __init__(self, op: Operator, blocks: Mapping[str, Sequence[slice]]):
        self.op, self.blocks = op, dict(blocks)
        self.size, self.dtype, self.device, self.world = op.size, op.dtype, op.device, op.world
        self.name = f"block diagonal of the {op.name}"
        self.positive_semidefinite = op.positive_semidefinite

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results."""
        return {**self.op.provenance, "operator": self.name}

    def multiply(self, V: Tensor) -> Tensor:
        """Return the product of every block with its part of each column."""
        total = torch.zeros(V.shape, dtype=torch.float64, device=V.device)
        together = max(1, MOST_BYTES // (16 * self.size * V.shape[1]))
        names = list(self.blocks)
        for start in range(0, len(names), together):
            chosen = [self.blocks[name] for name in names[start : start + together]]
            lifted = V.new_zeros(len(V), len(chosen), V.shape[1])
            for i, places in enumerate(chosen):
                for place in places:
                    lifted[place, i] = V[place]
            product = self.op.multiply(lifted.flatten(1)).view(lifted.shape)
            for i, places in enumerate(chosen):
                for place in places:
                    total[place] = product[place, i].double()
        return total

    def by_block(self, product: Tensor) -> dict[str, Tensor]:
        """Cut a product (P, …) into its blocks' parts, by name."""
        return {name: torch.cat([product[place] for place in places]) for name, places in self.blocks.items()}
