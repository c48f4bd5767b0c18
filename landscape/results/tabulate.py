"""Tables of a result, its columns and its key numbers, read off its schema."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from landscape.results.schema import Field, describe, heading, role_of, shown_fields
from landscape.tables import Cell, Measured, Table, duration, number_text

Frame = dict[str, Any]
_UNSAID = {"provenance", "seconds", "seed", "settings"}
_PRODUCTS = ("matvecs", "products")


def tables_of(result: Any) -> Iterator[Table]:
    """Yield one table for each field of rows, or one of the arrays along the first axis, or one of the key numbers."""
    listed = [f for f in dataclasses.fields(result) if role_of(f) == "rows" and getattr(result, f.name)]
    for f in listed:
        title = result.title if f is listed[0] and len(listed) == 1 else heading(f).capitalize()
        yield row_table(title, getattr(result, f.name), f.metadata["row"], result.note)
    if not listed and (table := aligned_table(result)).rows:
        yield table
    elif not listed:
        yield summary_table(result)


def holds_rows(result: Any) -> bool:
    """Whether a result has rows to show."""
    return any(role_of(f) == "rows" and getattr(result, f.name) for f in dataclasses.fields(result))


def row_table(title: str, rows: Sequence[Any], row: type, note: str = "") -> Table:
    """Return a table of row dataclasses: numbers with their errors, columns without anything left out."""
    shown = shown_fields(dataclasses.fields(row))
    cells = tuple(
        tuple(to_cell(getattr(one, f.name), error and getattr(one, error), f) for f, error in shown) for one in rows
    )
    return Table(title, tuple(heading(f) for f, _ in shown), cells, note).filled()


def aligned_table(result: Any, **more: Iterable[Any]) -> Table:
    """Return a table of the arrays along a result's main axis, and of further columns; empty where there are none."""
    columns: dict[str, list[Cell]] = {}
    arrays = _aligned(result)
    for f, error in shown_fields(tuple(arrays)):
        values, errors = arrays[f], getattr(result, error) if error else None
        columns[heading(f)] = [
            to_cell(value, None if errors is None else errors[i], f) for i, value in enumerate(values.tolist())
        ]
    for name, listed in {**_along(result), **more}.items():
        columns[name] = [to_cell(value) for value in listed]
    count = max(map(len, columns.values()), default=0)
    if result.index:
        columns = {result.index: [str(i) for i in range(1, count + 1)], **columns}
    return Table(result.title, tuple(columns), tuple(zip(*columns.values(), strict=True)), result.note).filled()


def column_table(title: str, columns: Mapping[str, Iterable[Any]]) -> Table:
    """Return a table of columns by name."""
    cells = ([to_cell(value) for value in values] for values in columns.values())
    names = tuple(name.replace("_", " ") for name in columns)
    return Table(title, names, tuple(zip(*cells, strict=True))).filled()


def summary_table(result: Any) -> Table:
    """Return the key numbers as a table of two columns."""
    return Table(result.title, ("quantity", "value"), tuple(result.summary()))


def columns_of(result: Any) -> Frame:
    """Return the main table with all digits: columns of one length by name."""
    fields = dataclasses.fields(result)
    listed = next((f for f in fields if role_of(f) == "rows"), None)
    if listed is not None:
        names = [column.name for column in dataclasses.fields(listed.metadata["row"])]
        return {name: [getattr(row, name) for row in getattr(result, listed.name) or ()] for name in names}
    gridded = next((f for f in fields if role_of(f) == "arrays" and len(f.metadata["dims"]) > 1), None)
    if gridded is not None:
        return _grid(result, gridded)
    arrays = {f.name: values for f, values in _aligned(result).items()} | _along(result)
    if arrays:
        count = len(next(iter(arrays.values())))
        return ({result.index: np.arange(1, count + 1)} if result.index else {}) | arrays
    return {f.name: [getattr(result, f.name)] for f in fields if role_of(f) == "attribute" and f.name != "provenance"}


