"""Training runs: the plane that holds most of one and what its projection hides, and the loss along the gradient on its way."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results.trajectory import Smoothness, Trajectory
from landscape.slices.directions import as_directions, describe_directions, vectors_of, whole_theta
from landscape.slices.evaluate import Values
from landscape.slices.grid import grown
from landscape.slices.paths import Solution, centred
from landscape.store.run import placed


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
    here = [_resolved(solution, objective) for solution in solutions]
    if len(here) < n + 1:
        raise LandscapeError(f"{len(here)} checkpoints, expected at least {n + 1} for {n} components")
    last = here[-1]
    thetas = np.stack([whole_theta(o) for o in here])
    components, explained = _principal(thetas, n)
    from_last = thetas - thetas[-1]
    points = from_last @ components.T
    residual = from_last - points @ components

    def rows(_: Trajectory, which: list[int]) -> Iterator[tuple[int, Values]]:
        for i in which:
            projected = last.evaluate(last.world.part(torch.as_tensor(thetas[-1] + points[i] @ components)))
            both = {**here[i].evaluate(), **{f"projected/{name}": value for name, value in projected.items()}}
            yield i, {name: np.array(value) for name, value in both.items()}

    def blank() -> Trajectory:
        info, provenance = {"explained_variance_ratio": explained.tolist()}, last.provenance()
        names = [*here[0].metric_names, *(f"projected/{name}" for name in last.metric_names)]
        return Trajectory(
            directions=describe_directions(components, "pca", vectors_as="keep", info=info, provenance=provenance),
            points=points,
            off_plane=np.linalg.norm(residual, axis=1),
            explained=explained,
            values={name: np.full(len(here), np.nan) for name in names},
            provenance=provenance,
        )

    return grown(
        Trajectory, {str(i): o for i, o in enumerate(here)}, {"slice": "trajectory", "n": n}, nullcontext((blank, rows, {})),
        save=save, overwrite=overwrite, label="trajectory", unit="checkpoint",
    )  # fmt: skip


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
    about_mean = thetas - thetas.mean(0)
    variances, coefficients = np.linalg.eigh(about_mean @ about_mean.T)
    variances, coefficients = variances[::-1], coefficients[:, ::-1]
    total = float(variances.clip(0).sum())
    if not variances[n - 1] > 1e-12 * total:
        raise LandscapeError(f"the run spans fewer than {n} dimensions; its checkpoints lie on a line or are equal")
    components = np.linalg.qr((coefficients[:, :n].T @ about_mean).T)[0].T
    components *= np.where(components @ (thetas[0] - thetas[-1]) < 0, -1.0, 1.0)[:, None]
    return components, variances[:n] / total


def project(objective: Objective, directions: Any, solutions: Sequence[Solution]) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the coordinates of solutions on the plane through an objective's centre, and their distances from it.

    .. math:: c = \arg\min_c \|\theta + D^T c - \theta_i\|

    by least squares, so that directions need be neither orthogonal nor of unit length. The loss drawn at c is that of
    the projection, not of the solution, unless the distance is zero.

    Args:
        objective: centred at the plane's origin.
        directions: a `Directions` result, a slice that has one, or vectors (n, P).
        solutions: objectives, checkpoints, state dicts or vectors.

    Returns:
        Coordinates (T, n) and Euclidean distances (T,).

    Raises:
        LandscapeError: solutions of another network, or unusable directions.

    >>> import torch, landscape as ls
    >>> net, data = torch.nn.Linear(3, 1, bias=False), (torch.eye(3), torch.zeros(3, 1))
    >>> objective = ls.Objective(net, data, "mse_loss", dtype=torch.float64).at(torch.zeros(3))
    >>> points, distances = project(objective, np.array([[2.0, 0, 0], [1.0, 1, 0]]), [np.array([3.0, 1.0, 5.0])])
    >>> points.round(9), distances.round(9)
    (array([[1., 1.]]), array([5.]))
    """
    found = getattr(directions, "directions", directions)
    vectors = getattr(found, "vectors", found)
    axes = vectors_of(as_directions(found, len(np.atleast_2d(vectors)), objective.size)).astype(np.float64)
    origin = whole_theta(objective)
    thetas = np.stack([whole_theta(centred(objective, solution)) for solution in solutions])
    coordinates = np.linalg.solve(axes @ axes.T, axes @ (thetas - origin).T).T
    residual = thetas - origin - coordinates @ axes
    return coordinates, np.linalg.norm(residual, axis=1)


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
    norm = float(objective.world.norm(gradient, dtype=torch.float64))
    if norm == 0:
        raise LandscapeError("the gradient is zero at a point of the run, so there is no step along it; leave it out")
    losses, changes = [], []
    for step in eta:
        value, moved = objective.value_and_gradient(theta - float(step) * gradient)
        losses.append(value)
        changes.append(float(objective.world.norm((moved - gradient).double())))
    return np.array(losses), np.array(changes), norm
