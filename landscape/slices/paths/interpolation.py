"""The straight path between two solutions, and its loss barrier."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results import Path
from landscape.slices.coordinates import Points, coordinates
from landscape.slices.directions import direction_between, vectors_of
from landscape.slices.evaluate.engine import Engine, named
from landscape.slices.paths.points import Solution, between, centred, has_running_statistics, same_fixed
from landscape.slices.rows import Values, begun, fill
from landscape.store import Run, identity
from landscape.store.run import placed

FROZEN = "-frozen"
"""Added to a data set's name for values with interpolated, not re-estimated, norm statistics."""


@checked
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
    overwrite: bool = False,
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
        save: ``("study.h5", "a-to-b")``: store the result; each point is on disk when it is finished, and a run that
            was interrupted resumes.
        overwrite: replace a different result of that name.

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
    direction = vectors_of(direction_between(start, end))
    objectives = {name: _moved(other, start) for name, other in named(objective, also, dataset).items()}
    t = coordinates((0.0, 1.0), points)
    settings = {"slice": "path", **settings_of(start, end, t, recalibrate)}
    run: Run[Path] = Run(
        save, lambda: identity(objectives, **settings), kind=Path, overwrite=overwrite, world=objective.world
    )
    normed = has_running_statistics(objective)
    with run, ExitStack() as held:
        if run.result is not None:
            return run.result
        walk: Evaluation | Engine
        if normed or not same_fixed(start, end):
            walk = evaluate = Evaluation(objectives, recalibrate if normed else False)
            point: Callable[[int], Values] = lambda i: evaluate(between(start, end, float(t[i])))  # noqa: E731
        else:
            walk = held.enter_context(Engine(objectives, direction, points=len(t)))
            point = walk.along(t, at_once=save is None)
        blank = begun(
            run,
            lambda: Path(
                x=t,
                values={name: np.full(t.shape, np.nan) for name in walk.names},
                dataset=dataset,
                path_kind="linear",
                notes=notes_of(normed, recalibrate),
                provenance={**objective.provenance(), "ends": fingerprints_of(start, end)},
            ),
        )
        whole = fill(run, blank, point, label="path")
        return run.finish(whole.replace(evaluation=walk.description, seconds=time.perf_counter() - started))


@checked
def barriers(
    objective: Objective,
    solutions: Sequence[Solution],
    *,
    points: int = 11,
    recalibrate: bool | Objective = True,
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> np.ndarray:
    """Return the matrix (n, n) of loss barriers over the higher end between all pairs of solutions.

    Args:
        objective: the function.
        solutions: at least two, as `interpolate` takes them.
        points: on each segment, ends included.
        recalibrate: re-estimate norm statistics along the segments.
        save: ``("study.h5", "run")``: store the path from solution i to j as ``run-i-j``; those that are there already
            are not computed again.
        overwrite: replace different results of those names.

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
    target = placed(save, Path)
    out = np.zeros((len(solutions), len(solutions)))
    pairs = [(i, j) for i in range(len(solutions)) for j in range(i)]
    for i, j in bar(pairs, desc="barriers", unit="path"):
        path = interpolate(
            objective, solutions[j], solutions[i], points=points, recalibrate=recalibrate,
            save=target and (target[0], f"{target[1]}-{j}-{i}"), overwrite=overwrite,
        )  # fmt: skip
        out[i, j] = out[j, i] = path.barrier
    return out


def notes_of(normed: bool, recalibrate: bool | Objective) -> tuple[str, ...]:
    """Say how norm statistics were treated along a path."""
    if not normed:
        return ()
    if recalibrate is False:
        return ("norm statistics are interpolated",)
    return (f"norm statistics are re-estimated at every point; interpolated in the values named {FROZEN}",)


def settings_of(start: Objective, end: Objective, t: np.ndarray, recalibrate: bool | Objective) -> dict[str, Any]:
    """Return what decides the numbers on a path besides the objectives, as JSON values."""
    source = recalibrate.provenance()["data_sha256"] if isinstance(recalibrate, Objective) else recalibrate
    return {"ends": fingerprints_of(start, end), "x": t.tolist(), "recalibrate": source}


def fingerprints_of(*objectives: Objective) -> list[str]:
    """Return the fingerprints of the weights and buffers objectives are centred at."""
    return [objective.provenance()["weights_sha256"] for objective in objectives]


class Evaluation:
    """Evaluates objectives at points that each have parameters and buffers of their own.

    Args:
        objectives: by data set name.
        recalibrate: evaluate with re-estimated norm statistics too; an objective names the data to do it on.
    """

    def __init__(self, objectives: Mapping[str, Objective], recalibrate: bool | Objective):
        self.objectives, self.recalibrate = objectives, recalibrate
        self.description = "network called at every point, with buffers of its own"

    @property
    def names(self) -> list[str]:
        """The names of all values; those without re-estimation are ``train-frozen/loss`` and so on."""
        return [
            f"{dataset}{suffix}/{name}"
            for suffix in (("",) if self.recalibrate is False else ("", FROZEN))
            for dataset, objective in self.objectives.items()
            for name in objective.metric_names
        ]

    def __call__(self, here: Objective) -> Values:
        """Return all values at one point, with re-estimated statistics and with those the point came with."""
        versions = {"": here}
        if self.recalibrate is not False:
            source = None if self.recalibrate is True else _moved(self.recalibrate, here)
            versions = {"": here.recalibrated(source), FROZEN: here}
        return {
            f"{dataset}{suffix}/{name}": np.array(value)
            for suffix, version in versions.items()
            for dataset, other in self.objectives.items()
            for name, value in _moved(other, version).evaluate().items()
        }


def _moved(objective: Objective, to: Objective) -> Objective:
    """Return an objective with the parameters and buffers of another."""
    return objective.at(to.theta).with_fixed(to.fixed)
