"""An orthonormal basis that grows by blocks of rows and is multiplied by whole matrices."""

from __future__ import annotations

from collections.abc import Iterator
from shutil import disk_usage
from tempfile import NamedTemporaryFile, gettempdir
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.memory import free_bytes
from landscape.function.world import ALONE, World

if TYPE_CHECKING:
    from landscape.spectra.protocol import Products

CHUNK, CHUNK_BYTES = 16, 2**28
"""Rows allocated at a time, and bytes: memory follows the basis without ever copying it."""

Where = Literal["device", "cpu", "disk"]
"""Where a basis lies: with the operator's vectors, in the memory of the host, or in a file without a name."""

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

    def __init__(self, size: int, world: World = ALONE, where: Where = "device") -> None:
        if where not in get_args(Where):
            raise LandscapeError(f"basis is {where!r}, expected 'device', 'cpu' or 'disk'")
        self.size, self.world, self.where = size, world, where
        self.chunk = max(1, min(CHUNK, CHUNK_BYTES // (4 * max(1, size))))
        self.count = 0
        self._chunks: list[Tensor] = []

    def __len__(self) -> int:
        return self.count

    def filled(self) -> Iterator[tuple[int, Tensor]]:
        """Yield (index of the first row, rows) for each chunk."""
        for number, chunk in enumerate(self._chunks):
            start = number * self.chunk
            if start < self.count:
                yield start, chunk[: self.count - start]

    def rows(self) -> Tensor:
        """Return a copy of all rows (n, P)."""
        parts = [rows for _, rows in self.filled()]
        return torch.cat(parts) if parts else torch.empty(0, self.size)

    def append(self, rows: Tensor) -> None:
        """Add rows (b, P), which the caller has made orthonormal to the basis."""
        for row in rows:
            number, offset = divmod(self.count, self.chunk)
            if number == len(self._chunks):
                self._chunks.append(self._allocated(row))
            self._chunks[number][offset] = row
            self.count += 1

    def _allocated(self, row: Tensor) -> Tensor:
        if self.where != "disk":
            device = row.device if self.where == "device" else "cpu"
            return torch.empty(self.chunk, self.size, dtype=row.dtype, device=device)
        with NamedTemporaryFile(prefix="landscape-basis-") as file:  # the mapping outlives the name
            many = self.chunk * self.size
            return torch.from_file(file.name, shared=True, size=many, dtype=row.dtype).view(self.chunk, self.size)

    def keep_last(self, many: int) -> None:
        """Forget all rows but the last ones."""
        rows = self.rows()[-many:]
        self.count, self._chunks = 0, []
        self.append(rows)

    def project(self, rows: Tensor) -> Tensor:
        """Return the coefficients qᵢ·wⱼ (n, b) of rows w (b, P)."""
        parts = [(chunk @ rows.T.to(chunk.device)).to(rows.device) for _, chunk in self.filled()]
        return self.world.over_parts(torch.cat(parts)) if parts else rows.new_empty(0, len(rows))

    def subtract(self, rows: Tensor, coefficients: Tensor) -> Tensor:
        """Return wⱼ − Σᵢ cᵢⱼ qᵢ as rows (b, P)."""
        device = rows.device
        for start, chunk in self.filled():
            part = coefficients[start : start + len(chunk)].T
            rows = torch.addmm(rows.to(chunk.device), part.to(chunk.device), chunk, alpha=-1)
        return rows.to(device)

    def combine(self, coefficients: Tensor) -> Tensor:
        """Return the rows Σᵢ cᵢⱼ qᵢ (k, P) for coefficients (n, k)."""
        parts = (coefficients[i : i + len(chunk)].T.to(chunk.device) @ chunk for i, chunk in self.filled())
        return sum(parts).to(coefficients.device)  # type: ignore[union-attr]

    def rotate(self, coefficients: Tensor) -> None:
        """Replace the basis by the rows Σᵢ cᵢⱼ qᵢ for orthonormal columns c (n, k), in place, slice by slice."""
        kept = coefficients.shape[1]
        for left in range(0, self.size, SLICE):
            columns = slice(left, left + SLICE)
            before = torch.cat([chunk[:, columns] for _, chunk in self.filled()])
            turned = coefficients.T.to(before.device) @ before
            for start, chunk in list(self.filled()):
                if start < kept:
                    part = turned[start : start + len(chunk)]
                    chunk[: len(part), columns] = part
        self.count = kept


def planned(products: Products, rows: int, where: Where) -> str:
    """Return in words what a basis takes, before anything is computed.

    Args:
        products: the operator.
        rows: vectors that are kept at most.
        where: they lie.

    Raises:
        LandscapeError: there is not so much memory, or room on the disk.
    """
    each = products.world.length(products.size) * products.dtype.itemsize
    device = products.device if where == "device" else torch.device("cpu")
    free = disk_usage(gettempdir()).free if where == "disk" else free_bytes(device)
    if rows * each > free:
        raise LandscapeError(
            f"a basis of {rows} vectors takes {rows * each / 1e9:.3g} GB on {where}, where {free / 1e9:.3g} GB are free: pass "
            f"max_basis={max(1, int(0.8 * free // each))}, or basis='cpu' or 'disk'"
        )
    return f"basis up to {rows * each / 1e9:.3g} GB on {device if where == 'device' else where}"
