"""What a score says of an outcome over many models: rank agreement, information, sign errors, the regret of choosing by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.sparse import csr_matrix

from landscape.errors import LandscapeError, NotDefinedError
from landscape.statistics.cells import Cells, groups
from landscape.statistics.samples import equally_long, vector

EXACT_LIMIT = 200
"""Values per stratum up to which the null is computed exactly; the normal one is then right to three digits at p = 1e-4."""
_AT_ONCE = 2_000_000  # weighted pairs counted at a time


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
    for values, name in ((x, "score"), (y, "outcome")):
        if not (_signs(values) * same).any():
            raise NotDefinedError(f"Every {name} is {values[0]:g}: a rank correlation needs values that vary.")
    total = int((_signs(x) * _signs(y) * same).sum()) // 2
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
    return Kendall(float(tau_b(x, y, same)[0]), p_value, len(x), exact)


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
    sx, sy = _signs(score) * mask, _signs(outcome) * mask
    among_x, among_y, both = (np.einsum("rc,rc->r", weights @ table, weights) for table in (sx**2, sy**2, sx * sy))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = both / np.sqrt(among_x * among_y)
    return np.where(among_y == 0, np.nan, np.where(among_x == 0, 0.0, tau))


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
        largest: factors in the largest set S.

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
    for subset in (s for size in range(largest + 1) for s in combinations(range(len(cells.axes)), size)):
        setting = groups(np.column_stack([cells.stratum, cells.codes[:, subset]]))
        known = setting[first] * (setting.max() + 1) + setting[second]
        of = np.unique(known, return_inverse=True)[1] * 9 + order[0] * 3 + order[1]
        found[tuple(cells.axes[i] for i in subset)] = _shared(weights, first, second, of)
    return found


@dataclass(frozen=True)
class SignErrors:
    """Weighted sign errors over environments, pairs of cells that differ in one factor.

    Attributes:
        error: of each environment, in [0, 1]; 0.5 is chance.
        first: its one cell.
        second: its other cell.
        axis: the factor that differs.
        dropped: environments left out, their gaps being too small for the size of the test set.
    """

    error: np.ndarray
    first: np.ndarray
    second: np.ndarray
    axis: np.ndarray
    dropped: int

    def mean(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean over the environments, for cells that count with weights (R, C)."""
        each = weights[:, self.first] * weights[:, self.second]
        with np.errstate(invalid="ignore"):
            total: np.ndarray = each @ self.error / each.sum(axis=1)
        return total

    def percentile(self, share: float, weights: np.ndarray) -> np.ndarray:
        """Return the error that this share of the environments does not exceed, likewise."""
        order = np.argsort(self.error)
        each = (weights[:, self.first] * weights[:, self.second])[:, order].cumsum(axis=1)
        place = (each >= share * each[:, -1:]).argmax(axis=1)
        return np.where(each[:, -1] > 0, self.error[order][place], np.nan)


def hoeffding_weight(difference: ArrayLike, test_size: int) -> np.ndarray:
    r"""Return how surely a difference of two measured gaps has the right sign, $\max(0, 1 - 2e^{-2N(d/2)^2})^2$, in [0, 1].

    Args:
        difference: of two generalisation gaps, as fractions of one.
        test_size: N, examples on which each was measured.

    Raises:
        LandscapeError: an empty test set.

    Source: Dziugaite et al. 2020 (arXiv 2010.11924), §4.

    >>> float(hoeffding_weight(1.0, 10_000))
    1.0
    """
    if test_size < 1:
        raise LandscapeError(f"test_size is {test_size}: give the number of examples the outcome was measured on.")
    half = np.asarray(difference, dtype=np.float64) / 2
    return np.maximum(0.0, 1 - 2 * np.exp(-2 * test_size * half**2)) ** 2


def sign_errors(
    cells: Cells,
    score: np.ndarray,
    outcome: np.ndarray,
    *,
    test_size: int,
    least_effective: float | None = None,
) -> SignErrors:
    r"""Return how often a score orders runs wrongly when one factor changes, per environment.

    An environment is a pair of cells that differ in exactly one factor; its runs are all pairs of seeds. Each pair errs
    by $\frac12 (1 - \mathrm{sign}(\Delta\mu)\,\mathrm{sign}(\Delta g))$ and weighs $w = \max(h - \frac12, 0)$ with h from
    `hoeffding_weight`. Environments of small effective size $(\sum w)^2 / \sum w^2$ are dropped.

    Args:
        cells: the design.
        score: one per model (M,), higher meant to go with a higher outcome; NaN where it has none.
        outcome: generalisation gap of each model, a fraction of one.
        test_size: examples the gap was measured on.
        least_effective: effective number of pairs an environment must have; `None`: three quarters of those that the seeds of
            its cells make, which of four seeds is the published 12.

    Raises:
        NotDefinedError: no environment is left, which a small test set or few seeds cause.

    Source: Dziugaite et al. 2020 (arXiv 2010.11924), §§3 and 4.

    >>> cells = Cells.of_design({"lr": [0.1] * 4 + [1.0] * 4})
    >>> sign_errors(cells, np.arange(8.0), np.repeat([0.1, 0.5], 4), test_size=10_000).error
    array([0.])
    """
    x, y = (_padded(cells, values) for values in (score, outcome))
    masks = np.stack([cells.alone(axis) for axis in range(len(cells.axes))])
    axis, first, second = np.nonzero(np.triu(masks))
    dx, dy = (values[first][:, :, None] - values[second][:, None] for values in (x, y))
    there = np.isfinite(dx + dy)
    weight = np.where(there, np.maximum(hoeffding_weight(np.nan_to_num(dy), test_size) - 0.5, 0), 0)
    wrong = 0.5 * (1 - np.sign(np.nan_to_num(dx)) * np.sign(np.nan_to_num(dy)))
    total = weight.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        effective = np.nan_to_num(total**2 / np.square(weight).sum(axis=(1, 2)))
    enough = 0.75 * there.sum(axis=(1, 2)) if least_effective is None else least_effective
    kept = (effective >= enough) & (total > 0)
    if not kept.any():
        raise NotDefinedError(
            f"All {len(kept)} environments carry too little weight with {test_size} test examples; "
            "use more seeds or a larger test set."
        )
    error = (weight * wrong).sum(axis=(1, 2))[kept] / total[kept]
    return SignErrors(error, first[kept], second[kept], axis[kept], int((~kept).sum()))


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


def _signs(values: np.ndarray) -> np.ndarray:
    """Return the sign of every difference, (C, C); 0 where a value is missing."""
    return np.nan_to_num(np.sign(np.subtract.outer(values, values)))


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


def _padded(cells: Cells, values: ArrayLike) -> np.ndarray:
    """Return the values of the models of each cell as rows, NaN where a cell has fewer."""
    order = np.argsort(cells.of, kind="stable")
    count = np.bincount(cells.of, minlength=len(cells))
    place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((len(cells), int(count.max())), np.nan)
    table[cells.of[order], place] = np.asarray(values, dtype=np.float64)[order]
    return table
