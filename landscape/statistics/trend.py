"""One test of a trend over an ordered grid, in place of tests between all its pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import LandscapeError, NotDefinedError


@dataclass(frozen=True)
class Trend:
    """A trend over ordered levels, seen within each seed.

    Attributes:
        tau: Kendall's tau-b of value and level, averaged over seeds: 1 rises at every step in every seed.
        p_value: two-sided.
        seeds: complete rows the test rests on.
        levels: number of levels.
        exact: whether the p value comes from the exact null distribution.
    """

    tau: float
    p_value: float
    seeds: int
    levels: int
    exact: bool


def trend_test(values: ArrayLike) -> Trend:
    r"""Test whether values rise or fall over ordered levels, every seed measured at all of them (Page's L).

    :math:`L = \sum_j j R_j` with :math:`R_j` the sum over seeds of the rank of level j within its seed. Under the null
    every order of the levels within a seed is equally likely. What seeds share (initial weights, order of examples) drops
    out, as in a paired test. The p value is twice the smaller of those of a rise and a fall.

    Args:
        values: (seeds, levels), levels in order; seeds with a NaN are left out.

    Returns:
        Mean tau and the two-sided p value.

    Raises:
        LandscapeError: not a table.
        NotDefinedError: fewer than three levels or two complete seeds.

    Source: Page 1963, *Journal of the American Statistical Association* 58:216–230; computed by
    `scipy.stats.page_trend_test`.

    >>> rising = trend_test([[1, 2, 3, 4], [2, 3, 5, 9], [0, 1, 2, 3]])
    >>> rising.tau, rising.p_value == 2 / 24**3, rising.exact
    (1.0, True, True)
    >>> trend_test([[4, 3, 2, 1], [9, 5, 3, 2]]).tau
    -1.0
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise LandscapeError(f"values have shape {table.shape}; expected (seeds, levels)")
    complete = table[np.isfinite(table).all(axis=1)]
    seeds, levels = complete.shape
    if levels < 3 or seeds < 2:
        raise NotDefinedError(
            f"{seeds} complete seeds at {levels} levels: a trend needs at least 2 seeds at 3 levels; add runs"
        )
    up, down = (stats.page_trend_test(order) for order in (complete, complete[:, ::-1]))
    return Trend(
        tau=float(np.mean([_tau(row) for row in complete])),
        p_value=min(1.0, 2 * min(float(up.pvalue), float(down.pvalue))),
        seeds=seeds,
        levels=levels,
        exact=up.method == "exact",
    )


def trend_p_values(values: ArrayLike) -> np.ndarray:
    r"""Return the two-sided p values of many trend tests at once, from the normal approximation, for placebo studies.

    Args:
        values: (tests, seeds, levels), without NaN.

    Returns:
        (tests,) p values of :math:`(L - E L)/\sqrt{\mathrm{Var}\,L}` with Page's moments.

    Raises:
        LandscapeError: not three-dimensional.

    Source: Page 1963; the moments are those of `scipy.stats.page_trend_test` with ``method="asymptotic"``.

    >>> table = np.arange(24.0).reshape(1, 6, 4)
    >>> expected = 2 * stats.page_trend_test(table[0], method="asymptotic").pvalue
    >>> bool(np.isclose(trend_p_values(table)[0], expected))
    True
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 3:
        raise LandscapeError(f"values have shape {table.shape}; expected (tests, seeds, levels)")
    m, n = table.shape[1:]
    statistic = (stats.rankdata(table, axis=2).sum(axis=1) * np.arange(1, n + 1)).sum(axis=1)
    mean, variance = m * n * (n + 1) ** 2 / 4, m * n**2 * (n + 1) * (n**2 - 1) / 144
    return 2 * stats.norm.sf(np.abs(statistic - mean) / np.sqrt(variance))


def _tau(row: np.ndarray) -> float:
    return 0.0 if np.ptp(row) == 0 else float(stats.kendalltau(row, np.arange(len(row))).statistic)
