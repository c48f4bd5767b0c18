"""Standard errors of the loss over the examples of a data set, gathered in the same pass as the loss."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from landscape.errors import NotDefinedError
from landscape.function.objective import Objective

Values = dict[str, np.ndarray]
SQUARE = "-square"
STANDARD_ERROR = "-standard-error"


def with_squares(objective: Objective) -> Objective:
    """Return the objective with the mean squared loss of its examples as a further metric, ``loss-square``.

    Raises:
        NotDefinedError: the loss does not split into terms of single examples.
    """
    terms = objective.known.per_example
    if terms is None or objective.n < 2 or objective.reduction != "mean":
        raise NotDefinedError("standard errors need a loss that is the mean of terms of at least 2 single examples")

    def squares(output: Tensor, target: Tensor) -> Tensor:
        return terms(output, target).double().square()

    fresh = objective.at(objective.theta)
    fresh.metrics = {**objective.metrics, f"loss{SQUARE}": squares}
    return fresh


def with_standard_errors(values: Values, examples: Mapping[str, int]) -> Values:
    r"""Turn mean squares into standard errors, :math:`\sqrt{(\overline{\ell^2} - \bar\ell^2)/(N - 1)}`.

    All points of a grid see the same examples, so that differences between points are known better than this says.

    >>> values = {"train/loss": np.array([2.0]), "train/loss-square": np.array([5.0])}
    >>> with_standard_errors(values, {"train": 2})["train/loss-standard-error"]
    array([1.])
    """
    out = {}
    for name, value in values.items():
        if not name.endswith(SQUARE):
            out[name] = value
            continue
        metric, dataset = name.removesuffix(SQUARE), name.partition("/")[0]
        variance = np.maximum(value - values[metric] ** 2, 0.0)
        out[metric + STANDARD_ERROR] = np.sqrt(variance / (examples[dataset] - 1))
    return out
