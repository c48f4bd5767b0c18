"""XNysTrace: the trace of a positive semi-definite operator from Nyström approximations, one product per test vector."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg import cholesky, solve_triangular
from torch import Tensor

from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.world import World
from landscape.spectra.basis import SLICE
from landscape.spectra.orthonormal import host
from landscape.spectra.protocol import Products
from landscape.spectra.xtrace import jackknife_error


def xnystrace_samples(
    products: Products, matvecs: int, seed: int, *, enough: Callable[[np.ndarray, float], bool] | None
) -> tuple[np.ndarray, float]:
    """Return XNysTrace's leave-one-out estimates (n,) of tr A and a conservative (jackknife) standard error.

    Raises:
        LandscapeError: the operator has negative eigenvalues.
    """
    probes = products.probes(seed, "sphere")
    applied = torch.empty(0, products.world.length(products.size), dtype=products.dtype, device=products.device)
    with bar(total=matvecs, desc=f"trace of the {products.name}", unit="product") as progress:
        wanted = matvecs if enough is None else min(10, matvecs)
        while True:
            progress.update(wanted - len(applied))
            for start in range(len(applied), wanted, products.block_size):
                rows = products.rows(probes.rows(start, min(start + products.block_size, wanted)))
                applied = torch.cat([applied, rows])
            estimates, error = _estimate(probes.rows(0, wanted), applied, products, seed)
            if wanted == matvecs or (enough is not None and enough(estimates, error)):
                return estimates, error
            wanted = min(matvecs, wanted + max(2, wanted // 2))


def leave_one_out(triangle: np.ndarray, core: np.ndarray, gram: np.ndarray, size: int) -> np.ndarray:
    """Return the leave-one-out estimates (n,) of the trace, each unbiased.

    With B = ωᵀAω, the Nyström approximation without vector i differs from the full one by Y bᵢbᵢᵀYᵀ / gᵢ, where bᵢ is
    column i of B⁻¹ and gᵢ its diagonal entry, and leaves 1/gᵢ of ωᵢᵀAωᵢ unexplained; that is rescaled to the length a
    vector uniform on the sphere of the complement should have (Epperly, Tropp and Webber 2024, section 2.4).

    Args:
        triangle: R with Y = QR (rows, n).
        core: B (n, n), positive definite.
        gram: ωᵀω (n, n).
        size: P.

    >>> leave_one_out(np.eye(1), np.eye(1), np.eye(1), 1)
    array([1.])
    """
    lower = cholesky(core, lower=True)
    inverse = solve_triangular(lower, np.eye(len(core)), lower=True)
    factor = triangle @ inverse.T
    entries = (inverse**2).sum(0)
    explained = (factor**2).sum() - ((factor @ inverse) ** 2).sum(0) / entries
    length = 1 / np.diagonal(np.linalg.inv(gram))
    estimates: np.ndarray = explained + (size - len(core) + 1) / length / entries
    return estimates


def _estimate(omega: Tensor, applied: Tensor, products: Products, seed: int) -> tuple[np.ndarray, float]:
    """Shift A by ν at the rounding level, so that the core stays positive definite where A is singular."""
    norm = float(products.world.norm(applied.flatten(), dtype=torch.float64))
    products.require_finite(norm)
    if norm == 0:
        return np.zeros(len(omega)), 0.0
    world = products.world
    core = _gram(omega, applied, world)
    core = (core + core.T) / 2
    spectrum = np.linalg.eigvalsh(core)
    if spectrum[0] < -100 * products.epsilon * norm * products.size**0.5:
        raise LandscapeError(
            f"the {products.name} has negative eigenvalues (zᵀAz = {spectrum[0]:.1e} for some z), and xnystrace needs a "
            "positive semi-definite operator: use method='xtrace'"
        )
    gram = _gram(omega, omega, world)
    shift = products.epsilon * norm / len(omega) ** 0.5
    shift = max(shift, -2 * spectrum[0] / np.linalg.eigvalsh(gram)[0])
    triangle = host(world.factor(applied + shift * omega, vectors=False)[1])
    core = core + shift * gram

    def without(index: int) -> float:
        rest = np.arange(len(core)) != index
        pair = np.ix_(rest, rest)
        return float(leave_one_out(triangle[:, rest], core[pair], gram[pair], products.size).mean())

    estimates = leave_one_out(triangle, core, gram, products.size) - shift * products.size
    return estimates, jackknife_error(without, len(core), seed)


def _gram(left: Tensor, right: Tensor, world: World) -> np.ndarray:
    """Return the inner products of rows (n, n) in float64, slice by slice."""
    slices = zip(left.split(SLICE, dim=1), right.split(SLICE, dim=1), strict=True)
    return host(world.over_parts(torch.stack([a.double() @ b.double().T for a, b in slices]).sum(0)))
