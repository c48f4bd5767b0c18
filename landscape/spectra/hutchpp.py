"""Hutch++: the trace on a sketched subspace exactly, the rest by Hutchinson."""

from __future__ import annotations

from itertools import count as count_from

import numpy as np

from landscape.spectra.basis import Basis
from landscape.spectra.orthonormal import host, orthonormalise
from landscape.spectra.probes import Probes
from landscape.spectra.protocol import Products
from landscape.spectra.sampling import FEWEST, precise, sample_until, standard_error


def hutchpp_samples(products: Products, matvecs: int, seed: int, *, tol: float | None) -> np.ndarray:
    """Return samples of tr(QᵀAQ) + gᵀ(I − QQᵀ)A(I − QQᵀ)g, where Q spans A applied to a third of the budget.

    Given Q, the first term is exact and the samples are independent and unbiased, so that their spread is the whole
    error (Meyer, Musco, Musco and Woodruff 2021, algorithm 1).
    """
    sketch = max(1, min(matvecs // 3, (matvecs - FEWEST) // 2))
    probes = products.probes(seed, "rademacher")
    basis, _ = range_basis(products, probes, sketch)
    captured = sum(float(found) for found in _quadratic_forms(products, basis))

    def draw(start: int, stop: int) -> np.ndarray:
        rows = probes.rows(sketch + start, sketch + stop)
        rows = basis.subtract(rows, basis.project(rows))
        samples = host(products.world.dot(rows, products.rows(rows)))
        products.require_finite(samples)
        return captured + samples

    def enough(samples: np.ndarray) -> bool:
        return precise(samples.mean(), standard_error(samples), tol or 0.0)

    return sample_until(
        draw,
        budget=matvecs - 2 * sketch,
        block=products.block_size,
        enough=None if tol is None else enough,
        description=f"trace of the {products.name}",
    )


def range_basis(products: Products, probes: Probes, count: int) -> tuple[Basis, np.ndarray]:
    """Return an orthonormal basis Q of the span of A z for the first `count` probes z, and R with A z = Qᵀ R."""
    basis = products.basis()
    fresh = count_from(1 << 40)
    triangle = np.zeros((0, 0))
    for start in range(0, count, products.block_size):
        applied = products.rows(probes.rows(start, min(start + products.block_size, count)))
        split = orthonormalise(
            applied,
            basis,
            room=products.size - len(basis),
            negligible=0.0,
            draw=lambda: probes.rows(number := next(fresh), number + 1)[0],
        )
        products.require_finite(split.triangle)
        below = np.zeros((len(split.rows), len(basis)))
        triangle = np.block([[triangle, split.coefficients], [below, split.triangle]])
        basis.append(split.rows)
    return basis, triangle


def _quadratic_forms(products: Products, basis: Basis) -> np.ndarray:
    forms = []
    for _, chunk in basis.filled():
        for rows in chunk.split(products.block_size):
            forms.append(host(products.world.dot(rows, products.rows(rows))))
    found = np.concatenate(forms)
    products.require_finite(found)
    return found
