"""Numbers that follow from a spectral density or from eigenpairs, with errors; no products are spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from landscape.errors import LandscapeError, NotDefinedError
from landscape.results import Eigenpairs, Estimate, SpectralDensity
from landscape.spectra.sampling import jackknife, standard_error

Side = Literal["upper", "lower"]
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
    samples = _sums(density, function, quantity)
    return _estimate(density, float(samples.mean()), standard_error(samples), quantity, samples=samples)


def moment(density: SpectralDensity, order: int) -> Estimate:
    """Estimate the moment tr(Aʲ) / P; the quadrature is exact for j ≤ 2·steps − 1, so that only the probes err.

    Args:
        density: nodes, weights and outliers.
        order: j ≥ 0.
    """
    samples = _sums(density, lambda values: values**order, "moment") / density.size
    return _estimate(density, float(samples.mean()), standard_error(samples), f"moment-{order}", samples=samples)


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


def bulk_edge(density: SpectralDensity, side: Side = "upper", tail: tuple[float, float] = (0.005, 0.05)) -> Estimate:
    """Estimate where the bulk of the spectrum ends, with a few outliers left in it or without.

    Near the edge E of a bulk with a square-root end (Marchenko–Pastur, semicircle) the share of eigenvalues beyond x is
    s₀ + c·(E − x)^{3/2}, where s₀ is the share of the outliers. So (share − s₀)^{2/3} is fitted by a line in x up to the
    second share of `tail` and continued to zero, for every s₀ below the first; the best fit counts.

    Args:
        density: nodes and weights; deflated outliers play no part.
        side: ``upper`` or ``lower`` end.
        tail: the largest share of outliers, and the share of the eigenvalues that the line is fitted to.

    Returns:
        `Estimate` of E; its standard error is the jackknife over probes. Where the bulk falls off more slowly than a
        square root, as trained networks' do, E is the edge of the square-root bulk that fits those shares best; to
        count the outliers of such a network use `outlier_edge`.

    Raises:
        LandscapeError: unknown side, or too few nodes between the shares.
    """
    if side not in ("upper", "lower"):
        raise LandscapeError(f"side={side!r} is unknown: use 'upper' or 'lower'")
    direction = 1.0 if side == "upper" else -1.0
    nodes, weights = direction * density.nodes, density.weights
    error = jackknife(lambda chosen: _edge(nodes[chosen], weights[chosen], tail), len(nodes))
    return _estimate(
        density, direction * _edge(nodes, weights, tail), error, f"{side}-bulk-edge", method="square-root-edge"
    )


def outlier_edge(pairs: Eigenpairs) -> Estimate:
    """Place the edge between outliers and bulk at the largest ratio λᵣ/λᵣ₊₁ of consecutive positive eigenvalues.

    Trained networks' bulks have no square-root end for `bulk_edge` to find: below the k − 1 or so eigenvalues that the means
    of k classes give, the means of pairs of classes give further levels, about k (k − 1)/2 and more, before the many small ones
    (Papyan 2019). This estimator makes no assumption on the bulk; it takes the widest gap among the given eigenvalues, so
    ask for about twice as many as there are classes. On mixtures whose classes overlap it found k − 1 to k outliers where
    `bulk_edge`, blind to the levels, found up to 2k; on networks that fit every example the levels merge, and it means little.

    Args:
        pairs: converged, ``which="LA"``, at least three of them positive.

    Returns:
        `Estimate` of the edge √(λᵣ λᵣ₊₁), so that ``(pairs.values > edge.value).sum()`` is r; its message says how wide the
        gap is. The standard error is that of a place drawn uniformly from the gap, which is no sampling error.

    Raises:
        LandscapeError: the pairs did not converge, are of another end, or fewer than three are positive.

    Sources: Ahn and Horenstein 2013, Econometrica 81, 1203–1227, for the ratio; Papyan 2019 (arXiv 1901.08244) for the levels.

    >>> import torch
    >>> from landscape.spectra import top_eigenpairs
    >>> matrix = torch.diag(torch.tensor([9.0, 8.0, 2.0, 1.5, 1.2, 1.0, 0.9]))
    >>> edge = outlier_edge(top_eigenpairs(matrix, 6))
    >>> round(edge.value, 3), edge.message
    (4.0, '2 outliers; the next eigenvalue is 4 times smaller')
    """
    if pairs.which != "LA" or not pairs.converged:
        raise LandscapeError(
            "the edge needs converged eigenpairs of which='LA', the most positive first: compute them so"
        )
    values = np.asarray(pairs.values, dtype=np.float64)
    values = values[values > 0]
    if len(values) < 3:
        raise LandscapeError(f"{len(values)} positive eigenvalues show no bulk: ask for more, about twice the classes")
    ratios = values[:-1] / values[1:]
    count = int(np.argmax(ratios)) + 1
    inner, outer = values[count], values[count - 1]
    return Estimate(
        value=float((inner * outer) ** 0.5),
        standard_error=float((outer - inner) / 12**0.5),
        matvecs=pairs.matvecs,
        method="eigenvalue-ratio",
        quantity="outlier-edge",
        operator=pairs.operator,
        error_kind="heuristic",
        message=f"{count} outliers; the next eigenvalue is {ratios.max():.2g} times smaller",
        seed=pairs.seed,
        provenance=pairs.provenance,
    )


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


def _ratio(
    density: SpectralDensity,
    function: Callable[[float, float], float],
    totals: np.ndarray,
    parts: np.ndarray,
    quantity: str,
) -> Estimate:
    """Apply a function to two means over probes; the standard error is the jackknife over probes."""

    def value(chosen: np.ndarray) -> float:
        return function(float(totals[chosen].mean()), float(parts[chosen].mean()))

    probes = len(totals)
    return _estimate(density, value(np.arange(probes)), jackknife(value, probes), quantity)


def _estimate(density: SpectralDensity, value: float, error: float, quantity: str, **fields: Any) -> Estimate:
    return Estimate(
        value=value,
        standard_error=error,
        quantity=quantity,
        matvecs=density.matvecs,
        operator=density.operator,
        degrees=float(len(density.nodes) - 1),
        seed=density.seed,
        provenance=density.provenance,
        **{"method": "lanczos-quadrature", **fields},
    )


def _edge(nodes: np.ndarray, weights: np.ndarray, tail: tuple[float, float]) -> float:
    """Fit the upper edge to the pooled nodes of all probes."""
    order = np.argsort(-nodes, axis=None)
    places, shares = nodes.ravel()[order], weights.ravel()[order] / len(nodes)
    beyond = np.cumsum(shares)
    best, edge = np.inf, np.nan
    for outliers in [0.0, *np.unique(beyond[beyond < tail[0]])]:
        bulk = beyond - shares / 2 - outliers
        fitted = (bulk > tail[0] / 10) & (bulk < tail[1])
        if fitted.sum() < 4:
            continue
        heights = bulk[fitted] ** (2 / 3)
        slope, height = np.polyfit(places[fitted], heights, 1)
        misfit = float(np.std(height + slope * places[fitted] - heights))
        if misfit < best and slope < 0:
            best, edge = misfit, -height / slope
    if np.isnan(edge):
        raise LandscapeError(
            f"fewer than 4 nodes lie within the outermost share {tail[1]}: use more steps or a wider tail"
        )
    return float(edge)
