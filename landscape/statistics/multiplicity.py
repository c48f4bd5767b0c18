"""Correction of p values for the number of tests made."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from landscape.errors import LandscapeError
from landscape.statistics.samples import vector


def holm(p_values: ArrayLike) -> np.ndarray:
    r"""Adjust p values so that the chance of any false claim among them stays below the level used.

    The k-th smallest of m is multiplied by m - k + 1, made monotone, and cut at 1:
    $\tilde p_{(k)} = \max_{j \le k} \min(1, (m - j + 1)\, p_{(j)})$.

    Args:
        p_values: one per test (m,), or many families of tests at once (…, m).

    Returns:
        Adjusted p values in the same order and shape.

    Raises:
        LandscapeError: a value outside [0, 1].

    Source: Holm 1979, *Scandinavian Journal of Statistics* 6:65–70.

    >>> [float(p) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    vector(p.ravel() if p.ndim > 1 else p, "p_values")
    if ((p < 0) | (p > 1)).any():
        raise LandscapeError(f"p values must lie in [0, 1], got {p.min():g} to {p.max():g}: give p values, not scores.")
    order = np.argsort(p, axis=-1, kind="stable")
    factors = np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(p)
    raised = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    np.put_along_axis(adjusted, order, np.minimum(1.0, raised), axis=-1)
    return adjusted
