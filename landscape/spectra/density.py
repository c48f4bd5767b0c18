"""The density of all eigenvalues by stochastic Lanczos quadrature."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.results import Eigenpairs, SpectralDensity
from landscape.spectra.basis import Basis
from landscape.spectra.orthonormal import host
from landscape.spectra.protocol import Operator, Products, as_rows
from landscape.spectra.quadrature import lanczos_quadrature
from landscape.spectra.smoothing import Axis, smooth


@checked
def spectral_density(
    op: Operator,
    probes: int = 10,
    steps: int = 80,
    seed: int = 0,
    *,
    deflate: Any = None,
    axis: Axis = "linear",
    width: float | None = None,
    grid: Any = None,
    points: int = 1000,
    low_memory: bool = False,
) -> SpectralDensity:
    """Estimate the eigenvalue density p(x) = P⁻¹ Σᵢ N(x; λᵢ, width²) from random probes, with a standard error.

    Each probe v, uniform on the sphere, gives the Gauss quadrature of its own spectral measure: nodes θₖ and weights wₖ
    with E Σₖ wₖ f(θₖ) = tr f(A) / P for polynomials f up to degree 2·steps − 1. Lanczos keeps its whole basis orthogonal, so that
    no node is a ghost copy of another.

    Args:
        op: symmetric operator (P, P).
        probes: independent quadratures; their spread is the standard error.
        steps: Lanczos steps each; probes·steps products are spent, steps vectors of length P kept.
        seed: seed of the probes.
        deflate: converged `Eigenpairs` (or rows (d, P) that are eigenvectors) to list as outliers apart from the bulk.
        axis: ``linear``, or ``log`` for the density per decade of |λ|, positive and negative apart.
        width: standard deviation of the smoothing Gaussian in units of the axis; None for the range of the nodes over
            `steps`, below which Lanczos does not resolve.
        grid: axis values (g,); None covers all nodes.
        points: length of the grid made where none is given.
        low_memory: keep two vectors of length P for each probe instead of `steps`; nodes then have copies that share a weight,
            and the density is the same up to rounding.

    Returns:
        `SpectralDensity`; `resmooth` draws it again without products, and `moment`, `effective_dimension`,
        `log_determinant`, `renyi_entropy`, `mass` and `bulk_edge` take it.

    Raises:
        LandscapeError: probes, steps, `deflate`, axis, width or grid do not fit.
        NumericalError: the operator is not symmetric, not deterministic, or a product is not finite.

    Of an operator that is known to be positive semi-definite nothing is drawn below zero: what the Gaussians put there is
    reflected. `SpectralDensity.band` turns the standard error into a pointwise interval.

    Sources: Golub and Meurant 2010; Ghorbani, Krishnan and Xiao 2019.

    >>> import torch
    >>> density = spectral_density(torch.diag(torch.tensor([0.0, 1.0, 2.0])), probes=2)
    >>> density.nodes.round(3)[0] + 0.0
    array([0., 1., 2.])
    """
    started = time.perf_counter()
    if probes < 1 or steps < 1:
        raise LandscapeError(f"probes={probes} and steps={steps}: use at least 1 of each")
    products = Products(op)
    outliers, locked = _outliers(deflate, products)
    room = products.size - (len(locked) if locked is not None else 0)
    steps = min(steps, room)
    drawn = products.probes(seed, "gaussian")
    rules = []
    with bar(total=probes * steps, desc=f"density of the {products.name}", unit="product") as progress:
        for begin in range(0, probes, products.block_size):
            start = drawn.rows(begin, min(begin + products.block_size, probes))
            rules.append(
                lanczos_quadrature(products, start, steps, locked=locked, low_memory=low_memory, progress=progress)
            )
    nodes = np.concatenate([nodes for nodes, _ in rules])
    weights = np.concatenate([weights for _, weights in rules])
    positive = bool(getattr(products.op, "positive_semidefinite", False))
    drawing = smooth(nodes, weights, axis=axis, width=width, grid=grid, points=points, positive=positive)
    return SpectralDensity(
        **vars(drawing),
        nodes=nodes,
        weights=weights,
        outliers=outliers,
        operator=products.name,
        size=products.size,
        matvecs=products.count,
        seed=seed,
        provenance=products.provenance,
        seconds=time.perf_counter() - started,
    )


def _outliers(deflate: Any, products: Products) -> tuple[np.ndarray | None, Basis | None]:
    """Return the eigenvalues to list apart and an orthonormal basis of their eigenvectors."""
    if deflate is None:
        return None, None
    if isinstance(deflate, Eigenpairs) and not deflate.converged:
        raise LandscapeError(f"deflate holds eigenpairs that did not converge ({deflate.message}): converge them first")
    rows = as_rows(deflate, products, "deflate")
    if len(rows) >= products.size:
        raise LandscapeError(
            f"deflate holds {len(rows)} vectors, which leaves nothing of P={products.size}: pass fewer"
        )
    basis, world = products.basis(), products.world
    basis.append(world.factor(rows)[0])
    if isinstance(deflate, Eigenpairs):
        return np.asarray(deflate.values), basis
    units = rows / world.norm(rows)[:, None]
    return host(world.dot(units, products.rows(units))), basis
