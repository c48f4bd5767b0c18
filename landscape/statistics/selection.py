"""The price of choosing a model by a score: correlation is not selection."""

from __future__ import annotations

import numpy as np

from landscape.statistics.cells import Cells


def selection_regret(
    cells: Cells, score: np.ndarray, outcome: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return how far the cell of lowest score is from that of lowest outcome, $y_{\arg\min s} - \min y$, mean over strata.

    Args:
        cells: the design.
        score: mean of each cell (C,), higher = sharper; NaN where it has none.
        outcome: such as test error, lower = better.
        weights: how often each cell counts (R, C); `None`: once.

    Returns:
        The regret of choosing by the score, the mean over the choices that share the lowest score, and that of choosing at
        random, each (R,) in the units of the outcome.

    >>> cells = Cells.of_design({"lr": [1, 2, 3]})
    >>> selection_regret(cells, np.array([3.0, 1.0, 2.0]), np.array([0.25, 0.5, 0.0]))
    (array([0.5]), array([0.25]))
    """
    weights = np.ones((1, len(cells))) if weights is None else weights
    there = np.isfinite(score) & np.isfinite(outcome)
    regrets, random = [], []
    for number in np.unique(cells.stratum[there]):
        members = there & (cells.stratum == number)
        drawn, s, y = weights[:, members], score[members], outcome[members]
        best = np.where(drawn > 0, y, np.inf).min(axis=1)
        lowest = np.where(drawn > 0, s, np.inf).min(axis=1)
        chosen = drawn * (s == lowest[:, None])
        with np.errstate(invalid="ignore"):
            regrets.append(chosen @ y / chosen.sum(axis=1) - best)
            random.append(drawn @ y / drawn.sum(axis=1) - best)
    return np.nanmean(regrets, axis=0), np.nanmean(random, axis=0)
