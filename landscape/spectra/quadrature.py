"""Gauss quadrature of vᵀf(A)v by Lanczos with full reorthogonalisation, several start vectors side by side."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor
from tqdm.auto import tqdm

from landscape.spectra.basis import Basis, host
from landscape.spectra.protocol import Products

CHECK = 16
"""Steps between two looks at the coefficients; no step waits for the host."""


def lanczos_quadrature(
    products: Products,
    start: Tensor,
    steps: int,
    *,
    locked: Basis | None = None,
    low_memory: bool = False,
    progress: tqdm | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes θ and weights w with Σₖ wₖ f(θₖ) ≈ vᵀf(A)v / vᵀv, exact for polynomials up to degree 2m − 1.

    Args:
        products: the operator A.
        start: vectors v (K, P), one quadrature each.
        steps: m, at most the dimension of the space.
        locked: directions taken out of A and of the start vectors.
        low_memory: keep two vectors of each process instead of all. Without reorthogonalisation converged Ritz values come
            again (Paige 1980), which splits a weight among copies of its node and leaves the measure what it is.
        progress: a bar to move on by the products spent.

    Returns:
        Nodes and weights (K, m); where v lies in a smaller invariant subspace, filled up with weights of zero.

    Raises:
        NumericalError: the operator is not symmetric, not deterministic, or a product is not finite.

    Source: Golub and Meurant 2010, section 6.2.

    >>> products = Products(torch.diag(torch.tensor([1.0, 3.0])))
    >>> nodes, weights = lanczos_quadrature(products, torch.ones(1, 2), steps=2)
    >>> nodes.round(4), weights.round(4)
    (array([[1., 3.]]), array([[0.5, 0.5]]))
    """
    runs = [_Run(row, locked, products, low_memory) for row in start]
    for step in range(steps):
        applied = products.rows(torch.stack([run.next for run in runs]))
        for run, product in zip(runs, applied, strict=True):
            run.advance(product)
        if progress is not None:
            progress.update(len(runs))
        if (step + 1) % CHECK == 0 or step + 1 == steps:
            lengths = [run.check(products) for run in runs]
            if all(length < step + 1 for length in lengths):
                break
    rules = [run.rule(length, steps) for run, length in zip(runs, lengths, strict=True)]
    return np.stack([nodes for nodes, _ in rules]), np.stack([weights for _, weights in rules])


class _Run:
    """One Lanczos process; its coefficients stay on the device until they are looked at."""

    def __init__(self, start: Tensor, locked: Basis | None, products: Products, low_memory: bool) -> None:
        self.world, self.basis, self.low_memory = products.world, products.basis(), low_memory
        self.spaces = [self.basis] if locked is None else [locked, self.basis]
        self.first = start
        self.diagonal: list[Tensor] = []
        self.beside: list[Tensor] = []
        self.stray: list[Tensor] = []
        self.next = self._unit(self._outside(start[None]))[0]

    def advance(self, product: Tensor) -> None:
        """Take the product of the latest vector and make the next one."""
        vector = self.next
        self.basis.append(vector[None])
        self.diagonal.append(self.world.dot(vector, product))
        earlier = self.basis.project(product[None])[:-2]
        self.stray.append(earlier.abs().max() if len(earlier) else product.new_zeros(()))
        if self.low_memory:
            self.basis.keep_last(2)
        self.next, norm = self._unit(self._outside(product[None]))
        self.beside.append(norm)

    def check(self, products: Products) -> int:
        """Return how many steps are worth keeping; raise where products contradict each other."""
        coefficients = host(torch.stack([*self.diagonal, *self.beside]))
        products.require_finite(coefficients)
        count = len(self.diagonal)
        scale = np.abs(coefficients).max()
        vanishing = coefficients[count:] <= 64 * torch.finfo(products.dtype).eps * scale
        length = int(np.argmax(vanishing)) + 1 if vanishing.any() else count
        stray = float(torch.stack(self.stray[:length]).max())
        if stray > products.epsilon**0.5 * scale:
            raise products.explain_asymmetry(self.first, stray / scale)
        return length

    def rule(self, length: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes and weights, filled up to `steps`."""
        diagonal, beside = host(torch.stack(self.diagonal[:length])), host(torch.stack(self.beside[:length]))
        nodes, vectors = eigh_tridiagonal(diagonal, beside[:-1])
        missing = steps - length
        return np.append(nodes, np.full(missing, nodes[-1])), np.append(vectors[0] ** 2, np.zeros(missing))

    def _outside(self, rows: Tensor) -> Tensor:
        for _ in range(2):
            for space in self.spaces:
                rows = space.subtract(rows, space.project(rows))
        return rows

    def _unit(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.world.norm(rows[0], dtype=torch.float64)
        return rows[0] / norm.clamp_min(torch.finfo(rows.dtype).tiny).to(rows.dtype), norm
