"""An orthonormal basis that grows by blocks of rows, and the Gram–Schmidt process that makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from shutil import disk_usage
from tempfile import NamedTemporaryFile, gettempdir
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
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
    """Return in words what a basis of so many rows takes, before anything is computed.

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


@dataclass(frozen=True)
class Orthonormalised:
    """W = C·Q + R·X: what a block of rows W is made of.

    Attributes:
        rows: X (b′, P) orthonormal, and orthogonal to the basis; b′ < b when the space is full.
        coefficients: (n, b) projection onto the basis, float64 on the host.
        triangle: (b′, b) R, the part of each row outside the basis, float64 on the host.
        fresh: how many rows of X are random replacements because W had nothing new in that place.
    """

    rows: Tensor
    coefficients: np.ndarray
    triangle: np.ndarray
    fresh: int


def orthonormalise(
    rows: Tensor, basis: Basis, *, room: int, negligible: float, draw: Callable[[], Tensor]
) -> Orthonormalised:
    """Split rows W (b, P) into their part inside an orthonormal basis and orthonormal rows outside it.

    Classical Gram–Schmidt twice, by a few matrix products and one transfer to the host per block, which keeps the loss of
    orthogonality at the rounding level (Giraud, Langou, Rozložník and van den Eshof 2005), with the factorisation inside the
    block by QR. A row that has nothing new is replaced by a random one with coupling zero: without it an invariant subspace
    would end the process and hide multiplicities.

    Args:
        rows: W (b, P).
        basis: Q, orthonormal.
        room: how many directions the space has left.
        negligible: norm below which a remainder counts as zero.
        draw: makes a random row (P,).
    """
    if not room:
        return Orthonormalised(rows[:0], host(basis.project(rows)), np.zeros((0, len(rows))), 0)
    first = basis.project(rows).double()
    inner, scale = _factor(basis.subtract(rows, first.to(rows.dtype)), basis.world)
    second = basis.project(inner)
    outer, correction = _factor(basis.subtract(inner, second), basis.world)
    coefficients = first + second.double() @ scale
    packed = host(torch.cat([coefficients, scale, correction]))
    found, scales, corrections = np.split(packed, [len(basis), len(basis) + len(rows)])
    sizes = np.abs(np.diagonal(scales))
    kept = np.abs(np.diagonal(corrections))
    if len(rows) <= room and np.all(sizes > negligible) and np.all(kept > 0.5):
        return Orthonormalised(outer, found, corrections @ scales, 0)
    if not np.all(np.isfinite(packed)):
        return Orthonormalised(outer, found, scales, 0)
    return _row_by_row(rows, basis, room, negligible, draw)


def _factor(rows: Tensor, world: World) -> tuple[Tensor, Tensor]:
    """Return orthonormal rows X and R in float64 with W = Rᵀ X."""
    if len(rows) == 1:
        norm = world.norm(rows[0], dtype=torch.float64)
        return rows / norm.clamp_min(torch.finfo(rows.dtype).tiny).to(rows.dtype), norm.reshape(1, 1)
    orthonormal, triangle = world.factor(rows)
    return orthonormal, triangle.double()


def _row_by_row(
    rows: Tensor, basis: Basis, room: int, negligible: float, draw: Callable[[], Tensor]
) -> Orthonormalised:
    """Handle a block with dependent rows: each row by itself, random replacements where nothing is left."""
    found, world = np.zeros((len(basis), len(rows))), basis.world
    triangle = np.zeros((min(room, len(rows)), len(rows)))
    new = rows[:0]
    fresh = 0
    for column, row in enumerate(rows):
        remainder, inside, within = _remainder(row, basis, new)
        found[:, column] = inside
        triangle[: len(new), column] = within
        norm = float(world.norm(remainder, dtype=torch.float64))
        if len(new) == room:
            continue
        if norm > negligible:
            triangle[len(new), column] = norm
        else:
            fresh += 1
            remainder = _remainder(draw(), basis, new)[0]
        unit = remainder / world.norm(remainder)
        unit = _remainder(unit, basis, new)[0]
        new = torch.cat([new, (unit / world.norm(unit))[None]])
    return Orthonormalised(new, found, triangle[: len(new)], fresh)


def _remainder(row: Tensor, basis: Basis, new: Tensor) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Take the basis and the new rows out of one row, twice; return what is left and the coefficients."""
    inside, within = np.zeros(len(basis)), np.zeros(len(new))
    for _ in range(2):
        on_basis, on_new = basis.project(row[None]), basis.world.over_parts(new @ row)
        row = basis.subtract(row[None], on_basis)[0] - on_new @ new
        inside += host(on_basis)[:, 0]
        within += host(on_new)
    return row, inside, within


def host(numbers: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array on the host."""
    array: np.ndarray = numbers.double().cpu().numpy()
    return array
