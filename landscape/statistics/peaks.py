"""Which maxima of an estimated curve stand above its noise."""

from __future__ import annotations

import numpy as np
from scipy.signal import find_peaks


def peaks(curve: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the indices of the maxima whose prominence exceeds twice their standard error.

    Args:
        curve: (n,) values, not negative; both ends may hold a maximum.
        error: (n,) standard errors, or none; NaN counts as zero. Maxima below a thousandth of the highest are left out.

    >>> peaks(np.array([0.0, 1.0, 0.9, 1.2, 0.0]), np.full(5, 0.1)).tolist()
    [3]
    """
    found, about = find_peaks(np.concatenate([[0.0], curve, [0.0]]), prominence=0.0)
    found -= 1
    noise = np.nan_to_num(error[found]) if error.size else np.zeros(found.size)
    return found[about["prominences"] > np.maximum(2 * noise, 1e-3 * curve.max(initial=0.0))]
