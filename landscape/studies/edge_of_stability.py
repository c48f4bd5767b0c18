"""Does training sharpen the minimum until its optimiser can just bear it? (Cohen et al. 2021)"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from landscape.bars import bar
from landscape.datasets import Split, fingerprint
from landscape.errors import LandscapeError
from landscape.function.losses import resolve
from landscape.function.objective import Objective
from landscape.operators import Hessian, scaled
from landscape.results import Eigenpairs, Finding, Trials
from landscape.scores.stability import minibatch_quotients
from landscape.spectra import top_eigenpairs
from landscape.studies.descents import Descending, Descent, Problem, chebyshev_problem
from landscape.studies.grid import Row, grid
from landscape.studies.registry import Experiment, published
from landscape.training import ModelFactory, check_factory, describe_model
from landscape.workers import Workers

CURVES = ("step", "curve of the loss", "sharpness", "batch sharpness", "ratio", "batch ratio")
"""Arrays of every run: training loss over all examples; the largest eigenvalue, of Adam that of P^−½ H P^−½; the mean of
gᵀHg/‖g‖² over minibatches, NaN in full-batch training; the last two over the threshold."""
SHOWN = (
    "threshold",
    "start",
    "crosses at step",
    "peak",
    "last quarter",
    "lowest",
    "highest",
    "batch",
    "loss",
    "diverged",
)
"""Measures of the table: of the ratio, at the start, at its peak and over the last quarter of the steps."""
EXPLODED = 1e6
"""A loss so many times that of the start counts as divergence; in float32 its curvature would be rounding."""


def published_descents() -> tuple[Descent, ...]:
    """Return one run of every rule that is said to train at the edge of its stability, on the Chebyshev problems."""
    three, five = chebyshev_problem(3), chebyshev_problem(5)
    with_momentum = (("heavy ball", 0.05), ("nesterov", 0.05), ("adam", 0.005))
    return (
        Descent(lr=0.2, problem=three),
        Descent(lr=0.4, problem=five),
        *(
            Descent(rule=rule, lr=lr, momentum=0.9, steps=12_000, problem=problem)  # type: ignore[arg-type]
            for rule, lr in with_momentum
            for problem in (three, five)
        ),
        Descent(lr=0.2, batch_size=5, problem=three),
    )


@published
def edge_of_stability(
    factory: ModelFactory | None = None,
    data: Any = None,
    *,
    loss: Any = None,
    descents: Sequence[Descent] | None = None,
    every: int = 25,
    tol: float = 1e-3,
    seeds: Sequence[int] = (0,),
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
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

    Returns:
        `Trials` by descent and seed, with `CURVES` beside; a run that diverges is kept up to there and reported as such.

    Source: J. Cohen et al., *Gradient descent on neural networks typically occurs at the edge of stability*, 2021 (arXiv
    2103.00065); for Adam, Cohen et al. 2022 (arXiv 2207.14484); for batch sharpness, Andreyev and Beneventano 2024 (arXiv
    2412.20553).

    >>> found = edge_of_stability(descents=[Descent(lr=0.2, steps=50, problem=chebyshev_problem(3))])
    >>> found["threshold"][0], found.arrays["ratio"].shape
    (np.float64(10.0), (1, 3))
    """
    descents = _complete(factory, data, loss, published_descents() if descents is None else descents)
    if every < 1 or every % 2 == 0:
        raise LandscapeError(f"every={every}; expected an odd number of steps")
    described = [_describe(descent) for descent in descents]
    return grid(
        partial(_train, every, tol),
        {"descent": _named(descents), "seed": seeds},
        name=STUDY.name,
        settings={"descents": described, "every": every, "tol": tol, "seeds": list(seeds)},
        attributes={"descent": {"problem": "problem.name", "rule": "title", "η": "lr", "β": "momentum"}},
        arrays=CURVES,
        findings=_findings,
        shown=SHOWN,
        view={
            "x": "step",
            "y": [CURVES[-2:]],
            "panels": "rule",
            "hue": "problem",
            "level": {"ratio": 1.0},
            "limit": 1.6,
        },
        words={"ratio": "curvature / threshold", "batch ratio": "batch sharpness"},
        workers=workers,
        save=save,
        desc="descents",
    )


def _named(descents: Sequence[Descent]) -> dict[str, Descent]:
    """Name descents by problem and settings; those of one name are numbered."""
    names = [f"{descent.posed.name}, {descent.label}" for descent in descents]
    before = [names[:i].count(name) for i, name in enumerate(names)]
    numbered = (f"{name} ({same + 1})" if same else name for name, same in zip(names, before, strict=True))
    return dict(zip(numbered, descents, strict=True))


