"""Sharpness over the stability threshold of the optimiser that found the weights."""

from __future__ import annotations

from typing import Any

import torch

from landscape.arguments import seeded_generator
from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.operators.hessian import quotients_along_gradients
from landscape.scores.curvature import extreme_eigenvalues
from landscape.scores.quantities import PRODUCT
from landscape.scores.register import Measurement, UndefinedError, score

RULES = ("sgd", "heavy ball", "nesterov", "adam")


def threshold(lr: float, momentum: float = 0.0, *, rule: str = "heavy ball") -> float:
    r"""Return the curvature beyond which an optimiser diverges on a quadratic.

    Gradient descent :math:`2/\eta`, heavy ball :math:`(2 + 2\beta)/\eta`, Nesterov :math:`(2 + 2\beta)/(\eta(1 + 2\beta))`,
    Adam :math:`(2 + 2\beta_1)/(\eta(1 - \beta_1))`, which bounds the curvature after preconditioning,
    :math:`\lambda_{\max}(P^{-1/2} H P^{-1/2})` with :math:`P = \mathrm{diag}(\sqrt{\hat v} + \epsilon)`, P held fixed.

    Args:
        lr: learning rate η.
        momentum: β, or β₁ of Adam.
        rule: ``sgd``, ``heavy ball``, ``nesterov`` or ``adam``; without momentum all have the threshold 2/η.

    Raises:
        LandscapeError: a rule, learning rate or momentum out of range.

    Source: Cohen et al. 2021 (arXiv 2103.00065), appendix B; for Adam, Cohen et al. 2022 (arXiv 2207.14484).

    >>> [round(threshold(1.0, 0.9, rule=rule), 3) for rule in ("heavy ball", "nesterov", "adam")], threshold(0.5)
    ([3.8, 1.357, 38.0], 4.0)
    """
    if rule not in RULES:
        raise LandscapeError(f"rule {rule!r} is unknown; expected one of {', '.join(RULES)}")
    if not lr > 0 or not 0 <= momentum < 1:
        raise LandscapeError(f"lr={lr}, momentum={momentum}; expected lr > 0 and 0 ≤ momentum < 1")
    if rule == "sgd" or momentum == 0:
        return 2 / lr
    slowed = {"heavy ball": 1.0, "nesterov": 1 + 2 * momentum, "adam": 1 - momentum}
    return (2 + 2 * momentum) / lr / slowed[rule]


def training_threshold(checkpoint: Any) -> float:
    """Return the threshold of the optimiser a checkpoint says it was trained with.

    Raises:
        NotDefinedError: there is no checkpoint, it does not know its learning rate, or its optimiser is not SGD.
    """
    if not isinstance(checkpoint, Checkpoint) or checkpoint.lr is None:
        raise UndefinedError("it needs the learning rate; pass checkpoint=ls.Checkpoint(…, lr=…)")
    name = (checkpoint.optimizer or "sgd").lower()
    if "adam" in name or "rms" in name:
        raise UndefinedError(f"the threshold of {name} depends on its second moments")
    return threshold(checkpoint.lr, checkpoint.momentum or 0.0, rule="nesterov" if "nesterov" in name else "heavy ball")


@score(
    "stability",
    "largest eigenvalue over the optimiser's stability threshold",
    family="optimiser",
    formula="λmax(H) / ((2 + 2β)/η)",
    source="Cohen et al. 2021, arXiv 2103.00065",
    stochastic=False,
    cost=80,
    invariant="T4 T5",
)
def stability(objective: Objective, *, checkpoint: Any = None, seed: int = 0) -> Measurement:
    """Return λmax over the threshold of full-batch training: about 1 at the edge of stability.

    Not invariant to rescaling by design: the optimiser is not either. SGD with small batches stays below 1; see
    ``batch-sharpness``.

    Args:
        objective: the training loss.
        checkpoint: what the network was trained with (``lr``, ``momentum``, ``optimizer``).

    Raises:
        NotDefinedError: the learning rate is not known.
    """
    limit = training_threshold(checkpoint)
    largest, smallest = extreme_eigenvalues(objective, seed=seed)
    return Measurement(
        largest.value / limit,
        gradients=largest.gradients + smallest.gradients,
        status=largest.status,
        note=f"λmax {largest.value:.4g}, threshold {limit:.4g}",
    )


@score(
    "batch-sharpness",
    "curvature along minibatch gradients over the stability threshold",
    family="optimiser",
    formula="E_B[g_Bᵀ H_B g_B / ‖g_B‖²] / ((2 + 2β)/η)",
    source="Andreyev and Beneventano 2024, arXiv 2412.20553, definition 1",
    cost=3,
    invariant="T4 T5",
)
def batch_sharpness(
    objective: Objective, *, checkpoint: Any = None, subset: int | None = None, seed: int = 0
) -> Measurement:
    r"""Return the mean Rayleigh quotient of minibatch Hessians along their own gradients, over the threshold.

    .. math:: E_B\,\frac{g_B^T H_B\,g_B}{\lVert g_B \rVert^2}

    Plain SGD hovers near 1; momentum changes the plateau, so judge differences between optimisers against it.

    Args:
        objective: the training loss.
        checkpoint: what the network was trained with (``lr``, ``momentum``, ``optimizer``, ``batch_size``).
        subset: examples per minibatch; `None`: the checkpoint's batch size.
        seed: of the partition into minibatches.

    Raises:
        NotDefinedError: learning rate or batch size are not known, or every gradient is zero.
    """
    limit = training_threshold(checkpoint)
    size = subset or checkpoint.batch_size
    if size is None:
        raise UndefinedError("it needs the batch size of the training; pass subset=")
    quotients = minibatch_quotients(objective, size, seed)
    if len(quotients) < 1:
        raise UndefinedError("the gradient of every minibatch is zero")
    value = float(quotients.mean())
    error = float(quotients.std() / len(quotients) ** 0.5) if len(quotients) > 1 else None
    note = f"batch sharpness {value:.4g}, threshold {limit:.4g}, minibatches of {size}"
    return Measurement(value / limit, None if error is None else error / limit, gradients=1 + PRODUCT, note=note)


def minibatch_quotients(objective: Objective, size: int, seed: int, *, most: int | None = None) -> torch.Tensor:
    """Return gᵀHg/‖g‖² of disjoint random minibatches, of all or the first few, (K,) in float64; zero gradients are left out."""
    order = torch.randperm(objective.n, generator=seeded_generator(seed))
    part = objective.subset(order if most is None else order[: size * most])
    quotients = quotients_along_gradients(part.rebatch(min(size, part.n)))
    return quotients[quotients.isfinite()]
