"""The price of choosing a model by a score: correlation is not selection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from landscape.statistics.samples import equally_long, vector


@dataclass(frozen=True)
class Regret:
    """What choosing the model with the lowest score costs, in the units of the outcome.

    Attributes:
        regret: outcome of the chosen model less the best outcome; 0 is a perfect choice.
        at_random: the same for a model chosen at random.
        at_worst: the same for the worst choice.
        chosen: position of the chosen model, the first of those that share the lowest score.
    """

    regret: float
    at_random: float
    at_worst: float
    chosen: int


def selection_regret(score: ArrayLike, outcome: ArrayLike) -> Regret:
    r"""Return how far the model of lowest score is from the model of lowest outcome, $y_{\arg\min s} - \min y$.

    Models that share the lowest score are equally likely to be chosen, so their outcomes are averaged.

    Args:
        score: one per model, higher = sharper.
        outcome: such as test error, lower = better.

    Returns:
        The regret, beside those of a random and of the worst choice.

    Raises:
        LandscapeError: vectors of different lengths.
        NotDefinedError: fewer than two models.

    >>> selection_regret([3.0, 1.0, 2.0], [0.25, 0.5, 0.0])
    Regret(regret=0.5, at_random=0.25, at_worst=0.5, chosen=1)
    """
    s, y = vector(score, "score", fewest=2), vector(outcome, "outcome", fewest=2)
    equally_long(score=s, outcome=y)
    best = float(y.min())
    return Regret(
        regret=float(y[s == s.min()].mean()) - best,
        at_random=float(y.mean()) - best,
        at_worst=float(y.max()) - best,
        chosen=int(np.argmin(s)),
    )
