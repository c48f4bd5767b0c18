"""Values as HDF5 attributes: numbers, truth values and text as themselves, everything else as JSON text.

JSON has one kind of list and only text keys. So that Python values come back as they were, an array directly in an
attribute or within a tuple stands for a tuple, and one within a mapping or list for a list; the other cases, keys that
are not text and NumPy arrays are objects with one key: ``__tuple__``, ``__list__``, ``__items__``, ``__array__``;
``__blob__`` is the place of an array that is kept beside the text.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.errors import LandscapeError

_TAGS = {"__tuple__", "__list__", "__items__", "__array__", "__blob__"}


def to_attribute(value: Any) -> tuple[Any, bool]:
    """Return (what HDF5 stores, whether that is JSON text).

    Raises:
        LandscapeError: the value is of a type that no rule covers.

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
    """Invert `dumps`.

    Raises:
        LandscapeError: the text is no such JSON.
    """
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
