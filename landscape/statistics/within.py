"""What a score knows beyond the design: models of one cell, which differ in their seeds alone, tested and predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from math import factorial

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from landscape.errors import LandscapeError, NotDefinedError
from landscape.statistics.cells import Cells, groups, numbered

PERMUTATIONS = 19_999
"""Random relabellings of the seeds that the p value rests on."""
FEWEST = 5
"""Blocks of exchangeable seeds below which nothing is tested: four pairs of seeds cannot reach p = 0.1."""
_FOLDS = 5  # of the blocks, of which there are no fewer
_ENUMERATED = 6  # seeds up to which all orders are listed


@dataclass(frozen=True)
class Within:
    """Association of score and outcome between seeds of one cell.

    Attributes:
        correlation: of the ranks within cells, once those of the baseline are taken out; 0 of a score that does not vary there.
        p_value: two-sided, by relabelling seeds within their cells.
        gain: share of the baseline's squared error within cells that the score takes off, out of fold.
        models: number of models that enter.
        blocks: sets of seeds that were exchanged.
        resampled: correlation and gain of bootstrap samples of the blocks, each (R,).
    """

    correlation: float
    p_value: float
    gain: float
    models: int
    blocks: int
    resampled: tuple[np.ndarray, np.ndarray]


def within_cells(
    cells: Cells,
    seeds: Sequence,
    score: ArrayLike,
    outcome: ArrayLike,
    baseline: Sequence[ArrayLike] = (),
    *,
    shared: Sequence[str] = (),
    resamples: int = 1_999,
    seed: int = 0,
) -> Within:
    r"""Return whether a score tells better seeds from worse ones where every factor is the same, and by how much.

    From score and outcome, less the means of their cells, the baseline is regressed out, its values and its ranks within cells,
    in each stratum apart (Freedman and Lane 1983); what is left is ranked within cells, and the statistic is
    $\sum r_s r_y / \sqrt{\sum r_s^2 \sum r_y^2}$. Under the null the seeds of a cell are exchangeable: the factors may act in any
    way whatever, on score and outcome. Runs of one seed that share their draws, such as weights and examples, are relabelled
    together. The gain comes from two regressions of the outcome, on the baseline and on baseline and score, each fitted with a
    fold of the blocks left out and judged on it. Positive scores and baselines enter as logarithms.

    Args:
        cells: the design.
        seeds: of each model (M,).
        score: one per model; models without it (NaN) are left out.
        outcome: likewise.
        baseline: what is known anyway, such as margin and weight norm, one vector each.
        shared: factors across which runs of one seed share their draws; none: all runs are independent.
        resamples: bootstrap samples of the blocks.
        seed: of permutations, folds and bootstrap.

    Raises:
        LandscapeError: two models of one cell share their seed, or an unknown factor in `shared`.
        NotDefinedError: fewer than five blocks with two seeds, or an outcome that does not vary within cells.

    Source: Freedman and Lane 1983, *Journal of Business & Economic Statistics* 1:292–298; Chernozhukov et al. 2018 (arXiv
    1608.00060) for cross-fitting.

    >>> rng = np.random.default_rng(0)
    >>> cells, hidden = Cells.of_design({"lr": np.repeat(np.arange(12), 4)}), rng.normal(size=48)
    >>> found = within_cells(cells, list(range(4)) * 12, hidden + 0.5 * rng.normal(size=48), hidden)
    >>> found.p_value < 0.01, found.gain > 0.2
    (True, True)
    """
    unknown = [name for name in shared if name not in cells.axes]
    if unknown:
        raise LandscapeError(f"no factor {unknown[0]!r} to share draws; there are {', '.join(cells.axes) or 'none'}")
    table = np.stack([np.asarray(v, dtype=np.float64) for v in (score, outcome, *baseline)])
    blocks = _blocks(cells, seeds, np.asarray(np.isfinite(table).all(axis=0)), shared)
    if len(blocks) < FEWEST:
        raise NotDefinedError(f"{len(blocks)} cells with two seeds or more; at least {FEWEST} are needed: add seeds.")
    columns = [_centred(row, blocks, logarithm=i != 1) for i, row in enumerate(table)]
    base = _by_stratum([*columns[2:], *(_ranked(column, blocks) for column in columns[2:])], cells, blocks)
    left = [column - base @ np.linalg.lstsq(base, column, rcond=None)[0] for column in columns[:2]]
    ranks = [_ranked(_rounded(after, before), blocks) for after, before in zip(left, columns)]
    if not np.square(ranks[1]).sum() > 1e-9:
        raise NotDefinedError("The outcome does not vary within cells beyond the baseline.")
    split = [_split(rank, blocks) for rank in ranks]
    products = [s.T @ y for s, y in zip(*split, strict=True)]  # (seeds, seeds), of every block
    sums = np.array([[np.trace(p), (s**2).sum(), (y**2).sum()] for p, s, y in zip(products, *split, strict=True)])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks)), size=resamples)
    free = sum(block.size - len(block) for block in blocks)
    spent = free / max(free - np.linalg.matrix_rank(base), 1)  # what was regressed out no longer varies
    null = np.sqrt(spent) * sum(_relabelled(product, rng) for product in products)
    beyond = np.abs(null) >= abs(sums[:, 0].sum()) * (1 - 1e-9)
    bounded = [_bounded(column) for column in (columns[0], *columns[2:])]
    without, full = _out_of_fold(bounded, columns[1], blocks, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        boot = drawn @ sums
        correlations = boot[:, 0] / np.sqrt(boot[:, 1] * boot[:, 2])
        gains = 1 - (drawn @ full) / (drawn @ without)
    whole = sums.sum(axis=0)
    varies = whole[1] > 1e-9  # else it says nothing, which is an answer
    return Within(
        correlation=float(whole[0] / np.sqrt(whole[1] * whole[2])) if varies else 0.0,
        p_value=float((1 + beyond.sum()) / (1 + PERMUTATIONS)) if varies else 1.0,
        gain=float(1 - full.sum() / without.sum()),
        models=sum(block.size for block in blocks),
        blocks=len(blocks),
        resampled=(correlations, gains),
    )


def _blocks(cells: Cells, seeds: Sequence, there: np.ndarray, shared: Sequence[str]) -> list[np.ndarray]:
    """Return sets of exchangeable seeds: positions of models, one row per cell and one column per seed, none missing."""
    own = [i for i, name in enumerate(cells.axes) if name not in shared]
    world = groups(np.column_stack([cells.stratum, cells.codes[:, own]]))[cells.of]
    number = numbered(seeds)
    if len(set(zip(cells.of.tolist(), number.tolist()))) < len(number):
        raise LandscapeError("two models of one cell share their seed; name more factors, or number the seeds apart")
    where: dict[tuple[int, int], dict[int, int]] = {}  # (world, seed) → cell → model
    for i in np.flatnonzero(there):
        where.setdefault((world[i], number[i]), {})[int(cells.of[i])] = int(i)
    alike: dict[tuple[int, tuple[int, ...]], list[list[int]]] = {}  # seeds that ran in the same cells can be exchanged
    for (group, _), models in where.items():
        present = tuple(sorted(models))
        alike.setdefault((group, present), []).append([models[cell] for cell in present])
    return [np.array(columns).T for columns in alike.values() if len(columns) > 1]


def _split(column: np.ndarray, blocks: Sequence[np.ndarray]) -> list[np.ndarray]:
    sizes = np.cumsum([block.size for block in blocks])[:-1]
    return [part.reshape(block.shape) for part, block in zip(np.split(column, sizes), blocks, strict=True)]


def _centred(row: np.ndarray, blocks: Sequence[np.ndarray], *, logarithm: bool) -> np.ndarray:
    """Return what models deviate from the mean of their cell by, of the logarithm if all are positive."""
    parts = [row[block] for block in blocks]
    positive = logarithm and all((part > 0).all() for part in parts)
    return _less_means([np.log10(part) for part in parts] if positive else parts)


def _ranked(column: np.ndarray, blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the ranks within cells, less their mean."""
    return _less_means([stats.rankdata(part, axis=1) for part in _split(column, blocks)])


