"""Numbers that follow from a spectral density, with errors from the spread over its probes; no products are spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from landscape.errors import LandscapeError, NotDefinedError
from landscape.results import Estimate, SpectralDensity

Sign = Literal["positive", "negative"]


def spectral_sum(density: SpectralDensity, function: Callable[[np.ndarray], np.ndarray], quantity: str) -> Estimate:
    """Estimate tr f(A) = Σᵢ f(λᵢ): the bulk from quadrature, the deflated outliers exactly.

    Args:
        density: nodes, weights and outliers.
        function: f, applied to arrays of eigenvalues.
        quantity: what the result is called.

    Returns:
        `Estimate`, with one sample a probe.

    Raises:
        NotDefinedError: f is not finite at an eigenvalue.
    """
    return _estimate(density, _sums(density, function, quantity), quantity)


def moment(density: SpectralDensity, order: int) -> Estimate:
    """Estimate the moment tr(Aʲ) / P; the quadrature is exact for j ≤ 2·steps − 1, so that only the probes err.

    Args:
        density: nodes, weights and outliers.
        order: j ≥ 0.
    """
    sums = _sums(density, lambda values: values**order, "moment")
    return _estimate(density, sums / density.size, f"moment-{order}")


def effective_dimension(density: SpectralDensity, z: float) -> Estimate:
    """Estimate the effective dimension, or soft rank, tr(A(A + zI)⁻¹) = Σ λ / (λ + z).

    Args:
        density: nodes, weights and outliers.
        z: the scale below which an eigenvalue counts little, z > 0 in units of the eigenvalues.

    Raises:
        NotDefinedError: an eigenvalue is −z or below, where the sum has poles.
        LandscapeError: z is not positive.
    """
    _check_shift(density, z)
    return spectral_sum(density, lambda values: values / (values + z), "effective-dimension")


def log_determinant(density: SpectralDensity, z: float) -> Estimate:
    """Estimate log det(A + zI) = Σ log(λ + z).

    Args:
        density: nodes, weights and outliers.
        z: the shift, z > 0 in units of the eigenvalues; the value depends on it.

    Raises:
        NotDefinedError: an eigenvalue is −z or below.
        LandscapeError: z is not positive.
    """
    _check_shift(density, z)
    return spectral_sum(density, lambda values: np.log(values + z), "log-determinant")


def renyi_entropy(density: SpectralDensity, order: float = 1.0) -> Estimate:
    """Estimate the Rényi entropy (1 − a)⁻¹ log( tr|A|ᵃ / (tr|A|)ᵃ ) of the magnitudes of the eigenvalues.

    It does not change when A is multiplied by a number; A = c·I has log P for every order. At a = 1 it is Shannon's
    entropy of |λᵢ| / tr|A|. The standard error is the jackknife over probes.

    Args:
        density: nodes, weights and outliers.
        order: a > 0.

    Raises:
        LandscapeError: the order is not positive.
        NotDefinedError: every eigenvalue is zero.
    """
    if not order > 0:
        raise LandscapeError(f"order={order} of a Rényi entropy: use order > 0, such as 0.5, 1 or 1.5")
    totals = _sums(density, np.abs, "trace norm")
    if not totals.mean() > 0:
        raise NotDefinedError("the entropy of a zero operator is not defined: its eigenvalues sum to zero")
    if order == 1:
        powers = _sums(density, lambda values: _times_log(np.abs(values)), "entropy")

        def entropy(total: float, power: float) -> float:
            return float(np.log(total) - power / total)
    else:
        powers = _sums(density, lambda values: np.abs(values) ** order, "entropy")

        def entropy(total: float, power: float) -> float:
            return float((np.log(power) - order * np.log(total)) / (1 - order))

    return _ratio(density, entropy, totals, powers, "renyi-entropy")


def mass(density: SpectralDensity, sign: Sign = "negative") -> Estimate:
    """Estimate the share of the eigenvalues' magnitude on one side of zero: Σ_{λ<0}|λ| / Σ|λ|.

    Counting eigenvalues instead would mostly count the signs of rounding errors, as most of a Hessian's are near zero.

    Args:
        density: nodes, weights and outliers.
        sign: ``positive`` or ``negative``.

    Raises:
        LandscapeError: unknown sign.
        NotDefinedError: every eigenvalue is zero.
    """
    if sign not in ("positive", "negative"):
        raise LandscapeError(f"sign={sign!r} is unknown: use 'positive' or 'negative'")
    direction = 1 if sign == "positive" else -1
    totals = _sums(density, np.abs, "trace norm")
    if not totals.mean() > 0:
        raise NotDefinedError("the mass of a zero operator is not defined: its eigenvalues sum to zero")
    parts = _sums(density, lambda values: np.maximum(direction * values, 0.0), "mass")
    return _ratio(density, lambda total, part: part / total, totals, parts, f"{sign}-mass")


def _check_shift(density: SpectralDensity, z: float) -> None:
    if not z > 0:
        raise LandscapeError(f"z={z} is a scale of eigenvalues: use z > 0")
    smallest = min([float(density.nodes.min()), *(() if density.outliers is None else density.outliers)])
    if smallest <= -z:
        raise NotDefinedError(
            f"the smallest eigenvalue found is {smallest:.3g}, at or below −z = {-z:.3g}: use a larger z, or a positive "
            "semi-definite operator such as GaussNewton"
        )


def _sums(density: SpectralDensity, function: Callable[[np.ndarray], np.ndarray], quantity: str) -> np.ndarray:
    """Return the estimate of tr f(A) from each probe (probes,)."""
    values = np.where(density.weights > 0, function(density.nodes), 0.0)
    outliers = np.array([]) if density.outliers is None else density.outliers
    exact = float(np.sum(function(outliers))) if outliers.size else 0.0
    sums: np.ndarray = (density.size - outliers.size) * (density.weights * values).sum(1) + exact
    if not np.all(np.isfinite(sums)):
        raise NotDefinedError(f"the {quantity} is not finite at some eigenvalue: check the function's domain")
    return sums


def _times_log(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = values * np.log(np.where(values > 0, values, 1.0))
    return result


def _estimate(density: SpectralDensity, samples: np.ndarray, quantity: str, error: float | None = None) -> Estimate:
    probes = len(samples)
    if error is None:
        error = float(np.std(samples, ddof=1) / probes**0.5) if probes > 1 else float("nan")
    return Estimate(
        value=float(samples.mean()),
        standard_error=error,
        samples=samples,
        matvecs=density.matvecs,
        method="lanczos-quadrature",
        quantity=quantity,
        operator=density.operator,
        degrees=float(probes - 1),
        seed=density.seed,
        provenance=density.provenance,
    )


def _ratio(
    density: SpectralDensity,
    function: Callable[[float, float], float],
    totals: np.ndarray,
    parts: np.ndarray,
    quantity: str,
) -> Estimate:
    """Apply a function to two means over probes; the standard error is the jackknife over probes."""
    probes = len(totals)
    value = function(float(totals.mean()), float(parts.mean()))
    error = float("nan")
    if probes > 1:
        without = [
            function(float(np.delete(totals, i).mean()), float(np.delete(parts, i).mean())) for i in range(probes)
        ]
        error = float((probes - 1) / probes**0.5 * np.std(without, ddof=1))
    return _estimate(density, np.array([value]), quantity, error).replace(samples=None, degrees=float(probes - 1))
