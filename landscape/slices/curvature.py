"""Curvature beside a slice: at every scale along a direction, and of the whole parameter space over a plane."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.operators import Hessian
from landscape.results import Plane
from landscape.results.slices import ScaleCurvature
from landscape.slices.directions import as_directions, vectors_of
from landscape.slices.evaluate import Engine, Values
from landscape.slices.grid import Grid, Points, Span, grown
from landscape.spectra import top_eigenpairs

DISAGREE = 2.0
"""Ratio of second difference to second derivative from which the result warns."""
NAMES = ("loss", "lambda-max", "lambda-min", "eigen-ratio")


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


def eigen_ratio(
    objective: Objective,
    directions: Any,
    *,
    span: Span | tuple[Span, Span] | None = None,
    points: Points | tuple[Points, Points] = 11,
    tol: float = 1e-2,
    dataset: str = "train",
    seed: int = 0,
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> Plane:
    r"""Map :math:`|\lambda_\min / \lambda_\max|` of the Hessian over a plane.

    Small everywhere means that the surface is convex as far as the whole parameter space goes, not only along the two
    directions drawn. Each point costs one Lanczos run.

    Args:
        objective: the function.
        directions: two, as `plane` takes them.
        span: as in `plane`.
        points: as in `plane`.
        tol: relative residual of the eigenvalues.
        dataset: the name of the objective's data.
        seed: of the Lanczos start vector, the same at every point.
        save: ``("study.h5", "sgd-0/eigen-ratio")``: store the result row by row.
        overwrite: replace a different result of that name.

    Returns:
        A plane with ``lambda-max``, ``lambda-min`` and ``eigen-ratio`` beside the loss.

    Raises:
        LandscapeError: as `plane`.

    Source: Li et al. 2018, arXiv 1712.09913, figure 7.

    >>> import torch, landscape as ls
    >>> loss = ls.BatchLoss(lambda model, batch: 2 * model.weight[0, 0] ** 2 - model.weight[0, 1] ** 2)
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> objective = ls.Objective(net, [(torch.zeros(1),)], loss, dtype=torch.float64)
    >>> eigen_ratio(objective, torch.eye(2), points=3).value("eigen-ratio").round(6)[0]
    array([0.5, 0.5, 0.5])
    """
    grid = Grid.of(Plane, objective, directions, span, points)
    x, y = grid.axes.values()
    along = objective.world.part(torch.as_tensor(grid.vectors).to(objective.device, objective.dtype))
    theta = objective.theta

    def rows(_: Plane, which: list[int]) -> Iterator[tuple[int, Values]]:
        for j in which:
            here = (objective.at(theta + float(s) * along[0] + float(y[j]) * along[1]) for s in x)
            found = [_extremes(point, tol, seed) for point in here]
            yield j, {f"{dataset}/{name}": np.array([point[k] for point in found]) for k, name in enumerate(NAMES)}

    blank = partial(grid.blank, Plane, objective, dataset, [f"{dataset}/{name}" for name in NAMES])
    walk = nullcontext((blank, rows, {"evaluation": f"extreme eigenvalues by Lanczos to {tol:g}"}))
    settings = {"slice": "eigen-ratio", **grid.settings, "tol": tol, "seed": seed}
    return grown(Plane, {dataset: objective}, settings, walk, save=save, overwrite=overwrite, label="eigen-ratio")


def _extremes(objective: Objective, tol: float, seed: int) -> tuple[float, float, float, float]:
    """Return the loss, the two ends of the spectrum and the ratio of their sizes."""
    hessian = Hessian(objective)
    if objective.size == 1:
        value = float(top_eigenpairs(hessian, k=1, tol=tol, seed=seed, vectors=False).values[0])
        return objective.loss(), value, value, 1.0
    ends = top_eigenpairs(hessian, k=2, which="BE", tol=tol, seed=seed, vectors=False).values
    high, low = float(ends.max()), float(ends.min())
    return objective.loss(), high, low, abs(low / high) if high else float("nan")
