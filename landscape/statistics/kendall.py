"""Rank agreement of a score with an outcome: Kendall's tau-b, and the same within cells of a design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import LandscapeError, NotDefinedError
from landscape.statistics.samples import coded, equally_long, fraction, groups, vector


@dataclass(frozen=True)
class Kendall:
    """Rank correlation of two variables.

    Attributes:
        tau: tau-b, in [-1, 1].
        p_value: two-sided.
        models: number of models M.
        exact: whether the p value comes from the exact null; with ties it is the asymptotic one.
    """

    tau: float
    p_value: float
    models: int
    exact: bool


@dataclass(frozen=True)
class GranulatedKendall:
    """Rank correlation with one hyperparameter varied at a time.

    Attributes:
        psi: mean over the hyperparameters.
        axes: tau averaged over its cells, by hyperparameter; NaN where no cell could be used.
        cells: number of cells used, by hyperparameter.
    """

    psi: float
    axes: dict[str, float]
    cells: dict[str, int]


def kendall(score: ArrayLike, outcome: ArrayLike) -> Kendall:
    r"""Return Kendall's tau-b of a score and an outcome over models, with its exact null where there are no ties.

    $\tau_b = (C - D) / \sqrt{(C + D + T_s)(C + D + T_o)}$, concordant, discordant pairs and pairs tied in one.

    Args:
        score: one per model (M,).
        outcome: such as the generalisation gap, in the same order (M,).

    Returns:
        tau and its two-sided p value.

    Raises:
        NotDefinedError: fewer than three models, or a variable that never varies.

    Source: Kendall 1945, *Biometrika* 33:239–251; computed by `scipy.stats.kendalltau`.

    >>> result = kendall([1, 2, 3, 4, 5], [2, 3, 5, 7, 11])
    >>> round(result.tau, 12), round(result.p_value, 4), result.exact
    (1.0, 0.0167, True)
    """
    x, y = vector(score, "score", fewest=3), vector(outcome, "outcome", fewest=3)
    equally_long(score=x, outcome=y)
    for values, name in ((x, "score"), (y, "outcome")):
        if np.ptp(values) == 0:
            raise NotDefinedError(f"Every {name} is {values[0]:g}: a rank correlation needs values that vary.")
    exact = len(np.unique(x)) == len(x) and len(np.unique(y)) == len(y)
    result = stats.kendalltau(x, y, variant="b", method="exact" if exact else "asymptotic")
    return Kendall(float(result.statistic), float(result.pvalue), len(x), exact)


def smallest_significant_tau(models: int, *, level: float = 0.05) -> float:
    """Return the smallest |tau| that M models without ties can show at a two-sided level, from the exact null.

    Args:
        models: M, at least 2.
        level: of the test.

    Returns:
        The smallest |tau| whose p value is at most the level; infinity where even |tau| = 1 is not.

    Raises:
        LandscapeError: fewer than two models.

    Source: Kendall 1938, *Biometrika* 30:81–93 (the null distribution of the number of inversions).

    >>> [round(smallest_significant_tau(m), 3) for m in (5, 10, 20)]
    [1.0, 0.511, 0.326]
    """
    if models < 2:
        raise LandscapeError(f"models is {models}: a rank correlation needs at least 2.")
    fraction(level, "level")
    pairs = models * (models - 1) // 2

    def p_value(inversions: int) -> float:
        return float(stats.kendalltau(range(models), _permutation_with(models, inversions), method="exact").pvalue)

    if p_value(0) > level:
        return float("inf")
    low, high = 0, pairs // 2 + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if p_value(middle) <= level else (low, middle)
    return 1 - 2 * low / pairs


def granulated_kendall(design: Mapping[str, Sequence], score: ArrayLike, outcome: ArrayLike) -> GranulatedKendall:
    r"""Return Kendall's tau-b within cells where one hyperparameter varies and all others are fixed.

    $\psi_i$ is the mean tau-b over the cells of hyperparameter i and $\Psi$ the mean of the $\psi_i$: a score that only
    tracks one hyperparameter scores on that axis alone. Seeds of one configuration are averaged first. A cell whose
    outcome never varies is left out; one whose score never varies counts as 0.

    Args:
        design: hyperparameter → its value in each run.
        score: one per run.
        outcome: one per run.

    Returns:
        Psi, the mean of each axis and the number of cells it rests on.

    Raises:
        NotDefinedError: no hyperparameter varies while all others are fixed.

    Source: Jiang et al. 2020 (arXiv 1912.02178), equations 3 and 4.

    >>> grid = {"lr": [1, 1, 2, 2], "width": [8, 16, 8, 16]}
    >>> granulated_kendall(grid, [1, 2, 3, 4], [1, 0, 2, 1]).axes
    {'lr': 1.0, 'width': -1.0}
    """
    x, y = vector(score, "score"), vector(outcome, "outcome")
    equally_long(score=x, outcome=y)
    codes, x, y = _averaged(coded(design, len(x)), x, y)
    axes, cells = {}, {}
    for i, name in enumerate(design):
        taus = _cell_taus(groups(np.delete(codes, i, axis=1)), x, y)
        axes[name] = float(np.mean(taus)) if taus else float("nan")
        cells[name] = len(taus)
    if not any(cells.values()):
        raise NotDefinedError(
            "No two configurations differ in one hyperparameter alone: use a (near-)factorial design."
        )
    return GranulatedKendall(float(np.nanmean(list(axes.values()))), axes, cells)


def _permutation_with(size: int, inversions: int) -> list[int]:
    """Return a permutation of range(size) with that many inversions, read off its Lehmer code."""
    rest, order = list(range(size)), []
    for left in range(size - 1, -1, -1):
        step = min(left, inversions)
        inversions -= step
        order.append(rest.pop(step))
    return order


def _averaged(codes: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    configurations, of = np.unique(codes, axis=0, return_inverse=True)
    runs = np.bincount(of.reshape(-1))
    return configurations, *(np.bincount(of.reshape(-1), weights=v) / runs for v in values)


def _cell_taus(cell: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[float]:
    taus = []
    for number in np.unique(cell):
        inside = cell == number
        if inside.sum() < 2 or np.ptp(y[inside]) == 0:
            continue
        varies = np.ptp(x[inside]) > 0
        taus.append(float(stats.kendalltau(x[inside], y[inside], variant="b").statistic) if varies else 0.0)
    return taus
