"""Filling a result row by row: each row is kept when it is finished, so that an interrupted computation goes on there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from landscape.bars import bar
from landscape.results import Result
from landscape.store import Run
from landscape.store.rows import TEMPLATE, filled

R = TypeVar("R", bound=Result)
Values = dict[str, np.ndarray]


def begun(run: Run[R], template: Callable[[], R]) -> R:
    """Return the result as it is before any row is finished, made by this run or by the one that it goes on from."""
    if TEMPLATE not in run.done:
        run.keep(TEMPLATE, template())
    blank: R = run.done[TEMPLATE]
    return blank


def fill(run: Run[R], blank: R, compute: Callable[[int], Values], *, label: str, unit: str = "row") -> R:
    """Compute the rows of ``blank.values`` that are missing, and return the result with all of them."""
    total = len(next(iter(getattr(blank, "values").values())))  # noqa: B009 - the subclasses declare it
    for index in bar([j for j in range(total) if j not in run.done], desc=label, unit=unit):
        run.keep(index, compute(index))
    return filled(blank, run.done)