def _complete(factory: ModelFactory | None, data: Any, loss: Any, descents: Sequence[Descent]) -> list[Descent]:
    """Give every descent a problem, and check the factories."""
    if not isinstance(descents, Sequence) or not descents or not all(isinstance(one, Descent) for one in descents):
        raise LandscapeError(f"descents={descents!r:.40}; expected several descents: [Descent(lr=0.1)]")
    if factory is not None or data is not None:
        own = _problem(factory, data, loss)
        descents = [dataclasses.replace(one, problem=own) for one in descents]
    for problem in {id(one.problem): one.posed for one in descents}.values():
        check_factory(problem.factory, problem.X[:2])
    return list(descents)


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
    problem = descent.posed
    return {
        **vars(descent),
        "problem": problem.name,
        "model": describe_model(problem.factory),
        "data": fingerprint(problem.X, problem.y),
        "loss": resolve(problem.loss).description,
    }


def _train(every: int, tol: float, *, descent: Descent, seed: int) -> Row:
    """Train once; return the curves, and what they say in units of the threshold."""
    problem = descent.posed
    objective = Objective(problem.factory(seed=seed), (problem.X, problem.y), problem.loss)
    descending = Descending(objective, descent, seed=seed)
    limit = EXPLODED * max(1.0, objective.loss())
    columns: list[tuple[float, float, float, float]] = []
    pairs: Eigenpairs | None = None

    def measure() -> bool:
        nonlocal pairs
        here = objective.at(descending.theta)
        loss = here.loss()
        if not loss < limit:
            return False
        pairs = _sharpest(here, descending.preconditioner, pairs, tol)
        batch = np.nan
        if descent.batch_size is not None:
            batch = float(minibatch_quotients(here, descent.batch_size, seed).mean())
        columns.append((float(descending.steps), loss, float(pairs.values[0]), batch))
        return True

    bounded = descent.rule == "adam" or measure()  # Adam has no preconditioner before its first step
    for value in bar(descending.walk(), total=descent.steps, desc=descent.label, unit="step"):
        bounded = value < limit and (descending.steps % every != 0 or measure())
        if not bounded:
            break
    step, loss, sharpness, batch = map(np.array, zip(*columns or [(np.nan,) * 4]))
    ratio, batch_ratio = sharpness / descent.threshold, batch / descent.threshold
    crossed, late = np.flatnonzero(ratio >= 1), step >= 0.75 * descent.steps
    part, batch_part = (values[late] if late.any() else np.array([np.nan]) for values in (ratio, batch_ratio))
    return {
        "batch size": len(problem.X) if descent.batch_size is None else descent.batch_size,
        "examples": len(problem.X),
        "steps": descending.steps,
        "threshold": descent.threshold,
        "start": float(ratio[0]),
        "crosses at step": float(step[crossed[0]]) if len(crossed) else np.nan,
        "peak": float(ratio.max()),
        "last quarter": float(part.mean()),
        "lowest": float(part.min()),
        "highest": float(part.max()),
        "batch": float(batch_part.mean()),
        "loss": float(loss[-1]),
        "diverged": not bounded,
        **dict(zip(CURVES, (step, loss, sharpness, batch, ratio, batch_ratio), strict=True)),
    }


def _sharpest(objective: Objective, preconditioner: Tensor | None, start: Eigenpairs | None, tol: float) -> Eigenpairs:
    """Return the largest eigenvalue of H, or of P^−½ H P^−½, found from the eigenvector before."""
    operator: Any = Hessian(objective)
    if preconditioner is not None:
        operator = scaled(operator, preconditioner.rsqrt())
    return top_eigenpairs(operator, k=1, which="LA", tol=tol, start=start)


def _findings(trials: Trials) -> Iterator[Finding]:
    for i, (descent, seed) in enumerate(zip(trials["descent"], trials["seed"], strict=True)):
        run = {name: float(values[i]) for name, values in trials.measures.items()}
        crossing = run["crosses at step"]
        crossed = "never crosses" if np.isnan(crossing) else f"crosses at step {crossing:.0f}"
        batch = "" if np.isnan(run["batch"]) else f"; batch sharpness {run['batch']:.3f}"
        text = (
            f"{crossed}, peak {run['peak']:.3f}, last quarter {run['last quarter']:.3f} "
            f"({run['lowest']:.3f} to {run['highest']:.3f}){batch}"
        )
        if run["diverged"]:
            text = f"diverged after {run['steps']:.0f} steps; largest ratio {run['peak']:.3g}"
        yield Finding(f"{descent}, seed {seed}", text)


STUDY = Experiment(
    name="edge-of-stability",
    question="Does training sharpen the minimum until its optimiser can just bear it?",
    function=edge_of_stability,
    full={"every": 51},
    quick={
        "descents": (
            Descent(lr=0.4, steps=500, problem=chebyshev_problem(3)),
            Descent(lr=0.4, batch_size=5, steps=200, problem=chebyshev_problem(3)),
        )
    },
)
