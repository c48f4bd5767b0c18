"""What every comparison of sharpness has to be seen beside: loss, accuracy, gradient and size of the weights."""

from __future__ import annotations

import math

import torch

from landscape.function.objective import Objective
from landscape.scores.quantities import Meter, error_share, values_at
from landscape.scores.register import Measurement, score


@score(
    "loss",
    "loss",
    family="fit",
    formula="L(w)",
    orientation="control",
    cost=0.33,
    invariant="T1 T2 T3 T4 T5 T6",
    unit="loss",
    panel=True,
)
def loss(objective: Objective) -> Measurement:
    """Return the loss, which must match before sharpness is compared."""
    return Measurement(objective.loss(), gradients=1 / 3)


@score(
    "accuracy",
    "accuracy",
    family="fit",
    formula="share of decisions that are right",
    orientation="control",
    cost=0.33,
    invariant="T1 T2 T3 T4 T5 T6 T7",
    needs=("errors",),
    panel=True,
)
def accuracy(objective: Objective) -> Measurement:
    """Return the share of right decisions.

    Raises:
        NotDefinedError: the objective is not a classifier.
    """
    meter = Meter()
    error = float(values_at(objective, [objective.theta], error_share, meter)[0])
    return Measurement(1 - error, gradients=meter.gradients)


@score(
    "gradient-norm",
    "norm of the gradient",
    family="gradient",
    formula="‖∇L(w)‖₂",
    orientation="control",
    cost=1,
    invariant="T4 T5",
    unit="loss per parameter",
    panel=True,
)
def gradient_norm(objective: Objective) -> Measurement:
    """Return the Euclidean length of the gradient: how far from a critical point the weights are, not how sharp.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> target = torch.ones(1, 1) * (net.weight.item() + 1)
    >>> round(gradient_norm(ls.Objective(net, (torch.ones(1, 1), target), "mse_loss"))[0].value, 4)
    2.0
    """
    return Measurement(float(torch.linalg.vector_norm(objective.gradient().double())), gradients=1)


@score(
    "weight-norm",
    "norm of the weights",
    family="fit",
    formula="‖w‖₂",
    orientation="control",
    cost=0,
    invariant="T4",
    unit="parameter",
    panel=True,
)
def weight_norm(objective: Objective) -> Measurement:
    """Return the Euclidean length of theta (P,), all selected parameters included."""
    return Measurement(math.sqrt(float(objective.theta.double().square().sum())))
