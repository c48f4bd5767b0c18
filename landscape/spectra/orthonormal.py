"""Two-pass block Gram–Schmidt: a few matrix products and one transfer to the host per block, none per basis vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.function.world import World
from landscape.spectra.basis import Basis


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

    Classical Gram–Schmidt twice, which keeps the loss of orthogonality at the rounding level (Giraud, Langou, Rozložník
    and van den Eshof 2005), with the factorisation inside the block by QR. A row that has nothing new is replaced by a
    random one with coupling zero: without it an invariant subspace would end the process and hide multiplicities.

    Args:
        rows: W (b, P).
        basis: Q, orthonormal.
        room: how many directions the space has left.
        negligible: norm below which a remainder counts as zero.
        draw: makes a random row (P,).

    Returns:
        `Orthonormalised`.
    """
    if not room:
        return Orthonormalised(rows[:0], host(_project(rows, basis)), np.zeros((0, len(rows))), 0)
    first = _project(rows, basis)
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


def _project(rows: Tensor, basis: Basis) -> Tensor:
    return basis.project(rows).double()


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
