"""Writing a result into an HDF5 group, driven by the roles of its fields alone; what does not fit is a `LandscapeError`."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Result, dims_of, role_of
from landscape.store.values import Column, dumps, required, storable, to_attribute, to_columns

SCHEMA_VERSION = 2
"""1: up to November 2026. 2: the identity of a computation beside its result; kinds as `landscape.store.migrations` says."""
RESERVED = {
    "kind", "schema_version", "json", "long", "content_sha256", "origin_sha256", "identity", "settings_sha256",
}  # fmt: skip
_CHUNKED = 16_384  # bytes from which an array is stored in compressed, checksummed chunks
_CHUNK = 131_072  # elements in a chunk
NAMELESS = "This is a netCDF dimension but not a netCDF variable."
"""The NAME of a scale without values, before its length."""
_TEXT = 60_000  # bytes of text that fit into an attribute for every reader
TEXT = h5py.string_dtype("utf-8")


def write_result(group: h5py.Group, result: Result) -> None:
    """Write every field of a result into an empty group."""
    attributes: dict[str, Any] = {}
    for field in dataclasses.fields(result):
        value, role = getattr(result, field.name), role_of(field)
        if field.name in RESERVED:
            raise LandscapeError(f"a field of {type(result).__name__} may not be called {field.name!r}")
        if role == "attribute":
            attributes[field.name] = value
        elif value is None:
            if not field.metadata["optional"]:
                raise LandscapeError(f"the {field.name} of this {result.kind} are missing (None)")
        elif role == "array":
            _write_array(group, field.name, value, field.metadata)
        elif role == "arrays":
            attributes[field.name] = tuple(value)
            _write_arrays(group, home(type(result), field), field.name, value, field.metadata)
        elif role == "rows":
            attributes[field.name] = len(value)
            columns = to_columns(value, field.metadata["row"])
            _write_rows(group, home(type(result), field), columns, field.metadata["dims"][0])
        elif role == "result":
            write_result(group.create_group(field.name), value)
    _attach_scales(group, result)
    write_attributes(group, attributes)
    group.attrs["kind"] = result.kind
    group.attrs["schema_version"] = SCHEMA_VERSION
    group.attrs["content_sha256"] = content_sha256(result)
    group.attrs["origin_sha256"] = origin_sha256(result)


def write_attributes(group: h5py.Group, attributes: Mapping[str, Any]) -> None:
    """Write values as attributes, replacing those of the same names.

    The attribute ``json`` lists those that are JSON text, ``long`` those too large for an attribute, which are datasets
    ``NAME.text`` of UTF-8 bytes instead.
    """
    as_json, long = (set(str(group.attrs.get(name, "")).split("\n")) - {""} for name in ("json", "long"))
    for name, value in attributes.items():
        if name in long:
            del group[f"{name}.text"]
        stored, is_json = to_attribute(value)
        as_json, long = as_json - {name} | ({name} if is_json else set()), long - {name}
        if isinstance(stored, str) and len(stored.encode()) > _TEXT:
            long |= {name}
            group.attrs.pop(name, None)
            data = np.frombuffer(stored.encode(), np.uint8)
            group.create_dataset(f"{name}.text", data=data, **_storage(data)).attrs["long_name"] = "UTF-8 text"
        else:
            group.attrs[name] = stored
    for name, listed in (("json", as_json), ("long", long)):
        group.attrs[name] = "\n".join(sorted(listed))


def content_sha256(result: Result) -> str:
    """Return a fingerprint of what was computed: all fields but provenance and those that differ from run to run.

    Fields at their default are left out, so that a field added to a class later leaves the fingerprints of older files.

    >>> from landscape.results import Estimate
    >>> a = Estimate(value=1.0, standard_error=0.0, matvecs=3, method="exact", quantity="trace", seconds=1.0)
    >>> content_sha256(a) == content_sha256(a.replace(seconds=2.0)) != content_sha256(a.replace(value=2.0))
    True
    """
    return _sha256(result, about_the_run=False)


def origin_sha256(result: Result) -> str:
    """Return a fingerprint of the rest: provenance, seconds and whatever else differs from run to run."""
    return _sha256(result, about_the_run=True)


def _sha256(result: Result, *, about_the_run: bool) -> str:
    digest = hashlib.sha256()
    for field in dataclasses.fields(result):
        value, volatile = (
            getattr(result, field.name),
            field.name == "provenance" or field.metadata.get("volatile", False),
        )
        if volatile == about_the_run and not _is_default(field, value):
            digest.update(f"\0{field.name}\0".encode())
            _digest(digest, value)
    return digest.hexdigest()


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if required(field):
        return False
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return type(value) is type(default) and dumps(value) == dumps(default)


def _digest(digest: Any, value: Any) -> None:
    if isinstance(value, Result):
        digest.update(content_sha256(value).encode())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode())
        plain = value.dtype.kind in "biuf"
        digest.update(np.ascontiguousarray(value).tobytes() if plain else dumps(value.tolist()).encode())
    elif isinstance(value, Mapping) and any(isinstance(item, np.ndarray) for item in value.values()):
        for key, item in value.items():
            digest.update(f"\0{key}\0".encode())
            _digest(digest, item)
    elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        columns = to_columns(value, type(value[0]))
        for field in dataclasses.fields(value[0]):
            if not all(_is_default(field, getattr(row, field.name)) for row in value):
                column = columns[field.name]
                digest.update(f"\0{field.name}\0{column.missing}\0".encode())
                _digest(digest, column.values)
    else:
        digest.update(dumps(value).encode())


def home(cls: type[Result], field: dataclasses.Field[Any]) -> str:
    """Return the sub-group that keeps a field of many parts: none when it is the only such field of its class.

    So the scores of a panel are ``scores/ENTRY/value`` and the losses of a plane ``slices/ENTRY/train/loss``, while a
    comparison keeps its gates, tests and verdicts apart.
    """
    fields = dataclasses.fields(cls)
    alone = sum(role_of(f) in ("arrays", "rows") for f in fields) == 1
    if role_of(field) == "rows":
        columns = {column.name for column in dataclasses.fields(field.metadata["row"])}
        alone = alone and not columns & {f.name for f in fields if role_of(f) in ("array", "result")}
    return "" if alone else field.name + "/"


def _write_arrays(
    group: h5py.Group, prefix: str, name: str, arrays: Mapping[str, Any], about: Mapping[str, Any]
) -> None:
    for key, value in arrays.items():
        parts = key.split("/") if isinstance(key, str) else [""]
        if not all(part and part.strip(".") and storable(part) for part in parts):
            raise LandscapeError(f"{key!r} cannot name an array of {name!r}; expected a name such as 'train/loss'")
        if _taken(group, prefix + key):
            raise LandscapeError(f"the array {key!r} of {name!r} has the name of another part; rename it")
        _write_array(group, prefix + key, value, {**about, "long_name": f"{about['long_name']}: {key}"})


def _taken(group: h5py.Group, path: str) -> bool:
    """Whether a path, or a dataset on the way to it, exists already."""
    parts = path.split("/")
    above = ("/".join(parts[:i]) for i in range(1, len(parts)))
    return path in group or any(isinstance(group.get(part), h5py.Dataset) for part in above)


def _write_array(group: h5py.Group, name: str, value: Any, about: Mapping[str, Any]) -> None:
    if not isinstance(value, np.ndarray):
        raise LandscapeError(f"{name!r} is a {type(value).__name__}, expected a NumPy array")
    dims = dims_of(about["dims"], value.shape)
    if value.ndim != len(dims):
        raise LandscapeError(f"{name!r} has {value.ndim} dimensions, expected {len(dims)}: {dims}")
    if value.dtype.kind == "U":
        if not all(map(storable, value.flat)):
            raise LandscapeError(f"{name!r} holds text that HDF5 cannot keep: NUL or lone surrogates")
        dataset = group.create_dataset(name, data=value.astype(object), dtype=TEXT)
        dataset.attrs["numpy_dtype"] = value.dtype.str
    elif value.dtype.kind in "biuf":
        dataset = group.create_dataset(name, data=value, **_storage(value))
    else:
        raise LandscapeError(f"{name!r} is an array of {value.dtype}, expected numbers, truth values or text")
    dataset.attrs["long_name"] = about["long_name"]
    dataset.attrs["units"] = about["units"]
    for dimension, label in zip(dataset.dims, dims, strict=True):
        dimension.label = label


def _write_rows(group: h5py.Group, prefix: str, columns: Mapping[str, Column], dim: str) -> None:
    for name, column in columns.items():
        text = {"dtype": TEXT} if column.values.dtype == object else _storage(column.values)
        dataset = group.create_dataset(prefix + name, data=column.values, **text)
        dataset.attrs["long_name"] = name.replace("_", " ")
        dataset.dims[0].label = dim
        if column.missing:
            dataset.attrs["missing"] = dumps(column.missing)
        if column.fill is not None:
            dataset.attrs["_FillValue"] = dataset.dtype.type(column.fill)
        if column.encoding != "plain":
            dataset.attrs["encoding"] = column.encoding


def _storage(array: np.ndarray) -> dict[str, Any]:
    """Choose chunks, checksum and compression: none for small arrays, and no compression where it gains nothing."""
    if array.nbytes < _CHUNKED or array.ndim == 0:
        return {}
    chunk, room = [], _CHUNK
    for size in reversed(array.shape):
        chunk.append(min(size, max(room, 1)))
        room //= chunk[-1]
    sample = np.ascontiguousarray(array.ravel()[: _CHUNKED // array.itemsize]).view(np.uint8)
    shuffled = sample.reshape(-1, array.itemsize).T.tobytes()
    # random directions and eigenvectors shrink by 5 % at 30 MB/s: not worth the time
    gains = len(zlib.compress(shuffled, 1)) < 0.9 * len(shuffled)
    compress = {"compression": "gzip", "compression_opts": 1} if gains else {}
    return {"chunks": tuple(reversed(chunk)), "shuffle": bool(compress), "fletcher32": True, **compress}


def _attach_scales(group: h5py.Group, result: Result) -> None:
    """Give every dimension its scale: the coordinate, or a name that netCDF readers know, which takes no room on the disk.

    A coordinate is an array named like its only dimension, or the one called ``grid``. Source: netCDF-4 format specification,
    "dimensions without dimension scales".
    """
    coordinates: dict[str, h5py.Dataset] = {}
    for field in dataclasses.fields(result):
        dims = field.metadata.get("dims", ())
        if role_of(field) == "array" and len(dims) == 1 and field.name in (dims[0], "grid") and field.name in group:
            coordinates[dims[0]] = group[field.name]
    for scale in coordinates.values():
        scale.make_scale(scale.name.rpartition("/")[2])
    datasets: list[h5py.Dataset] = []
    group.visititems(lambda _, part: datasets.append(part) if isinstance(part, h5py.Dataset) else None)
    for dataset in datasets:
        labels = [dimension.label for dimension in dataset.dims]
        for axis, label in enumerate(labels):
            if not label or dataset.is_scale or len(dataset.dims[axis]):
                continue
            name = label + "'" * labels[:axis].count(label)  # a matrix has one dimension twice, which netCDF does not
            scale = coordinates.get(label) or _named_dimension(dataset.parent, name, dataset.shape[axis])
            if scale is not None and scale.shape != (dataset.shape[axis],):
                raise LandscapeError(
                    f"{dataset.name.rpartition('/')[2]!r} has {dataset.shape[axis]} points along {label!r}, "
                    f"but the coordinate has {scale.shape[0]}"
                )
            if scale is not None:
                dataset.dims[axis].attach_scale(scale)


def _named_dimension(group: h5py.Group, name: str, size: int) -> h5py.Dataset | None:
    """Return the empty scale that names a dimension of a group, or `None` where something else has its name."""
    if name not in group:
        group.create_dataset(name, shape=(size,), dtype=">f4").make_scale(f"{NAMELESS}{size:10d}")
    scale = group[name]
    return scale if is_dimension(scale) and scale.shape == (size,) else None


def is_dimension(part: Any) -> bool:
    """Say whether a part of a file is the name of a dimension and holds nothing."""
    return (
        isinstance(part, h5py.Dataset)
        and part.is_scale
        and h5py.h5ds.get_scale_name(part.id).startswith(NAMELESS.encode())
    )
