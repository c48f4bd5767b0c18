"""Does training sharpen the minimum until its optimiser can just bear it? (Cohen et al. 2021)"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from landscape.arguments import numbers_checked, several_seeds
from landscape.bars import bar
from landscape.datasets import Split, fingerprint
from landscape.errors import LandscapeError
from landscape.function.losses import resolve
from landscape.function.objective import Objective
from landscape.operators import Hessian, scaled
from landscape.results import Eigenpairs
from landscape.results.edge_of_stability import EdgeOfStability, EdgeRun
from landscape.scores.stability import minibatch_quotients
from landscape.spectra import top_eigenpairs
from landscape.studies.chebyshev import chebyshev_data, chebyshev_network, half_squared_error
from landscape.studies.descents import Descending, Descent, Problem
from landscape.training.factories import check_factory
from landscape.training.jobs import Row, finished_rows, run_jobs
from landscape.training.runs import ModelFactory, describe_model

NAME = "edge-of-stability"

EXPLODED = 1e6
"""A loss so many times that of the start counts as divergence; in float32 its curvature would be rounding."""


def chebyshev_problem(degree: int) -> Problem:
    """Return the problem ``chebyshev-k-20`` of Cohen et al. 2021: 30 parameters, 20 points, ½ squared error.

    >>> chebyshev_problem(3).name
    'chebyshev-3'
    """
    X, y = chebyshev_data(degree)
    return Problem(name=f"chebyshev-{degree}", factory=chebyshev_network, X=X, y=y, loss=half_squared_error)


def published_descents() -> tuple[Descent, ...]:
    """Return one run of every rule that is said to train at the edge of its stability, on the Chebyshev problems."""
    three, five = chebyshev_problem(3), chebyshev_problem(5)
    return (
        Descent(lr=0.2, problem=three),
        Descent(lr=0.4, problem=five),
        Descent(rule="heavy ball", lr=0.05, momentum=0.9, steps=12_000, problem=three),
        Descent(rule="heavy ball", lr=0.05, momentum=0.9, steps=12_000, problem=five),
        Descent(rule="nesterov", lr=0.05, momentum=0.9, steps=12_000, problem=three),
        Descent(rule="nesterov", lr=0.05, momentum=0.9, steps=12_000, problem=five),
        Descent(rule="adam", lr=0.005, momentum=0.9, steps=12_000, problem=three),
        Descent(rule="adam", lr=0.005, momentum=0.9, steps=12_000, problem=five),
        Descent(lr=0.2, batch_size=5, problem=three),
    )


def quick_descents() -> tuple[Descent, ...]:
    """Return short runs with a large step, which get to the edge in seconds."""
    three = chebyshev_problem(3)
    return Descent(lr=0.4, steps=500, problem=three), Descent(lr=0.4, batch_size=5, steps=200, problem=three)


@numbers_checked
def edge_of_stability(
    factory: ModelFactory | None = None,
    data: Any = None,
    *,
    loss: Any = None,
    descents: Sequence[Descent] | None = None,
    every: int = 25,
    tol: float = 1e-3,
    seeds: Iterable[int] = (0,),
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> EdgeOfStability:
    r"""Train by several rules and track the sharpness against the threshold of each.

    Gradient descent diverges on a quadratic whose curvature exceeds :math:`2/\eta`; heavy ball, Nesterov and Adam have
    thresholds of their own (`landscape.scores.stability.threshold`). Full-batch training of networks raises
    :math:`\lambda_{\max}` to the threshold ("progressive sharpening") and then stays about there. With minibatches the
    largest eigenvalue stays below, and what saturates is the batch sharpness :math:`E_B[g_B^T H_B g_B/\lVert g_B\rVert^2]`.

    Eigenpairs are warm-started from those before. Of Adam the curvature is that of :math:`P^{-1/2} H P^{-1/2}`,
    :math:`P = \mathrm{diag}(\sqrt{\hat v} + \epsilon)`. Norm layers are in evaluation mode.

    Args:
        factory: called with ``seed=``, for descents without a problem of their own.
        data: for the same: tensors (X, y), or a `Split`, of which the training part is taken.
        loss: as `Objective` takes it; `None`: cross-entropy for class labels.
        descents: what to compare; `None`: the published runs, on the Chebyshev problems.
        every: steps between measurements; odd, because training at the edge oscillates with period two.
        tol: relative residual of the eigenpairs.
        seeds: one run of each descent a seed.
        workers: processes.
        save: study file to keep the result in, as ``edge-of-stability``; finished runs survive an interruption.

    Returns:
        An `EdgeOfStability`; a run that diverges is kept up to there and reported as such.

    Raises:
        LandscapeError: a descent without a problem, data without targets, a factory that hands out one network twice, an
            even `every`, or a study begun with other settings.

    Source: J. Cohen et al., *Gradient descent on neural networks typically occurs at the edge of stability*, 2021 (arXiv
    2103.00065); for Adam, Cohen et al. 2022 (arXiv 2207.14484); for batch sharpness, Andreyev and Beneventano 2024 (arXiv
    2412.20553).

    >>> from landscape.studies.descents import Descent
    >>> found = edge_of_stability(descents=[Descent(lr=0.2, steps=50, problem=chebyshev_problem(3))])
    >>> found.runs[0].threshold, found.ratio.shape
    (10.0, (1, 3))
    """
    seeds = several_seeds(seeds)
    descents = _complete(factory, data, loss, published_descents() if descents is None else descents)
    if every < 1 or every % 2 == 0 or not seeds:
        raise LandscapeError(f"every={every}, {len(seeds)} seeds; expected an odd number of steps, and a seed")
    settings = {"descents": [_describe(descent) for descent in descents], "every": every, "tol": tol, "seeds": seeds}
    jobs = {f"{index}-{seed}": (descent, every, tol, seed) for index, descent in enumerate(descents) for seed in seeds}
    with finished_rows(save, NAME, settings) as done:
        run_jobs(_train, jobs, done, workers=workers, desc="descents")
        result = _result([(jobs[key], done[key]) for key in jobs], settings)
        return done.conclude(result)


def _complete(factory: ModelFactory | None, data: Any, loss: Any, descents: Sequence[Descent]) -> tuple[Descent, ...]:
    """Give every descent a problem, and check the factories."""
    if not isinstance(descents, Sequence) or not all(isinstance(one, Descent) for one in descents):
        raise LandscapeError(f"descents={descents!r:.40}; expected several descents: [Descent(lr=0.1)]")
    own = None if factory is None and data is None else _problem(factory, data, loss)
    complete = tuple(descents if own is None else (dataclasses.replace(one, problem=own) for one in descents))
    if not complete or any(one.problem is None for one in complete):
        raise LandscapeError("there is a descent without a problem; pass factory and data, or Descent(problem=…)")
    for problem in {id(one.problem): one.problem for one in complete}.values():
        assert problem is not None
        check_factory(problem.factory, problem.X[:2])
    return complete


def _problem(factory: ModelFactory | None, data: Any, loss: Any) -> Problem:
    name, pair = (data.name, data.train) if isinstance(data, Split) else ("data", data)
    if factory is None or not (
        isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, Tensor) for part in pair)
    ):
        raise LandscapeError("expected a factory with data: tensors (X, y) with targets, or a Split")
    X, y = pair
    if len(X) != len(y):
        raise LandscapeError(f"{len(X)} inputs but {len(y)} targets; expected one target each")
    if loss is None and y.is_floating_point():
        raise LandscapeError("the targets are not class labels; say which loss=, such as 'mse_loss'")
    return Problem(name=name, factory=factory, X=X, y=y, loss="cross_entropy" if loss is None else loss)


def _describe(descent: Descent) -> Mapping[str, Any]:
    """Name everything that decides the numbers of a run, in JSON values."""
    problem = descent.problem
    assert problem is not None
    described = {key: value for key, value in vars(descent).items() if key != "problem"}
    return described | {
        "problem": problem.name,
        "model": describe_model(problem.factory),
        "data": fingerprint(problem.X, problem.y),
        "loss": resolve(problem.loss).description,
    }


def _train(descent: Descent, every: int, tol: float, seed: int) -> Row:
    """Train once; return the curves."""
    problem = descent.problem
    assert problem is not None
    objective = Objective(problem.factory(seed=seed), (problem.X, problem.y), problem.loss)
    descending = Descending(objective, descent, seed=seed)
    limit = EXPLODED * max(1.0, objective.loss())
    columns: list[tuple[int, float, float, float]] = []
    pairs: Eigenpairs | None = None

    def measure() -> bool:
        nonlocal pairs
        here = objective.at(descending.theta)
        loss = here.loss()
        if not loss < limit:
            return False
        pairs = _sharpest(here, descending.preconditioner, pairs, tol)
        batch = float("nan")
        if descent.batch_size is not None:
            batch = float(minibatch_quotients(here, descent.batch_size, seed).mean())
        columns.append((descending.steps, loss, float(pairs.values[0]), batch))
        return True

    bounded = descent.rule == "adam" or measure()  # Adam has no preconditioner before its first step
    for value in bar(descending.walk(), total=descent.steps, desc=descent.label, unit="step"):
        bounded = value < limit and (descending.steps % every != 0 or measure())
        if not bounded:
            break
    step, loss, sharpness, batch = map(np.array, zip(*columns)) if columns else (np.zeros(0),) * 4
    return {
        "step": step.astype(float),
        "loss": loss,
        "sharpness": sharpness,
        "batch": batch,
        "steps": descending.steps,
        "diverged": not bounded,
    }


def _sharpest(objective: Objective, preconditioner: Tensor | None, start: Eigenpairs | None, tol: float) -> Eigenpairs:
    """Return the largest eigenvalue of H, or of P^−½ H P^−½, found from the eigenvector before."""
    operator: Any = Hessian(objective)
    if preconditioner is not None:
        operator = scaled(operator, preconditioner.rsqrt())
    return top_eigenpairs(operator, k=1, which="LA", tol=tol, start=start)


def _result(found: Sequence[tuple[tuple[Any, ...], Row]], settings: Mapping[str, Any]) -> EdgeOfStability:
    length = max(len(row["step"]) for _, row in found)
    curves = {
        name: np.array([np.pad(row[name], (0, length - len(row[name])), constant_values=np.nan) for _, row in found])
        for name in ("step", "loss", "sharpness", "batch")
    }
    return EdgeOfStability(
        runs=tuple(_summarised(descent, seed, row) for (descent, _, _, seed), row in found),
        step=curves["step"],
        loss=curves["loss"],
        sharpness=curves["sharpness"],
        batch_sharpness=curves["batch"],
        settings=settings,
    )


def _summarised(descent: Descent, seed: int, row: Row) -> EdgeRun:
    problem = descent.problem
    assert problem is not None
    ratio = row["sharpness"] / descent.threshold
    crossed = np.flatnonzero(ratio >= 1)
    late = row["step"] >= 0.75 * descent.steps
    part = ratio[late] if late.any() else np.array([np.nan])
    batch = row["batch"][late] / descent.threshold if late.any() else np.array([np.nan])
    return EdgeRun(
        problem=problem.name,
        descent=descent.label,
        rule=descent.rule,
        lr=descent.lr,
        momentum=descent.momentum,
        batch_size=len(problem.X) if descent.batch_size is None else descent.batch_size,
        examples=len(problem.X),
        seed=seed,
        steps=int(row["steps"]),
        threshold=descent.threshold,
        start=float(ratio[0]) if len(ratio) else float("nan"),
        crossing=int(row["step"][crossed[0]]) if len(crossed) else -1,
        peak=float(ratio.max()) if len(ratio) else float("nan"),
        late=float(part.mean()),
        late_low=float(part.min()),
        late_high=float(part.max()),
        late_batch=float(batch.mean()),
        loss=float(row["loss"][-1]) if len(ratio) else float("nan"),
        status="diverged" if row["diverged"] else "ok",
    )
