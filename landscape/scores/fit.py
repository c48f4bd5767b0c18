"""What every comparison is to be seen beside: loss, accuracy, gradient, weights and how far they moved, margins, confidence."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.scores.quantities import FORWARD, Meter, error_share, values_at
from landscape.scores.register import OF_DECISIONS, OF_PROBABILITIES, Definition, Measurement, UndefinedError, score
from landscape.transforms.logits import normalize_logits

PERCENTILE = 0.1
control = partial(score, orientation="control", panel=True, sums=True, shards=True)
"""`score` for what accompanies every panel."""


@control(
    "loss",
    "loss",
    family="fit",
    formula="L(w)",
    cost=0.33,
    invariant=OF_PROBABILITIES,
    unit="loss",
)
def loss(objective: Objective) -> Measurement:
    """Return the loss, which must match before sharpness is compared."""
    return Measurement(objective.loss(), gradients=1 / 3)


@control(
    "accuracy",
    "accuracy",
    family="fit",
    formula="share of decisions that are right",
    cost=0.33,
    invariant=OF_DECISIONS,
    needs=("errors",),
)
def accuracy(objective: Objective) -> Measurement:
    """Return the share of right decisions."""
    meter = Meter()
    error = float(values_at(objective, [objective.theta], error_share, meter)[0])
    return Measurement(1 - error, gradients=meter.gradients)


@control(
    "gradient-norm",
    "norm of the gradient",
    family="gradient",
    formula="‖∇L(w)‖₂",
    invariant="T4 T5",
    unit="loss per parameter",
)
def gradient_norm(objective: Objective) -> Measurement:
    """Return the Euclidean length of the gradient: how far from a critical point the weights are, not how sharp.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> target = torch.ones(1, 1) * (net.weight.item() + 1)
    >>> round(gradient_norm(ls.Objective(net, (torch.ones(1, 1), target), "mse_loss"))[0].value, 4)
    2.0
    """
    return Measurement(float(objective.world.norm(objective.gradient().double())), gradients=1)


@control("weight-norm", "norm of the weights", family="fit", formula="‖w‖₂", cost=0, invariant="T4", unit="parameter")
def weight_norm(objective: Objective) -> Measurement:
    """Return the Euclidean length of theta (P,), all selected parameters included."""
    return Measurement(math.sqrt(float(objective.world.over_parts(objective.theta.double().square().sum()))))


def initial_weights(objective: Objective, checkpoint: Any) -> Objective:
    """Return the objective at the weights that training started from.

    Raises:
        NotDefinedError: they are not known.
    """
    if not isinstance(checkpoint, Checkpoint) or checkpoint.init is None:
        raise UndefinedError("the initial weights are not known; pass checkpoint=ls.Checkpoint(…, init=…)")
    return objective.at(checkpoint.init)


@control(
    Definition(
        "distance-from-init",
        "distance from initialisation",
        formula="‖w − w₀‖₂",
        source="Dziugaite et al. 2020, arXiv 2010.11924, dist-init",
        unit="parameter",
    ),
    Definition(
        "relative-movement",
        "relative movement of the weights",
        formula="‖w − w₀‖₂ / ‖w₀‖₂",
        source="Chizat et al. 2019, arXiv 1812.07956",
    ),
    family="function space",
    panel=False,
    cost=0,
)
def distance_from_init(objective: Objective, *, checkpoint: Any = None) -> list[Measurement]:
    """Return the Euclidean distance from the initial weights, and that distance over their length, small in the lazy regime.

    Raises:
        NotDefinedError: the initial weights are not known.
    """
    start = initial_weights(objective, checkpoint).theta.double()
    norm = objective.world.norm
    moved, length = float(norm(objective.theta.double() - start)), float(norm(start))
    return [
        Measurement(moved, name="distance-from-init"),
        Measurement(moved / length if length > 0 else float("inf"), name="relative-movement"),
    ]


def class_margins(output: Tensor, target: Tensor) -> Tensor:
    """Return the right class's logit minus the largest other one, (N, …).

    >>> class_margins(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([1.])
    """
    right = output.gather(1, target.unsqueeze(1)).squeeze(1)
    others = output.scatter(1, target.unsqueeze(1), float("-inf"))
    return right - others.amax(1)


@control(
    Definition(
        "margin",
        "margin, 10th percentile",
        formula="10th percentile of f_y − max over k ≠ y of f_k",
        source="Dziugaite et al. 2020, arXiv 2010.11924, margin",
        cost=0.33,
        invariant=OF_PROBABILITIES,
        unit="logit",
    ),
    Definition(
        "margin-normalized",
        "margin of normalised logits, 10th percentile",
        formula="10th percentile of (f_y − max over k ≠ y of f_k) / ‖f − mean f‖₂",
        source="Dziugaite et al. 2020, arXiv 2010.11924; Andriushchenko et al. 2023, arXiv 2302.07011",
        cost=0.0,
        invariant=OF_DECISIONS,
    ),
    family="function space",
    needs=("classes",),
)
def margins(objective: Objective, *, percentile: float = PERCENTILE) -> list[Measurement]:
    """Return a low percentile of the margins, raw and divided by each example's logit norm.

    Args:
        percentile: between 0 and 1.

    Source: Jiang et al. 2020 (arXiv 1912.02178), who use the inverse square of the 10th percentile.

    >>> import torch, landscape as ls
    >>> logits, y = torch.tensor([[2.0, 0.0, 0.0], [0.0, 4.0, 0.0]]), torch.tensor([0, 1])
    >>> net = torch.nn.Linear(3, 3, bias=False)
    >>> objective = ls.Objective(net, (logits, y), "cross_entropy").at(torch.eye(3).flatten())
    >>> [round(row.value, 3) for row in margins(objective, percentile=0.5)]
    [3.0, 1.225]
    """
    found = []
    with objective.guard(), torch.no_grad():
        for batch in objective.batches:
            output = objective.batch_outputs(objective.theta, batch).double()
            assert batch.target is not None
            counted = batch.target != objective.known.ignore_index
            safe = torch.where(counted, batch.target, 0)
            both = torch.stack(
                [class_margins(logits, safe)[counted] for logits in (output, normalize_logits(output))], 1
            )
            found.append(both)
    raw, normalized = torch.quantile(objective.world.join(torch.cat(found)), percentile, dim=0).tolist()
    return [
        Measurement(raw, gradients=FORWARD, name="margin"),
        Measurement(normalized, name="margin-normalized"),
    ]


def expected_calibration_error(confidence: Tensor, right: Tensor, bins: int = 15) -> float:
    """Return Σ_b (n_b/n) |accuracy_b − confidence_b| over equal bins of confidence.

    >>> expected_calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([True, False]))
    0.25
    """
    where = (confidence * bins).long().clamp_max(bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64, device=confidence.device)
    gap.index_add_(0, where, right.double() - confidence.double())
    return float(gap.abs().sum() / len(confidence))


@control(
    Definition(
        "calibration-error",
        "expected calibration error",
        formula="Σ_b (n_b/n) |accuracy_b − confidence_b|, 15 bins",
        source="Guo et al. 2017, arXiv 1706.04599, eq. 3",
        cost=FORWARD,
    ),
    Definition("confidence", "mean largest probability", formula="E max_k p_k", cost=0),
    Definition(
        "logit-norm",
        "mean length of the centred logits",
        formula="E ‖f − mean f‖₂",
        source="Andriushchenko et al. 2023, arXiv 2302.07011",
        cost=0,
        unit="logit",
    ),
    family="function space",
    panel=False,
    invariant=OF_PROBABILITIES,
    needs=("classes",),
)
def calibration(objective: Objective, *, bins: int = 15) -> list[Measurement]:
    """Measure how confident the predictions are and whether rightly so, from one forward pass.

    Args:
        bins: equal bins of confidence.
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
