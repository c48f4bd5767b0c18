"""Filling a slice row by row: each row is kept when it is finished, so that an interrupted slice goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from landscape.bars import bar
from landscape.function.objective import Objective
from landscape.results import Result
from landscape.results.slices import Slice
from landscape.slices.engine import Engine, Values
from landscape.store import Run, identity
from landscape.store.rows import TEMPLATE, filled
from landscape.store.run import Save

R = TypeVar("R", bound=Result)
S = TypeVar("S", bound=Slice)


def sweep(
    template: Callable[[], S],
    compute: Callable[[int], Values],
    *,
    objectives: Mapping[str, Objective],
    description: str,
    save: Save,
    overwrite: bool,
    settings: Mapping[str, Any],
    started: float,
) -> S:
    """Compute the rows of a slice and return it.

    Args:
        template: makes the slice as it is before any row is finished.
        compute: returns the values of one row, by name.
        objectives: what is evaluated, by data set name.
        description: how, in words.
        save: where to store it, as `landscape.store.run.placed` returns it.
        overwrite: replace a different result of that name.
        settings: what decides every number besides the objectives; ``settings["slice"]`` names the kind.
        started: `time.perf_counter` when the computation began.
    """
    run: Run[S] = Run(save, lambda: identity(objectives, **settings), overwrite=overwrite)
    with run:
        if run.result is not None:
            return run.result
        blank = begun(run, template)
        return fill(run, blank, compute, label=str(settings["slice"]), description=description, started=started)


def begun(run: Run[R], template: Callable[[], R]) -> R:
    """Return the slice as it is before any row is finished, made by this run or by the one that it goes on from."""
    if TEMPLATE not in run.done:
        run.keep(TEMPLATE, template())
    blank: R = run.done[TEMPLATE]
    return blank


def fill(run: Run[S], blank: S, compute: Callable[[int], Values], *, label: str, description: str, started: float) -> S:
    """Compute the rows that are missing, store the slice and return it; the arguments are those of `sweep`."""
    total = len(next(iter(getattr(blank, "values").values())))  # noqa: B009 - the subclasses declare it
    for index in bar([j for j in range(total) if j not in run.done], desc=label, unit="row"):
        run.keep(index, compute(index))
    whole = filled(blank, run.done).replace(evaluation=description, seconds=time.perf_counter() - started)
    return run.finish(whole)


def sweep_along(
    blank: Callable[[Values], S], engine: Engine, x: np.ndarray, *, save: Save, started: float, **options: Any
) -> S:
    """Compute a line: in one go, or point by point when the points are to be kept.

    Args:
        blank: makes the line from its values.
        engine: evaluates points along its first direction.
        x: the coordinates (n,).
        save: as in `sweep`.
        started: as in `sweep`.
        options: the other arguments of `sweep`.
    """
    if save is None:
        return blank(engine.row(x)).replace(evaluation=engine.description, seconds=time.perf_counter() - started)
    return sweep(
        lambda: blank({name: np.full(x.shape, np.nan) for name in engine.names()}),
        lambda i: {name: value[0] for name, value in engine.row(x[i : i + 1]).items()},
        description=engine.description,
        save=save,
        started=started,
        **options,
    )
