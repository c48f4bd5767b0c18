"""Scores of the whole spectrum: soft rank, Rényi sharpness of the layers' Hessians, local entropy of the quadratic model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from landscape.function.objective import Objective
from landscape.operators import GaussNewton, Hessian
from landscape.scores.curvature import spectrum
from landscape.scores.quantities import PRODUCT
from landscape.scores.register import Measurement, UndefinedError, score
from landscape.spectra import spectral_density
from landscape.spectra.functionals import effective_dimension, renyi_entropy, spectral_sum

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
        raise UndefinedError("every eigenvalue is zero")
    p = sizes / sizes.sum()
    p = p[p > 0]
    return float(-(p * np.log(p)).sum()) if order == 1 else float(np.log((p**order).sum()) / (1 - order))


@score(
    "soft-rank",
    "soft rank of the Gauss–Newton matrix",
    family="information",
    formula="Tr G(G + zI)⁻¹",
    source="Shoham et al. 2025, arXiv 2506.17809, eq. 2; twice the learning coefficient of a quadratic at z = γ/(nβ)",
    cost=200,
    invariant="T4 T5",
    radii=(1e-3,),
    unit="parameters",
)
def soft_rank(
    objective: Objective,
    *,
    radii: Sequence[float],
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

    Raises:
        NotDefinedError: a `BatchLoss`, which has no Gauss–Newton matrix.
    """
    op = GaussNewton(objective)
    if objective.size <= EXACT:
        values = spectrum(op)
        return [Measurement(soft_rank_of(values, z), 0.0, z, PRODUCT * objective.size) for z in radii]
    density = spectral_density(op, probes=probes, steps=steps, seed=seed)
    found = [effective_dimension(density, z) for z in radii]
    cost = PRODUCT * density.matvecs / len(radii)
    return [Measurement(e.value, e.standard_error, z, cost) for e, z in zip(found, radii, strict=True)]


@score(
    "renyi-sharpness",
    "Rényi sharpness, mean over the layers' Hessians",
    family="curvature",
    formula="−mean_l H_a(|λ(H_l)|), a = ½",
    source="Rényi sharpness, ICLR 2026",
    cost=400,
    invariant="T1 T4 T5",
    unit="nat",
    compared="difference",
)
def renyi_sharpness(
    objective: Objective, *, order: float = 0.5, probes: int = 4, steps: int = 20, seed: int = 0
) -> Measurement:
    r"""Measure how unevenly the curvature of each weight matrix is spread over its directions.

    .. math:: -H_a, \qquad H_a = \frac{1}{1-a} \log \frac{\mathrm{Tr}|H_l|^a}{(\mathrm{Tr}|H_l|)^a}

    averaged over weight matrices. Multiplying a layer does not change it, rescaling single nodes does. Layers of up to 300
    parameters are exact.

    Args:
        order: a > 0.

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
        raise UndefinedError("no weight matrix is selected")
    error = float(np.linalg.norm(errors)) / len(entropies)
    return Measurement(-float(np.mean(entropies)), error, gradients=cost)


@score(
    "local-entropy-quadratic",
    "negative local entropy of the quadratic model",
    family="volume",
    formula="½ log det(I + H₊/γ)",
    source="Chaudhari et al. 2017, arXiv 1611.01838, appendix",
    cost=240,
    invariant="T4 T5",
    unit="nat",
    radii=(1e4,),
    compared="difference",
)
def local_entropy_quadratic(
    objective: Objective,
    *,
    radii: Sequence[float],
    probes: int = 4,
    steps: int = 30,
    seed: int = 0,
) -> list[Measurement]:
    r"""Return the negative local entropy of the quadratic model at the weights.

    .. math:: \tfrac12 \log\det(I + H/\gamma)

    exact for up to 300 parameters, else by stochastic Lanczos quadrature.

    Args:
        radii: values of γ; each must exceed every negative eigenvalue's size.

    Raises:
        NotDefinedError: an eigenvalue is −γ or below, where the integral diverges.
    """
    H = Hessian(objective)
    if objective.size <= EXACT:
        values = spectrum(H)
        if values[0] <= -min(radii):
            raise UndefinedError(f"the eigenvalue {values[0]:.3g} is below −γ; use a larger γ")
        cost = PRODUCT * objective.size / len(radii)
        return [Measurement(0.5 * float(np.log1p(values / gamma).sum()), 0.0, gamma, cost) for gamma in radii]
    density = spectral_density(H, probes=probes, steps=steps, seed=seed)
    cost, found = PRODUCT * density.matvecs / len(radii), []
    for gamma in radii:

        def term(values: np.ndarray, gamma: float = gamma) -> np.ndarray:
            terms: np.ndarray = np.log1p(values / gamma)
            return terms

        estimate = spectral_sum(density, term, "log-determinant")
        found.append(Measurement(0.5 * estimate.value, 0.5 * estimate.standard_error, gamma, cost))
    return found
