"""Checks that every statistic makes of its numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from landscape.errors import LandscapeError, NotDefinedError


def vector(values: ArrayLike, name: str, *, fewest: int = 1) -> np.ndarray:
    """Return `values` as a finite float64 vector, or say what is wrong with them."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise LandscapeError(f"{name} has shape {array.shape}: expected a vector, one number per run; flatten it.")
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise LandscapeError(f"{name} holds {count} NaN or infinite of {len(array)} values: drop those runs first.")
    if len(array) < fewest:
        raise NotDefinedError(f"{name} holds {len(array)} values, at least {fewest} are needed: add independent runs.")
    return array


def equally_long(**vectors: np.ndarray) -> None:
    """Raise unless every named vector holds the same number of runs."""
    lengths = {name: len(values) for name, values in vectors.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise LandscapeError(f"The runs do not pair up ({listed} values): give one value a run in each.")
