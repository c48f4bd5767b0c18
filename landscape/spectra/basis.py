"""An orthonormal basis that grows by blocks of rows and is multiplied by whole matrices."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.function.world import ALONE, World

CHUNK = 16
"""Rows allocated at a time: memory follows the basis without ever copying it."""

SLICE = 1 << 16
"""Columns rotated at a time, so that a restart needs no second basis."""


class Basis:
    """Rows q₁ … qₙ, orthonormal, in chunks of memory that are allocated as they fill.

    >>> basis = Basis(3)
    >>> basis.append(torch.eye(3)[:2])
    >>> basis.project(torch.tensor([[5.0, 6.0, 7.0]]))
    tensor([[5.],
            [6.]])
    """

    def __init__(self, size: int, world: World = ALONE) -> None:
        self.size = size
        self.world = world
        self.count = 0
        self._chunks: list[Tensor] = []

    def __len__(self) -> int:
        return self.count

    def filled(self) -> Iterator[tuple[int, Tensor]]:
        """Yield (index of the first row, rows) for each chunk."""
        for number, chunk in enumerate(self._chunks):
            start = number * CHUNK
            if start < self.count:
                yield start, chunk[: self.count - start]

    def rows(self) -> Tensor:
        """Return a copy of all rows (n, P)."""
        parts = [rows for _, rows in self.filled()]
        return torch.cat(parts) if parts else torch.empty(0, self.size)

    def append(self, rows: Tensor) -> None:
        """Add rows (b, P), which the caller has made orthonormal to the basis."""
        for row in rows:
            number, offset = divmod(self.count, CHUNK)
            if number == len(self._chunks):
                self._chunks.append(torch.empty(CHUNK, self.size, dtype=row.dtype, device=row.device))
            self._chunks[number][offset] = row
            self.count += 1

    def project(self, rows: Tensor) -> Tensor:
        """Return the coefficients qᵢ·wⱼ (n, b) of rows w (b, P)."""
        parts = [chunk @ rows.T for _, chunk in self.filled()]
        return self.world.over_parts(torch.cat(parts)) if parts else rows.new_empty(0, len(rows))

    def subtract(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """Return wⱼ − Σᵢ cᵢⱼ qᵢ as rows (b, P)."""
        for start, chunk in self.filled():
            rows = torch.addmm(rows, coefficients[start : start + len(chunk)].T, chunk, alpha=-1)
        return rows

    def combine(self, coefficients: Tensor) -> Tensor:
        """Return the rows Σᵢ cᵢⱼ qᵢ (k, P) for coefficients (n, k)."""
        return sum(coefficients[start : start + len(chunk)].T @ chunk for start, chunk in self.filled())  # type: ignore[return-value]

    def rotate(self, coefficients: Tensor) -> None:
        """Replace the basis by the rows Σᵢ cᵢⱼ qᵢ for orthonormal columns c (n, k), in place, slice by slice."""
        kept = coefficients.shape[1]
        for left in range(0, self.size, SLICE):
            columns = slice(left, left + SLICE)
            turned = coefficients.T @ torch.cat([chunk[:, columns] for _, chunk in self.filled()])
            for start, chunk in list(self.filled()):
                if start < kept:
                    part = turned[start : start + len(chunk)]
                    chunk[: len(part), columns] = part
        self.count = kept
