"""How often a score orders two configurations wrongly, in the worst environment as well as on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from landscape.errors import LandscapeError, NotDefinedError
from landscape.statistics.samples import coded, equally_long, groups, vector


@dataclass(frozen=True)
class RobustSignError:
    """Weighted sign errors over environments, pairs of configurations that differ in one hyperparameter.

    Attributes:
        mean: over environments, in [0, 1]; 0.5 is chance.
        percentile_90: 90th percentile over environments.
        largest: worst environment; 1 means that some change of one hyperparameter is always ordered wrongly.
        environments: number of environments used.
        dropped: environments left out, their gaps being too small for the size of the test set.
        axes: mean over the environments of each hyperparameter.
    """

    mean: float
    percentile_90: float
    largest: float
    environments: int
    dropped: int
    axes: dict[str, float]


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


def informative_gap(test_size: int, *, least_weight: float = 0.5) -> float:
    r"""Return the difference of gaps below which a pair carries no weight, $\sqrt{(2/N) \ln(2 / (1 - \sqrt{h}))}$.

    >>> [round(informative_gap(n), 4) for n in (10_000, 1_000, 360)]
    [0.0196, 0.062, 0.1033]
    """
    if test_size < 1:
        raise LandscapeError(f"test_size is {test_size}: give the number of examples the outcome was measured on.")
    return float(np.sqrt(2 / test_size * np.log(2 / (1 - np.sqrt(least_weight)))))


def robust_sign_error(
    design: Mapping[str, Sequence],
    score: ArrayLike,
    outcome: ArrayLike,
    *,
    test_size: int,
    least_weight: float = 0.5,
    least_effective: float = 12.0,
) -> RobustSignError:
    r"""Return how often a score orders runs wrongly when one hyperparameter changes, per environment.

    An environment is a pair of configurations that differ in exactly one hyperparameter; its runs are all pairs of
    seeds. Each pair errs by $\frac12 (1 - \mathrm{sign}(\Delta\mu)\,\mathrm{sign}(\Delta g))$ and weighs
    $w = \max(h - \frac12, 0)$ with h from `hoeffding_weight`. Environments of effective size
    $(\sum w)^2 / \sum w^2 < 12$ are dropped.

    Args:
        design: hyperparameter → its value in each run; leave the seed out.
        score: one per run, higher meant to go with a higher outcome.
        outcome: generalisation gap of each run, a fraction of one.
        test_size: examples the gap was measured on.
        least_weight: what is subtracted from h.
        least_effective: effective number of pairs an environment must have.

    Returns:
        Mean, 90th percentile and maximum over the environments.

    Raises:
        NotDefinedError: no environment is left, which a small test set or few seeds cause.

    Source: Dziugaite et al. 2020 (arXiv 2010.11924), §§3 and 4.

    >>> lr = [0.1] * 4 + [1.0] * 4
    >>> robust_sign_error({"lr": lr}, range(8), [0.1] * 4 + [0.5] * 4, test_size=10_000).mean
    0.0
    """
    x, y = vector(score, "score"), vector(outcome, "outcome")
    equally_long(score=x, outcome=y)
    codes = coded(design, len(x))
    of = groups(codes)
    first_run = np.unique(of, return_index=True)[1]
    errors: dict[str, list[float]] = {name: [] for name in design}
    dropped = 0
    for a, b in combinations(range(len(first_run)), 2):
        differing = np.flatnonzero(codes[first_run[a]] != codes[first_run[b]])
        if len(differing) != 1:
            continue
        error = _environment(x, y, of == a, of == b, test_size, least_weight, least_effective)
        if error is None:
            dropped += 1
        else:
            errors[list(design)[differing[0]]].append(error)
    every = [error for of_axis in errors.values() for error in of_axis]
    if not every:
        raise NotDefinedError(
            f"All {dropped} environments carry too little weight: gaps below {informative_gap(test_size):.3f} say "
            f"nothing with {test_size} test examples; use more seeds or a larger test set."
        )
    return RobustSignError(
        mean=float(np.mean(every)),
        percentile_90=float(np.percentile(every, 90)),
        largest=float(np.max(every)),
        environments=len(every),
        dropped=dropped,
        axes={name: float(np.mean(values)) for name, values in errors.items() if values},
    )


def _environment(
    x: np.ndarray,
    y: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    test_size: int,
    least_weight: float,
    least_effective: float,
) -> float | None:
    of_score = np.subtract.outer(x[a], x[b])
    of_outcome = np.subtract.outer(y[a], y[b])
    weight = np.maximum(hoeffding_weight(of_outcome, test_size) - least_weight, 0.0)
    if not weight.any() or weight.sum() ** 2 / np.square(weight).sum() < least_effective:
        return None
    return float(np.average(0.5 * (1 - np.sign(of_score) * np.sign(of_outcome)), weights=weight))
