"""Randomisation tests of two arms, relabelling independent seeds or flipping signs of pairs, and Holm's correction of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import ceil, comb, log2
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import LandscapeError
from landscape.statistics.samples import equally_long, vector

EXACT_LIMIT = 200_000
"""Arrangements up to which a test enumerates them all: arms of 10 against 10, or 17 pairs."""

RESAMPLES = 99_999
"""Random arrangements drawn beyond that limit."""


@dataclass(frozen=True)
class PermutationTest:
    """The outcome of a randomisation test.

    Attributes:
        difference: mean of `b` minus mean of `a`, in the units of the values.
        p_value: two-sided: twice the smaller tail, at most 1.
        exact: whether every arrangement was enumerated; otherwise they were drawn with a seed.
        arrangements: how many arrangements the null distribution holds.
        floor: the smallest p value these arm sizes can reach.
    """

    difference: float
    p_value: float
    exact: bool
    arrangements: int
    floor: float


def permutation_floor(a: int, b: int) -> float:
    r"""Return the smallest two-sided p value an exact test of `a` against `b` seeds can reach, $2/\binom{a+b}{a}$.

    >>> [float(f"{permutation_floor(n, n):.2g}") for n in (4, 5, 6, 8)]
    [0.029, 0.0079, 0.0022, 0.00016]
    """
    if min(a, b) < 1:
        raise LandscapeError(f"Arms of {a} and {b} seeds: expected at least one seed in each.")
    return min(1.0, 2 / comb(a + b, a))


def permutation_test(a: ArrayLike, b: ArrayLike, *, fewest: int = 6, seed: int = 0) -> PermutationTest:
    r"""Test whether two arms of independent seeds differ in their mean.

    Under the null every assignment of the pooled values to the arms is equally likely. All $\binom{n_a+n_b}{n_a}$ of
    them are enumerated up to 200,000 (10 against 10); beyond, 99,999 are drawn and the observed one is counted too.

    Args:
        a: scores of the first recipe, one per seed; take log10 of positive scores first.
        b: scores of the second recipe.
        fewest: seeds per arm below which significance is not defined (five against five cannot reach 5 % after
            Holm's correction over nine tests).
        seed: of the drawn assignments; an exact test does not use it.

    Raises:
        NotDefinedError: fewer than `fewest` seeds in an arm.

    Source: Fisher 1935, *The Design of Experiments*; drawn by `scipy.stats.permutation_test` where not enumerated.

    >>> test = permutation_test(range(8), range(10, 18))
    >>> test.difference, round(test.p_value, 5), test.exact
    (10.0, 0.00016, True)
    """
    first, second = vector(a, "a", fewest=fewest), vector(b, "b", fewest=fewest)
    every = comb(len(first) + len(second), len(first))
    if every > EXACT_LIMIT:
        return _drawn("independent", lambda x, y, axis: x.mean(axis) - y.mean(axis), (second, first), seed)
    return _exact(second.mean() - first.mean(), permutation_p_values([first], [second]), every)


def sign_flip_test(a: ArrayLike, b: ArrayLike, *, fewest: int = 9, seed: int = 0) -> PermutationTest:
    """Test whether two paired arms, such as two recipes started from shared initialisations, differ in their mean.

    Under the null the sign of every difference b_i - a_i is a coin toss; all 2^n sign patterns are enumerated up to
    200,000 (17 pairs), beyond which 99,999 are drawn.

    Args:
        a: scores of the first recipe, one per pair.
        b: scores of the second recipe, in the same order.
        fewest: pairs below which significance is not defined.
        seed: of the drawn sign patterns.

    Raises:
        NotDefinedError: fewer than `fewest` pairs.
        LandscapeError: arms of different lengths.

    Source: Fisher 1935, *The Design of Experiments*, §21; drawn by `scipy.stats.permutation_test` where not enumerated.

    >>> sign_flip_test(range(9), range(1, 10)).p_value == 2 / 2**9
    True
    """
    first, second = vector(a, "a", fewest=fewest), vector(b, "b", fewest=fewest)
    equally_long(a=first, b=second)
    if 2 ** len(first) > EXACT_LIMIT:
        return _drawn("samples", lambda x, axis: x.mean(axis), (second - first,), seed)
    return _exact((second - first).mean(), sign_flip_p_values([second - first]), 2 ** len(first))


def pairs_needed(level: float, tests: int = 1) -> int:
    """Return how many pairs a sign-flip test needs to be able to reach a level: its smallest p value is 2^(1 - n).

    Args:
        level: of the tests together.
        tests: how many are corrected for by Holm's method.

    >>> pairs_needed(0.05), pairs_needed(0.05, tests=3)
    (6, 7)
    """
    return ceil(1 + log2(tests / level))


def permutation_p_values(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return the exact p values (R,) of many comparisons at once, those of `permutation_test`, for placebo and power studies.

    Args:
        a: scores of the first arm, one row per comparison (R, n_a).
        b: scores of the second arm (R, n_b).

    Raises:
        LandscapeError: arms that do not pair up, or too large to enumerate (10 against 10 is the limit).

    >>> [float(f"{p:.2g}") for p in permutation_p_values([range(8), range(8)], [range(10, 18), range(8)])]
    [0.00016, 1.0]
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second):
        raise LandscapeError(
            f"Arms of shapes {first.shape} and {second.shape}: expected (R, n_a) and (R, n_b), one row per comparison."
        )
    size, total = first.shape[1], first.shape[1] + second.shape[1]
    if comb(total, size) > EXACT_LIMIT:
        raise LandscapeError(f"{size} against {total - size} seeds are too many to enumerate: use permutation_test.")
    pooled = np.hstack([first, second])
    return _two_sided(_assignments(total, size), pooled - pooled.mean(axis=1, keepdims=True))


def sign_flip_p_values(differences: ArrayLike) -> np.ndarray:
    """Return the exact p values (R,) of many comparisons of pairs at once, those of `sign_flip_test`.

    Args:
        differences: b - a, one row per comparison (R, n), at most 17 pairs.

    Raises:
        LandscapeError: no table of rows, or too many pairs to enumerate.

    >>> sign_flip_p_values([[1.0, 2.0, 3.0, 4.0], [1.0, -1.0, 1.0, -1.0]])
    array([0.125, 1.   ])
    """
    rows = np.asarray(differences, dtype=np.float64)
    if rows.ndim != 2 or 2 ** rows.shape[1] > EXACT_LIMIT:
        raise LandscapeError(f"differences of shape {rows.shape}: expected (R, n) with n ≤ 17, one row per comparison.")
    patterns = 1.0 - 2.0 * ((np.arange(2 ** rows.shape[1])[:, None] >> np.arange(rows.shape[1])) & 1)
    return _two_sided(patterns, rows)


def holm(p_values: ArrayLike) -> np.ndarray:
    r"""Adjust p values so that the chance of any false claim among them stays below the level used.

    The k-th smallest of m is multiplied by m - k + 1, made monotone, and cut at 1:
    $\tilde p_{(k)} = \max_{j \le k} \min(1, (m - j + 1)\, p_{(j)})$.

    Args:
        p_values: one per test (m,), or many families of tests at once (…, m).

    Returns:
        Adjusted p values in the same order and shape.

    Raises:
        LandscapeError: a value outside [0, 1].

    Source: Holm 1979, *Scandinavian Journal of Statistics* 6:65–70.

    >>> [float(p) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    vector(p.ravel(), "p_values")
    if ((p < 0) | (p > 1)).any():
        raise LandscapeError(f"p values must lie in [0, 1], got {p.min():g} to {p.max():g}: give p values, not scores.")
    order = np.argsort(p, axis=-1, kind="stable")
    factors = np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(p)
    raised = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    np.put_along_axis(adjusted, order, np.minimum(1.0, raised), axis=-1)
    return adjusted


@cache
def _assignments(total: int, size: int) -> np.ndarray:
    """Return who is in the first arm, (arrangement, value), the observed arrangement first."""
    in_first = np.array(list(combinations(range(total), size)))
    assignments = np.zeros((len(in_first), total))
    np.put_along_axis(assignments, in_first, 1.0, axis=1)
    return assignments


def _two_sided(arrangements: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return for each row twice the smaller tail of its sum as observed, the first, among those of all arrangements."""
    tails = []
    for row in rows:
        sums, slack = arrangements @ row, 1e-12 * np.abs(row).sum()
        tails.append(min((sums >= sums[0] - slack).mean(), (sums <= sums[0] + slack).mean()))
    return np.minimum(1.0, 2 * np.array(tails))


def _exact(difference: float, p_value: np.ndarray, every: int) -> PermutationTest:
    return PermutationTest(float(difference), float(p_value[0]), True, every, min(1.0, 2 / every))


def _drawn(kind: str, statistic: Callable[..., Any], data: tuple[np.ndarray, ...], seed: int) -> PermutationTest:
    test = stats.permutation_test(
        data,
        statistic,
        permutation_type=kind,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=20_000,
        rng=np.random.default_rng(seed),
    )
    return PermutationTest(float(test.statistic), float(test.pvalue), False, RESAMPLES, 2 / (RESAMPLES + 1))
