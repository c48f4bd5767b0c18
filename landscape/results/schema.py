"""How the fields of a result are declared: what they are in the study file, and how they are printed.

A field is one of five roles. The study file, the tables, the plots and the reprs read roles and never field names, so that a new
result type needs no code outside its own class.

=============  ===========================================  ====================================================
role           declared with                                in the study file
=============  ===========================================  ====================================================
array          ``array("k", "P", units=…, long_name=…)``    a dataset with dimension names, units and long name
arrays         ``arrays("y", "x", long_name=…)``            a dictionary of such arrays, one dataset per key
rows           ``rows(RowClass)``                           a tuple of frozen row dataclasses, one dataset per column
result         ``nested(ResultClass)``                      another result in a sub-group
attribute      ``float`` or ``field(metadata=printed(…))``  an attribute (mappings and tuples as JSON text)
=============  ===========================================  ====================================================

Every declaration, and `printed` for plain attributes and the columns of rows, takes ``title=`` (what tables and summaries call
it; otherwise its name), ``error=`` (the field that holds its standard errors; otherwise ``x_error`` belongs to ``x``),
``percent=`` (decimals of a share) and ``hidden=`` (stored, not printed).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, field
from functools import partial
from typing import Any, Literal

import numpy as np

Role = Literal["array", "arrays", "rows", "result", "attribute"]
Field = dataclasses.Field[Any]


def _declared(role: Role, optional: bool = False, *, empty: type | None = None, **metadata: Any) -> Any:
    about = {"role": role, "optional": optional, **metadata}
    if empty is not None:
        return field(default_factory=empty, metadata=about)
    default: Any = None if optional else MISSING
    return field(default=default, metadata=about)


def array(*dims: str, long_name: str, units: str = "1", optional: bool = False, **printing: Any) -> Any:
    """Declare a NumPy array field with its dimension names, e.g. ``array("k", "P", long_name="eigenvectors")``."""
    return _declared("array", optional, dims=dims, long_name=long_name, units=units, **printing)


curvature = partial(array, units="loss per parameter squared")
"""Declare an `array` of eigenvalues or other second derivatives."""


def arrays(
    *dims: Any, long_name: str, units: str = "1", optional: bool = False, empty: bool = False, **printing: Any
) -> Any:
    """Declare a dictionary of arrays with common dimensions; keys such as ``train/loss`` become paths in the file.

    ``...`` as the last dimension stands for any number of further ones, which may differ from array to array. With
    `empty` there are none by default.
    """
    nothing = dict if empty else None
    return _declared("arrays", optional, empty=nothing, dims=dims, long_name=long_name, units=units, **printing)


def rows(row: type, *, dim: str = "row", optional: bool = False, empty: bool = False, **printing: Any) -> Any:
    """Declare a tuple of row dataclasses, stored by column; `None` in a ``float | None`` column is NaN on disk."""
    return _declared("rows", optional, empty=tuple if empty else None, row=row, dims=(dim,), **printing)


def nested(result: type, *, optional: bool = False, **printing: Any) -> Any:
    """Declare another result stored in a sub-group of this one."""
    return _declared("result", optional, result=result, **printing)


def volatile(default: Any = MISSING, **printing: Any) -> Any:
    """Declare a value that differs from run to run (seconds, dates): kept as an attribute, never as a dataset."""
    return field(default=default, metadata={"role": "attribute", "volatile": True, **printing})


def printed(title: str = "", **printing: Any) -> dict[str, Any]:
    """Say how an attribute, or a column of a row, is printed: ``field(metadata=printed("λmax", error="residual"))``."""
    return {"role": "attribute", "title": title, **printing}


def dims_of(declared: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the dimensions of one array; those that ``...`` stands for are called by their size.

    >>> dims_of(("run", ...), (16, 4))
    ('run', 'of4')
    """
    if declared[-1:] != (...,):
        return declared
    named = declared[:-1]
    return (*named, *(f"of{size}" for size in shape[len(named) :]))


def role_of(declared: Field) -> Role:
    """Return the role a dataclass field was declared with."""
    role: Role = declared.metadata.get("role", "attribute")
    return role


def heading(declared: Field) -> str:
    """Return what a field is called in print."""
    return declared.metadata.get("title") or declared.name.replace("_", " ")


def error_fields(fields: tuple[Field, ...]) -> dict[str, str]:
    """Return {field: the field that holds its errors}, as declared or by their names.

    >>> @dataclasses.dataclass
    ... class Row:
    ...     value: float
    ...     standard_error: float
    ...     trace: float
    ...     trace_error: float
    >>> error_fields(dataclasses.fields(Row))
    {'value': 'standard_error', 'trace': 'trace_error'}
    """
    names = {f.name for f in fields}
    found = {}
    for f in fields:
        named = [f"{f.name}_error", f"{f.name}_standard_error", f"{f.name}_residual"]
        named += ["standard_error"] if f.name == "value" else []
        error = f.metadata.get("error") or next((name for name in named if name in names), None)
        if error is not None:
            found[f.name] = error
    return found


def shown_fields(fields: tuple[Field, ...]) -> list[tuple[Field, str | None]]:
    """Return the fields that are printed, each with the name of that of its errors."""
    errors = error_fields(fields)
    kept = [f for f in fields if not f.metadata.get("hidden") and f.name not in errors.values()]
    return [(f, errors.get(f.name)) for f in kept]


def describe(value: Any) -> str:
    """Print a value in one short line: arrays by shape and range, numbers with four digits."""
    if isinstance(value, np.ndarray):
        return _describe_array(value)
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{float(value):.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {describe(item)}" for key, item in value.items())
    if hasattr(value, "summary"):  # a nested result
        return f"{type(value).__name__} ({', '.join(f'{label} {text}' for label, text in list(value.summary())[:3])})"
    if isinstance(value, tuple | list) and value and dataclasses.is_dataclass(value[0]):
        return f"{len(value)} rows"
    if isinstance(value, tuple | list):
        return ", ".join(f"({describe(item)})" if isinstance(item, tuple | list) else describe(item) for item in value)
    return str(value)


def _describe_array(value: np.ndarray) -> str:
    if value.size == 0:
        return f"{value.shape} empty"
    if value.size <= 6 and value.ndim == 1:
        return "[" + ", ".join(describe(item) for item in value.tolist()) + "]"
    if not np.issubdtype(value.dtype, np.number):
        return f"{value.shape} {value.dtype}"
    finite = value[np.isfinite(value)]
    text = f"{value.shape} in [{finite.min():.4g}, {finite.max():.4g}]" if finite.size else f"{value.shape}"
    return text if finite.size == value.size else f"{text}, {value.size - finite.size} not finite"


def plain(value: Any) -> Any:
    """Turn arrays, tuples, mappings and dataclasses into lists, dictionaries, numbers and strings."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
