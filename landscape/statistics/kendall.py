"""Rank agreement of a score with an outcome: Kendall's tau-b with its exact null, and the same one factor at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import NotDefinedError
from landscape.statistics.cells import Cells, signs, weighed
from landscape.statistics.samples import equally_long, vector

EXACT_LIMIT = 200
"""Values per stratum up to which the null is computed exactly; the normal one is then right to three digits at p = 1e-4."""


@dataclass(frozen=True)
class Kendall:
    """Rank correlation of two variables.

    Attributes:
        tau: tau-b, in [-1, 1].
        p_value: two-sided.
        models: number of values M.
        exact: whether the p value comes from the exact null; with ties, and of very many values, it is the asymptotic one.
    """

    tau: float
    p_value: float
    models: int
    exact: bool


def kendall(score: ArrayLike, outcome: ArrayLike, strata: Sequence[int] | np.ndarray | None = None) -> Kendall:
    r"""Return Kendall's tau-b of a score and an outcome, over pairs within strata, with its exact null where there are no ties.

    $\tau_b = S / \sqrt{(S_+ + T_s)(S_+ + T_o)}$ with S concordant less discordant pairs, $S_+$ their sum, and pairs tied in
    one. Under the null every order of the scores of a stratum is equally likely; S is a sum over the strata.

    Args:
        score: one per model (M,).
        outcome: such as the generalisation gap, in the same order (M,).
        strata: only values of equal numbers are compared (M,); `None`: all are.

    Returns:
        tau and its two-sided p value.

    Raises:
        NotDefinedError: fewer than three values, or a variable that never varies within a stratum.

    Source: Kendall 1938, *Biometrika* 30:81–93 and 1945, 33:239–251; variance with ties as in `scipy.stats.kendalltau`.

    >>> result = kendall([1, 2, 3, 4, 5], [2, 3, 5, 7, 11])
    >>> round(result.tau, 12), round(result.p_value, 4), result.exact
    (1.0, 0.0167, True)
    """
    x, y = vector(score, "score", fewest=3), vector(outcome, "outcome", fewest=3)
    equally_long(score=x, outcome=y)
    of = np.zeros(len(x), dtype=int) if strata is None else np.asarray(strata)
    same = of[:, None] == of
    sx, sy = signs(x) * same, signs(y) * same
    for table, values, name in ((sx, x, "score"), (sy, y, "outcome")):
        if not table.any():
            raise NotDefinedError(f"Every {name} is {values[0]:g}: a rank correlation needs values that vary.")
    total = int((sx * sy).sum()) // 2
    tau = total / np.sqrt((sx != 0).sum() / 2 * ((sy != 0).sum() / 2))
    members = [of == number for number in np.unique(of)]
    sizes = tuple(sorted(int(one.sum()) for one in members))
    exact = max(sizes) <= EXACT_LIMIT and all(len(np.unique(v[one])) == one.sum() for one in members for v in (x, y))
    if exact:
        null = _null(sizes)
        inversions = (len(null) - 1 - abs(total)) // 2
        p_value = min(1.0, 2 * float(null[: inversions + 1].sum()))
    else:
        spread = np.sqrt(sum(_variance(x[one], y[one]) for one in members if one.sum() > 2) or np.nan)
        p_value = float(2 * stats.norm.sf(abs(total) / spread))
    return Kendall(float(tau), p_value, len(x), exact)


def granulated(cells: Cells, score: np.ndarray, outcome: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    r"""Return Kendall's tau-b over pairs of cells that differ in one factor alone, one column per factor.

    $\psi_i$ compares cells that differ in factor i; $\Psi$ is the mean of the $\psi_i$: a score that only tracks one
    factor scores on that axis alone. In a full factorial design without ties $\psi_i$ is the mean of τ over its lines, as
    published.

    Args:
        cells: the design.
        score: mean of each cell (C,), NaN where it has none.
        outcome: likewise.
        weights: how often each cell counts (R, C); `None`: once.

    Returns:
        ψ of every factor, (R, axes); NaN where its pairs never vary in the outcome, 0 where they never do in the score.

    Source: Jiang et al. 2020 (arXiv 1912.02178), equations 3 and 4.

    >>> cells = Cells.of_design({"lr": [1, 1, 2, 2], "width": [8, 16, 8, 16]})
    >>> granulated(cells, np.array([1.0, 2, 3, 4]), np.array([1.0, 0, 2, 1]))
    array([[ 1., -1.]])
    """
    masks = (cells.alone(axis) for axis in range(len(cells.axes)))
    return np.stack([tau_b(score, outcome, mask, weights) for mask in masks], axis=-1)


def tau_b(score: np.ndarray, outcome: np.ndarray, pairs: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return tau-b over the pairs of a mask (C, C), for each row of weights (R, C)."""
    weights = np.ones((1, len(score))) if weights is None else weights
    there = np.isfinite(score) & np.isfinite(outcome)
    mask = pairs & there[:, None] & there
    sx, sy = signs(score) * mask, signs(outcome) * mask
    among_x, among_y = weighed(weights, sx**2), weighed(weights, sy**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = weighed(weights, sx * sy) / np.sqrt(among_x * among_y)
    return np.where(among_y == 0, np.nan, np.where(among_x == 0, 0.0, tau))


@cache
def _null(sizes: tuple[int, ...]) -> np.ndarray:
    """Return the probability of every number of inversions, of permutations of several sizes together."""
    whole = np.ones(1)
    for size in sizes:
        one = np.ones(1)
        for k in range(2, size + 1):  # where the k-th value goes adds 0 … k − 1 inversions
            one = np.convolve(one, np.full(k, 1 / k))
        whole = np.convolve(whole, one)
    return whole


def _variance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the variance of S under the null, ties in both variables considered."""
    n = len(x)
    t, u = (np.unique(v, return_counts=True)[1].astype(float) for v in (x, y))
    v0, vt, vu = (float((m * (m - 1) * (2 * m + 5)).sum()) for m in (np.array([float(n)]), t, u))
    pairs = (t * (t - 1)).sum() * (u * (u - 1)).sum() / (2 * n * (n - 1))
    triples = (t * (t - 1) * (t - 2)).sum() * (u * (u - 1) * (u - 2)).sum() / (9 * n * (n - 1) * (n - 2))
    return float((v0 - vt - vu) / 18 + pairs + triples)
