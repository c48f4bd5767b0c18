"""Where the bulk of a spectrum ends."""

from __future__ import annotations

from typing import Literal

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Estimate, SpectralDensity

Side = Literal["upper", "lower"]


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
    probes = len(nodes)
    error = float("nan")
    if probes > 1:
        without = [_edge(np.delete(nodes, i, 0), np.delete(weights, i, 0), tail) for i in range(probes)]
        error = float((probes - 1) / probes**0.5 * np.std(without, ddof=1))
    return Estimate(
        value=direction * _edge(nodes, weights, tail),
        standard_error=error,
        matvecs=density.matvecs,
        method="square-root-edge",
        quantity=f"{side}-bulk-edge",
        operator=density.operator,
        degrees=float(probes - 1),
        seed=density.seed,
        provenance=density.provenance,
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
