"""How often a score orders two configurations wrongly when one factor changes, in bad environments as well as on average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from landscape.errors import LandscapeError, NotDefinedError
from landscape.statistics.cells import Cells


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
    r"""Return how surely a difference of two measured gaps has the right sign, $\max(0, 1 - 2e^{-2N(d/2)^2})^2$.

    Args:
        difference: of two generalisation gaps, as fractions of one.
        test_size: N, examples on which each was measured.

    Returns:
        Weights in [0, 1].

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
    kept = effective >= (0.75 * there.sum(axis=(1, 2)) if least_effective is None else least_effective)
    kept &= total > 0
    if not kept.any():
        raise NotDefinedError(
            f"All {len(kept)} environments carry too little weight with {test_size} test examples; "
            "use more seeds or a larger test set."
        )
    error = (weight * wrong).sum(axis=(1, 2))[kept] / total[kept]
    return SignErrors(error, first[kept], second[kept], axis[kept], int((~kept).sum()))


def _padded(cells: Cells, values: ArrayLike) -> np.ndarray:
    """Return the values of the models of each cell as rows, NaN where a cell has fewer."""
    order = np.argsort(cells.of, kind="stable")
    count = np.bincount(cells.of, minlength=len(cells))
    place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((len(cells), int(count.max())), np.nan)
    table[cells.of[order], place] = np.asarray(values, dtype=np.float64)[order]
    return table
