"""The rule of the verdict, once: `decide` applies it to one comparison, placebos to thousands, trends to noise grids.

A direction is called when the scores that decide agree in sign and at least two of them differ: significant after Holm's
correction, with a sign that holds at every radius that has a vote, and an interval that lies beyond the margin of
equivalence. Which scores decide is said in the register of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from landscape.scores import REGISTRY
from landscape.statistics import holm

Tested = TypeVar("Tested", bound=Any)
"""A row with ``primary``, ``p_value`` and ``p_holm``: a `Test` or an `Effect`."""

SATURATION = 0.75
"""Below this share of its steepest growth so far a score has saturated."""

_SHORT = {
    "adaptive-worst-symmetric": "symmetrised adaptive worst-case sharpness",
    "adaptive-worst-linf": "adaptive worst-case sharpness",
    "adaptive-average": "adaptive average sharpness",
    "inverse-sigma-mag": "magnitude-aware 1/σ′²",
}


@dataclass(frozen=True)
class Outcome:
    """What the rule says of one or many comparisons.

    Attributes:
        significant: (…, score) whether a score is significant with a sign that holds at every radius, however small the
            difference.
        direction: (…,) 1 sharper, −1 flatter, 0 not called.
        mixed: (…,) whether scores that differ disagree in sign.
    """

    significant: np.ndarray
    direction: np.ndarray
    mixed: np.ndarray


def rule(
    signs: np.ndarray, p_values: np.ndarray, stable: np.ndarray, *, level: float, beyond: np.ndarray | bool = True
) -> Outcome:
    """Apply the rule to the scores that decide.

    Args:
        signs: (…, score) of the differences or trends.
        p_values: (…, score) after Holm's correction; NaN where a score was not tested.
        stable: (…, score) whether the sign holds at every radius.
        level: of the tests.
        beyond: (…, score) whether the interval of the difference lies beyond the margin; for a trend, which has none, True.

    >>> p = np.array([[0.01, 0.02, 0.3], [0.01, 0.3, 0.3]])
    >>> rule(np.ones((2, 3)), p, np.ones((2, 3), dtype=bool), level=0.05).direction
    array([1., 0.])
    """
    significant = (p_values < level) & stable
    different = significant & beyond
    agree = (signs == signs[..., :1]).all(axis=-1)
    called = agree & (different.sum(axis=-1) >= 2)
    mixed = (different & (signs > 0)).any(axis=-1) & (different & (signs < 0)).any(axis=-1)
    return Outcome(significant, np.where(called, signs[..., 0], 0.0), mixed)


def steady(a: np.ndarray, b: np.ndarray, radii: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the means of two arms differ with one sign at every radius that has a vote, (…,), and which have none.

    Args:
        a: values of the first arm, or their logarithms, (…, seed, radius); NaN where one is missing.
        b: of the second.
        radii: (radius,), NaN beyond those of the score: where either arm has `saturated` no radius has a vote. `None`: all have.

    >>> steady(np.zeros((2, 1, 2)), np.array([[[1.0, 2.0]], [[1.0, -2.0]]]))[0]
    array([ True, False])
    """
    with np.errstate(invalid="ignore"):
        means = np.stack([np.nansum(arm, axis=-2) / (~np.isnan(arm)).sum(axis=-2) for arm in (a, b)])
    silent = np.zeros(means.shape[1:], dtype=bool) if radii is None else saturated(means, radii)
    signs = np.sign(np.where(silent, np.nan, means[1] - means[0]))
    lowest, highest = (np.where(np.isnan(signs), end, signs) for end in (np.inf, -np.inf))
    return lowest.min(axis=-1) >= highest.max(axis=-1), silent


def saturated(growth: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return which radii a score has saturated at, (…, radius), where it can no longer tell two networks apart.

    A bounded score grows with a power of the radius that falls as it nears its bound. A radius is saturated where, in any
    arm, that power has fallen below three quarters of the largest before; so are those after it. Two radii always remain.

    Args:
        growth: logarithms of the score, (arm, …, radius); nothing is said where one is missing.
        radii: (radius,), NaN beyond those of the score; nothing is said where they do not rise, or are fewer than three.

    >>> saturated(np.log([[0.01, 0.04, 0.16, 0.6], [0.1, 0.4, 0.9, 1.0]]), np.array([0.1, 0.2, 0.4, 0.8]))
    array([False, False,  True,  True])
    >>> saturated(np.log([[0.01, 0.04, 0.05, np.nan]]), np.array([0.1, 0.2, 0.4, 0.8]))
    array([False, False, False, False])
    """
    silent = np.zeros(growth.shape[1:], dtype=bool)
    known = np.flatnonzero(np.isfinite(radii))
    steps, growth = np.log(radii[known]), growth[..., known]
    if len(known) < 3 or (np.diff(steps) <= 0).any():
        return silent
    power = np.diff(growth, axis=-1) / np.diff(steps)
    slow = (power[..., 1:] < SATURATION * np.maximum.accumulate(power, axis=-1)[..., :-1]).any(axis=0)
    silent[..., known[2:]] = np.logical_or.accumulate(slow, axis=-1) & np.isfinite(growth).all(axis=(0, -1))[..., None]
    return silent


def corrected(rows: Sequence[Tested]) -> list[Tested]:
    """Return rows with Holm's correction over those that decide and were tested."""
    raw = {i: row.p_value for i, row in enumerate(rows) if row.primary and row.p_value is not None}
    adjusted = dict(zip(raw, holm(list(raw.values())).tolist() if raw else [], strict=True))
    return [replace(row, p_holm=adjusted.get(i)) for i, row in enumerate(rows)]


def called(
    rows: Sequence[Tested], signs: Sequence[float], *, level: float, beyond: Sequence[bool] | bool = True
) -> str:
    """Return what the rule calls one comparison: ``mixed``, ``spikier``, ``flatter``, or nothing.

    Args:
        rows: of the scores that decide.
        signs: of their differences or trends.
        level: of the tests.
        beyond: whether their intervals lie beyond the margin; True where there is no margin.
    """
    p_values = np.array([np.nan if row.p_holm is None else row.p_holm for row in rows])
    stable = np.array([row.sign_stable for row in rows])
    outcome = rule(np.array(signs), p_values, stable, level=level, beyond=np.array(beyond))
    if outcome.mixed:
        return "mixed"
    return {1.0: "spikier", -1.0: "flatter"}.get(float(outcome.direction), "")


def phrase(score: str) -> str:
    """Return what a verdict calls a score."""
    return _SHORT.get(score) or (REGISTRY[score].title if score in REGISTRY else score)


def compared_by_ratio(score: str) -> bool:
    """Whether two values of a score are compared by their ratio; a logarithm or an entropy is by its difference.

    >>> compared_by_ratio("trace"), compared_by_ratio("log-volume")
    (True, False)
    """
    return score not in REGISTRY or REGISTRY[score].compared == "ratio"
