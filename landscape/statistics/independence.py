"""Does a score say anything about an outcome that the factors do not? By conditional mutual information."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.sparse import csr_matrix

from landscape.errors import NotDefinedError
from landscape.statistics.cells import Cells
from landscape.statistics.samples import groups

_AT_ONCE = 2_000_000


def conditional_information(
    cells: Cells, score: np.ndarray, outcome: np.ndarray, weights: np.ndarray | None = None, *, largest: int = 2
) -> dict[tuple[str, ...], np.ndarray]:
    r"""Return how much the order of two cells by a score tells of their order by an outcome, factors known.

    Over ordered pairs of cells, $V_\mu = \mathrm{sign}(\mu_a - \mu_b)$, $V_g = \mathrm{sign}(g_a - g_b)$ and $U_S$ the
    levels of the factors in S for both: $I(V_\mu; V_g \mid U_S) / H(V_g \mid U_S)$, entropies by counting. The smallest
    over S of at most two factors is K. Counting is biased upwards when a value of $U_S$ has few pairs, so K describes and does
    not test.

    Args:
        cells: the design.
        score: mean of each cell (C,), NaN where it has none.
        outcome: likewise.
        weights: how often each cell counts (R, C); `None`: once.
        largest: size of the largest set S.

    Returns:
        The normalised information (R,) in [0, 1] by the factors that are known; NaN where they leave nothing to explain.

    Raises:
        NotDefinedError: the outcome never varies.

    Source: Jiang et al. 2020 (arXiv 1912.02178), §4 and equations 5 to 7.

    >>> cells = Cells.of_design({"lr": [1, 2, 3, 4]})
    >>> conditional_information(cells, np.arange(4.0), np.arange(4.0))[()]
    array([1.])
    """
    weights = np.ones((1, len(cells))) if weights is None else weights
    there = np.isfinite(score) & np.isfinite(outcome)
    first, second = np.nonzero(cells.together & there[:, None] & there)
    order = [np.sign(values[first] - values[second]).astype(int) + 1 for values in (score, outcome)]
    if not (order[1] != 1).any():
        raise NotDefinedError("The outcome's order never varies: conditional independence needs outcomes that differ.")
    found = {}
    for size in range(min(largest, len(cells.axes)) + 1):
        for subset in combinations(range(len(cells.axes)), size):
            setting = groups(np.column_stack([cells.stratum, cells.codes[:, subset]]))
            known = setting[first] * (setting.max() + 1) + setting[second]
            of = np.unique(known, return_inverse=True)[1] * 9 + order[0] * 3 + order[1]
            found[tuple(cells.axes[i] for i in subset)] = _shared(weights, first, second, of)
    return found


def _shared(weights: np.ndarray, first: np.ndarray, second: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return I(x; y | u) / H(y | u) of the weighted counts of u, x and y."""
    size = 9 * (int(of.max()) // 9 + 1)
    table = csr_matrix((np.ones(len(of)), (np.arange(len(of)), of)), shape=(len(of), size))
    step, parts = max(1, _AT_ONCE // len(of)), []
    for start in range(0, len(weights), step):
        some = weights[start : start + step]
        parts.append(np.asarray((table.T @ (some[:, first] * some[:, second]).T).T).reshape(len(some), -1, 3, 3))
    counts = np.concatenate(parts)
    u, xu, yu, xyu = (_entropy(part) for part in (counts.sum((2, 3)), counts.sum(3), counts.sum(2), counts))
    left = yu - u
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(left > 1e-12, np.clip((xu + yu - xyu - u) / left, 0.0, 1.0), np.nan)


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Return the entropy of each row of counts, in nats."""
    rows = counts.reshape(len(counts), -1)
    total = rows.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(total) - np.where(rows > 0, rows * np.log(np.where(rows > 0, rows, 1)), 0).sum(axis=1) / total
