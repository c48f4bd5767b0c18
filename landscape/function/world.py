"""How sums over batches and inner products over theta are taken: here by one process that holds everything.

Objectives, operators and spectra never add up batches or multiply two vectors by themselves; they ask their world. In
another world every process has batches of its own, whose sums `World.sum` then takes over all of them; or a part of theta,
of every vector and of every basis, over which `World.over_parts` then takes inner products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from landscape.function.data import Data

Summed = TypeVar("Summed", int, float, Tensor)
T = TypeVar("T")

_PIECE = 1 << 22  # entries turned into float64 at a time: 32 MB of a vector that may fill half the memory


class World:
    """One process with all batches and all of theta.

    >>> ALONE.dot(torch.ones(3), torch.ones(3)), ALONE.norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    (tensor(3., dtype=torch.float64), tensor([5., 1.]))
    """

    rank, count = 0, 1
    """Which of how many processes this one is; the first alone writes."""

    group: Any = None
    """The group of processes, as `torch.distributed` has it."""

    sharded = False
    """Whether a process holds a part of theta only."""

    def sum(self, value: Summed) -> Summed:
        """Return a sum over this process's batches (in float64, where it is a tensor) as one over all batches."""
        return value

    def sum_vectors(self, total: Tensor) -> Tensor:
        """Return vectors (p, …) over this process's part of theta, summed over its batches, as sums over all batches."""
        return self.sum(total)

    def join(self, rows: Tensor) -> Tensor:
        """Return what each of this process's examples gives, (n, …), as what all examples give, in order, (N, …)."""
        return rows

    def before(self, size: int) -> int:
        """Return the sum of a number over the processes before this one."""
        return 0

    def share(self, value: T) -> T:
        """Return what the first process has."""
        return value

    def exchange(self, value: T) -> list[T]:
        """Return what every process has, in their order."""
        return [value]

    def attempt(self, compute: Callable[[], T]) -> T:
        """Return what a function gives that talks to no other process; where it fails in one, all raise."""
        return compute()

    def agree(self, **what: Any) -> None:
        """Raise LandscapeError, in every process, where something that must be the same differs between them."""

    def divided(self, data: Data) -> Data:
        """Return this process's part of data that every process was given whole."""
        return data

    def everything(self, data: Data) -> Data:
        """Return the data of all processes."""
        return data

    def relayed(self, items: Sequence[T]) -> Iterable[T]:
        """Yield what all processes have, in their order."""
        return items

    @property
    def undivided(self) -> World:
        """The world of this process when it has all data."""
        return ALONE

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

    def draw(self, row: Tensor, fill: Callable[[Tensor], Any]) -> Tensor:
        """Fill this process's part (p,) of a vector (P,) that a generator fills; return it.

        Args:
            row: to be filled, (p,).
            fill: draws as many numbers as a tensor has, such as ``lambda numbers: numbers.normal_(generator=…)``.
        """
        fill(row)
        return row

    def normal(self, size: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return this process's part of P standard normal numbers."""
        row = torch.empty(self.length(size), dtype=dtype)
        return self.draw(row, lambda numbers: numbers.normal_(generator=generator))

    def dot(self, u: Tensor, v: Tensor) -> Tensor:
        """Return ⟨u, v⟩ in float64: of two vectors (P,), or of the rows (K, P) one by one."""
        sums = zip(u.split(_PIECE, -1), v.split(_PIECE, -1), strict=True)
        return self.over_parts(torch.stack([(a.double() * b.double()).sum(-1) for a, b in sums]).sum(0))

    def gram(self, U: Tensor, V: Tensor) -> Tensor:
        """Return ⟨uᵢ, vⱼ⟩ of all rows (K, P) and (L, P) in their own type; rows are (K, L)."""
        return self.over_parts(U @ V.T)

    def norm(self, rows: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
        """Return ‖v‖₂ of a vector (P,) or of each row (K, P), summed in float64, in the type of the rows or another.

        PyTorch's own sum in float32 is off by 7e-6 at 20,000 entries on a CPU, a hundred times its rounding.
        """
        norms = [torch.linalg.vector_norm(piece, dim=-1, dtype=torch.float64) for piece in rows.split(_PIECE, -1)]
        return self.over_parts(torch.stack(norms).square().sum(0)).sqrt().to(dtype or rows.dtype)

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
