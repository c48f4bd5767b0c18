"""Rows as columns: a tuple of row dataclasses becomes one plain array per field, and comes back with the same values."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from landscape.errors import LandscapeError
from landscape.store.text import dumps, loads, storable

_NO_INT = -(2**63)


@dataclass(frozen=True)
class Column:
    """One column: what is stored, which rows are `None`, and what the stored values mean.

    Attributes:
        values: (rows,) float64, int64, bool, int8 or text.
        missing: indices of the rows that hold `None`.
        encoding: ``plain``, ``bool`` (int8 with −1 where missing) or ``json`` (text).
        fill: what stands for `None` in a column of integers, otherwise `None`.
    """

    values: np.ndarray
    missing: tuple[int, ...] = ()
    encoding: str = "plain"
    fill: int | None = None


def to_columns(rows: Iterable[Any], cls: type) -> dict[str, Column]:
    """Return the columns of a tuple of rows.

    Raises:
        LandscapeError: a row is of another class.
    """
    rows, hints = tuple(rows), get_type_hints(cls)
    wrong = next((row for row in rows if type(row) is not cls), None)
    if wrong is not None:
        raise LandscapeError(f"a row is a {type(wrong).__name__}, expected a {cls.__name__}")
    fields = dataclasses.fields(cls)
    return {field.name: _column([getattr(row, field.name) for row in rows], hints[field.name]) for field in fields}


def from_columns(columns: dict[str, Column], cls: type, count: int) -> tuple[Any, ...]:
    """Invert `to_columns`; a column that an older file lacks takes the default of its field.

    Raises:
        LandscapeError: a column is of another length, or one without a default is absent.
    """
    lists = {}
    for field in dataclasses.fields(cls):
        column = columns.get(field.name)
        if column is None:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise LandscapeError(f"the column {field.name!r} is missing")
            continue
        if column.values.shape != (count,):
            raise LandscapeError(f"the column {field.name!r} has shape {column.values.shape}, expected ({count},)")
        lists[field.name] = values_of(column)
    return tuple(cls(**{name: values[i] for name, values in lists.items()}) for i in range(count))


def _column(values: list[Any], hint: Any) -> Column:
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    missing = tuple(i for i, value in enumerate(values) if value is None)
    kinds = {type(value) for value in values if value is not None} or _declared(hint)
    declared = _declared(hint)
    if kinds == {float} or ((kinds == {int, float} or kinds == {int}) and float in declared and int not in declared):
        return Column(np.array([np.nan if v is None else v for v in values], dtype=np.float64), missing)
    if kinds == {bool} and missing:
        return Column(np.array([-1 if v is None else v for v in values], dtype=np.int8), missing, "bool", -1)
    if kinds == {bool}:
        return Column(np.array(values, dtype=np.bool_))
    if kinds == {int} and all(value is None or _NO_INT < value < 2**63 for value in values):
        filled = np.array([_NO_INT if v is None else v for v in values], dtype=np.int64)
        return Column(filled, missing, fill=_NO_INT if missing else None)
    if kinds == {str} and all(value is None or storable(value) for value in values):
        return Column(np.array(["" if v is None else v for v in values], dtype=object), missing)
    return Column(np.array([dumps(value) for value in values], dtype=object), (), "json")


def values_of(column: Column) -> list[Any]:
    """Return the values of a column, one per row."""
    if column.encoding == "json":
        return [loads(text) for text in column.values]
    values = column.values.astype(bool).tolist() if column.encoding == "bool" else column.values.tolist()
    for i in column.missing:
        if not 0 <= i < len(values):
            raise LandscapeError(f"row {i} is marked missing in a column of {len(values)} rows")
        values[i] = None
    return values


def _declared(hint: Any) -> set[Any]:
    """Return the types that an annotation admits, `None` left out."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return set(members) - {type(None)}
