"""What is measured beside the loss: the share of right predictions, and quantities of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.losses import Loss

Metric = Callable[[Tensor, Tensor], Tensor]
"""``f(output, target)``: a mean over the examples, or one value each."""


def checked(metrics: Mapping[str, Metric] | None) -> dict[str, Metric]:
    """Return the user's metrics.

    Raises:
        LandscapeError: one is not a function, or its name hides the loss or the accuracy.
    """
    found = dict(metrics or {})
    for name, metric in found.items():
        if name in ("loss", "accuracy"):
            raise LandscapeError(
                f"a metric is called {name!r}, which the objective computes itself; choose another name"
            )
        if not callable(metric):
            raise LandscapeError(
                f"the metric {name!r} is {type(metric).__name__}, expected a function (output, target)"
            )
    return found


def is_graded(loss: Loss, target: Tensor) -> bool:
    """Return whether a prediction is right or wrong, so that there is an accuracy."""
    return loss.task == "binary" or (loss.task == "classes" and not target.is_floating_point())


def hits(loss: Loss, output: Tensor, target: Tensor) -> Tensor | None:
    """Return which targets are predicted rightly, as their shape; `None` where the task is no classification."""
    if not is_graded(loss, target):
        return None
    if loss.task == "classes":
        sure = ~output.amax(1).isnan()  # the largest of NaN is the first: right wherever the label is 0
        return sure & (output.argmax(1) == target) & (target != loss.ignore_index)
    return ~output.isnan() & ((output > 0) == (target > 0.5))


def graded(loss: Loss, target: Tensor) -> int:
    """Return how many of the targets count for the accuracy."""
    return int((target != loss.ignore_index).sum()) if loss.task == "classes" else target.numel()
