"""Hutchinson's estimator: independent probes, and the Frobenius norm from the same products."""

from __future__ import annotations

import numpy as np
import torch

from landscape.spectra.orthonormal import host
from landscape.spectra.protocol import Products
from landscape.spectra.sampling import precise, sample_until, standard_error


def hutchinson_samples(products: Products, matvecs: int, seed: int, *, tol: float | None, of: str) -> np.ndarray:
    """Return samples (m, 2) of zᵀAz and ‖Az‖², whose means are unbiased for tr A and ‖A‖²_F.

    Args:
        products: the operator.
        matvecs: the most probes.
        seed: seed of the Rademacher probes.
        tol: relative standard error at which to stop.
        of: whose error that is: ``trace`` or ``frobenius-norm``.
    """
    probes, dot = products.probes(seed, "rademacher"), products.world.dot

    def draw(start: int, stop: int) -> np.ndarray:
        rows = probes.rows(start, stop)
        applied = products.rows(rows)
        samples = host(torch.stack([dot(rows, applied), dot(applied, applied)], dim=1))
        products.require_finite(samples)
        return samples

    def enough(samples: np.ndarray) -> bool:
        if of == "trace":
            return precise(samples[:, 0].mean(), standard_error(samples[:, 0]), tol or 0.0)
        return precise(samples[:, 1].mean(), standard_error(samples[:, 1]), 2 * (tol or 0.0))

    return sample_until(
        draw,
        budget=matvecs,
        block=products.block_size,
        enough=None if tol is None else enough,
        description=f"{of} of the {products.name}",
    )
