"""Which end of the spectrum is wanted, and in which order."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from landscape.errors import LandscapeError

Which = Literal["LA", "SA", "LM", "BE"]


def select(values: np.ndarray, which: Which, k: int) -> np.ndarray:
    """Return the indices of the k wanted values, the most wanted first (``BE``: both ends, descending).

    >>> select(np.array([-9.0, 1.0, 2.0, 5.0]), "LM", 2), select(np.array([-9.0, 1.0, 2.0, 5.0]), "BE", 3)
    (array([0, 3]), array([3, 2, 0]))
    """
    if which == "LM":
        return np.argsort(-np.abs(values), kind="stable")[:k]
    descending = np.argsort(-values, kind="stable")
    if which == "LA":
        return descending[:k]
    if which == "SA":
        return descending[::-1][:k]
    k = min(k, len(values))
    return np.concatenate([descending[: k - k // 2], descending[len(values) - k // 2 :]])


def check_which(which: str) -> None:
    """Raise unless `which` names an end of the spectrum."""
    if which not in get_args(Which):
        raise LandscapeError(
            f"which={which!r} is unknown: use 'LA' (most positive), 'SA' (most negative), 'LM' (largest magnitude) "
            "or 'BE' (both ends)"
        )


def merit(values: np.ndarray, which: Which, k: int) -> float:
    """Return how far out the k wanted values lie; a better set has a larger one.

    >>> merit(np.array([3.0, -1.0, 2.0]), "LA", 2)
    5.0
    """
    chosen = values[select(values, which, k)]
    if which == "LM":
        return float(np.abs(chosen).sum())
    if which == "BE":
        high = len(chosen) - len(chosen) // 2
        return float(chosen[:high].sum() - chosen[high:].sum())
    return float(chosen.sum() if which == "LA" else -chosen.sum())
