"""The diagonal of an operator from random probes, entry by entry with standard errors."""

from __future__ import annotations

import time
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.results import Diagonal
from landscape.spectra.basis import host
from landscape.spectra.protocol import Operator, Products
from landscape.spectra.sampling import check_budget
from landscape.spectra.sketches import Range, leave_one_out_directions

DiagonalMethod = Literal["hutchinson", "xdiag"]


@checked
def diagonal(op: Operator, matvecs: int = 100, method: DiagonalMethod = "hutchinson", seed: int = 0) -> Diagonal:
    """Estimate every diagonal entry of A from products with random sign vectors.

    ``hutchinson`` averages z∘Az, whose error in entry i is the norm of the rest of row i over √matvecs; it keeps two vectors
    of length P. ``xdiag`` takes the diagonal of a sketch of A exactly and only the rest at random: far more exact where
    the spectrum decays, for matvecs vectors of length P; its standard errors are heuristic.

    Args:
        op: symmetric operator (P, P).
        matvecs: products to spend; from P on the diagonal is computed exactly.
        method: the estimator.
        seed: seed of the probes.

    Returns:
        `Diagonal`: values and standard errors (P,).

    Raises:
        LandscapeError: unknown method, or too small a budget.
        NumericalError: a product is not finite.

    Sources: Bekas, Kokiopoulou and Saad 2007; Epperly, Tropp and Webber 2024, section 2.5 (XDiag).

    >>> diagonal(torch.tensor([[1.0, 2.0], [2.0, 5.0]])).values
    array([1., 5.])
    """
    started = time.perf_counter()
    if method not in get_args(DiagonalMethod):
        raise LandscapeError(f"method={method!r} is unknown: use one of {', '.join(get_args(DiagonalMethod))}")
    check_budget(matvecs, None, 4 if method == "xdiag" else 2, method)
    products = Products(op)
    if matvecs >= products.size:
        values, errors, kind = products.diagonal()[0], np.zeros(products.size), "exact"
    elif method == "hutchinson":
        values, errors, kind = *_hutchinson(products, matvecs, seed), "standard"
    else:
        values, errors, kind = *_xdiag(products, matvecs, seed), "heuristic"
    return Diagonal(
        values=values,
        standard_errors=errors,
        operator=products.name,
        method="exact" if kind == "exact" else method,
        matvecs=products.count,
        error_kind=kind,
        seed=seed,
        provenance=products.provenance,
        seconds=time.perf_counter() - started,
    )


class _Moments:
    """The running mean and spread of vectors, in float64 (Welford 1962)."""

    def __init__(self, products: Products) -> None:
        self.count, self.world = 0, products.world
        self.mean = torch.zeros(self.world.length(products.size), dtype=torch.float64, device=products.device)
        self.squares = torch.zeros_like(self.mean)

    def add(self, sample: Tensor) -> None:
        self.count += 1
        change = sample - self.mean
        self.mean += change / self.count
        self.squares += change * (sample - self.mean)

    def standard_errors(self) -> np.ndarray:
        return host(self.world.whole((self.squares / (self.count - 1) / self.count).sqrt()))


def _hutchinson(products: Products, matvecs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    probes = products.probes(seed, "rademacher")
    moments = _Moments(products)
    for start in bar(range(0, matvecs, products.block_size), desc=f"diagonal of the {products.name}", unit="block"):
        rows = probes.rows(start, min(start + products.block_size, matvecs))
        for sample in rows.double() * products.rows(rows).double():
            moments.add(sample)
    values = host(products.world.whole(moments.mean))
    products.require_finite(values)
    return values, moments.standard_errors()


def _xdiag(products: Products, matvecs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Average over i the diagonal of QᵢᵀQᵢA plus ωᵢ ∘ (I − QᵢᵀQᵢ)Aωᵢ, where Qᵢ spans the products of the other probes."""
    probes = products.probes(seed, "rademacher")
    count = matvecs // 2
    space = Range(products, probes)
    space.grow(count)
    basis, triangle = space.basis, space.triangle
    directions = leave_one_out_directions(triangle)
    applied = products.basis()
    shared = torch.zeros(applied.size, dtype=torch.float64, device=products.device)
    for _, chunk in basis.filled():
        for rows in chunk.split(products.block_size):
            images = products.rows(rows)
            applied.append(images)
            shared += (rows.double() * images.double()).sum(0)
    moments = _Moments(products)
    for number in range(count):
        along = torch.as_tensor(directions[:, [number]]).to(products.device, products.dtype)
        direction = basis.combine(along)[0].double()
        missed = probes.rows(number, number + 1)[0].double() * float(directions[:, number] @ triangle[:, number])
        moments.add(direction * (missed - applied.combine(along)[0].double()))
    values = host(products.world.whole(shared + moments.mean))
    products.require_finite(values)
    return values, moments.standard_errors()
