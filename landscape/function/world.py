"""How sums over batches and inner products over theta are taken: here by one process that holds everything.

Objectives, operators and spectra never add up batches or multiply two vectors by themselves; they ask their world. In
another world every process has batches of its own, whose sums `World.sum` then takes over all of them; or a part of theta,
of every vector and of every basis, over which `World.over_parts` then takes inner products.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

Summed = TypeVar("Summed", int, float, Tensor)


class World:
    """One process with all batches and all of theta.

    >>> ALONE.dot(torch.ones(3), torch.ones(3)), ALONE.norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    (tensor(3., dtype=torch.float64), tensor([5., 1.]))
    """

    def sum(self, value: Summed) -> Summed:
        """Return a sum over this process's batches (in float64, where it is a tensor) as one over all batches."""
        return value

    def over_parts(self, partial: Tensor) -> Tensor:
        """Return inner products over this process's part of theta as those over all of theta."""
        return partial

    def length(self, size: int) -> int:
        """Return how many of P numbers of a vector this process holds."""
        return size

    def part(self, rows: Tensor) -> Tensor:
        """Return this process's part (…, p) of vectors (…, P) that every process has whole."""
        return rows

    def whole(self, rows: Tensor) -> Tensor:
        """Return vectors (…, P) of which every process has a part (…, p)."""
        return rows

    def dot(self, u: Tensor, v: Tensor) -> Tensor:
        """Return ⟨u, v⟩ in float64: of two vectors (P,), or of the rows (K, P) one by one."""
        u, v = u.double(), v.double()
        return self.over_parts(u @ v if u.ndim == v.ndim == 1 else (u * v).sum(-1))

    def gram(self, U: Tensor, V: Tensor) -> Tensor:
        """Return ⟨uᵢ, vⱼ⟩ of all rows (K, P) and (L, P) in their own type; rows are (K, L)."""
        return self.over_parts(U @ V.T)

    def norm(self, rows: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return ‖v‖₂ of a vector (P,) or of each row (K, P), in a type of its own if wanted."""
        return torch.linalg.vector_norm(rows, dim=-1, dtype=dtype)

    def largest(self, rows: Tensor) -> Tensor:
        """Return the entry of largest magnitude of each row, (K, 1), with its sign."""
        return rows.gather(1, rows.abs().argmax(1, keepdim=True))

    def factor(self, rows: Tensor, *, vectors: bool = True) -> tuple[Tensor, Tensor]:
        """Return orthonormal rows X (K, P), none where they are not wanted, and R (K, K) with rows = Rᵀ X."""
        if not vectors:
            return rows[:0], torch.linalg.qr(rows.T, mode="r")[1]
        orthonormal, triangle = torch.linalg.qr(rows.T)
        return orthonormal.T.contiguous(), triangle


ALONE = World()
"""The world of one process."""
