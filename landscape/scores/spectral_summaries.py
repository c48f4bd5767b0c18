"""Scores of the whole spectrum: soft rank, and Rényi sharpness of the layers' Hessians."""

from __future__ import annotations

import numpy as np

from landscape.errors import NotDefinedError
from landscape.function.objective import Objective
from landscape.operators import GaussNewton, Hessian
from landscape.scores.evaluation import PRODUCT
from landscape.scores.exact import spectrum
from landscape.scores.register import Definition, Measurement, score
from landscape.spectra import spectral_density
from landscape.spectra.functionals import effective_dimension, renyi_entropy

EXACT = 300
"""Up to this size spectra are computed in full, and the scores are deterministic."""


def soft_rank_of(values: np.ndarray, z: float) -> float:
    """Return Σ λ / (λ + z), negative eigenvalues counted as zero."""
    positive = np.maximum(values, 0)
    return float((positive / (positive + z)).sum())


def renyi_of(values: np.ndarray, order: float) -> float:
    """Return the Rényi entropy of the eigenvalues' magnitudes; log P for H = c I at every order.

    >>> round(renyi_of(np.full(8, 3.0), 0.5), 6)  # log 8
    2.079442
    """
    sizes = np.abs(values)
    if not sizes.sum() > 0:
        raise NotDefinedError("renyi-sharpness is not defined here: every eigenvalue is zero")
    p = sizes / sizes.sum()
    p = p[p > 0]
    return float(-(p * np.log(p)).sum()) if order == 1 else float(np.log((p**order).sum()) / (1 - order))


@score(
    Definition(
        "soft-rank",
        "soft rank of the Gauss–Newton matrix",
        family="information",
        formula="Tr G(G + zI)⁻¹",
        source="Shoham et al. 2025, arXiv 2506.17809; twice the learning coefficient of a quadratic at z = γ/(nβ)",
        stochastic=True,
        cost=200,
        invariant="T4 T5",
        radii=(1e-3,),
        reference=1e-3,
        unit="parameters",
    )
)
def soft_rank(
    objective: Objective,
    *,
    radii: tuple[float, ...] | None = None,
    probes: int = 4,
    steps: int = 30,
    seed: int = 0,
) -> list[Measurement]:
    r"""Measure how many directions are curved more than z.

    .. math:: \mathrm{rank}_z(G) = \mathrm{Tr}\,G(G + zI)^{-1} = \sum_i \lambda_i / (\lambda_i + z)

    of the Gauss–Newton matrix, which has no negative eigenvalues; exact for up to 300 parameters.

    Args:
        objective: the function; the loss must be a function of outputs and targets.
        radii: the levels z, in units of the eigenvalues.
        probes: of stochastic Lanczos quadrature.
        steps: Lanczos steps a probe.
        seed: of the probes.

    Raises:
        NotDefinedError: a `BatchLoss`, which has no Gauss–Newton matrix.

    Source: arXiv 2506.17809, equation 2.
    """
    op, levels = GaussNewton(objective), tuple(radii or (1e-3,))
    if objective.size <= EXACT:
        values = spectrum(op)
        return [Measurement(soft_rank_of(values, z), 0.0, z, PRODUCT * objective.size) for z in levels]
    density = spectral_density(op, probes=probes, steps=steps, seed=seed)
    found = [effective_dimension(density, z) for z in levels]
    cost = PRODUCT * density.matvecs / len(levels)
    return [Measurement(e.value, e.standard_error, z, cost) for e, z in zip(found, levels, strict=True)]


@score(
    Definition(
        "renyi-sharpness",
        "Rényi sharpness, mean over the layers' Hessians",
        family="curvature",
        formula="−mean_l H_a(|λ(H_l)|), a = ½",
        source="Rényi sharpness, ICLR 2026",
        stochastic=True,
        cost=400,
        invariant="T1 T4 T5",
        unit="nat",
        compared="difference",
    )
)
def renyi_sharpness(
    objective: Objective, *, order: float = 0.5, probes: int = 4, steps: int = 20, seed: int = 0
) -> Measurement:
    r"""Measure how unevenly the curvature of each weight matrix is spread over its directions.

    .. math:: -H_a, \qquad H_a = \frac{1}{1-a} \log \frac{\mathrm{Tr}|H_l|^a}{(\mathrm{Tr}|H_l|)^a}

    averaged over weight matrices. Multiplying a layer does not change it, rescaling single nodes does. Layers of up to 300
    parameters are exact.

    Args:
        objective: the function.
        order: a > 0.
        probes: of stochastic Lanczos quadrature.
        steps: Lanczos steps a probe.
        seed: of the probes.

    Raises:
        NotDefinedError: there is no weight matrix, or no curvature.
    """
    H, cost = Hessian(objective), 0.0
    entropies, errors = [], []
    for name, shape in zip(objective.names, objective.space.shapes, strict=True):
        if len(shape) < 2:
            continue
        block = H.block(name)
        if block.size <= EXACT:
            entropies.append(renyi_of(spectrum(block), order))
            errors.append(0.0)
            cost += PRODUCT * block.size
        else:
            density = spectral_density(block, probes=probes, steps=steps, seed=seed)
            found = renyi_entropy(density, order)
            entropies.append(found.value)
            errors.append(found.standard_error)
            cost += PRODUCT * density.matvecs
    if not entropies:
        raise NotDefinedError("renyi-sharpness is not defined here: no weight matrix is selected")
    error = float(np.linalg.norm(errors)) / len(entropies)
    return Measurement(-float(np.mean(entropies)), error, gradients=cost)
