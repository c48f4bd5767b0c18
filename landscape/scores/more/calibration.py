"""Confidence: calibration error, mean confidence and length of the logits."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.function.objective import Objective
from landscape.scores.quantities import FORWARD
from landscape.scores.register import Definition, Measurement, score

_ALL = "T1 T2 T3 T4 T5 T6"


def expected_calibration_error(confidence: Tensor, right: Tensor, bins: int = 15) -> float:
    """Return Σ_b (n_b/n) |accuracy_b − confidence_b| over equal bins of confidence.

    >>> expected_calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([True, False]))
    0.25
    """
    where = (confidence * bins).long().clamp_max(bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap.index_add_(0, where, right.double() - confidence.double())
    return float(gap.abs().sum() / len(confidence))


@score(
    Definition(
        "calibration-error",
        "expected calibration error",
        family="function space",
        formula="Σ_b (n_b/n) |accuracy_b − confidence_b|, 15 bins",
        source="Guo et al. 2017, arXiv 1706.04599, eq. 3",
        orientation="control",
        cost=FORWARD,
        invariant=_ALL,
        needs=("classes",),
    ),
    Definition(
        "confidence",
        "mean largest probability",
        family="function space",
        formula="E max_k p_k",
        orientation="control",
        cost=0,
        invariant=_ALL,
        needs=("classes",),
    ),
    Definition(
        "logit-norm",
        "mean length of the centred logits",
        family="function space",
        formula="E ‖f − mean f‖₂",
        source="Andriushchenko et al. 2023, arXiv 2302.07011",
        orientation="control",
        cost=0,
        invariant=_ALL,
        needs=("classes",),
        unit="logit",
    ),
)
def calibration(objective: Objective, *, bins: int = 15) -> list[Measurement]:
    """Measure how confident the predictions are and whether rightly so, from one forward pass.

    Args:
        objective: a classifier.
        bins: equal bins of confidence.

    Raises:
        NotDefinedError: no class logits.

    Source: Guo et al. 2017 (arXiv 1706.04599), equation 3.
    """
    logits, target = objective.outputs().double(), objective.targets
    counted = (target != objective.known.ignore_index).flatten()
    rows = logits.movedim(1, -1).flatten(0, -2)[counted]
    confidence, predicted = rows.softmax(1).max(1)
    right = predicted == target.flatten()[counted]
    length = torch.linalg.vector_norm(rows - rows.mean(1, keepdim=True), dim=1)
    return [
        Measurement(expected_calibration_error(confidence, right, bins), gradients=FORWARD, name="calibration-error"),
        Measurement(float(confidence.mean()), name="confidence"),
        Measurement(float(length.mean()), name="logit-norm"),
    ]
