"""How the loss and its gradient change along the gradient, at points of a training run (Santurkar et al. 2018)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results.trajectory import Smoothness
from landscape.slices.paths.points import Solution, centred
from landscape.store.run import placed


def smoothness(
    objective: Objective,
    solutions: Sequence[Solution] | None = None,
    *,
    eta: Sequence[float],
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> Smoothness:
    r"""Measure loss variation, gradient predictiveness and effective smoothness along the gradient.

    With g = ∇L(θ), for each step length η:

    .. math:: L(\theta - \eta g), \qquad \|\nabla L(\theta) - \nabla L(\theta - \eta g)\|, \qquad
        \beta = \max_\eta \frac{\|\nabla L(\theta) - \nabla L(\theta - \eta g)\|}{\eta\,\|g\|}

    Compare networks with and without norm layers each at its own usable learning rate and at a common one: a norm layer
    makes the gradient depend on the length of the weights before it. In training a batch-norm network sees batch
    statistics; an objective with ``mode="train"`` on one batch measures that.

    Args:
        objective: the function.
        solutions: points of the run, in order; `None`: the objective's own centre.
        eta: step lengths, in the source from half to four times the learning rate.
        save: ``("study.h5", "sgd-0/smoothness")``: store the result.
        overwrite: replace a different result of that name.

    Raises:
        LandscapeError: no step lengths, step lengths that are not positive, or a zero gradient.

    Source: Santurkar et al. 2018, "How Does Batch Normalization Help Optimization?", arXiv 1805.11604, section 3.

    >>> import torch, landscape as ls
    >>> loss = ls.BatchLoss(lambda model, batch: 3 * model.weight.square().sum())  # Hessian 6
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> objective = ls.Objective(net, [(torch.zeros(1),)], loss, dtype=torch.float64)
    >>> smoothness(objective, eta=[0.01, 0.1]).beta.round(9)
    array([6.])
    """
    started = time.perf_counter()
    target = placed(save, Smoothness)
    try:
        steps = np.asarray(eta, dtype=np.float64)
    except (TypeError, ValueError):
        steps = np.zeros(0)
    if steps.ndim != 1 or steps.size == 0 or not (steps > 0).all():
        raise LandscapeError(f"eta is {eta!r}, expected a list of positive step lengths")
    here = [objective] if solutions is None else [centred(objective, solution) for solution in solutions]
    found = [_along_gradient(point, steps) for point in bar(here, desc="smoothness", unit="point")]
    norms = np.array([norm for _, _, norm in found])
    change = np.stack([row for _, row, _ in found])
    result = Smoothness(
        eta=steps,
        loss=np.stack([row for row, _, _ in found]),
        gradient_change=change,
        gradient_norm=norms,
        beta=(change / (steps * norms[:, None])).max(1),
        provenance=objective.provenance(),
        seconds=time.perf_counter() - started,
    )
    if target is not None:
        result.save(*target, overwrite=overwrite)
    return result


def _along_gradient(objective: Objective, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the losses, the changes of the gradient and the norm of the gradient."""
    theta, gradient = objective.theta, objective.gradient()
    norm = float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
    if norm == 0:
        raise LandscapeError("the gradient is zero at a point of the run, so there is no step along it; leave it out")
    losses, changes = [], []
    for step in eta:
        value, moved = objective.value_and_gradient(theta - float(step) * gradient)
        losses.append(value)
        changes.append(float(torch.linalg.vector_norm((moved - gradient).double())))
    return np.array(losses), np.array(changes), norm
