"""Paths between two solutions: the straight one with its loss barrier, and trained curves of low loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from math import comb
from typing import TYPE_CHECKING, Any, Literal, Union

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import checked, seeded_generator
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.gradients import value_and_gradient
from landscape.function.objective import Objective
from landscape.results import Path
from landscape.slices.directions import direction_between, vectors_of
from landscape.slices.evaluate import Engine, Values, named
from landscape.slices.grid import Points, Walk, coordinates, grown
from landscape.store.run import placed

if TYPE_CHECKING:
    from landscape.function.checkpoint import Checkpoint

Kind = Literal["bezier", "polygon"]
Solution = Union[Objective, "Checkpoint", Tensor, np.ndarray, Mapping[str, Tensor]]

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
    start, end = centred(objective, a), centred(objective, b)
    direction = vectors_of(direction_between(start, end))
    objectives = {name: _moved(other, start) for name, other in named(objective, also, dataset).items()}
    t = coordinates((0.0, 1.0), points)
    evaluation = Evaluation(objectives, recalibrate)
    provenance = {**objective.provenance(), "ends": _fingerprints(start, end)}
    blank = partial(evaluation.blank, t, dataset=dataset, path_kind="linear", provenance=provenance)
    walk = evaluation.walk(blank, lambda i, _: between(start, end, float(t[i])))
    if not evaluation.normed and all(torch.equal(tensor, end.fixed[name]) for name, tensor in start.fixed.items()):
        walk = _walk_along(objectives, direction, t, blank, at_once=save is None)
    settings = {"slice": "path", **_settings(start, end, t, recalibrate)}
    return grown(Path, objectives, settings, walk, save=save, overwrite=overwrite, label="path")


@contextmanager
def _walk_along(
    objectives: Mapping[str, Objective],
    direction: np.ndarray,
    t: np.ndarray,
    blank: Callable[[], Path],
    *,
    at_once: bool,
) -> Iterator[Walk[Path]]:
    with Engine(objectives, direction, points=len(t)) as engine:
        rows = partial(engine.along, t, at_once=at_once)
        yield blank, lambda _, which: rows(which), {"evaluation": engine.description}


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
    if not hasattr(solutions, "__len__"):
        raise LandscapeError(f"solutions are {type(solutions).__name__}, expected a list of at least 2")
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


@checked
def connect(
    objective: Objective,
    a: Solution,
    b: Solution,
    *,
    kind: Kind = "bezier",
    bends: int = 1,
    steps: int = 500,
    lr: float = 0.01,
    points: Points = 51,
    also: Mapping[str, Objective] | None = None,
    recalibrate: bool | Objective = True,
    dataset: str = "train",
    seed: int = 0,
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> Path:
    r"""Train a curve of low loss between two solutions and evaluate it.

    The curve :math:`\phi_w(t) = \sum_k B_k(t)\,w_k` has its ends at a and b; the bends between them start on the
    straight line and minimise

    .. math:: \mathbb{E}_{t \sim U[0, 1]}\, L(\phi_w(t))

    with Adam, one t and one batch a step. Networks with batch norm are trained on batch statistics, as in the source.

    Args:
        objective: the function to be low along the curve; its batches are the mini-batches.
        a: one end, as in `interpolate`.
        b: the other.
        kind: ``bezier`` (Bernstein polynomials B_k of degree bends + 1) or ``polygon`` (hat functions).
        bends: number of trained points.
        steps: of Adam.
        lr: its learning rate, lowered to zero along half a cosine.
        points: where the curve is evaluated: how many, or the values of t.
        also, recalibrate, dataset, save, overwrite: as in `interpolate`; a trained curve is on disk before its points.
        seed: of the draws of t, of the batches, and of dropout.

    Returns:
        A path with its control points (bends + 2, P).

    Raises:
        LandscapeError: an unknown kind, no bends, no steps, or ends that are the same point.

    Source: Garipov et al. 2018, "Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs", arXiv 1802.10026, eqs.
        2–4.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> loss = ls.BatchLoss(lambda model, batch: (model.weight.square().sum() - 1).square())  # minima on a circle
    >>> objective = ls.Objective(net, [(torch.zeros(1, 2),)], loss, dtype=torch.float64)
    >>> curve = connect(objective, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), steps=200, lr=0.05)
    >>> curve.barrier < 0.05  # 0.25 on the straight line
    True
    """
    if kind not in ("bezier", "polygon"):
        raise LandscapeError(f"kind is {kind!r}, expected 'bezier' or 'polygon'")
    if bends < 1 or steps < 1:
        raise LandscapeError(f"{bends} bends and {steps} steps; expected at least 1 of each")
    start, end = centred(objective, a), centred(objective, b)
    direction_between(start, end)
    basis = _bezier if kind == "bezier" else _polygon
    t = coordinates((0.0, 1.0), points)
    training = {"kind": kind, "bends": bends, "steps": steps, "lr": lr, "seed": seed}
    objectives = named(objective, also, dataset)
    evaluation = Evaluation(objectives, recalibrate)

    def blank() -> Path:
        controls = _train(start, end, basis, bends, steps, lr, seed).cpu().numpy()
        provenance = {**objective.provenance(), **training}
        return evaluation.blank(t, dataset=dataset, path_kind=kind, controls=controls, provenance=provenance)

    def point(i: int, curve: Path) -> Objective:
        weights = torch.as_tensor(basis(float(t[i]), bends + 1)).to(start.device)
        controls = torch.as_tensor(curve.controls).to(start.device).double()
        return between(start, end, float(t[i]), weights @ controls)

    settings = {"slice": "curve", **_settings(start, end, t, recalibrate), **training}
    walk = evaluation.walk(blank, point)
    return grown(Path, objectives, settings, walk, save=save, overwrite=overwrite, label="curve")


def _bezier(t: float, degree: int) -> np.ndarray:
    """Return the Bernstein polynomials of a degree at t, (degree + 1,)."""
    return np.array([comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)])


def _polygon(t: float, degree: int) -> np.ndarray:
    """Return the hat functions of evenly spaced corners at t, (degree + 1,)."""
    return np.maximum(0.0, 1.0 - np.abs(t * degree - np.arange(degree + 1)))


def _train(
    start: Objective,
    end: Objective,
    basis: Callable[[float, int], np.ndarray],
    bends: int,
    steps: int,
    lr: float,
    seed: int,
) -> Tensor:
    """Return the control points (bends + 2, P), ends included."""
    wide = torch.promote_types(start.dtype, torch.float32)
    a, b = start.theta.to(wide), end.theta.to(wide)
    inner = torch.stack([torch.lerp(a, b, k / (bends + 1)) for k in range(1, bends + 1)]).requires_grad_()
    optimiser = torch.optim.Adam([inner], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = seeded_generator(seed)
    function = start.everything.at(start.theta)
    if has_running_statistics(start):
        function.mode = "train"
    scales = torch.tensor([batch.scale for batch in function.batches.stored], dtype=torch.float64)
    with function.guard(), torch.enable_grad():
        torch.manual_seed(seed)  # dropout; the guard puts the global state back
        for _ in bar(range(steps), desc="curve", unit="step"):
            weights = basis(float(torch.rand((), generator=generator, dtype=torch.float32)), bends + 1).tolist()
            theta = weights[0] * a + weights[-1] * b + sum(w * c for w, c in zip(weights[1:-1], inner, strict=True))
            batch = function.batches[int(torch.multinomial(scales, 1, generator=generator))]
            inner.grad = value_and_gradient(function, theta, partial(function.batch_value, theta, batch), inner)[1]
            optimiser.step()
            schedule.step()
    return torch.cat([a[None], inner.detach(), b[None]])


def centred(objective: Objective, solution: Solution) -> Objective:
    """Return the objective centred at a solution, with the solution's buffers where it has any.

    Raises:
        LandscapeError: another network, or something that is none of these.

    >>> import torch, landscape as ls
    >>> objective = ls.Objective(torch.nn.Linear(1, 1), (torch.ones(2, 1), torch.ones(2, 1)), "mse_loss")
    >>> centred(objective, np.array([1.0, 2.0])).theta
    tensor([1., 2.])
    """
    weights = getattr(solution, "weights", None)
    if isinstance(weights, Mapping):  # a checkpoint
        return objective.at(weights)
    if isinstance(solution, Objective):
        if solution.names != objective.names or solution.space.shapes != objective.space.shapes:
            raise LandscapeError(
                f"a solution with {solution.size} parameters, expected the same network and selection "
                f"({objective.size})"
            )
        return objective.at(solution.theta).with_fixed(solution.fixed)
    if isinstance(solution, np.ndarray):
        solution = torch.as_tensor(solution)
    if isinstance(solution, Tensor | Mapping):
        return objective.at(solution)
    raise LandscapeError(
        f"a solution of type {type(solution).__name__}; expected an objective, a checkpoint, a state dict or "
        "a vector (P,)"
    )


def between(a: Objective, b: Objective, t: float, theta: Tensor | None = None) -> Objective:
    """Return the objective at (1 − t)·a + t·b: parameters, frozen parameters and floating-point buffers alike.

    With ``theta`` (P,) the parameters are those instead, as on a curve.
    """
    fixed = {
        name: torch.lerp(tensor, b.fixed[name], t) if tensor.is_floating_point() else tensor
        for name, tensor in a.fixed.items()
    }
    if theta is None:
        wide = torch.promote_types(a.dtype, torch.float32)
        theta = torch.lerp(a.theta.to(wide), b.theta.to(wide), t)
    return a.at(theta).with_fixed(fixed)


def has_running_statistics(objective: Objective) -> bool:
    """Whether the function depends on running statistics of norm layers."""
    tracked = any(getattr(module, "running_mean", None) is not None for module in objective.model.modules())
    return tracked and objective.norm == "frozen"


def _settings(start: Objective, end: Objective, t: np.ndarray, recalibrate: bool | Objective) -> dict[str, Any]:
    """Return what decides the numbers on a path besides the objectives, as JSON values."""
    source = recalibrate.provenance()["data_sha256"] if isinstance(recalibrate, Objective) else recalibrate
    return {"ends": _fingerprints(start, end), "x": t.tolist(), "recalibrate": source}


def _fingerprints(*objectives: Objective) -> list[str]:
    return [objective.provenance()["weights_sha256"] for objective in objectives]


class Evaluation:
    """Evaluates objectives at points that each have parameters and buffers of their own.

    Args:
        objectives: by data set name.
        recalibrate: evaluate with re-estimated norm statistics too, where there are any; an objective names the data to do
            it on.
    """

    description = "network called at every point, with buffers of its own"

    def __init__(self, objectives: Mapping[str, Objective], recalibrate: bool | Objective):
        self.normed = has_running_statistics(next(iter(objectives.values())))
        self.objectives, self.recalibrate = objectives, recalibrate if self.normed else False

    def blank(self, t: np.ndarray, **fields: Any) -> Path:
        """Return a path none of whose values is computed; those without re-estimation are ``train-frozen/loss`` and so on."""
        notes: tuple[str, ...] = ("norm statistics are interpolated",) if self.normed else ()
        suffixes = [""]
        if self.recalibrate is not False:
            notes = (f"norm statistics are re-estimated at every point; interpolated in the values named {FROZEN}",)
            suffixes = ["", FROZEN]
        names = [
            f"{dataset}{suffix}/{name}"
            for suffix in suffixes
            for dataset, objective in self.objectives.items()
            for name in objective.metric_names
        ]
        return Path(x=t, values={name: np.full(t.shape, np.nan) for name in names}, notes=notes, **fields)

    def walk(
        self, blank: Callable[[], Path], point: Callable[[int, Path], Objective]
    ) -> AbstractContextManager[Walk[Path]]:
        """Return what `grown` walks along: point i of a path lies where ``point(i, path)`` is centred."""

        def rows(path: Path, which: list[int]) -> Iterable[tuple[int, Values]]:
            return ((i, self._at(point(i, path))) for i in which)

        return nullcontext((blank, rows, {"evaluation": self.description}))

    def _at(self, here: Objective) -> Values:
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
