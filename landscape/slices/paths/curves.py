"""Curves of low loss between two solutions: Bézier curves and polygons, trained through the objective."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from math import comb
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import checked, seeded_generator
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.gradients import value_and_gradient
from landscape.function.objective import Objective
from landscape.results import Path
from landscape.slices.coordinates import Points, coordinates
from landscape.slices.directions import direction_between
from landscape.slices.evaluate.engine import named
from landscape.slices.paths.interpolation import Evaluation, notes_of, settings_of
from landscape.slices.paths.points import Solution, between, centred, has_running_statistics
from landscape.slices.rows import Values, begun, fill
from landscape.store import Run, identity

Kind = Literal["bezier", "polygon"]


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
    started = time.perf_counter()
    if kind not in ("bezier", "polygon"):
        raise LandscapeError(f"kind is {kind!r}, expected 'bezier' or 'polygon'")
    if bends < 1 or steps < 1:
        raise LandscapeError(f"{bends} bends and {steps} steps; expected at least 1 of each")
    start, end = centred(objective, a), centred(objective, b)
    direction_between(start, end)
    basis = _bezier if kind == "bezier" else _polygon
    t = coordinates((0.0, 1.0), points)
    normed = has_running_statistics(objective)
    training = {"kind": kind, "bends": bends, "steps": steps, "lr": lr, "seed": seed}
    objectives = named(objective, also, dataset)
    evaluate = Evaluation(objectives, recalibrate if normed else False)
    settings = {"slice": "curve", **settings_of(start, end, t, recalibrate), **training}
    run: Run[Path] = Run(
        save, lambda: identity(objectives, **settings), kind=Path, overwrite=overwrite, world=objective.world
    )
    with run:
        if run.result is not None:
            return run.result
        blank = begun(
            run,
            lambda: Path(
                x=t,
                values={name: np.full(t.shape, np.nan) for name in evaluate.names},
                dataset=dataset,
                path_kind=kind,
                controls=_train(start, end, basis, bends, steps, lr, seed).cpu().numpy(),
                notes=notes_of(normed, recalibrate),
                provenance={**objective.provenance(), **training},
            ),
        )
        controls = torch.as_tensor(blank.controls).to(start.device).double()

        def point(i: int) -> Values:
            weights = torch.as_tensor(basis(float(t[i]), bends + 1)).to(start.device)
            return evaluate(between(start, end, float(t[i]), weights @ controls))

        whole = fill(run, blank, point, label="curve")
        return run.finish(whole.replace(evaluation=evaluate.description, seconds=time.perf_counter() - started))


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