def _grid(result: Any, gridded: Field) -> Frame:
    """Return one row per grid point, the last axis fastest, with the coordinates before the values."""
    dims = gridded.metadata["dims"]
    axes = np.meshgrid(*(getattr(result, dim) for dim in dims), indexing="ij")
    also = [f.name for f in dataclasses.fields(result) if role_of(f) == "array" and f.metadata["dims"] == dims]
    return {
        **{dim: np.ravel(axis) for dim, axis in reversed(list(zip(dims, axes, strict=True)))},
        **{name: np.ravel(value) for name, value in getattr(result, gridded.name).items()},
        **{name: np.ravel(getattr(result, name)) for name in also},
    }


def _axis(result: Any) -> str:
    """Return the dimension a result's table runs along: the one it declares, or that of its first vector."""
    vectors = (f.metadata["dims"] for f in dataclasses.fields(result) if role_of(f) == "array")
    return result.along or next((dims[0] for dims in vectors if len(dims) == 1), "")


def _aligned(result: Any) -> dict[Field, np.ndarray]:
    """Return the vectors along the main axis."""
    axis = _axis(result)
    found = {f: getattr(result, f.name) for f in dataclasses.fields(result) if role_of(f) == "array"}
    return {f: np.asarray(v) for f, v in found.items() if v is not None and f.metadata["dims"] == (axis,)}


def _along(result: Any) -> dict[str, np.ndarray]:
    """Return the named vectors along the main axis."""
    axis = _axis(result)
    found = [f for f in dataclasses.fields(result) if role_of(f) == "arrays" and f.metadata["dims"] == (axis,)]
    return {name: value for f in found for name, value in getattr(result, f.name).items()}


def to_cell(value: Any, error: Any = None, declared: Field | None = None) -> Cell:
    """Return a value as the cell of a table; NaN is nothing."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return describe(value)
    if isinstance(value, int | np.integer) and error is None:
        return int(value)
    if np.isnan(value):
        return None
    percent = 0 if declared is None else int(declared.metadata.get("percent", 0))
    return Measured(float(value), None if error is None else float(error), percent)


def summary_of(result: Any) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of what a result says of itself: the verdict first, the cost last, nothing empty."""
    shown = shown_fields(dataclasses.fields(result))
    fields = [(f, error) for f, error in shown if f.name not in _UNSAID and not f.metadata.get("volatile")]
    for f, error in sorted(fields, key=lambda item: item[0].name != "verdict"):
        value = getattr(result, f.name)
        if value is None or (not isinstance(value, np.ndarray) and value in ("", (), {})) or f.name in _PRODUCTS:
            continue
        if role_of(f) == "rows":
            yield heading(f), str(len(value))
        elif f.name == "notes":
            yield from (("note", note) for note in value)
        elif role_of(f) == "arrays":
            yield from ((name, describe(item)) for name, item in value.items())
        else:
            yield heading(f), _said(value, error and getattr(result, error), f)
    spent = [f"{getattr(result, name)} products" for name in _PRODUCTS if hasattr(result, name)]
    yield ("cost" if spent else "time"), ", ".join([*spent, duration(result.seconds)])


def _said(value: Any, error: Any, declared: Field) -> str:
    if isinstance(value, np.ndarray) and error is not None and value.ndim == 1 and value.size <= 8:
        cells = (to_cell(*pair, declared) for pair in zip(value.tolist(), error, strict=True))
        return ", ".join(number_text(cell) if isinstance(cell, Measured) else "NaN" for cell in cells)
    percent = int(declared.metadata.get("percent", 0))
    if isinstance(value, float) and (error is not None or percent):
        return number_text(Measured(value, error, percent))
    if percent and isinstance(value, Mapping):
        return ", ".join(f"{key}: {share:.{percent}%}" for key, share in value.items())
    if percent:
        return ", ".join(f"{share:.{percent}%}" for share in value)
    return describe(value)
