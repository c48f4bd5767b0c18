"""Hutchinson's estimator: independent probes, and the Frobenius norm from the same products."""

from __future__ import annotations

import numpy as np
import torch

from landscape.spectra.orthonormal import host
from landscape.spectra.probes import Probes
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
    probes = Probes(products.size, seed, "rademacher", products.device, products.dtype)

    def draw(start: int, stop: int) -> np.ndarray:
        rows = probes.rows(start, stop)
        applied = products.rows(rows).double()
        samples = host(torch.stack([(rows * applied).sum(1), (applied * applied).sum(1)], dim=1))
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
