"""Python values as HDF5 knows them: one by one as attributes, and rows as columns; both come back as they were.

In attributes numbers, truth values and text are themselves, everything else is JSON text. JSON has one kind of list
and only text keys. So that Python values come back as they were, an array directly in an attribute or within a tuple
stands for a tuple, and one within a mapping or list for a list; the other cases, keys that are not text and NumPy
arrays are objects with one key: ``__tuple__``, ``__list__``, ``__items__``, ``__array__``; ``__blob__`` is the place
of an array that is kept beside the text.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from landscape.errors import LandscapeError

_NO_INT = -(2**63)
_TAGS = {"__tuple__", "__list__", "__items__", "__array__", "__blob__"}


def to_attribute(value: Any) -> tuple[Any, bool]:
    """Return (what HDF5 stores, whether that is JSON text).

    >>> to_attribute(0.5), to_attribute(None), to_attribute(("a", 1))
    ((np.float64(0.5), False), ('null', True), ('["a", 1]', True))
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return np.bool_(value), False
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return np.int64(value), False
    if isinstance(value, float):
        return np.float64(value), False
    if isinstance(value, str) and storable(value):
        return str(value), False
    return dumps(value), True


def from_attribute(stored: Any, is_json: bool) -> Any:
    """Invert `to_attribute`.

    >>> from_attribute('["a", 1]', True)
    ('a', 1)
    """
    if is_json:
        return loads(stored)
    if isinstance(stored, bytes):
        return stored.decode()
    return stored.item() if isinstance(stored, np.generic) else stored


def storable(text: str) -> bool:
    """Whether HDF5 can keep a text as it is: UTF-8 without NUL or lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def dumps(value: Any, blobs: list[np.ndarray] | None = None) -> str:
    """Return JSON text from which `loads` restores the value; NaN and infinities are written as JavaScript does.

    Args:
        value: numbers, text, `None`, tuples, lists, mappings and arrays of them.
        blobs: where arrays go, so that the text holds only their places; without it they are lists of numbers.
    """
    tagged = _tag(value, tuple, blobs)
    text = json.dumps(tagged, ensure_ascii=False)
    return text if storable(text) else json.dumps(tagged)


def loads(text: str | bytes, blobs: Sequence[np.ndarray] = ()) -> Any:
    """Invert `dumps`."""
    try:
        return _untag(json.loads(text), tuple, blobs)
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise LandscapeError(f"damaged JSON text: {error}") from error


def _tag(value: Any, sequence: type, blobs: list[np.ndarray] | None) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray) and blobs is not None and value.dtype.kind in "biufU":
        blobs.append(value)
        return {"__blob__": len(blobs) - 1}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"__array__": value.tolist(), "dtype": value.dtype.str, "shape": list(value.shape)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and blobs is None:
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and not _TAGS & value.keys():
            return {key: _tag(item, list, blobs) for key, item in value.items()}
        items = [[_tag(key, tuple, blobs), _tag(item, list, blobs)] for key, item in value.items()]
        return {"__items__": items}
    if isinstance(value, tuple | list):
        kind: type = tuple if isinstance(value, tuple) else list
        items = [_tag(item, kind, blobs) for item in value]
        return items if kind is sequence else {f"__{kind.__name__}__": items}
    raise LandscapeError(
        f"a value of type {type(value).__name__} cannot be stored; "
        "expected numbers, text, None, tuples, lists, mappings or NumPy arrays"
    )


def _untag(value: Any, sequence: type, blobs: Sequence[np.ndarray]) -> Any:
    if isinstance(value, list):
        return sequence(_untag(item, sequence, blobs) for item in value)
    if not isinstance(value, dict):
        return value
    if "__blob__" in value:
        return blobs[value["__blob__"]]
    if "__array__" in value:
        dtype = np.dtype(value["dtype"])
        if dtype.kind not in "biuf":
            raise ValueError(f"arrays of {dtype} are not allowed")
        return np.array(value["__array__"], dtype=dtype).reshape(value["shape"])
    if "__items__" in value:
        return {_untag(key, tuple, blobs): _untag(item, list, blobs) for key, item in value["__items__"]}
    for kind in (tuple, list):
        if (tag := f"__{kind.__name__}__") in value:
            return kind(_untag(item, kind, blobs) for item in value[tag])
    return {key: _untag(item, list, blobs) for key, item in value.items()}


@dataclass(frozen=True)
class Column:
    """One column: what is stored, which rows are `None`, and what the stored values mean."""

    values: np.ndarray  # (rows,) float64, int64, bool, int8 or text
    missing: tuple[int, ...] = ()  # indices of the rows that hold `None`
    encoding: str = "plain"  # ``plain``, ``bool`` (int8 with −1 where missing) or ``json`` (text)
    fill: int | None = None  # what stands for `None` in a column of integers, otherwise `None`


def to_columns(rows: Iterable[Any], cls: type) -> dict[str, Column]:
    """Return the columns of a tuple of rows."""
    rows, hints = tuple(rows), get_type_hints(cls)
    wrong = next((row for row in rows if type(row) is not cls), None)
    if wrong is not None:
        raise LandscapeError(f"a row is a {type(wrong).__name__}, expected a {cls.__name__}")
    fields = dataclasses.fields(cls)
    return {field.name: _column([getattr(row, field.name) for row in rows], hints[field.name]) for field in fields}


def from_columns(columns: dict[str, Column], cls: type, count: int) -> tuple[Any, ...]:
    """Invert `to_columns`; a column that an older file lacks takes the default of its field."""
    lists = {}
    for field in dataclasses.fields(cls):
        column = columns.get(field.name)
        if column is None and required(field):
            raise LandscapeError(f"the column {field.name!r} is missing")
        if column is None:
            continue
        if column.values.shape != (count,):
            raise LandscapeError(f"the column {field.name!r} has shape {column.values.shape}, expected ({count},)")
        lists[field.name] = values_of(column)
    return tuple(cls(**{name: values[i] for name, values in lists.items()}) for i in range(count))


def _column(values: list[Any], hint: Any) -> Column:
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    missing = tuple(i for i, value in enumerate(values) if value is None)
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    declared = set(members) - {type(None)}
    kinds = {type(value) for value in values if value is not None} or declared
    if kinds == {float} or (kinds in ({int, float}, {int}) and float in declared and int not in declared):
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


def required(field: dataclasses.Field[Any]) -> bool:
    """Whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
