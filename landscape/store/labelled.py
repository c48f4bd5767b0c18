"""A study as labelled arrays for xarray: one node per result, with dimensions, coordinates, units and long names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Result, dims_of, role_of
from landscape.store.encode import home
from landscape.store.values import to_attribute, to_columns

Variable = tuple[tuple[str, ...], np.ndarray, dict[str, str]]


def to_xarray(study: Any) -> Any:
    """Return a `Study` as an `xarray.DataTree` with one node per result, at the result's name."""
    try:
        import xarray
    except ImportError as error:
        raise LandscapeError("xarray is not installed; pip install landscape-sharpness[xarray]") from error
    parts = {path: xarray.Dataset(**node) for name in study.names for path, node in nodes(f"/{name}", study[name])}
    return xarray.DataTree.from_dict(parts, name=study.path.stem)


def nodes(path: str, result: Result) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (node, its ``data_vars``, ``coords`` and ``attrs``): ``train/loss`` is the variable ``loss`` of ``train``."""
    groups: dict[str, dict[str, Variable]] = {path: {}}
    attributes: dict[str, Any] = {"kind": result.kind}
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if isinstance(value, Result):
            yield from nodes(f"{path}/{field.name}", value)
        elif role_of(field) == "attribute":
            attributes[field.name] = to_attribute(value)[0]
        elif value is not None:
            for name, variable in _variables(type(result), field, value):
                node, _, last = f"{path}/{name}".rpartition("/")
                groups.setdefault(node, {})[last] = variable
    own = groups[path]
    coords = {name: variable for name, variable in own.items() if variable[0] == (name,)}
    for node, variables in groups.items():
        used = {dim for dims, _, _ in variables.values() for dim in dims}
        yield (
            node,
            {
                "data_vars": {
                    name: variable for name, variable in variables.items() if variable is not coords.get(name)
                },
                "coords": {name: variable for name, variable in coords.items() if name in used},
                "attrs": attributes if node == path else {},
            },
        )


def _variables(cls: type[Result], field: dataclasses.Field[Any], value: Any) -> Iterator[tuple[str, Variable]]:
    about, role = field.metadata, role_of(field)
    if role == "array":
        yield field.name, _labelled(about["dims"], value, about)
    elif role == "arrays":
        for key, array in value.items():
            yield home(cls, field) + key, _labelled(about["dims"], array, about)
    else:
        for name, column in to_columns(value, about["row"]).items():
            yield home(cls, field) + name, (about["dims"], column.values, {})


def _labelled(declared: tuple[Any, ...], array: np.ndarray, about: Any) -> Variable:
    dims = dims_of(declared, array.shape)
    # xarray refuses a dimension used twice, as in a matrix of cosines: the second gets a prime
    unique = tuple(dim + "'" * dims[:axis].count(dim) for axis, dim in enumerate(dims))
    return unique, array, {"long_name": about["long_name"], "units": about["units"]}
