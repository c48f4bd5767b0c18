"""Does a score say anything about an outcome that the hyperparameters do not? By conditional mutual information."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import NotDefinedError
from landscape.statistics.samples import coded, equally_long, groups, vector


@dataclass(frozen=True)
class ConditionalIndependence:
    """Mutual information of score and outcome, given the hyperparameters that explain most of it.

    Attributes:
        value: K, the smallest normalised conditional mutual information, in [0, 1].
        given: the hyperparameters conditioned on where it is smallest.
        by_subset: the normalised conditional mutual information, by the hyperparameters conditioned on.
    """

    value: float
    given: tuple[str, ...]
    by_subset: dict[tuple[str, ...], float]


def conditional_independence(
    design: Mapping[str, Sequence], score: ArrayLike, outcome: ArrayLike, *, largest: int = 2
) -> ConditionalIndependence:
    r"""Return how much the order of two models by a score tells of their order by an outcome, hyperparameters known.

    Over ordered pairs of runs, $V_\mu = \mathrm{sign}(\mu_a - \mu_b)$, $V_g = \mathrm{sign}(g_a - g_b)$ and $U_S$ the
    values of the hyperparameters in S for both runs:
    $K = \min_{|S| \le 2} I(V_\mu; V_g \mid U_S) / H(V_g \mid U_S)$, entropies by counting. Counting is biased upwards
    when a value of U_S has few pairs, so K describes and does not test.

    Args:
        design: hyperparameter → its value in each run.
        score: one per run.
        outcome: one per run.
        largest: size of the largest set S.

    Returns:
        K, the set where it is reached, and the value for every set.

    Raises:
        NotDefinedError: the outcome never varies, or the hyperparameters always determine its order.

    Source: Jiang et al. 2020 (arXiv 1912.02178), §4 and equations 5 to 7.

    >>> grid = {"lr": [1, 1, 2, 2], "seed": [0, 1, 0, 1]}
    >>> conditional_independence(grid, [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], largest=0).value
    1.0
    """
    x, y = vector(score, "score", fewest=3), vector(outcome, "outcome", fewest=3)
    equally_long(score=x, outcome=y)
    codes = coded(design, len(x))
    first, second = np.nonzero(~np.eye(len(x), dtype=bool))
    by_score, by_outcome = np.sign(x[first] - x[second]), np.sign(y[first] - y[second])
    names = list(design)
    by_subset = {}
    for size in range(min(largest, len(names)) + 1):
        for subset in combinations(range(len(names)), size):
            setting = groups(np.hstack([codes[first][:, subset], codes[second][:, subset]]))
            share = _shared_information(by_score, by_outcome, setting)
            if share is not None:
                by_subset[tuple(names[i] for i in subset)] = share
    if not by_subset:
        raise NotDefinedError("The outcome's order never varies: conditional independence needs outcomes that differ.")
    given = min(by_subset, key=by_subset.__getitem__)
    return ConditionalIndependence(by_subset[given], given, by_subset)


def _shared_information(x: np.ndarray, y: np.ndarray, u: np.ndarray) -> float | None:
    """Return I(x; y | u) / H(y | u), or None where u leaves nothing of y to explain."""
    u_alone, xu, yu, xyu = (_entropy(np.column_stack(columns)) for columns in ((u,), (x, u), (y, u), (x, y, u)))
    left = yu - u_alone
    return float(np.clip((xu + yu - xyu - u_alone) / left, 0.0, 1.0)) if left > 1e-12 else None


def _entropy(columns: np.ndarray) -> float:
    return float(stats.entropy(np.unique(columns, axis=0, return_counts=True)[1]))
