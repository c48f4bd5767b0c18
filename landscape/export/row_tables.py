"""Tables of results of any kind, read off their schema: the rows they hold, or else the few numbers worth reading."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from landscape.export.tables import Cell, Table, filled
from landscape.results import Result, describe, role_of
from landscape.results.numbers import Measured

ERRORS = ("{}_error", "{}_standard_error", "{}_residual")
"""What the column with the errors of another may be called; ``standard_error`` alone belongs to ``value``."""


def row_tables(result: Result, *, most: int = 200) -> tuple[Table, ...]:
    """Return one table for each field of rows that a result holds, or a table of its summary when it holds none.

    A column ``x_error`` is not shown but makes the numbers of the column ``x`` measured ones.

    Args:
        result: any result.
        most: rows shown of a longer table.

    >>> from landscape.results import Minimum, Topology
    >>> found = Topology(minima=(Minimum(0.5, None, None, 0.1, 1.0, 0.9, 1.0, False),), tree=(), smad=0.9, smad_normalised=0.5,
    ...     smad_weighted=0.9, min_persistence=0.0, metric="loss", window=((0.0, 1.0),), resolution=(5,))
    >>> [table.columns for table in row_tables(found)]
    [('x', 'value', 'saddle', 'persistence', 'basin share', 'boundary')]
    """
    found = tuple(_tables(result, most))
    return found or (Table(type(result).__name__, ("what", "value"), tuple(result.summary())),)


def _tables(result: Result, most: int) -> Iterator[Table]:
    for field in dataclasses.fields(result):
        rows: Sequence[Any] = getattr(result, field.name) if role_of(field) == "rows" else ()
        if not rows:
            continue
        names = [column.name for column in dataclasses.fields(field.metadata["row"])]
        errors = {name: error for name in names for error in _errors(name) if error in names}
        shown = [name for name in names if name not in errors.values()]
        cells = tuple(
            tuple(_cell(getattr(row, name), getattr(row, errors[name]) if name in errors else None) for name in shown)
            for row in rows[:most]
        )
        note = f"The first {most} of {len(rows)} rows." if len(rows) > most else ""
        columns = tuple(name.replace("_", " ") for name in shown)
        yield filled(Table(field.name.replace("_", " ").capitalize(), columns, cells, note))


def _errors(name: str) -> tuple[str, ...]:
    named = tuple(pattern.format(name) for pattern in ERRORS)
    return (*named, "standard_error") if name == "value" else named


def _cell(value: Any, error: Any) -> Cell:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return describe(value)
    return Measured(float(value), float(error) if isinstance(error, int | float) else None)
