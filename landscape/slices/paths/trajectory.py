"""The plane that holds most of a training run, and what the projection onto it hides."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results.trajectory import Trajectory
from landscape.slices.directions import describe_directions, whole_theta
from landscape.slices.paths.points import Solution, centred
from landscape.slices.rows import Values, begun, fill
from landscape.store import Run, identity


@checked
def trajectory_plane(
    solutions: Sequence[Solution],
    objective: Objective | None = None,
    *,
    n: int = 2,
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> Trajectory:
    r"""Find the plane through the last checkpoint spanned by the principal components of a run.

    The components are those of the checkpoints around their mean. Each checkpoint is projected onto the plane
    :math:`\theta_T + x\,d_0 + y\,d_1`; a projected point may have a loss far from the checkpoint's own, so the result
    holds its distance from the plane and both losses. Large shares of the first components come by construction: a random
    walk in many dimensions has 6/(π²k²) in the k-th, 61 % and 15 % (Antognini and Sohl-Dickstein 2018, arXiv 1806.08805).

    Args:
        solutions: checkpoints in the order of training, at least n + 1: objectives, checkpoints, state dicts, vectors.
        objective: the function; by default that of the last solution.
        n: number of components.
        save: ``("study.h5", "sgd-0/run")``: store the result; finished checkpoints survive an interruption.
        overwrite: replace a different result of that name.

    Returns:
        A trajectory; pass it to `plane` as the directions.

    Raises:
        LandscapeError: too few checkpoints, no objective, or a run that spans fewer than n dimensions.

    Source: Li et al. 2018, arXiv 1712.09913, section 7.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(3, 1, bias=False)
    >>> objective = ls.Objective(net, (torch.eye(3), torch.zeros(3, 1)), "mse_loss", dtype=torch.float64)
    >>> run = [torch.tensor(p, dtype=torch.float64) for p in ([3.0, 1, 0], [2, 0, 0], [1, 1, 0], [0, 0, 0])]
    >>> found = trajectory_plane(run, objective)
    >>> found.off_plane.round(12), found.points[-1]
    (array([0., 0., 0., 0.]), array([0., 0.]))
    """
    started = time.perf_counter()
    here = [_resolved(solution, objective) for solution in solutions]
    objectives = {str(i): o for i, o in enumerate(here)}
    run: Run[Trajectory] = Run(
        save,
        lambda: identity(objectives, slice="trajectory", n=n),
        kind=Trajectory,
        overwrite=overwrite,
        world=here[-1].world,
    )
    if len(here) < n + 1:
        raise LandscapeError(f"{len(here)} checkpoints, expected at least {n + 1} for {n} components")
    thetas = np.stack([whole_theta(o) for o in here])
    components, explained = _principal(thetas, n)
    from_last = thetas - thetas[-1]
    points = from_last @ components.T
    residual = from_last - points @ components
    last = here[-1]

    def row(i: int) -> Values:
        projected = last.evaluate(last.world.part(torch.as_tensor(thetas[-1] + points[i] @ components)))
        both = {**here[i].evaluate(), **{f"projected/{name}": value for name, value in projected.items()}}
        return {name: np.array(value) for name, value in both.items()}

    names = [*here[0].metric_names, *(f"projected/{name}" for name in last.metric_names)]

    def blank() -> Trajectory:
        info = {"explained_variance_ratio": explained.tolist()}
        return Trajectory(
            directions=describe_directions(
                components, "pca", vectors_as="keep", info=info, provenance=last.provenance()
            ),
            points=points,
            off_plane=np.linalg.norm(residual, axis=1),
            explained=explained,
            values={name: np.full(len(here), np.nan) for name in names},
            provenance=last.provenance(),
        )

    with run:
        if run.result is not None:
            return run.result
        whole = fill(run, begun(run, blank), row, label="trajectory", unit="checkpoint")
        return run.finish(whole.replace(seconds=time.perf_counter() - started))


def _resolved(solution: Solution, objective: Objective | None) -> Objective:
    if objective is not None:
        return centred(objective, solution)
    if isinstance(solution, Objective):
        return solution
    make = getattr(solution, "objective", None)
    if make is None:
        raise LandscapeError("these checkpoints carry no data; pass the objective whose losses are wanted")
    found: Objective = make("train")
    return found


def _principal(thetas: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit principal components (n, P) and their shares of the variance, by the Gram matrix of the T points."""
    centred_ = thetas - thetas.mean(0)
    variances, coefficients = np.linalg.eigh(centred_ @ centred_.T)
    variances, coefficients = variances[::-1], coefficients[:, ::-1]
    total = float(variances.clip(0).sum())
    if not variances[n - 1] > 1e-12 * total:
        raise LandscapeError(f"the run spans fewer than {n} dimensions; its checkpoints lie on a line or are equal")
    components = coefficients[:, :n].T @ centred_
    components, _ = np.linalg.qr(components.T)
    components = components.T
    components *= np.where(components @ (thetas[0] - thetas[-1]) < 0, -1.0, 1.0)[:, None]
    return components, variances[:n] / total
