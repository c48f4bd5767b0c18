"""The straight path between two solutions, and its loss barrier."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.results import Path
from landscape.slices.coordinates import Points, coordinates
from landscape.slices.directions import direction_between
from landscape.slices.engine import Engine, Values, named
from landscape.slices.points import Solution, between, centred, has_running_statistics, same_fixed

FROZEN = "-frozen"
"""Added to a data set's name for values with interpolated, not re-estimated, norm statistics."""


def interpolate(
    objective: Objective,
    a: Solution,
    b: Solution,
    *,
    points: Points = 51,
    also: Mapping[str, Objective] | None = None,
    recalibrate: bool | Objective = True,
    dataset: str = "train",
    save: tuple[Any, str] | None = None,
) -> Path:
    r"""Evaluate loss and metrics on the segment :math:`(1 - t)\,\theta_a + t\,\theta_b`, t from 0 to 1.

    The statistics of batch-norm layers that belong to neither end misrepresent the points between them. By default they
    are re-estimated at every point over the objective's own data; values with linearly interpolated statistics are kept
    beside them under ``train-frozen/loss``.

    Args:
        objective: the function; its own centre plays no part.
        a: one end: an objective, a checkpoint, a state dict or a vector (P,).
        b: the other.
        points: how many, or the values of t.
        also: further objectives ``{"test": other}`` evaluated at the same points.
        recalibrate: re-estimate norm statistics; an objective names other data to do it on.
        dataset: the name of the objective's own data.
        save: ``("study.h5", "a-to-b")``: store the result.

    Returns:
        A path; ``path.barrier`` is max L − max(L_a, L_b) and ``path.barrier_of(over="mean")`` max L − (L_a + L_b)/2.

    Raises:
        LandscapeError: ends that do not fit the network, or that are the same point.

    Source: Frankle et al. 2020, "Linear Mode Connectivity", arXiv 1912.05671; recalibration: Jordan et al. 2023,
    "REPAIR", arXiv 2211.08403.

    >>> import torch, landscape as ls
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = ls.BatchLoss(lambda model, batch: (model.weight.square() - 1).square().sum())
    >>> objective = ls.Objective(model, [(torch.zeros(1, 1), torch.zeros(1, 1))], loss)  # minima at ±1
    >>> interpolate(objective, torch.tensor([-1.0]), torch.tensor([1.0]), points=3).barrier
    1.0
    """
    started = time.perf_counter()
    start, end = centred(objective, a), centred(objective, b)
    direction = np.asarray(direction_between(start, end).vectors)
    objectives = named(objective, also, dataset)
    t = coordinates((0.0, 1.0), points)
    normed = has_running_statistics(objective)
    if normed or not same_fixed(start, end):
        path = [between(start, end, float(s)) for s in t]
        values = values_along(objectives, path, recalibrate if normed else False)
    else:
        here = {name: other.at(start.theta).with_fixed(start.fixed) for name, other in objectives.items()}
        with Engine(here, direction, points=len(t)) as engine:
            values = engine.row(t)
    result = Path(
        x=t,
        values=values,
        dataset=dataset,
        path_kind="linear",
        notes=notes_of(normed, recalibrate),
        provenance={**objective.provenance(), "ends": [end_.provenance()["weights_sha256"] for end_ in (start, end)]},
        seconds=time.perf_counter() - started,
    )
    if save is not None:
        result.save(*save)
    return result


def barriers(
    objective: Objective, solutions: Sequence[Solution], *, points: int = 11, recalibrate: bool | Objective = True
) -> np.ndarray:
    """Return the matrix (n, n) of loss barriers over the higher end between all pairs of solutions.

    Args:
        objective: the function.
        solutions: at least two, as `interpolate` takes them.
        points: on each segment, ends included.
        recalibrate: re-estimate norm statistics along the segments.

    Raises:
        LandscapeError: fewer than two solutions.

    >>> import torch, landscape as ls
    >>> loss = ls.BatchLoss(lambda model, batch: model.weight.square().sum())
    >>> objective = ls.Objective(torch.nn.Linear(1, 1, bias=False), [(torch.zeros(1), torch.zeros(1))], loss)
    >>> barriers(objective, [torch.tensor([-1.0]), torch.tensor([0.0]), torch.tensor([2.0])])  # convex: none
    array([[0., 0., 0.], [0., 0., 0.], [0., 0., 0.]])
    """
    if len(solutions) < 2:
        raise LandscapeError(f"{len(solutions)} solution(s), expected at least 2 to have a barrier between them")
    out = np.zeros((len(solutions), len(solutions)))
    pairs = [(i, j) for i in range(len(solutions)) for j in range(i)]
    for i, j in bar(pairs, desc="barriers", unit="path"):
        path = interpolate(objective, solutions[i], solutions[j], points=points, recalibrate=recalibrate)
        out[i, j] = out[j, i] = path.barrier
    return out


def notes_of(normed: bool, recalibrate: bool | Objective) -> tuple[str, ...]:
    """Say how norm statistics were treated along a path."""
    if not normed:
        return ()
    if recalibrate is False:
        return ("norm statistics are interpolated",)
    return (f"norm statistics are re-estimated at every point; interpolated in the values named {FROZEN}",)


def values_along(
    objectives: Mapping[str, Objective], path: Sequence[Objective], recalibrate: bool | Objective
) -> Values:
    """Evaluate objectives at points that each have parameters and buffers of their own, one after another.

    Args:
        objectives: by data set name.
        path: objectives centred at the points.
        recalibrate: evaluate with re-estimated norm statistics too.

    Returns:
        Arrays over the path by name; with re-estimation, those without it are under ``train-frozen/loss``.
    """
    rows = [_evaluate(objectives, here, recalibrate) for here in bar(path, desc="path", unit="point")]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _evaluate(objectives: Mapping[str, Objective], here: Objective, recalibrate: bool | Objective) -> dict[str, float]:
    """Return all values at one point, with re-estimated statistics and with those the point came with."""
    versions = {"": here}
    if recalibrate is not False:
        source = None if recalibrate is True else recalibrate.at(here.theta).with_fixed(here.fixed)
        versions = {"": here.recalibrated(source), FROZEN: here}
    out = {}
    for suffix, version in versions.items():
        for dataset, other in objectives.items():
            found = other.at(version.theta).with_fixed(version.fixed).evaluate()
            out.update({f"{dataset}{suffix}/{name}": value for name, value in found.items()})
    return out
