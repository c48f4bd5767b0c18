"""The density of all eigenvalues by stochastic Lanczos quadrature: a Gaussian per node, a band from the spread over probes."""

from __future__ import annotations

import time
from typing import Any, Literal, get_args

import numpy as np

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.results import Eigenpairs, SpectralDensity
from landscape.spectra.basis import Basis, host
from landscape.spectra.protocol import Operator, Products, as_rows, deflated
from landscape.spectra.quadrature import lanczos_quadrature

Axis = Literal["linear", "log"]

SMALLEST = 1e-8
"""|λ| / max|λ| at which the logarithmic axis begins; smaller nodes are rounding."""


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
    nodes, weights = (np.concatenate(parts) for parts in zip(*rules, strict=True))
    positive = bool(getattr(products.op, "positive_semidefinite", False))
    return SpectralDensity(
        **_smoothed(nodes, weights, positive, axis=axis, width=width, grid=grid, points=points),
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
    basis, world = products.basis(), products.world
    basis.append(deflated(deflate, products))
    if isinstance(deflate, Eigenpairs):
        return np.asarray(deflate.values), basis
    rows = as_rows(deflate, products, "deflate")
    units = rows / world.norm(rows)[:, None]
    return host(world.dot(units, products.rows(units))), basis


def resmooth(
    density: SpectralDensity,
    *,
    axis: Axis = "linear",
    width: float | None = None,
    grid: Any = None,
    points: int = 1000,
    positive: bool | None = None,
) -> SpectralDensity:
    """Draw the same quadrature nodes on another axis, with another width or grid; no products are spent.

    Args:
        density: the density to draw again.
        axis: ``linear``, or ``log`` for the density per decade of |λ|.
        width: standard deviation of the Gaussian, in units of the axis; None as in `spectral_density`.
        grid: axis values (g,); positive on the logarithmic axis. None covers all nodes.
        points: length of the grid made where none is given.
        positive: whether to reflect at zero what the Gaussians put below it; None as in the density.

    Returns:
        A new `SpectralDensity`.

    Raises:
        LandscapeError: unknown axis, a width that is not positive, or a grid that does not fit the axis.
    """
    positive = density.positive if positive is None else positive
    drawn = _smoothed(density.nodes, density.weights, positive, axis=axis, width=width, grid=grid, points=points)
    return density.replace(**drawn)


def _smoothed(
    nodes: np.ndarray, weights: np.ndarray, positive: bool, *, axis: Axis, width: float | None, grid: Any, points: int
) -> dict[str, Any]:
    """Replace each node by a Gaussian and average over probes; return the fields of `SpectralDensity` that this makes.

    Of a positive operator N(x; θ, width²) + N(−x; θ, width²) is drawn for x ≥ 0: reflected at zero, its area stays one.
    """
    if axis not in get_args(Axis):
        raise LandscapeError(f"axis={axis!r} is unknown: use 'linear' or 'log'")
    if width is not None and not width > 0:
        raise LandscapeError(f"width={width} is a standard deviation: use width > 0, or None for the default")
    if axis == "log":
        return _logarithmic(nodes, weights, width, grid, points, positive)
    extent, largest = float(np.ptp(nodes)), float(np.abs(nodes).max())
    if extent <= SMALLEST * largest:
        extent = largest or 1.0
    width = width or extent / nodes.shape[1]
    if grid is None:
        lowest = float(nodes.min() - 4 * width)
        grid = np.linspace(max(lowest, 0.0) if positive else lowest, nodes.max() + 4 * width, points)
    axis_values = np.asarray(grid, dtype=np.float64)
    mean, error = _mixture(axis_values, nodes, weights, width, reflect=positive)
    drawn = {"axis": "linear", "positive": positive, "width": width, "grid": axis_values}
    return {
        **drawn,
        "density": mean,
        "standard_error": error,
        "negative_density": None,
        "negative_standard_error": None,
    }


def _logarithmic(
    nodes: np.ndarray, weights: np.ndarray, width: float | None, grid: Any, points: int, positive: bool
) -> dict[str, Any]:
    sizes = np.abs(nodes)
    largest = float(sizes.max())
    if largest == 0:
        raise LandscapeError("every eigenvalue is zero, which a logarithmic axis cannot show: use axis='linear'")
    seen = sizes > SMALLEST * largest
    decades = np.log10(np.where(seen, sizes, largest))
    width = width or max(float(np.ptp(decades)), 0.1) / nodes.shape[1]
    if grid is None:
        grid = np.logspace(decades.min() - 4 * width, decades.max() + 4 * width, points)
    axis_values = np.asarray(grid, dtype=np.float64)
    if not np.all(axis_values > 0):
        raise LandscapeError("the grid of a logarithmic axis holds values of zero or below: pass |λ| > 0")
    where = np.log10(axis_values)
    drawn: dict[str, Any] = {"axis": "log", "positive": positive, "width": width, "grid": axis_values}
    for sign, prefix in ((1, ""), (-1, "negative_")):
        curves = _mixture(where, decades, np.where(seen & (sign * nodes > 0), weights, 0.0), width)
        drawn[f"{prefix}density"], drawn[f"{prefix}standard_error"] = curves
    return drawn


def _mixture(
    grid: np.ndarray, nodes: np.ndarray, weights: np.ndarray, width: float, *, reflect: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over probes of Σ w N(x; θ, width²) and its standard error."""
    from scipy.stats import norm  # takes half a second to load, and eigenvalues need none of it

    curves = np.stack(
        [norm.pdf(grid[:, None], node[None], width) @ weight for node, weight in zip(nodes, weights, strict=True)]
    )
    if reflect:
        mirrored = [norm.pdf(-grid[:, None], node[None], width) @ w for node, w in zip(nodes, weights, strict=True)]
        curves = np.where(grid < 0, 0.0, curves + np.stack(mirrored))
    if len(curves) == 1:
        return curves[0], np.full_like(curves[0], np.nan)
    return curves.mean(0), curves.std(0, ddof=1) / len(curves) ** 0.5
