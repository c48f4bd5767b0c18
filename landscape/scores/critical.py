"""Is the point a minimum? Gradient against its noise, both ends of the spectrum, and how much of it is negative."""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from landscape.errors import LandscapeError
from landscape.gradients import gradient_noise_ratio
from landscape.objective import Objective
from landscape.operators import Hessian
from landscape.results.critical import CriticalPoint
from landscape.spectra import spectral_density, top_eigenpairs
from landscape.spectra.functionals import mass

NEGLIGIBLE = 0.01
"""A negative eigenvalue smaller than this part of the largest is called flat rather than negative."""


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
    |λmin| exceeds one per cent of λmax and its own residual. High-dimensional minima of training losses nearly always keep some
    negative curvature: the share of the spectrum says how much.

    Args:
        objective: the function.
        tol: residual asked for of both eigenvalues, relative to each.
        max_matvecs: products to spend on them at most.
        probes: random probes for the negative share.
        steps: Lanczos steps a probe.
        seed: of start vectors and probes.

    Returns:
        `CriticalPoint`; its noise ratio is NaN where gradients of single examples are not defined.

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
    H = Hessian(objective)
    single = objective.size == 1
    pairs = top_eigenpairs(
        H,
        k=1 if single else 2,
        which="LA" if single else "BE",
        tol=tol,
        max_matvecs=max_matvecs,
        seed=seed,
        vectors=False,
    )
    top, bottom = int(np.argmax(pairs.values)), int(np.argmin(pairs.values))
    density = spectral_density(H, probes=probes, steps=min(steps, objective.size), seed=seed)
    zero = not np.any(np.abs(density.nodes) > 0)
    negative = None if zero else mass(density, "negative")
    low, high = float(pairs.values[bottom]), float(pairs.values[top])
    flat = size <= 1e3 * torch.finfo(objective.dtype).eps * max(1.0, abs(loss))
    critical = flat or ratio <= 1
    return CriticalPoint(
        loss=loss,
        gradient_norm=size,
        noise_ratio=ratio,
        lambda_max=high,
        lambda_max_error=float(pairs.residuals[top]),
        lambda_min=low,
        lambda_min_error=float(pairs.residuals[bottom]),
        negative_mass=negative.value if negative else 0.0,
        negative_mass_error=negative.standard_error if negative else 0.0,
        critical=bool(critical),
        verdict=_verdict(bool(critical), ratio, low, float(pairs.residuals[bottom]), high),
        products=pairs.matvecs + density.matvecs,
        seed=seed,
        provenance=objective.provenance(),
        seconds=time.perf_counter() - started,
    )


def _verdict(critical: bool, ratio: float, low: float, residual: float, high: float) -> str:
    if not critical:
        if math.isnan(ratio):
            return "undecided: the gradient is not zero, and its sampling noise is not defined"
        return f"not critical: the gradient is {ratio:.2g} times its sampling noise; train on"
    scale = max(abs(low), abs(high))
    if low < 0 and abs(low) > NEGLIGIBLE * scale and abs(low) > residual:
        return f"saddle: negative curvature of {abs(low) / scale:.1%} of the largest eigenvalue's size"
    if low < -residual:
        return f"minimum up to {abs(low) / scale:.1%} of negative curvature"
    return "minimum: no negative curvature was found"
