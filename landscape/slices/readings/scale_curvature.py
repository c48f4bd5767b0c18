"""Curvature along a direction as a function of the scale it is measured at, beside the second derivative."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.operators import Hessian
from landscape.results.topology import ScaleCurvature
from landscape.slices.directions import as_directions, vectors_of
from landscape.slices.evaluate.engine import Engine

DISAGREE = 2.0
"""Ratio of second difference to second derivative from which the result warns."""


@checked
def scale_curvature(
    objective: Objective, direction: Any, *, span: float = 1.0, smallest: float = 1e-5, points: int = 21
) -> ScaleCurvature:
    r"""Measure the curvature of the loss along a direction at scales from ``smallest`` to ``span``.

    .. math:: \kappa(h) = \frac{L(\theta + h d) + L(\theta - h d) - 2 L(\theta)}{h^2}
        \;\xrightarrow{h \to 0}\; d^T H d \quad \text{for smooth networks}

    The second derivative of a ReLU network leaves out its kinks, so that κ(h) exceeds dᵀHd by 10 to 30 times at the
    scales that training moves by, and the two meet only below the distance to the nearest kink. Rounding grows as 1/h²
    at small scales; its size is reported beside κ, and in single precision little below h = 1e-2 is resolved: use
    ``dtype=torch.float64``.

    Args:
        objective: the function.
        direction: a `Directions` result or a vector (P,).
        span: the largest scale, in lengths of the direction.
        smallest: the smallest scale.
        points: how many scales, evenly spaced in the logarithm.

    Returns:
        κ(h) with its rounding error, dᵀHd, and a warning when resolved values differ from it by a factor of 2.

    Raises:
        LandscapeError: scales out of order, or an unusable direction.

    >>> import torch, landscape as ls
    >>> loss = ls.BatchLoss(lambda model, batch: 3 * model.weight.square().sum())
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> objective = ls.Objective(net, [(torch.zeros(1),)], loss, dtype=torch.float64)
    >>> found = scale_curvature(objective, torch.ones(1), smallest=0.01, points=3)
    >>> found.hessian, found.kappa.round(6), found.notes
    (6.0, array([6., 6., 6.]), ())
    """
    started = time.perf_counter()
    if not 0 < smallest < span or points < 2:
        raise LandscapeError(
            f"{points} scales from {smallest:g} to {span:g}; expected at least 2, from small to large, above 0"
        )
    axis = as_directions(direction, 1, objective.size)
    h = np.geomspace(smallest, span, points)
    with Engine({"train": objective}, vectors_of(axis), points=2 * points + 1) as engine:
        loss = engine.row(np.concatenate([-h[::-1], [0.0], h]))["train/loss"]
    kappa = (loss[points + 1 :] + loss[points - 1 :: -1] - 2 * loss[points]) / h**2
    rounding = 4 * torch.finfo(objective.dtype).eps * max(abs(float(loss[points])), 1e-300) / h**2
    d = objective.world.part(torch.as_tensor(vectors_of(axis)[0]).to(objective.device, objective.dtype))
    hessian = float(objective.world.dot(d, Hessian(objective) @ d))
    return ScaleCurvature(
        h=h,
        kappa=kappa,
        rounding=rounding,
        hessian=hessian,
        notes=_warning(h, kappa, rounding, hessian),
        provenance=objective.provenance(),
        seconds=time.perf_counter() - started,
    )


def _warning(h: np.ndarray, kappa: np.ndarray, rounding: np.ndarray, hessian: float) -> tuple[str, ...]:
    small = (np.abs(kappa) > 10 * rounding) & (h <= 0.1)
    if hessian == 0 or not small.any():
        return ()
    ratio = np.where(small, np.abs(kappa / hessian), 0.0)
    worst = int(ratio.argmax())
    if ratio[worst] < DISAGREE:
        return ()
    return (
        f"the second difference at h = {h[worst]:.0e} is {ratio[worst]:.1f} times dᵀHd: second derivatives leave out "
        "the kinks of ReLU, and higher orders at large h; report the scale with any curvature",
    )
