"""Filling a slice row by row, so that an interrupted run resumes where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from landscape.bars import bar
from landscape.function.objective import Objective
from landscape.results.slices import Slice
from landscape.slices.engine import Engine, Values
from landscape.slices.recording import Rows, Save, recording

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
        save: where to store it, as `recording.checked` returns it; each row is on disk when it is finished, and rows
            that are there already are not computed again.
        overwrite: replace a different result of that name.
        settings: JSON values that decide every number besides the objectives; ``settings["slice"]`` names the kind.
        started: `time.perf_counter` when the computation began.
    """
    with recording(template, settings=settings, objectives=objectives, save=save, overwrite=overwrite) as rows:
        return fill(rows, compute, label=str(settings["slice"]), description=description, started=started)


def fill(rows: Rows[S], compute: Callable[[int], Values], *, label: str, description: str, started: float) -> S:
    """Compute the rows that are missing, store the slice and return it; the arguments are those of `sweep`."""
    if rows.stored is not None:
        return rows.stored
    total = len(next(iter(getattr(rows.template, "values").values())))  # noqa: B009 - the subclasses declare it
    for index in bar([j for j in range(total) if j not in rows.finished], desc=label, unit="row"):
        rows.append(index, compute(index))
    return rows.merge(rows.result().replace(evaluation=description, seconds=time.perf_counter() - started))


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
