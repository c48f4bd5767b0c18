"""Checks that every statistic makes of its numbers, and the coding of a design of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def fraction(value: float, name: str) -> float:
    """Return `value` if it lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise LandscapeError(f"{name} is {value}: expected a number between 0 and 1, such as 0.95.")
    return value


def coded(design: Mapping[str, Sequence], runs: int) -> np.ndarray:
    """Code each hyperparameter by whole numbers: an array (runs, axes); equal settings get equal codes."""
    if not design:
        raise LandscapeError("The design is empty: name at least one hyperparameter and its value in each run.")
    columns = []
    for name, values in design.items():
        if len(values) != runs:
            raise LandscapeError(f"Hyperparameter {name!r} has {len(values)} values for {runs} runs: give one per run.")
        seen: dict = {}
        columns.append([seen.setdefault(value, len(seen)) for value in values])
    return np.array(columns, dtype=np.int64).T


def groups(codes: np.ndarray) -> np.ndarray:
    """Number the distinct rows of `codes` (runs, axes): equal rows, equal number (runs,)."""
    if codes.shape[1] == 0:
        return np.zeros(len(codes), dtype=np.int64)
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
