"""Extreme eigenvalues of the Hessian over a plane: where the surface is not convex, and by how much."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from landscape.function.objective import Objective
from landscape.operators import Hessian
from landscape.results import Plane
from landscape.slices.coordinates import Points, Span
from landscape.slices.grid import Grid
from landscape.slices.rows import Values, begun, fill
from landscape.spectra import top_eigenpairs
from landscape.store import Run, identity

NAMES = ("loss", "lambda-max", "lambda-min", "eigen-ratio")


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
    started = time.perf_counter()
    grid = Grid.of(Plane, objective, directions, span, points)
    x, y = grid.axes.values()
    settings = {"slice": "eigen-ratio", **grid.settings, "tol": tol, "seed": seed}
    run: Run[Plane] = Run(
        save, lambda: identity({dataset: objective}, **settings), kind=Plane, overwrite=overwrite, world=objective.world
    )
    along = objective.world.part(torch.as_tensor(grid.vectors).to(objective.device, objective.dtype))
    theta = objective.theta

    def row(j: int) -> Values:
        found = [_extremes(objective.at(theta + float(s) * along[0] + float(y[j]) * along[1]), tol, seed) for s in x]
        return {f"{dataset}/{name}": np.array([point[k] for point in found]) for k, name in enumerate(NAMES)}

    with run:
        if run.result is not None:
            return run.result
        blank = begun(run, lambda: grid.blank(Plane, objective, dataset, [f"{dataset}/{name}" for name in NAMES]))
        whole = fill(run, blank, row, label="eigen-ratio")
        evaluation = f"extreme eigenvalues by Lanczos to {tol:g}"
        return run.finish(whole.replace(evaluation=evaluation, seconds=time.perf_counter() - started))


def _extremes(objective: Objective, tol: float, seed: int) -> tuple[float, float, float, float]:
    """Return the loss, the two ends of the spectrum and the ratio of their sizes."""
    hessian = Hessian(objective)
    if objective.size == 1:
        value = float(top_eigenpairs(hessian, k=1, tol=tol, seed=seed, vectors=False).values[0])
        return objective.loss(), value, value, 1.0
    ends = top_eigenpairs(hessian, k=2, which="BE", tol=tol, seed=seed, vectors=False).values
    high, low = float(ends.max()), float(ends.min())
    return objective.loss(), high, low, abs(low / high) if high else float("nan")
