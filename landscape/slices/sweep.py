"""Filling a slice row by row, in memory or through the journal of a study, so that an interrupted run resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from landscape.bars import bar
from landscape.objective import Objective
from landscape.results.slices import Slice
from landscape.slices.engine import Values

S = TypeVar("S", bound=Slice)
_DECISIVE = ("model", "parameters", "dtype", "weights_sha256", "data_sha256", "examples", "loss", "mode")


def sweep(
    blank: Callable[[dict[str, np.ndarray]], S],
    shape: tuple[int, ...],
    compute: Callable[[int], Values],
    *,
    names: Callable[[], Sequence[str]],
    objectives: Mapping[str, Objective],
    description: str,
    save: tuple[Any, str] | None,
    settings: Mapping[str, Any],
    started: float,
) -> S:
    """Compute the rows of a slice and return it.

    Args:
        blank: makes the slice from its values.
        shape: of the values; its first entry counts the rows.
        compute: returns the values of one row, arrays of the remaining shape.
        names: returns the names of the values, when they are needed before the first row.
        objectives: what is evaluated, by data set name.
        description: how, in words.
        save: ``(path, name)`` in a study; each row is on disk when it is finished, and rows that are there already are
            not computed again.
        settings: JSON values that decide every number besides the objectives; ``settings["slice"]`` names the kind.
        started: `time.perf_counter` when the computation began.
    """
    label = str(settings["slice"])
    todo = range(shape[0])
    if save is None:
        rows = [compute(index) for index in bar(todo, desc=label, unit="row")]
        result = blank({name: np.stack([row[name] for row in rows]) for name in rows[0]})
        return _finished(result, description, started)
    from landscape.study import open_rows  # loads h5py, which slices that are not saved do without

    template = blank({name: np.full(shape, np.nan) for name in names()})
    if hasattr(template, "computed"):
        template = template.replace(computed=np.zeros(shape, dtype=np.uint8))
    path, name = save
    decisive = {"objectives": {key: _identity(o) for key, o in objectives.items()}, **settings}
    with open_rows(path, name, template, decisive) as journal:
        for index in bar(
            [j for j in todo if j not in journal.finished and journal.stored is None], desc=label, unit="row"
        ):
            journal.append(index, compute(index))
        if journal.stored is not None:
            return cast(S, journal.stored)
        finished = _finished(cast(S, journal.result()), description, started)
        journal.merge(finished)
        return finished


def _finished(result: S, description: str, started: float) -> S:
    return result.replace(evaluation=description, seconds=time.perf_counter() - started)


def _identity(objective: Objective) -> dict[str, Any]:
    """Return what decides the numbers of an objective."""
    provenance = objective.provenance()
    return {**{key: provenance[key] for key in _DECISIVE}, "metrics": list(objective.metrics)}