def _less_means(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([(part - part.mean(axis=1, keepdims=True)).ravel() for part in parts])


def _rounded(column: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return residuals without what rounding leaves of nothing, which would have ranks."""
    size = np.abs(of).max() or 1.0
    return np.asarray(np.round(column / size, 9) * size)


def _bounded(column: np.ndarray) -> np.ndarray:
    """Return a column in units of six times its median deviation, cut there: one odd run shall not decide a regression."""
    limit = 6 * float(np.median(np.abs(column)))
    return np.clip(column / limit, -1.0, 1.0) if limit > 0 else np.sign(column)


def _by_stratum(columns: Sequence[np.ndarray], cells: Cells, blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return columns that are zero outside one stratum, so that each has slopes of its own."""
    of = np.concatenate([cells.stratum[cells.of[block.ravel()]] for block in blocks])
    apart = [np.where(of == number, column, 0.0) for column in columns for number in np.unique(of)]
    return np.column_stack([np.zeros(len(of)), *apart])


def _relabelled(product: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the block's share of the statistic under random orders of its seeds, (permutations,)."""
    size = len(product)
    if size <= _ENUMERATED:
        orders = np.array(list(permutations(range(size))))
        values = product[np.arange(size), orders].sum(axis=1)
        return np.asarray(values[rng.integers(factorial(size), size=PERMUTATIONS)])
    orders = rng.random((PERMUTATIONS, size)).argsort(axis=1)
    return np.asarray(product[np.arange(size), orders].sum(axis=1))


def _out_of_fold(
    known: Sequence[np.ndarray], outcome: np.ndarray, blocks: Sequence[np.ndarray], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared errors of each block when predicted from the baseline, and from baseline and score."""
    of = np.repeat(np.arange(len(blocks)), [block.size for block in blocks])
    fold = np.random.default_rng(seed).permutation(len(blocks))[of] % _FOLDS
    score, *base = known
    whole, errors = np.column_stack([np.zeros_like(score), *base, score]), []
    for design in (whole[:, :-1], whole):
        predicted = np.zeros_like(outcome)
        for left_out in np.unique(fold):
            train, test = fold != left_out, fold == left_out
            predicted[test] = design[test] @ np.linalg.lstsq(design[train], outcome[train], rcond=None)[0]
        errors.append(np.bincount(of, weights=(outcome - predicted) ** 2))
    return errors[0], errors[1]
