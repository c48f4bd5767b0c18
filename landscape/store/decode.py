"""Reading a result from an HDF5 group, driven by the roles of its fields alone; what does not fit is a `LandscapeError`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.results import KINDS, Result, dims_of, role_of
from landscape.store.encode import RESERVED, SCHEMA_VERSION, content_sha256, home, is_dimension, origin_sha256
from landscape.store.migrations import Old, migration_of
from landscape.store.names import name_of
from landscape.store.safe import member, read_attribute, read_dataset, walk
from landscape.store.values import Column, from_columns, loads, required, values_of


def read_result(group: h5py.Group, expected: type[Result] = Result) -> Result:
    """Return the result that a group holds, brought to the present schema."""
    kind, version = read_attribute(group, "kind"), read_attribute(group, "schema_version")
    check_version(version, repr(group.name))
    if migration := migration_of(kind, version):
        return migration.read(_old(group, str(kind)))
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None or not issubclass(cls, expected):
        raise LandscapeError(f"{group.name!r} holds a {kind!r}, expected one of: {', '.join(sorted(KINDS))}")
    values = _read_fields(group, cls)
    missing = [f.name for f in dataclasses.fields(cls) if required(f) and f.name not in values]
    if missing:
        raise LandscapeError(
            f"{group.name!r} lacks {', '.join(missing)}; it was edited, or written by another version of the package"
        )
    return cls(**values)


def check_version(version: Any, name: str) -> None:
    """Raise when a file or a result was not written by a schema that this package knows."""
    if not isinstance(version, int) or version < 1:
        raise LandscapeError(f"{name} has no schema version: it was not written by this package; make a new study")
    if version > SCHEMA_VERSION:
        raise LandscapeError(
            f"{name} has schema version {version}; this package reads up to {SCHEMA_VERSION}: update it"
        )


def change_in(group: h5py.Group, result: Result) -> str | None:
    """Say which part of a result is not as it was saved, by the fingerprints beside it, or `None`.

    One that was migrated has changed on its way here, so its fingerprints say nothing.
    """
    if migration_of(read_attribute(group, "kind"), read_attribute(group, "schema_version")):
        return None
    for part, fingerprint in (("content", content_sha256), ("provenance", origin_sha256)):
        if read_attribute(group, f"{fingerprint.__name__}") != fingerprint(result):
            return part
    return None


def stored_results(file: h5py.File) -> Iterator[tuple[str, str, h5py.Group]]:
    """Yield (name, kind, group) of each result of a study, those nested in others left out."""
    found: set[str] = set()
    for path, group in walk(file):
        kind = read_attribute(group, "kind")
        if isinstance(kind, str) and found.isdisjoint(map(str, PurePosixPath(path).parents)):
            found.add(path)
            migration = migration_of(kind, read_attribute(group, "schema_version"))
            kind = kind if migration is None else migration.kind
            yield name_of(kind, path), kind, group


def results_called(file: h5py.File, name: str) -> Iterator[h5py.Group]:
    """Yield the group of the result of that name: one, unless the file was edited."""
    return (group for stored, _, group in stored_results(file) if stored == name)


def _old(group: h5py.Group, kind: str) -> Old:
    """Read a group of an earlier schema by what its parts say of themselves: only arrays of fields have units."""
    arrays: dict[str, np.ndarray] = {}
    columns: dict[str, list[Any]] = {}
    results: dict[str, Result] = {}
    for path in _paths(group):
        part = member(group, path)
        if isinstance(part, h5py.Group):
            results[path] = read_result(part)
        elif part is not None and "units" in part.attrs:
            arrays[path] = _array(part)
        elif part is not None and not path.endswith(".text"):
            columns[path] = values_of(_column(part))
    return Old(kind, read_attributes(group), arrays, columns, results)


def _paths(group: h5py.Group, prefix: str = "") -> Iterator[str]:
    """Yield the paths of the datasets and of the nested results of a group."""
    for name in group:
        part = member(group, name)
        if isinstance(part, h5py.Group) and read_attribute(part, "kind") is None:
            yield from _paths(part, f"{prefix}{name}/")
        elif not is_dimension(part):
            yield prefix + name


def _read_fields(group: h5py.Group, cls: type[Result]) -> dict[str, Any]:
    attributes = read_attributes(group)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        name, role = field.name, role_of(field)
        if role == "array":
            if (dataset := member(group, name)) is not None:
                values[name] = _array(dataset, field.metadata["dims"])
        elif role == "result":
            if (part := member(group, name)) is not None:
                if not isinstance(part, h5py.Group):
                    raise LandscapeError(f"{part.name!r} is no group")
                values[name] = read_result(part, field.metadata["result"])
        elif name not in attributes:
            continue
        elif role == "arrays":
            keys, prefix = attributes[name], home(cls, field)
            if not isinstance(keys, tuple):
                raise LandscapeError(f"the attribute {name!r} of {group.name!r} is no list of names")
            values[name] = {key: _array(member(group, prefix + key), field.metadata["dims"]) for key in keys}
        elif role == "rows":
            row, prefix = field.metadata["row"], home(cls, field)
            stored = {column.name: member(group, prefix + column.name) for column in dataclasses.fields(row)}
            columns = {key: _column(dataset) for key, dataset in stored.items() if dataset is not None}
            values[name] = from_columns(columns, row, attributes[name])
        else:
            values[name] = attributes[name]
    return values


def read_attributes(group: h5py.Group, *wanted: str) -> dict[str, Any]:
    """Return attributes of a group as Python values, with those that are datasets because they are long.

    Where none are wanted by name, it is all that are not about the storing itself.
    """
    as_json, long = (set(str(read_attribute(group, name) or "").split("\n")) - {""} for name in ("json", "long"))
    values: dict[str, Any] = {}
    for name in (*group.attrs, *long):
        if name not in wanted if wanted else name in RESERVED:
            continue
        if name in long:
            text = read_dataset(member(group, f"{name}.text")).tobytes().decode()
            values[name] = loads(text) if name in as_json else text
        else:
            values[name] = read_attribute(group, name, is_json=name in as_json)
    return values


def _array(dataset: Any, dims: tuple[Any, ...] | None = None) -> np.ndarray:
    values = read_dataset(dataset)
    dims = None if dims is None else dims_of(dims, values.shape)
    if dims is not None and values.ndim != len(dims):
        raise LandscapeError(f"{dataset.name!r} has {values.ndim} dimensions, expected {len(dims)}: {dims}")
    if values.dtype != object:
        return values
    dtype = np.dtype(str(read_attribute(dataset, "numpy_dtype")))
    if dtype.kind != "U":
        raise LandscapeError(f"{dataset.name!r} is text of an unknown kind")
    return values.astype(dtype)


def _column(dataset: h5py.Dataset | h5py.Group) -> Column:
    missing = read_attribute(dataset, "missing", is_json=True) or ()
    encoding = read_attribute(dataset, "encoding") or "plain"
    return Column(read_dataset(dataset), missing, encoding)
