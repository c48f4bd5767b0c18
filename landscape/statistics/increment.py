"""What a score adds to a baseline of things known anyway: nested regressions, compared out of fold."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import LandscapeError, NotDefinedError
from landscape.statistics.intervals import Interval, bootstrap_interval
from landscape.statistics.samples import equally_long, vector


@dataclass(frozen=True)
class Increment:
    """What adding a score to a baseline changes out of fold.

    Attributes:
        baseline_error: mean squared error of the baseline's predictions.
        full_error: the same with the score added.
        reduction: mean over groups of the baseline's squared error less the full one's, with its interval over groups.
        partial_correlation: Spearman's correlation of what the baseline leaves of the score and of the outcome.
        raw_correlation: Spearman's correlation of score and outcome; its sign often differs.
        folds: number of folds; no group is split between them.
    """

    baseline_error: float
    full_error: float
    reduction: Interval
    partial_correlation: float
    raw_correlation: float
    folds: int

    @property
    def shown(self) -> bool:
        """Whether the interval of the reduction lies above zero."""
        return self.reduction.low > 0


def increment(
    score: ArrayLike,
    outcome: ArrayLike,
    baseline: ArrayLike,
    groups: Sequence[Hashable],
    *,
    folds: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
) -> Increment:
    """Return whether a score predicts an outcome beyond a baseline of design variables.

    Two least-squares regressions with an intercept, outcome on baseline and outcome on baseline and score, are fitted
    with one fold of groups left out and judged on it. Grouping keeps seeds of one configuration together: otherwise a
    regression recognises the configuration.

    Args:
        score: one per run (M,).
        outcome: such as the generalisation gap (M,).
        baseline: columns such as train loss, weight norm, margin, learning rate, batch size, momentum and width, as
            logarithms where they are scales (M, columns).
        groups: the configuration of each run (M,).
        folds: number of folds.
        confidence: of the interval over groups.
        seed: of the assignment of groups to folds and of the bootstrap over groups.

    Returns:
        Both errors out of fold, their difference with an interval, and the partial rank correlation.

    Raises:
        NotDefinedError: fewer groups than folds, or fewer runs in a fold's complement than coefficients.

    Source: Chernozhukov et al. 2018 (arXiv 1608.00060) for cross-fitting; Dziugaite et al. 2020 (arXiv 2010.11924) for
    judging scores against design variables.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(60, 2))
    >>> increment(x[:, 0], x.sum(1), x[:, 1:], np.arange(60) // 2).shown
    True
    """
    s, y = vector(score, "score"), vector(outcome, "outcome")
    base = np.asarray(baseline, dtype=np.float64).reshape(len(s), -1) if len(s) else np.empty((0, 0))
    equally_long(score=s, outcome=y, baseline=base, groups=np.asarray(range(len(groups))))
    if not np.isfinite(base).all():
        raise LandscapeError("The baseline holds NaN or infinite values: drop those runs or columns first.")
    seen: dict = {}
    group = np.array([seen.setdefault(g, len(seen)) for g in groups])
    fold = _folds(group, folds, seed)
    without = y - _out_of_fold(base, y, fold)
    with_score = y - _out_of_fold(np.column_stack([base, s]), y, fold)
    leftover = s - _out_of_fold(base, s, fold)
    sizes = np.bincount(group)
    gain = np.bincount(group, weights=without**2 - with_score**2) / sizes
    return Increment(
        baseline_error=float(np.mean(without**2)),
        full_error=float(np.mean(with_score**2)),
        reduction=bootstrap_interval(gain, confidence=confidence, seed=seed),
        partial_correlation=_spearman(leftover, without),
        raw_correlation=_spearman(s, y),
        folds=folds,
    )


def _folds(group: np.ndarray, folds: int, seed: int) -> np.ndarray:
    count = int(group.max()) + 1 if len(group) else 0
    if folds < 2 or count < folds:
        raise NotDefinedError(f"{count} groups cannot make {folds} folds: use at least 2 folds and a group for each.")
    shuffled = np.random.default_rng(seed).permutation(count)
    return (shuffled % folds)[group]


def _out_of_fold(columns: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    predicted = np.empty_like(y)
    for held_out in np.unique(fold):
        train, test = fold != held_out, fold == held_out
        if train.sum() <= columns.shape[1] + 1:
            raise NotDefinedError(
                f"{train.sum()} runs cannot fit {columns.shape[1] + 1} coefficients: add runs or drop baseline columns."
            )
        centre, scale = columns[train].mean(axis=0), columns[train].std(axis=0)
        standard = np.column_stack([np.ones(len(y)), (columns - centre) / np.where(scale > 0, scale, 1.0)])
        predicted[test] = standard[test] @ np.linalg.lstsq(standard[train], y[train], rcond=None)[0]
    return predicted


def _spearman(x: np.ndarray, y: np.ndarray) -> float:
    return float(stats.spearmanr(x, y).statistic) if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0
