"""Is the point a minimum? Gradient against its noise, both ends of the spectrum, and how much of it is negative."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.function.gradients import gradient_noise_ratio
from landscape.function.objective import Objective
from landscape.operators import Hessian
from landscape.results.curvature import CriticalPoint
from landscape.scores.curvature import spectrum
from landscape.spectra import spectral_density, top_eigenpairs
from landscape.spectra.functionals import mass

NEGLIGIBLE = 0.01
"""A negative eigenvalue smaller than this part of the largest is called flat rather than negative."""


@checked
def critical_point(
    objective: Objective,
    *,
    tol: float = 1e-2,
    max_matvecs: int = 200,
    probes: int = 4,
    steps: int = 30,
    seed: int = 0,
) -> CriticalPoint:
    """Report whether the weights are near a critical point, and whether that is a minimum or a saddle.

    The gradient counts as zero when it is within its sampling noise, ‖g‖ ≤ √(Tr C / n). Negative curvature counts when
    |λmin| exceeds one per cent of the largest magnitude and its own residual. High-dimensional minima of training losses
    nearly always keep some negative curvature: the share of the spectrum says how much.

    Args:
        objective: the function.
        tol: residual asked for of both eigenvalues, relative to each.
        max_matvecs: products to spend on them at most; from P on the whole spectrum is computed.
        probes: random probes for the negative share.
        steps: Lanczos steps per probe.
        seed: of start vectors and probes.

    Returns:
        `CriticalPoint`; its noise ratio is NaN where gradients of single examples are not defined.

    Raises:
        LandscapeError: not an objective, or a loss that does not depend on the parameters.

    Source: Dauphin et al. 2014 (arXiv 1406.2572), section 3, for saddles; Sagun et al. 2018 (arXiv 1706.04454) for the bulk.

    >>> import torch, landscape as ls
    >>> X, y = torch.eye(2, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64)
    >>> net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> ls.critical_point(ls.Objective(net, (X, y), "mse_loss").at(torch.zeros(2))).verdict
    'minimum: no negative curvature was found'
    """
    started = time.perf_counter()
    loss, gradient = objective.value_and_gradient()
    size = float(torch.linalg.vector_norm(gradient.double()))
    try:
        ratio = gradient_noise_ratio(objective)
    except LandscapeError:
        ratio = math.nan
    if objective.size <= max_matvecs:
        found = _exact(objective)
    else:
        found = _estimated(objective, tol, max_matvecs, probes, steps, seed)
    zero = size <= 1e3 * torch.finfo(objective.dtype).eps * max(1.0, abs(loss))
    critical = bool(zero or ratio <= 1)
    return CriticalPoint(
        loss=loss,
        gradient_norm=size,
        noise_ratio=ratio,
        **found,
        critical=critical,
        verdict=_verdict(critical, ratio, found),
        seed=seed,
        provenance=objective.provenance(),
        seconds=time.perf_counter() - started,
    )


def _exact(objective: Objective) -> dict[str, Any]:
    """Return the ends of the Hessian's spectrum, its negative share, their errors, and the products spent."""
    values = spectrum(Hessian(objective))
    total = float(np.abs(values).sum())
    return {
        "lambda_max": float(values[-1]),
        "lambda_min": float(values[0]),
        "negative_mass": float(-values[values < 0].sum()) / total if total > 0 else 0.0,
        **dict.fromkeys(("lambda_max_error", "lambda_min_error", "negative_mass_error"), 0.0),
        "products": len(values),
    }


def _estimated(
    objective: Objective, tol: float, max_matvecs: int, probes: int, steps: int, seed: int
) -> dict[str, Any]:
    H = Hessian(objective)
    pairs = top_eigenpairs(H, k=2, which="BE", tol=tol, max_matvecs=max_matvecs, seed=seed, vectors=False)
    top, bottom = int(np.argmax(pairs.values)), int(np.argmin(pairs.values))
    density = spectral_density(H, probes=probes, steps=steps, seed=seed)
    share = mass(density, "negative") if np.any(density.nodes) else None
    return {
        "lambda_max": float(pairs.values[top]),
        "lambda_max_error": float(pairs.residuals[top]),
        "lambda_min": float(pairs.values[bottom]),
        "lambda_min_error": float(pairs.residuals[bottom]),
        "negative_mass": share.value if share else 0.0,
        "negative_mass_error": share.standard_error if share else 0.0,
        "products": pairs.matvecs + density.matvecs,
    }


def _verdict(critical: bool, ratio: float, found: Mapping[str, Any]) -> str:
    if not critical:
        if math.isnan(ratio):
            return "undecided: the gradient is not zero, and its sampling noise is not defined"
        return f"not critical: the gradient is {ratio:.2g} times its sampling noise; train on"
    depth, error = -found["lambda_min"], found["lambda_min_error"]
    scale = max(abs(depth), abs(found["lambda_max"]))
    if depth > max(NEGLIGIBLE * scale, error):
        return f"saddle: negative curvature of {depth / scale:.1%} of the largest eigenvalue's size"
    if depth > error and depth > 1e-6 * scale:
        return f"minimum up to {depth / scale:.1%} of negative curvature"
    return "minimum: no negative curvature was found"
